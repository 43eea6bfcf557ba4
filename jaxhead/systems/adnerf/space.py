"""Where the fast variant's field may be: a box of head space, and cells inside it.

With meshes: the shell around them inside the silhouettes. Without: the silhouettes alone, in a box
that is as deep as the head is wide.
"""

from __future__ import annotations

import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.hull import (
    MOST_FRAMES,
    MOVED,
    occupancy_prior,
    posed_shell,
    region_masks,
    skin_volume,
    solid_cells,
)
from jaxhead.geometry.volume import fit_box, voxel_centres
from jaxhead.systems.adnerf.hash_config import SamplingConfig
from jaxhead.systems.adnerf.mouth import has_mesh

SURFACE_MARGIN = 0.015
_VOXELS = 56
_WIDER = 0.15
"""Share of the silhouette's extent that the box without a mesh is wider on each side."""


def space_arrays(capture: Capture, config: SamplingConfig) -> dict[str, np.ndarray]:
    """What says where samples go.

    Returns:
      {"box" (2, 3) in units of head space (metres), "occupancy" and "solid" (r, r, r) bool, x y z,
      "surface_box" (2, 3), "skin" (nz, ny, nx, 4): signed distance to the template, how much it is
      skin, how much its looks follow the expression, and how much they follow speech}.
    """
    train = capture.train
    some = train[np.unique(np.linspace(0, len(train) - 1, MOST_FRAMES).astype(int))]
    regions = [region_masks(capture.masks(int(frame)))[0][..., 3] > 0 for frame in some]
    if has_mesh(capture):
        meshes = np.concatenate(
            [capture.vertices[train].reshape(-1, 3), np.asarray(capture.head.template)]
        )
        box = np.stack([meshes.min(0) - config.margin, meshes.max(0) + config.margin])
    else:
        box = _box_of_silhouettes(capture, some, regions)
    arrays = {"box": box.astype(np.float32)}
    arrays["occupancy"] = occupancy_prior(
        arrays["box"], config.resolution, capture.K, capture.head_to_camera[some], regions,
        capture.size, capture.sway[some], capture.sway_box,
    )  # fmt: skip
    arrays["solid"] = np.zeros_like(arrays["occupancy"])
    if not has_mesh(capture):
        skin = np.broadcast_to(np.array([0.0, 0.0, 1.0, 1.0], np.float32), (2, 2, 2, 4))
        return arrays | {"surface_box": arrays["box"], "skin": skin.copy()}
    head = capture.head
    shell = posed_shell(
        arrays["box"], config.resolution, np.asarray(head.template), capture.vertices[train],
        np.asarray(head.faces), np.asarray(head.regions), head.region_names,
    )  # fmt: skip
    arrays["occupancy"] &= shell
    arrays["solid"] = solid_cells(shell)
    return arrays | _skin(capture, meshes)


def _skin(capture: Capture, meshes: np.ndarray) -> dict[str, np.ndarray]:
    head = capture.head
    box, shape = fit_box(meshes, resolution=_VOXELS, margin=SURFACE_MARGIN)
    template, regions = np.asarray(head.template), np.asarray(head.regions)
    centres = np.asarray(voxel_centres(box, shape))
    volume = skin_volume(
        centres, template, np.asarray(head.faces), regions, head.region_names, MOVED["face"]
    )
    speaks = volume[..., 2] * speaking_height(centres[..., 1], template, regions, head.region_names)
    return {"surface_box": box, "skin": np.concatenate([volume, speaks[..., None]], -1)}


def speaking_height(
    y: np.ndarray, template: np.ndarray, regions: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """Like `y`, float32: 1 from the nose downwards, 0 from the eyes upwards.

    Args:
      y: heights in head space; template: (V, 3); regions: (V,) indices into `names`.
    """
    if not {"lips", "eyes"} <= set(names):
        return np.ones(np.shape(y), np.float32)
    lips, eyes = (template[regions == names.index(n), 1].mean() for n in ("lips", "eyes"))
    place = (y - lips) / max(eyes - lips, 1e-6)
    return np.clip((0.9 - place) / 0.4, 0.0, 1.0).astype(np.float32)


def _box_of_silhouettes(
    capture: Capture, frames: np.ndarray, regions: list[np.ndarray]
) -> np.ndarray:
    """(2, 3): where the silhouettes lie at the depth of the head's origin, as deep as wide."""
    corners = []
    for frame, region in zip(frames, regions):
        rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        if not len(rows):
            continue
        pose = np.asarray(capture.head_to_camera[frame], np.float64)
        for u in (columns[0], columns[-1] + 1):
            for v in (rows[0], rows[-1] + 1):
                plane = np.linalg.solve(np.asarray(capture.K, np.float64), [u, v, 1.0])
                corners.append(pose[:3, :3].T @ (plane * pose[2, 3] / plane[2] - pose[:3, 3]))
    if not corners:
        reach = 0.2 * abs(float(capture.head_to_camera[frames[0], 2, 3]))
        return np.array([[-reach] * 3, [reach] * 3])
    low, high = np.min(corners, 0), np.max(corners, 0)
    low, high = low - _WIDER * (high - low), high + _WIDER * (high - low)
    half = 0.5 * (high[0] - low[0])
    middle = 0.5 * (low[2] + high[2])
    low[2], high[2] = middle - half, middle + half
    return np.stack([low, high])
