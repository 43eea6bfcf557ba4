"""FLAME's files, read as numbers: the model's pickle or npz and what lies beside it.

    generic_model.pkl, flame2023.pkl, flame2023_no_jaw.pkl, or the same arrays in an .npz
    landmark_embedding_with_eyes.npy or landmark_embedding.npy     landmarks and contour
    mediapipe_landmark_embedding.npz                               105 points of MediaPipe's mesh
    l_eyelid.npy and r_eyelid.npy                                  eyelids
    FLAME_masks_mouth.pkl or FLAME_masks.pkl                       parts
    FLAME_texture.npz                                              texture coordinates

FLAME is licensed and asks for a registration (flame.is.tue.mpg.de); the eyelids and MediaPipe's
embedding come with metrical-tracker.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError, about
from jaxhead.files.pickles import read_pickle
from jaxhead.heads.arrays import checked
from jaxhead.heads.flame import (
    CONTOUR_POINTS,
    CONTOUR_ROWS,
    JOINTS,
    PARENTS,
    SHAPE_COMPONENTS,
    Embedding,
    Flame,
)
from jaxhead.heads.model import REGIONS, HeadModel, Skeleton
from jaxhead.heads.uv import around_uv, corner_uv

_FOLDERS = ("", "mediapipe", "blendshapes", "masks")
_ROOT = (4294967295, -1)
# Later parts win where masks overlap.
_PARTS = {
    "face": "face", "forehead": "face", "nose": "face", "scalp": "scalp", "neck": "neck",
    "boundary": "neck", "static_neck": "neck", "left_ear": "ears", "right_ear": "ears",
    "left_eye_region": "eyes", "right_eye_region": "eyes", "left_eyeball": "eyes",
    "right_eyeball": "eyes", "lips": "lips", "mouth": "mouth", "teeth": "teeth",
}  # fmt: skip


def read_flame(
    path: str | os.PathLike,
    *,
    shape_components: int = SHAPE_COMPONENTS,
    expression_components: int = 100,
) -> Flame:
    """FLAME out of its model file, with the files of usual names beside it.

    Args:
        path: the model file.
        shape_components: the first so many of 300 are kept.
        expression_components: the first so many of 100 are kept.

    Raises:
        InputError: a file is missing, damaged, of another model, or contradicts the model; the
            line names the file and the field.
    """
    path = Path(path)
    content = _dictionary(path)
    with about(path):
        fields = _model_fields(content)
        components = fields["shapedirs"]
        identity = components[:shape_components]
        expression = components[SHAPE_COMPONENTS : SHAPE_COMPONENTS + expression_components]
    masks = _masks(path, len(fields["v_template"]))
    embeddings = _embeddings(path, len(fields["f"]))
    full = embeddings.pop("full", None) or Embedding(
        np.zeros(0, np.int32), np.zeros((0, 3), np.float32)
    )
    model = HeadModel(
        template=fields["v_template"],
        faces=fields["f"],
        identity_basis=identity,
        expression_basis=expression,
        uv=_uv(path, fields),
        regions=_regions(masks, fields["weights"]),
        landmark_faces=full.faces,
        landmark_weights=full.weights,
        skeleton=Skeleton(
            joint_regressor=fields["J_regressor"],
            weights=fields["weights"],
            pose_basis=fields["posedirs"],
            parents=PARENTS,
        ),
        name="flame",
        expression_names=tuple(f"flame_expression_{k:03d}" for k in range(len(expression))),
    )
    lids = _eyelids(path, len(fields["v_template"]))
    return Flame(model=model, eyelids=lids, masks=masks, **embeddings, **_mediapipe(path, model))


def _beside(path: Path, *names: str) -> Path | None:
    places = (path.parent / folder / name for name in names for folder in _FOLDERS)
    return next((place for place in places if place.is_file()), None)


def _dictionary(path: Path) -> dict[str, Any]:
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected named arrays")
    return content


def _field(
    content: dict[str, Any], key: str, kind: Any, shape: tuple[int | None, ...]
) -> np.ndarray:
    """One array of a file, of the kind and the shape that are expected; None is any size."""
    if key not in content:
        raise InputError(f"{key!r} is missing, found {', '.join(map(str, list(content)[:12]))}")
    value = content[key]
    if not isinstance(value, np.ndarray):
        raise InputError(f"{key!r} is {str(value)[:60]!r}, expected an array")
    return checked(value, kind, shape, repr(key))


def _model_fields(content: dict[str, Any]) -> dict[str, np.ndarray]:
    template = _field(content, "v_template", np.float32, (None, 3))
    count, joints = len(template), len(JOINTS)
    tree = _field(content, "kintree_table", np.int64, (2, None))
    parents = tuple(int(parent) for parent in tree[0])
    if len(parents) != joints or parents[0] not in _ROOT or parents[1:] != PARENTS[1:]:
        raise InputError(
            f"'kintree_table' has parents {parents[:12]}, expected FLAME's five joints"
        )
    shapes = _field(content, "shapedirs", np.float32, (count, 3, None))
    if shapes.shape[-1] <= SHAPE_COMPONENTS:
        raise InputError(
            f"'shapedirs' has {shapes.shape[-1]} components, expected 300 of shape and 100 of "
            "expression"
        )
    faces = _field(content, "f", np.int64, (None, 3))
    if len(faces) and (faces.min() < 0 or faces.max() >= count):
        raise InputError(f"'f' refers to vertex {faces.max()} of {count}")
    poses = _field(content, "posedirs", np.float32, (count, 3, 9 * (joints - 1)))
    return {
        "v_template": template,
        "f": faces.astype(np.int32),
        "shapedirs": np.ascontiguousarray(np.moveaxis(shapes, -1, 0)),
        "posedirs": np.ascontiguousarray(np.moveaxis(poses, -1, 0)),
        "J_regressor": _field(content, "J_regressor", np.float32, (joints, count)),
        "weights": _field(content, "weights", np.float32, (count, joints)),
    }


def _embedding(
    content: dict[str, Any], names: tuple[str, str], shape: tuple[int | None, ...], faces: int
) -> Embedding:
    index = _field(content, names[0], np.int64, shape)
    if index.size and (index.min() < 0 or index.max() >= faces):
        raise InputError(f"{names[0]!r} refers to face {index.max()}, the model has {faces}")
    weights = _field(content, names[1], np.float32, (*index.shape, 3))
    return Embedding(index.astype(np.int32), weights)


def _embeddings(path: Path, faces: int) -> dict[str, Embedding]:
    """The embeddings "full", "inner" and "contour" of the landmark file, if there is one."""
    place = _beside(path, "landmark_embedding_with_eyes.npy", "landmark_embedding.npy")
    if place is None:
        return {}
    content = _dictionary(place)
    with about(place):
        full = _embedding(content, ("full_lmk_faces_idx", "full_lmk_bary_coords"), (1, None), faces)
        inner = _embedding(content, ("static_lmk_faces_idx", "static_lmk_bary_coords"), (None,),
                           faces)  # fmt: skip
        contour = _embedding(
            content,
            ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"),
            (CONTOUR_ROWS, CONTOUR_POINTS),
            faces,
        )
        counts = full.faces.shape[1], len(inner.faces)
        if counts not in ((68, 51), (70, 53)):
            raise InputError(f"has {counts[0]} full and {counts[1]} static landmarks, expected 68 "
                             "and 51, or 70 and 53 with irises")  # fmt: skip
    return {"full": Embedding(full.faces[0], full.weights[0]), "inner": inner, "contour": contour}


def _mediapipe(path: Path, model: HeadModel) -> dict[str, Any]:
    place = _beside(path, "mediapipe_landmark_embedding.npz")
    if place is None:
        return {}
    content = _dictionary(place)
    with about(place):
        embedding = _embedding(content, ("lmk_face_idx", "lmk_b_coords"), (None,), len(model.faces))
        numbers = _field(content, "landmark_indices", np.int32, embedding.faces.shape)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < 478:
            raise InputError(f"'landmark_indices' go to {numbers.max()}, MediaPipe has 478")
    return {"mediapipe": embedding, "mediapipe_indices": numbers}


def _eyelids(path: Path, count: int) -> np.ndarray | None:
    found = [_beside(path, f"{side}_eyelid.npy") for side in ("l", "r")]
    places = [place for place in found if place is not None]
    if len(places) < len(found):
        return None
    lids = []
    for place in places:
        with about(place):
            lids.append(_field({"eyelid": read_pickle(place)}, "eyelid", np.float32, (count, 3)))
    return np.stack(lids)


def _masks(path: Path, count: int) -> dict[str, np.ndarray]:
    place = _beside(path, "FLAME_masks_mouth.pkl", "FLAME_masks.pkl")
    if place is None:
        return {}
    content = _dictionary(place)
    with about(place):
        masks = {str(key): _field(content, key, np.int64, (None,)) for key in content}
        for key, value in masks.items():
            if value.size and (value.min() < 0 or value.max() >= count):
                raise InputError(f"{key!r} refers to vertex {value.max()}, the model has {count}")
    return {key: value.astype(np.int32) for key, value in masks.items()}


def _regions(masks: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """A label per vertex: by the masks, or by the joints where there are none."""
    regions = np.full(len(weights), REGIONS.index("face"), np.int32)
    regions[weights[:, 0] > 0.5] = REGIONS.index("neck")
    regions[weights[:, 3:].sum(1) > 0.5] = REGIONS.index("eyes")
    for part, region in _PARTS.items():
        regions[masks.get(part, [])] = REGIONS.index(region)
    return regions


def _uv(path: Path, fields: dict[str, np.ndarray]) -> np.ndarray:
    """Texture coordinates of the texture file, or cylindrical ones."""
    place = _beside(path, "FLAME_texture.npz")
    if place is None:
        return around_uv(fields["v_template"])
    content = _dictionary(place)
    with about(place):
        if "vt" not in content:
            return around_uv(fields["v_template"])
        coordinates = _field(content, "vt", np.float32, (None, 2))
        corners = _field(content, "ft", np.int64, (len(fields["f"]), 3))
        if corners.size and not 0 <= corners.min() <= corners.max() < len(coordinates):
            raise InputError(f"'ft' refers to coordinate {corners.max()} of {len(coordinates)}")
    turn, shift = np.array([[1, -1], [0, 1]], np.float32)  # v grows upwards in FLAME's
    downwards = coordinates * turn + shift
    return corner_uv(fields["f"], corners, downwards, len(fields["v_template"]))
