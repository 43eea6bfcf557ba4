"""A tiny CLIP and a tiny field with random weights; CLIP's also as the file that a user has."""

import dataclasses
import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.networks import clip
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.semantic import ClipPrior
from jaxhead.systems.avatar.system import TORSO_CONDITION

CONFIG = clip.ClipConfig(
    width=64, layers=1, heads=1, hidden=64, projection=16, image_size=32, patch=8
)


def randomly(shapes: Any, gain: float = 1.0) -> Any:
    """Normal values for a tree of shapes: kernels by their inputs, scales near one."""
    random = np.random.RandomState(0)

    def leaf(path, shape):
        value = random.standard_normal(shape.shape) / np.sqrt(max(1, np.prod(shape.shape[:-1])))
        return jnp.asarray(gain * value + (getattr(path[-1], "key", "") == "scale"), jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def tiny_prior() -> ClipPrior:
    pixels = jax.ShapeDtypeStruct((1, CONFIG.image_size, CONFIG.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(clip.ClipImageEncoder(CONFIG).init, jax.random.key(0), pixels)
    return ClipPrior(CONFIG, randomly(shapes))


def one_level(config: AvatarConfig, components: int) -> tuple[AvatarConfig, Any]:
    """The configuration with hash grids of one level, which compile fast, and parameters for it
    whose field is seen."""
    config = dataclasses.replace(
        config, field=dataclasses.replace(config.field, levels=1),
        sampling=dataclasses.replace(config.sampling, finer=1),
        torso=dataclasses.replace(config.torso, levels=1),
    )  # fmt: skip
    shapes = jax.eval_shape(
        lambda key: {
            "head": model.init_head(key, config.field, components),
            "torso": model.init_torso(key, config.torso, TORSO_CONDITION),
        },
        jax.random.key(0),
    )
    return config, randomly(shapes, 1.5)


def published_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of `CONFIG` under Hugging Face's names, in half precision."""
    shapes = jax.eval_shape(
        clip.ClipImageEncoder(CONFIG).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    flat = {
        "/".join(k.key for k in path): leaf.shape
        for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]
    }
    state = {}
    for name, path in clip._names(CONFIG).items():
        shape = flat[path]
        if path.endswith("/kernel"):
            shape = (shape[-1], shape[-2], *shape[:-2])
        random = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()))
        value = random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
        state[name] = np.float16(value + (path.endswith("/scale")))
    return state


def write_safetensors(path, state: dict[str, np.ndarray]) -> None:
    header, data = {}, b""
    for name, value in state.items():
        raw = np.ascontiguousarray(value, np.float16).tobytes()
        header[name] = {"dtype": "F16", "shape": list(value.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
