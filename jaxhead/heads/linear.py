"""Any linear head model out of one .npz: a template, components, and joints if it has them.

The format is that of a capture's `head.npz` (`model.head_to_arrays`) with all but the mesh left to
choice, so that a model of principal components made anywhere, of a person or of an animal, is
written in a few lines of NumPy. docs/heads.md lists the arrays.
"""

import difflib
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxhead.files.arrays import as_kind, read_npz
from jaxhead.files.errors import InputError
from jaxhead.heads.arrays import ARRAYS, SKELETON, checked
from jaxhead.heads.model import REGIONS, HeadModel, head_from_arrays
from jaxhead.heads.uv import around_uv

_EXTRA = (
    "name", "expression_names", "region_names", "metres_per_unit", "identity_scale",
    "expression_scale", "landmark_vertices", "landmark_indices", "lids", "lid_names",
    "contour_faces", "contour_weights",
)  # fmt: skip
KEYS = (*ARRAYS, *SKELETON, *_EXTRA)
_CONTOUR = (79, 17)


class LinearHead(NamedTuple):
    """A head model out of a file, with what a fit to pictures uses of it.

    Attributes:
      model: the head model, in metres.
      landmark_indices: (L,) int32 MediaPipe's number of each landmark, or None.
      lids: (K, V, 3) metres per unit of closing, added after skinning, or None.
      lid_names: K names.
      contour: faces (79, 17) and weights (79, 17, 3) of the jaw line by yaw, or None.
    """

    model: HeadModel
    landmark_indices: np.ndarray | None
    lids: np.ndarray | None
    lid_names: tuple[str, ...]
    contour: tuple[np.ndarray, np.ndarray] | None


def read_linear(path: str | os.PathLike) -> LinearHead:
    """The head model of an .npz file.

    Raises:
      InputError: the file is missing or damaged, or an array is missing, unknown, of another kind
        or contradicts another; the line names file and array.
    """
    return linear_head(read_npz(path), source=str(path))


def linear_head(arrays: Mapping[str, np.ndarray], *, source: str) -> LinearHead:
    """The head model of named arrays; see `read_linear`.

    Args:
      arrays: named as in docs/heads.md.
      source: what an error names, usually the file.
    """
    for key in arrays:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean {near[0]!r}" if near else f"expected one of {', '.join(KEYS)}"
            raise InputError(f"{source}: array {key!r} is unknown, {hint}")
    arrays = dict(arrays)
    for key in ("template", "faces"):
        if key not in arrays:
            raise InputError(f"{source}: array {key!r} is missing from the head model")
    template = _numbers(arrays, "template", (None, 3), source)
    count = len(template)
    _scale(arrays, source)
    _default_arrays(arrays, template, source)
    lids = _numbers(arrays, "lids", (None, count, 3), source) if "lids" in arrays else None
    names = _texts(arrays.pop("lid_names", None), 0 if lids is None else len(lids), "lid", source)
    arrays.pop("lids", None)
    numbers = _landmark_numbers(arrays, source)
    contour = _contour(arrays, source)
    model = head_from_arrays(arrays, source=source)
    _check_names(model, source)
    if model.skeleton is not None:
        sums = np.asarray(model.skeleton.weights).sum(1)
        if np.abs(sums - 1).max() > 1e-3:
            worst = int(np.abs(sums - 1).argmax())
            raise InputError(
                f"{source}: skeleton_weights of vertex {worst} sum to {sums[worst]:.4g}, expected 1"
            )
    return LinearHead(model, numbers, lids, names, contour)


def _numbers(
    arrays: Mapping[str, np.ndarray], key: str, shape: tuple[int | None, ...], source: str
) -> np.ndarray:
    return checked(arrays[key], np.float32, shape, f"{source}: {key}")


def _scale(arrays: dict[str, np.ndarray], source: str) -> None:
    """Puts units and deviations into template, bases and lids."""
    unit = np.float32(1)
    if "metres_per_unit" in arrays:
        unit = _numbers(arrays, "metres_per_unit", (), source)
        arrays.pop("metres_per_unit")
        if unit <= 0:
            raise InputError(f"{source}: metres_per_unit is {unit}, expected more than 0")
    for key in ("template", "identity_basis", "expression_basis", "lids", "skeleton_pose_basis"):
        if key in arrays and unit != 1:
            arrays[key] = as_kind(arrays[key], np.float32, f"{source}: {key}") * unit
    for part in ("identity", "expression"):
        if f"{part}_scale" not in arrays:
            continue
        basis = arrays.get(f"{part}_basis", np.zeros((0, 0, 0), np.float32))
        basis = as_kind(basis, np.float32, f"{source}: {part}_basis")
        scale = _numbers(arrays, f"{part}_scale", (len(np.atleast_1d(basis)),), source)
        arrays.pop(f"{part}_scale")
        arrays[f"{part}_basis"] = basis * scale.reshape(-1, *[1] * (basis.ndim - 1))


def _default_arrays(arrays: dict[str, np.ndarray], template: np.ndarray, source: str) -> None:
    """Fills in what a file may leave out."""
    count = len(template)
    if "landmark_vertices" in arrays:
        if "landmark_faces" in arrays:
            raise InputError(f"{source}: has landmark_vertices and landmark_faces, expected one")
        vertices = as_kind(
            arrays.pop("landmark_vertices"), np.int64, f"{source}: landmark_vertices"
        )
        faces = as_kind(arrays["faces"], np.int64, f"{source}: faces")
        arrays["landmark_faces"], arrays["landmark_weights"] = _on_vertices(faces, vertices, source)
    none = np.zeros((0, count, 3), np.float32)
    arrays.setdefault("identity_basis", none)
    arrays.setdefault("expression_basis", none)
    arrays.setdefault("uv", around_uv(template) if count else np.zeros((0, 2), np.float32))
    arrays.setdefault("regions", np.full(count, REGIONS.index("face"), np.int32))
    arrays.setdefault("landmark_faces", np.zeros(0, np.int32))
    arrays.setdefault("landmark_weights", np.zeros((0, 3), np.float32))
    arrays.setdefault("name", np.array("linear"))
    arrays.setdefault("region_names", np.array(REGIONS))
    components = len(np.atleast_1d(arrays["expression_basis"]))
    arrays.setdefault(
        "expression_names", np.array([f"expression_{k:03d}" for k in range(components)], np.str_)
    )


def _on_vertices(
    faces: np.ndarray, vertices: np.ndarray, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """A face and the barycentric weights that name each of the vertices (L,)."""
    flat = faces.reshape(-1)
    used, first = np.unique(flat, return_index=True)
    place = np.searchsorted(used, vertices).clip(0, max(len(used) - 1, 0))
    wrong = vertices[used[place] != vertices] if len(used) else vertices
    if vertices.ndim != 1 or wrong.size:
        raise InputError(
            f"{source}: landmark_vertices {wrong.reshape(-1)[:3].tolist()} lie on no face, "
            "expected (L,) vertex numbers"
        )
    corner = first[place]
    return (corner // 3).astype(np.int32), np.eye(3, dtype=np.float32)[corner % 3]


def _landmark_numbers(arrays: dict[str, np.ndarray], source: str) -> np.ndarray | None:
    if "landmark_indices" not in arrays:
        return None
    numbers = as_kind(arrays.pop("landmark_indices"), np.int32, f"{source}: landmark_indices")
    expected = np.shape(arrays["landmark_faces"])
    if numbers.shape != expected or numbers.size and not 0 <= numbers.min() <= numbers.max() < 478:
        raise InputError(
            f"{source}: landmark_indices of shape {numbers.shape}, expected {expected} of "
            "MediaPipe's numbers, 0 to 477"
        )
    return numbers


def _contour(arrays: dict[str, np.ndarray], source: str) -> tuple[np.ndarray, np.ndarray] | None:
    if "contour_faces" not in arrays and "contour_weights" not in arrays:
        return None
    if "contour_faces" not in arrays or "contour_weights" not in arrays:
        raise InputError(f"{source}: contour_faces and contour_weights belong together")
    faces = as_kind(arrays.pop("contour_faces"), np.int32, f"{source}: contour_faces")
    weights = _numbers(arrays, "contour_weights", (*_CONTOUR, 3), source)
    arrays.pop("contour_weights")
    limit = len(np.atleast_1d(arrays["faces"]))
    if faces.shape != _CONTOUR or not 0 <= faces.min() <= faces.max() < limit:
        raise InputError(
            f"{source}: contour_faces of shape {faces.shape}, expected {_CONTOUR} of 0 to "
            f"{limit - 1}"
        )
    return faces, weights


def _texts(value: np.ndarray | None, count: int, what: str, source: str) -> tuple[str, ...]:
    if value is None:
        return tuple(f"{what}_{k}" for k in range(count))
    names = tuple(str(name) for name in np.asarray(value).reshape(-1))
    if len(names) != count:
        raise InputError(f"{source}: {what}_names has {len(names)} names, expected {count}")
    return names


def _check_names(model: HeadModel, source: str) -> None:
    components = len(model.expression_basis)
    if len(model.expression_names) != components:
        raise InputError(
            f"{source}: expression_names has {len(model.expression_names)} names for {components} "
            "components"
        )
    regions = np.asarray(model.regions)
    if regions.size and not 0 <= regions.min() <= regions.max() < len(model.region_names):
        raise InputError(
            f"{source}: regions go to {regions.max()}, there are {len(model.region_names)} names"
        )
