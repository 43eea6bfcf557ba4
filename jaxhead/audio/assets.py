"""Where the weights of speech networks are looked for. None of them may be shipped."""

import dataclasses
import os
from pathlib import Path

from jaxhead.files.assets import asset_folders
from jaxhead.files.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechNetwork:
    """A published network.

    Attributes:
        what: its name, for messages.
        files: names under which its weights are looked for in an asset folder, the best first.
        source: where its publisher offers them.
    """

    what: str
    files: tuple[str, ...]
    source: str


NETWORKS = {
    "deepspeech": SpeechNetwork(
        what="the frozen graph of Mozilla DeepSpeech 0.1.0 (MPL-2.0)",
        files=("deepspeech-0_1_0-b90017e8.pb", "output_graph.pb"),
        source="https://github.com/mozilla/DeepSpeech/releases/tag/v0.1.0 (models/output_graph.pb) "
        "or https://github.com/osmr/deepspeech_features/releases",
    ),
    "hubert": SpeechNetwork(
        what="the weights of HuBERT-large, facebook/hubert-large-ls960-ft (Apache-2.0)",
        files=(
            "hubert-large-ls960-ft/model.safetensors",
            "hubert-large-ls960-ft/pytorch_model.bin",
            "hubert-large-ls960-ft.safetensors",
            "hubert-large-ls960-ft.bin",
        ),
        source="https://huggingface.co/facebook/hubert-large-ls960-ft",
    ),
}


def find_weights(name: str, place: str | os.PathLike | None = None) -> Path:
    """Returns the path of a network's weights.

    The publishers give no checksum that could be compared here: what a file holds is checked name
        by
    name and shape by shape when it is read.

    Args:
        name: a key of `NETWORKS`.
        place: the file itself, or a folder that is searched before `$JAXHEAD_ASSETS` and the user's
            cache.

    Raises:
        InputError: there is none; the message says where to get it and where to put it.
    """
    network = NETWORKS[name]
    if place is not None and Path(place).is_file():
        return Path(place)
    if place is not None and not Path(place).is_dir():
        raise InputError(f"{place}: no such file or folder, expected {network.what}")
    folders = list(asset_folders(place))
    for folder in folders:
        for file in network.files:
            if (folder / file).is_file():
                return folder / file
    searched = ", ".join(str(folder) for folder in folders) or "any folder"
    put = folders[0] / network.files[0] if folders else Path(network.files[0])
    raise InputError(
        f"{network.what} was not found in {searched}: get it from {network.source} and put it at "
        f"{put}, or name its folder in $JAXHEAD_ASSETS"
    )
