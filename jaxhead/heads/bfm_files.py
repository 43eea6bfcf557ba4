"""The Basel Face Model's file, BFM_model_front.mat as Deep3DFaceReconstruction makes it.

It is made of BFM 2009, which is licensed and asks for a registration (faces.dmi.unibas.ch), and an
expression basis of FaceWarehouse's.
"""

import os

import numpy as np

from jaxhead.files.errors import InputError, about
from jaxhead.files.mat_files import read_mat
from jaxhead.heads.arrays import checked
from jaxhead.heads.bfm import LANDMARKS, Bfm

_KEYS = ("meanshape", "idBase", "exBase", "meantex", "texBase", "tri", "point_buf", "keypoints")


def read_bfm(path: str | os.PathLike) -> Bfm:
    """The model of a BFM_model_front.mat.

    Raises:
      InputError: the file is missing or damaged, or a variable is missing or contradicts another.
    """
    found = read_mat(path, _KEYS)
    with about(path):
        return bfm_from_arrays(found)


def bfm_from_arrays(arrays: dict[str, np.ndarray]) -> Bfm:
    """The model of the variables of a BFM_model_front.mat, whose indices start from 1.

    Raises:
      InputError: a variable is missing or contradicts another.
    """
    for key in _KEYS:
        if key not in arrays:
            raise InputError(f"variable {key!r} is missing, expected a BFM_model_front.mat")
    count = np.asarray(arrays["meanshape"]).size // 3
    faces = _index(arrays, "tri", (None, 3), count)
    return Bfm(
        mean_shape=_row(arrays, "meanshape", count),
        identity_basis=_basis(arrays, "idBase", count),
        expression_basis=_basis(arrays, "exBase", count),
        mean_texture=_row(arrays, "meantex", count),
        texture_basis=_basis(arrays, "texBase", count),
        faces=faces,
        vertex_faces=_index(arrays, "point_buf", (count, 8), len(faces) + 1),
        keypoints=_index(arrays, "keypoints", (1, LANDMARKS), count)[0],
    )


def _row(arrays: dict[str, np.ndarray], key: str, count: int) -> np.ndarray:
    return checked(arrays[key], np.float32, (1, 3 * count), repr(key)).reshape(count, 3)


def _basis(arrays: dict[str, np.ndarray], key: str, count: int) -> np.ndarray:
    value = checked(arrays[key], np.float32, (3 * count, None), repr(key))
    return np.ascontiguousarray(value.T).reshape(-1, count, 3)


def _index(
    arrays: dict[str, np.ndarray], key: str, shape: tuple[int | None, ...], limit: int
) -> np.ndarray:
    """Indices from 1 as int32 from 0; files hold them as floats as well."""
    value = checked(arrays[key], np.float32, shape, repr(key))
    if value.size and not 1 <= value.min() <= value.max() <= limit:
        raise InputError(f"{key!r} has {value.min():g} to {value.max():g}, expected 1 to {limit}")
    return value.astype(np.int32) - 1
