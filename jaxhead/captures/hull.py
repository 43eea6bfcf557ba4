"""Where the head's field may be: a shell around the mesh inside the silhouettes' visual hull.

A monocular clip turns the head little, so depth is hardly seen: a field that may be anywhere
explains the training frames by layers that fall apart in new poses. The shell keeps it at the
tracked surface where that is skin, and lets it rise where hair grows.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

MOST_FRAMES = 100
REACH = {"face": (0.01, 0.006), "lips": (0.008, 0.012), "eyes": (0.008, 0.008),
         "mouth": (0.02, 0.03), "teeth": (0.02, 0.03), "neck": (0.08, 0.05)}
"""Metres outside and inside the surface by region; a fringe or glasses stand off the face."""
ELSEWHERE = (0.08, 0.06)
EXTREMES = 6
"""Frames beside the template whose shells count: those farthest from it and from each other."""
SKIN = ("face", "lips", "eyes")
MOVED = {"face": (*SKIN, "mouth", "teeth"), "lips": ("lips", "mouth", "teeth")}
"""Regions whose looks follow the expression, by `field.expression_region`."""
UNSURE = 0.04
"""Masks within this of 0 or 1 are trusted."""
_FADE = (0.02, 0.05)
_RIM = 0.04
"""Share of the longest side by which a torso goes on under its head."""
_SURELY = 242
"""Value of a mask from which on a pixel counts as the head's alone."""
_AGREE = 0.95
"""Share of frames in which a cell must lie inside the silhouette: hair moves, masks err."""


def region_masks(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks with a fourth channel, where the head's field may show, and that region's box.

    Args:
      masks: (H, W, 3) uint8 person, head, torso.

    Returns:
      (H, W, 4) uint8; (4,) float32 x0, y0, x1, y1 in pixels.
    """
    reach = max(3, round(0.05 * max(masks.shape[:2])) | 1)
    near = ndimage.maximum_filter(masks[..., 1], reach) > 12
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    box = np.array([0, 0, masks.shape[1], masks.shape[0]], np.float32)
    if len(rows):
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    return np.concatenate([masks, 255 * near[..., None].astype(np.uint8)], -1), box


def torso_below(masks: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the torso, and what the head hides of it: the rim of neck or hair just above.

    A head that rises off its collar uncovers what no frame showed; a torso that goes on there, with
    the colour of the neck, leaves no gap.

    Args:
      masks: (H, W, 3) uint8 person, head, torso.
    """
    head, torso = masks[..., 1], masks[..., 2]
    reach = 1 + max(2, round(_RIM * max(masks.shape[:2])))
    # Its row and those below it.
    near = ndimage.maximum_filter1d(torso, reach, axis=0, origin=-(reach // 2)) > 127
    return np.maximum(torso, 255 * (near & (head > _SURELY)).astype(np.uint8))


def occupancy_prior(
    box: np.ndarray,
    resolution: int,
    K: np.ndarray,
    head_to_camera: np.ndarray,
    regions: list[np.ndarray],
    size: tuple[int, int],
    sway: np.ndarray,
    sway_box: np.ndarray,
) -> np.ndarray:
    """(r, r, r) bool, x y z: cells of the box that (nearly) all silhouettes allow.

    Args:
      box: (2, 3) metres.
      resolution: r, cells per side.
      K: (3, 3) pixels; head_to_camera: (n, 4, 4).
      regions: n pictures (H, W) bool in which the head's field may show.
      size: (H, W) of the pictures.
      sway: (n, G, G, 2) metres; sway_box: (2, 2) metres: a frame shows a cell where it swayed to.

    A cell that a frame does not see counts as allowed by it.
    """
    axis = (np.arange(resolution) + 0.5) / resolution
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    points = box[0] + np.stack([x, y, z], -1).reshape(-1, 3) * (box[1] - box[0])
    votes = np.zeros(len(points), np.float32)
    height, width = size
    nodes = sway.shape[1]
    place = (points[:, 1::-1] - sway_box[0, ::-1]) / (sway_box[1] - sway_box[0])[::-1] * (nodes - 1)
    for pose, region, shifts in zip(head_to_camera, regions, sway):
        moved = points.copy()
        for k in range(2):
            moved[:, k] += ndimage.map_coordinates(shifts[..., k], place.T, order=1, mode="nearest")
        camera = moved @ pose[:3, :3].T + pose[:3, 3]
        depth = np.maximum(camera[:, 2], 1e-6)
        u = K[0, 0] * camera[:, 0] / depth + K[0, 2]
        v = K[1, 1] * camera[:, 1] / depth + K[1, 2]
        seen = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        column = np.clip(u.astype(np.int64), 0, width - 1)
        row = np.clip(v.astype(np.int64), 0, height - 1)
        votes += np.where(seen, region[row, column], True)
    allowed = votes >= _AGREE * len(regions)
    # A cell's corners reach farther than its middle.
    return ndimage.binary_dilation(allowed.reshape((resolution,) * 3))


def reach_grid(
    box: np.ndarray, resolution: int, template: np.ndarray, vertices: np.ndarray
) -> np.ndarray:
    """(r, r, r) float32 metres, x y z: how far expressions carry the surface nearest to each cell.

    Args:
      box: (2, 3) metres; resolution: r.
      template: (V, 3) metres; vertices: (n, V, 3) of the training frames.
    """
    farthest = np.zeros(len(template), np.float32)
    for posed in vertices:
        farthest = np.maximum(farthest, np.linalg.norm(posed - template, axis=-1))
    axis = (np.arange(resolution) + 0.5) / resolution
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    _, nearest = cKDTree(template).query(box[0] + points * (box[1] - box[0]))
    reach = farthest[nearest].reshape((resolution,) * 3)
    return ndimage.maximum_filter(reach, 3).astype(np.float32)


def nearest_surface(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, *, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance (n,) in metres, side (n,) signed distance to the nearest plane, triangle (n,).

    Triangles are sampled (seven points each), so distances err by a fraction of an edge; points
    farther than `reach` get an infinite distance and triangle 0.

    Args:
      points: (n, 3) metres.
      vertices: (V, 3) metres; faces: (F, 3), counter-clockwise from outside.
      reach: metres.
    """
    triangles = vertices[faces].astype(np.float64)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    weights = np.array(
        [[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4], [1, 4, 4], [4, 1, 4], [4, 4, 1]], np.float64
    )
    weights /= weights.sum(-1, keepdims=True)
    surface = np.einsum("kc,fcx->fkx", weights, triangles).reshape(-1, 3)
    distance, nearest = cKDTree(surface).query(points, distance_upper_bound=reach)
    nearest = np.where(np.isfinite(distance), nearest, 0)
    triangle = nearest // len(weights)
    side = np.einsum("nx,nx->n", points - surface[nearest], normals[triangle])
    return distance, side, triangle


def shell_prior(
    box: np.ndarray,
    resolution: int,
    vertices: np.ndarray,
    faces: np.ndarray,
    regions: np.ndarray,
    names: tuple[str, ...],
) -> np.ndarray:
    """(r, r, r) bool, x y z: cells of the box within their region's reach of the mesh.

    Args:
      box: (2, 3) metres; resolution: r.
      vertices: (V, 3) metres, the template; faces: (F, 3), counter-clockwise from outside.
      regions: (V,) indices into `names`.
      names: of the regions, `REACH` names those of skin.
    """
    axis = (np.arange(resolution) + 0.5) / resolution
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    points = box[0] + points * (box[1] - box[0])
    cell = float(np.max(box[1] - box[0])) / resolution
    distance, side, triangle = nearest_surface(
        points, vertices, faces, reach=ELSEWHERE[0] + cell
    )
    reach = np.array([REACH.get(name, ELSEWHERE) for name in names])
    # A triangle reaches as far as the most generous of its corners.
    limit = reach[regions[faces]].max(1)[triangle]
    limit = np.where(side >= 0, limit[:, 0], limit[:, 1])
    return (distance <= limit + 0.5 * cell).reshape((resolution,) * 3)


def posed_shell(
    box: np.ndarray,
    resolution: int,
    template: np.ndarray,
    posed: np.ndarray,
    faces: np.ndarray,
    regions: np.ndarray,
    names: tuple[str, ...],
) -> np.ndarray:
    """(r, r, r) bool: `shell_prior` of the template or of one of the frames that differ most.

    Cells are looked up where a frame's surface is, which an open mouth carries out of the
    template's shell.

    Args:
      box, resolution, faces, regions, names: see `shell_prior`.
      template: (V, 3) metres; posed: (n, V, 3) of the training frames.
    """
    shell = shell_prior(box, resolution, template, faces, regions, names)
    distance = np.abs(posed - template).max((1, 2))
    for _ in range(min(EXTREMES, len(posed))):
        farthest = posed[distance.argmax()]
        shell |= shell_prior(box, resolution, farthest, faces, regions, names)
        distance = np.minimum(distance, np.abs(posed - farthest).max((1, 2)))
    return shell


def solid_cells(shell: np.ndarray) -> np.ndarray:
    """(r, r, r) bool: cells deep inside the mesh, cut off from the outside by the shell.

    No camera sees beyond them, from whichever side: samples of a ray may stop there.

    Args:
      shell: (r, r, r) bool of `shell_prior`.
    """
    labels, _ = ndimage.label(~np.pad(shell, 1))  # pyright: ignore[reportGeneralTypeIssues]
    return ((labels != 0) & (labels != labels[0, 0, 0]))[1:-1, 1:-1, 1:-1]


def skin_volume(
    centres: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    regions: np.ndarray,
    names: tuple[str, ...],
    moved: tuple[str, ...] = MOVED["face"],
) -> np.ndarray:
    """(nz, ny, nx, 3) float32: signed distance in metres to the template, how much it is skin, and
    how much its looks follow the expression.

    Skin is 1 at the face and falls to 0 where hair, the mouth's inside or clothes may stand off
    the mesh; there the distance says nothing about what the camera saw. The third is 1 near the
    `moved` regions and fades between 2 and 5 cm from them.

    Args:
      centres: (nz, ny, nx, 3) metres.
      vertices, faces, regions, names: of the template.
      moved: names of regions.
    """
    flat = centres.reshape(-1, 3)
    distance, side, triangle = nearest_surface(flat, vertices, faces, reach=0.05)
    skin, follows = (
        np.isin(regions, [names.index(n) for n in chosen if n in names]).astype(np.float32)
        for chosen in (SKIN, moved)
    )
    share = skin[faces].mean(1)[triangle] * np.isfinite(distance)
    fade = np.clip((_FADE[1] - distance) / (_FADE[1] - _FADE[0]), 0.0, 1.0)
    follows = follows[faces].mean(1)[triangle] * fade
    signed = np.clip(np.where(side >= 0, distance, -distance), -0.05, 0.05)
    near = np.abs(side) > 0.7 * np.minimum(distance, 1.0)
    # Inside a triangle the plane's distance is exact where the samples' is not.
    signed = np.where(near, np.clip(side, -0.05, 0.05), signed)
    values = np.stack([signed, share, follows], -1)
    return values.reshape(*centres.shape[:-1], 3).astype(np.float32)
