"""The arrays of a head model as a file holds them, checked before a model is made of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxhead.files.arrays import as_kind
from jaxhead.files.errors import InputError

ARRAYS = {
    "template": np.float32,
    "faces": np.int32,
    "identity_basis": np.float32,
    "expression_basis": np.float32,
    "uv": np.float32,
    "regions": np.int32,
    "landmark_faces": np.int32,
    "landmark_weights": np.float32,
}
SKELETON = {
    "skeleton_parents": np.int32,
    "skeleton_joint_regressor": np.float32,
    "skeleton_weights": np.float32,
    "skeleton_pose_basis": np.float32,
}


def model_arrays(arrays: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """The fields of a `HeadModel` that are arrays, of their kinds, finite and of fitting sizes.

    Args:
        arrays: named arrays out of a file.
        source: what an error names, usually the file.

    Raises:
        InputError: an array is missing, of another kind or not finite, or sizes or indices
            contradict each other.
    """
    fields = _numbers(arrays, ARRAYS, source)
    first = {key: len(np.atleast_1d(value)) for key, value in fields.items()}
    count, landmarks = first["template"], first["landmark_faces"]
    expected = {
        "template": (count, 3),
        "faces": (first["faces"], 3),
        "identity_basis": (first["identity_basis"], count, 3),
        "expression_basis": (first["expression_basis"], count, 3),
        "uv": (count, 2),
        "regions": (count,),
        "landmark_faces": (landmarks,),
        "landmark_weights": (landmarks, 3),
    }
    _check_shapes(fields, expected, source)
    for key, limit in (("faces", count), ("landmark_faces", first["faces"])):
        values = fields[key]
        if values.size and (values.min() < 0 or values.max() >= limit):
            raise InputError(f"{source}: {key} refers to {values.max()}, expected 0 to {limit - 1}")
    return fields


def skeleton_arrays(
    arrays: Mapping[str, np.ndarray], count: int, source: str
) -> dict[str, Any] | None:
    """The fields of a `Skeleton` for `count` vertices, checked alike; None without a skeleton."""
    if "skeleton_parents" not in arrays:
        return None
    fields = _numbers(arrays, SKELETON, source)
    joints = fields["skeleton_parents"].size
    expected = {
        "skeleton_parents": (joints,),
        "skeleton_joint_regressor": (joints, count),
        "skeleton_weights": (count, joints),
        "skeleton_pose_basis": (9 * max(0, joints - 1), count, 3),
    }
    _check_shapes(fields, expected, source)
    parents = [int(parent) for parent in fields["skeleton_parents"]]
    if any(not -1 <= parent < joint for joint, parent in enumerate(parents)):
        raise InputError(f"{source}: skeleton_parents {parents}, expected -1 or an earlier joint")
    named = {key.removeprefix("skeleton_"): value for key, value in fields.items()}
    return {**named, "parents": tuple(parents)}


def checked(
    value: np.ndarray, kind: np.typing.DTypeLike, shape: tuple[int | None, ...], what: str
) -> np.ndarray:
    """An array out of a file as the `kind` and the shape that are expected, finite.

    Args:
        value: any array.
        kind: float or integer dtype, see `as_kind`.
        shape: its sizes; None is any size.
        what: file and name of the array, for messages.

    Raises:
        InputError: another kind or shape, or values that are not finite.
    """
    value = as_kind(value, kind, what)
    if value.ndim != len(shape) or any(
        size is not None and size != actual for size, actual in zip(shape, value.shape)
    ):
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"{what} has shape {value.shape}, expected {wanted or 'a number'}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise InputError(f"{what} holds values that are not finite")
    return value


def _numbers(
    arrays: Mapping[str, np.ndarray], kinds: Mapping[str, type], source: str
) -> dict[str, np.ndarray]:
    result = {}
    for key, kind in kinds.items():
        if key not in arrays:
            raise InputError(f"{source}: array {key!r} is missing from the head model")
        result[key] = as_kind(arrays[key], kind, f"{source}: {key}")
        if kind is np.float32 and not np.isfinite(result[key]).all():
            raise InputError(f"{source}: {key} holds values that are not finite")
    return result


def _check_shapes(
    fields: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], source: str
) -> None:
    for key, shape in expected.items():
        if fields[key].shape != shape:
            raise InputError(f"{source}: {key} has shape {fields[key].shape}, expected {shape}")
