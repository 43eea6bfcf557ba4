"""Which head `KIND:PATH` names, out of its file."""

import os
from typing import NamedTuple

import numpy as np

from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError, about
from jaxhead.heads.bfm import bfm_head
from jaxhead.heads.bfm_files import read_bfm
from jaxhead.heads.flame import Embedding, Flame, with_landmarks
from jaxhead.heads.flame_files import read_flame
from jaxhead.heads.linear import read_linear
from jaxhead.heads.mediapipe import canonical_face, closed_head
from jaxhead.heads.model import HeadModel

KINDS = {
    "flame": "FLAME's model file (.pkl or .npz)",
    "bfm": "BFM_model_front.mat",
    "npz": "a linear head model, as docs/heads.md has it",
    "mediapipe": "a face_landmarker.task, which is found by itself as well",
}


class LoadedHead(NamedTuple):
    """A head model and what a fit to pictures uses of it.

    Attributes:
      model: the head model; of FLAME its landmarks are iBUG's 68 or 70, MediaPipe's where those are
        not there, or none.
      landmark_indices: (L,) MediaPipe's number of each of its landmarks where they are known.
      contour: (79, 17) the jaw line by yaw (`flame.contour_row`), or None.
      mediapipe: FLAME's points of MediaPipe's mesh, or None.
      mediapipe_indices: their numbers there, or None.
      lids: (K, V, 3) metres per unit of closing, added after skinning, or None.
      lid_names: K names.
    """

    model: HeadModel
    landmark_indices: np.ndarray | None = None
    contour: Embedding | None = None
    mediapipe: Embedding | None = None
    mediapipe_indices: np.ndarray | None = None
    lids: np.ndarray | None = None
    lid_names: tuple[str, ...] = ()


def load_head(spec: str, *, assets: str | os.PathLike | None = None) -> HeadModel:
    """The head model that `spec` names: see `read_head`."""
    return read_head(spec, assets=assets).model


def read_head(spec: str, *, assets: str | os.PathLike | None = None) -> LoadedHead:
    """The head that `spec` names, with landmarks and lids.

    Args:
      spec: flame:PATH, bfm:PATH, npz:PATH, mediapipe:PATH, or mediapipe.
      assets: folder that is searched first for what `mediapipe` alone needs.

    Raises:
      InputError: an unknown kind, or a file that is missing, damaged or of another model; the line
        names the file and the field.
    """
    kind, _, path = spec.partition(":")
    if kind not in KINDS or not path and kind != "mediapipe":
        known = ", ".join(f"{name}:PATH" for name in KINDS)
        hint = f", {KINDS[kind]}" if kind in KINDS else ""
        raise InputError(f"head {spec!r}: expected one of {known}, or mediapipe{hint}")
    if kind == "flame":
        return _flame(read_flame(path))
    if kind == "bfm":
        with about(path):
            return LoadedHead(bfm_head(read_bfm(path)))
    if kind == "npz":
        head = read_linear(path)
        contour = None if head.contour is None else Embedding(*head.contour)
        return LoadedHead(head.model, head.landmark_indices, contour, lids=head.lids,
                          lid_names=head.lid_names)  # fmt: skip
    model, _ = closed_head(canonical_face(path or find_asset("face_landmarker", assets)))
    return LoadedHead(model, np.arange(len(model.landmark_faces), dtype=np.int32))


def _flame(flame: Flame) -> LoadedHead:
    model, numbers = flame.model, None
    if not len(model.landmark_faces) and flame.mediapipe is not None:
        model, numbers = with_landmarks(model, flame.mediapipe), flame.mediapipe_indices
    names = () if flame.eyelids is None else ("eyelidLeft", "eyelidRight")
    return LoadedHead(
        model,
        None if numbers is None else np.asarray(numbers),
        flame.contour,
        flame.mediapipe,
        None if flame.mediapipe_indices is None else np.asarray(flame.mediapipe_indices),
        None if flame.eyelids is None else np.asarray(flame.eyelids),
        names,
    )
