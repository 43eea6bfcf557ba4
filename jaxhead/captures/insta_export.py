"""A capture as INSTA's data: transforms*.json, cut-outs, meshes, expressions, depth and classes.

Other programs that read this layout (INSTA, its PyTorch port, FlashAvatar and more) can then be
trained on the same capture. What a capture does not hold (depth and classes per pixel) is drawn
from its meshes and masks.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

from jaxhead.captures.format import Capture, load_capture
from jaxhead.captures.importers.insta import CLASSES, CLOTH
from jaxhead.files.atomic import new_folder
from jaxhead.files.errors import InputError
from jaxhead.files.images import write_image
from jaxhead.files.mesh_files import write_obj

DEPTH_UNIT = 1e-3
"""Metres per unit of the written depth maps."""
_REGION_CLASSES = {
    "face": "skin", "lips": "lower_lip", "mouth": "mouth", "teeth": "mouth", "eyes": "left_eye",
    "ears": "left_ear", "neck": "neck", "scalp": "hair", "hair": "hair", "torso": "cloth",
}  # fmt: skip
_VALIDATED = 20


def export_insta(
    capture: str | os.PathLike,
    out: str | os.PathLike,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Writes the folder `out` in INSTA's layout; it appears when it is complete.

    Images are RGBA: the frame's colours, opaque where the head is (hair and neck, without clothes).
    Frames keep their numbers, dropped ones are left out. transforms_val.json lists the last 20
    held-out frames, as INSTA does.

    Args:
      capture: the capture folder.
      out: the folder to make.
      progress: called as progress(stage, frames done, frames in all).

    Returns:
      what was written and what was made up for.

    Raises:
      InputError: a bad capture, one without a mesh, an existing folder.
    """
    source = load_capture(capture)
    if not source.has_mesh:
        raise InputError(f"{source.path}: holds no head mesh, INSTA's layout needs one")
    ids = np.sort(np.concatenate([source.train, source.test]))
    with new_folder(out) as folder:
        for name in ("images", "meshes", "flame/exp", "depth", "seg_mask"):
            (folder / name).mkdir(parents=True)
        write_obj(folder / "canonical.obj", source.head.template, source.head.faces)
        for done, index in enumerate(ids.tolist()):
            _write_frame(source, index, folder)
            if progress is not None:
                progress("frames", done + 1, len(ids))
        for split, chosen in (
            ("", ids), ("_train", source.train), ("_test", source.test),
            ("_val", source.test[-_VALIDATED:]),
        ):  # fmt: skip
            text = json.dumps(_document(source, chosen), indent=1, sort_keys=True)
            (folder / f"transforms{split}.json").write_text(text + "\n", encoding="utf-8")
    return _told(source, ids)


def _write_frame(source: Capture, index: int, folder: pathlib.Path) -> None:
    name = f"{index:05d}"
    masks = source.masks(index)
    cut = np.concatenate([source.frame(index), masks[..., 1:2]], -1)
    write_image(folder / "images" / f"{name}.png", cut)
    write_obj(folder / "meshes" / f"{name}.obj", source.vertices[index], source.head.faces)
    rows = "".join(f"{score:.9g}\n" for score in source.expression[index].tolist())
    (folder / "flame" / "exp" / f"{name}.txt").write_text(rows, encoding="ascii")
    face, depth = _surface(source, index)
    layers = source.layers()
    if "depth" in layers:
        unit = float(source.info.get("depth_unit", DEPTH_UNIT))
        depth = source.layer("depth", index) * unit
    write_image(folder / "depth" / f"{name}.png", _stored(depth))
    if "parsing" in layers and source.info.get("parsing_classes") == _named_classes():
        classes = source.layer("parsing", index)
    else:
        classes = _classes(source, face, masks)
    red = np.zeros((*classes.shape, 3), np.uint8)
    red[..., 0] = classes
    write_image(folder / "seg_mask" / f"{name}.png", red)


def _named_classes() -> dict[str, str]:
    return {str(number): name for number, name in CLASSES.items()}


def _stored(depth: np.ndarray) -> np.ndarray:
    return np.clip(np.round(depth / DEPTH_UNIT), 0, 65535).astype(np.uint16)


def _classes(source: Capture, face: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the mesh's region where it is seen, hair beside it, clothes, background."""
    numbers = {name: number for number, name in CLASSES.items()}
    table = np.array([
        numbers[_REGION_CLASSES.get(name, "skin")] for name in source.head.region_names
    ], np.uint8)
    regions = np.asarray(source.head.regions)[np.asarray(source.head.faces)[:, 0]]
    shown = np.where(face >= 0, table[regions[np.maximum(face, 0)]], numbers["hair"])
    classes = np.where(masks[..., 1] >= 128, shown, 0)
    return np.where(masks[..., 2] >= 128, CLOTH, classes).astype(np.uint8)


def _surface(source: Capture, index: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) int32 face and (H, W) float32 depth in metres that the mesh shows."""
    arguments = (source.vertices[index], source.head.faces, source.K, source.head_to_camera[index])
    face, depth = _drawer(tuple(source.size))(*(np.asarray(value) for value in arguments))
    return np.asarray(face), np.asarray(depth)


@functools.cache
def _drawer(size: tuple[int, int]):
    import jax

    from jaxhead.geometry.cameras import project
    from jaxhead.geometry.rasterise import rasterise

    @jax.jit
    def draw(vertices, faces, K, pose):
        pixels, depth = project(vertices, K, pose)
        face, _, seen = rasterise(pixels, depth, faces, size)
        return face, seen

    return draw


def _document(source: Capture, ids: np.ndarray) -> dict:
    height, width = source.size
    K = source.K.astype(np.float64)
    angles = [2 * np.arctan(side / (2 * K[k, k])) for k, side in ((0, width), (1, height))]
    document = {
        "w": float(width), "h": float(height), "cx": K[0, 2], "cy": K[1, 2],
        "fl_x": K[0, 0], "fl_y": K[1, 1], "camera_angle_x": angles[0], "camera_angle_y": angles[1],
        "x_fov": np.degrees(angles[0]), "y_fov": np.degrees(angles[1]),
        "integer_depth_scale": DEPTH_UNIT,
    }  # fmt: skip
    document = {name: float(value) for name, value in document.items()}
    return {**document, "frames": [_entry(source, int(index)) for index in ids]}


def _entry(source: Capture, index: int) -> dict:
    name = f"{index:05d}"
    pose = source.head_to_camera[index].astype(np.float64)
    return {
        "transform_matrix": np.linalg.inv(pose).tolist(),
        "file_path": f"images/{name}.png",
        "mesh_path": f"meshes/{name}.obj",
        "exp_path": f"flame/exp/{name}.txt",
        "depth_path": f"depth/{name}.png",
        "seg_mask_path": f"seg_mask/{name}.png",
    }


def _told(source: Capture, ids: np.ndarray) -> list[str]:
    names = source.head.expression_names
    flame = bool(names) and names[0].startswith("flame_expression")
    notes = [
        f"insta: {len(ids)} frames of {source.size[1]} x {source.size[0]} pixels; "
        f"{len(source.train)} train, {len(source.test)} are held out",
        f"mesh: {len(source.head.template)} vertices, {len(source.head.faces)} faces",
    ]
    if not flame:
        notes.append(
            f"flame/exp holds the capture's {source.expression.shape[1]} expression scores, which "
            "are not FLAME's; INSTA reads the first 16"
        )
    if len(source.head.template) != 5023:
        notes.append("INSTA's own vertex masks (lips, face, eyes) are made for FLAME's 5023")
    if "depth" not in source.layers():
        notes.append("depth was drawn from the meshes")
    if source.info.get("parsing_classes") != _named_classes():
        notes.append("seg_mask was made from the masks and the meshes' regions")
    return notes
