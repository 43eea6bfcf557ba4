"""Published weights of networks: found by name in the asset folders, read as plain arrays.

Unlike an `assets.Asset` such a file has no checksum: a network has several (two families of names,
half and single precision, a user's own training), nothing in them is executed, and their names and
shapes are checked one by one where they become a network's parameters.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxhead.files.assets import asset_folders
from jaxhead.files.errors import InputError
from jaxhead.files.safetensors import read_safetensors
from jaxhead.files.torch_files import read_torch
from jaxhead.files.torchscript import is_torchscript, read_torchscript

_NESTED = ("state_dict", "model_state_dict", "model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of one network.

    Attributes:
        files: names inside an asset folder, the first that is there is taken.
        what: what they are, for messages.
        licence: the licence they are given under.
        url: where their publisher offers them.
    """

    files: tuple[str, ...]
    what: str
    licence: str
    url: str


WEIGHTS: dict[str, Weights] = {
    "clip_vit_b32": Weights(
        files=(
            "clip_vit_b32.safetensors", "clip_vit_b32.pt", "ViT-B-32.safetensors", "ViT-B-32.pt"
        ),
        what="CLIP's ViT-B/32",
        licence="MIT",
        url="https://huggingface.co/openai/clip-vit-base-patch32",
    ),
    "depth_anything_v2_small": Weights(
        files=("depth_anything_v2_vits.pth", "depth_anything_v2_small.safetensors"),
        what="Depth Anything V2 Small",
        licence="Apache-2.0",
        url="https://huggingface.co/depth-anything/Depth-Anything-V2-Small",
    ),
    "deca": Weights(
        files=("deca_model.tar",),
        what="DECA's model",
        licence="for research, see its licence",
        url="https://github.com/yfeng95/DECA",
    ),
    "deepspeech": Weights(
        files=("deepspeech-0_1_0-b90017e8.pb", "output_graph.pb"),
        what="the frozen graph of Mozilla DeepSpeech 0.1.0",
        licence="MPL-2.0",
        url="https://github.com/mozilla/DeepSpeech/releases/tag/v0.1.0 or "
        "https://github.com/osmr/deepspeech_features/releases",
    ),
    "hubert": Weights(
        files=(
            "hubert-large-ls960-ft/model.safetensors", "hubert-large-ls960-ft/pytorch_model.bin",
            "hubert-large-ls960-ft.safetensors", "hubert-large-ls960-ft.bin",
        ),
        what="HuBERT-large",
        licence="Apache-2.0",
        url="https://huggingface.co/facebook/hubert-large-ls960-ft",
    ),
}  # fmt: skip


def find_weights(name: str, folder: str | os.PathLike | None = None) -> Path:
    """The path of a network's weights.

    Args:
        name: a key of `WEIGHTS`.
        folder: searched first (`--assets`), or the file itself.

    Raises:
        InputError: unknown name, no folder has one of the files (the message says where to get it
            and where to put it), or `folder` does not exist.
    """
    if name not in WEIGHTS:
        raise InputError(f"weights {name!r} are unknown, expected one of {', '.join(WEIGHTS)}")
    weights = WEIGHTS[name]
    if folder is not None and Path(folder).is_file():
        return Path(folder)
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder, expected one that holds {weights.files[0]}")
    searched = list(asset_folders(folder))
    for place in searched:
        for file in weights.files:
            if (place / file).is_file():
                return place / file
    put = searched[0] / weights.files[0] if searched else Path(weights.files[0])
    raise InputError(
        f"{weights.what} ({weights.licence}) was not found as {' or '.join(weights.files)} in "
        f"{', '.join(str(place) for place in searched) or 'any folder'}: get it from {weights.url} "
        f"and put it at {put}, or name its folder in $JAXHEAD_ASSETS"
    )


def read_weights(path: str | os.PathLike) -> dict[str, Any]:
    """The state dict of a .safetensors file, a PyTorch checkpoint or a TorchScript archive.

    Raises:
        InputError: missing, damaged, or not a dictionary of arrays.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        return dict(read_safetensors(path))
    if is_torchscript(path):
        return dict(read_torchscript(path))
    value = read_torch(path)
    for name in _NESTED:
        if isinstance(value, Mapping) and isinstance(value.get(name), Mapping):
            value = value[name]
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{path}: holds a {type(value).__name__}, expected a state dict")
    return dict(value)
