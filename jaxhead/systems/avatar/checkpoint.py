"""Names and layouts of published checkpoints: Zielon/INSTA-pytorch's NeRFNetwork to our head field.

The port's other entries (`encoder.offsets`, `aabb_train`, `aabb_infer`, `density_grid`,
`density_bitfield`, `step_counter`) are buffers that follow from the configuration or are rebuilt.
"""

from __future__ import annotations

import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxhead.encodings.hash_grid import HashGridConfig, tables_from_flat
from jaxhead.files.errors import InputError

BUFFERS = (
    "encoder.offsets", "aabb_train", "aabb_infer", "density_grid", "density_bitfield",
    "step_counter",
)
_LAYER = re.compile(r"(sigma_net|color_net)\.(\d+)\.weight")
_NETS = {"sigma_net": "density", "color_net": "color"}


def head_from_insta(state: dict[str, np.ndarray], grid: HashGridConfig) -> dict[str, Any]:
    """Parameters of `model.init_head` from the state dict of the INSTA port.

    Args:
      state: published names to arrays; linear weights are (outputs, inputs).
      grid: the hash grid that the checkpoint was trained with (rule "torch-ngp").

    Raises:
      InputError: a name is missing, unknown, or a shape does not fit.
    """
    params: dict[str, Any] = {"density": {}, "color": {}}
    for name, value in state.items():
        if name in BUFFERS:
            continue
        layer = _LAYER.fullmatch(name)
        if name == "encoder.embeddings":
            if np.shape(value) != (grid.entries, grid.features):
                raise InputError(
                    f"{name}: shape {np.shape(value)}, expected {(grid.entries, grid.features)}"
                )
            params["tables"] = tables_from_flat(np.asarray(value, np.float32), grid)
        elif layer:
            kernel = jnp.asarray(np.asarray(value, np.float32).T)
            params[_NETS[layer[1]]][f"layer_{layer[2]}"] = {"kernel": kernel}
        else:
            raise InputError(f"{name}: not a name of an INSTA checkpoint")
    for part in ("tables", "density", "color"):
        if not params.get(part):
            raise InputError(f"the checkpoint lacks its {part}, expected an INSTA state dict")
    return params


def head_to_insta(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `head_from_insta`, buffers left out."""
    flat = np.concatenate([np.asarray(table).T for table in params["tables"]])
    state = {"encoder.embeddings": flat}
    for theirs, ours in _NETS.items():
        for name, layer in params[ours].items():
            number = name.removeprefix("layer_")
            state[f"{theirs}.{number}.weight"] = np.asarray(layer["kernel"]).T
    return state
