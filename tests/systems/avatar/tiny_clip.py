"""A tiny CLIP with random weights, also as the file that a user would have."""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.networks import clip
from jaxhead.systems.avatar.semantic import ClipPrior

CONFIG = clip.ClipConfig(
    width=64, layers=1, heads=1, hidden=64, projection=16, image_size=32, patch=8
)


def tiny_prior() -> ClipPrior:
    pixels = jnp.zeros((1, CONFIG.image_size, CONFIG.image_size, 3))
    variables = jax.jit(clip.ClipImageEncoder(CONFIG).init)(jax.random.key(0), pixels)
    return ClipPrior(CONFIG, variables)


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
