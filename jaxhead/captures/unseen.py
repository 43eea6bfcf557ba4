"""What a clip does not show of a head, guessed from what it does: the far side's shape and colours.

A clip that turns the head by fifteen degrees shows neither what is behind an ear nor the back of
the hair. Nothing trains the field there, and a camera that turns farther sees the fog that it
began as. The guess: hair stands off the mesh as far as it does at the nearest outline that a frame
shows, and has the colour of the nearest place that is seen, as much darker as it is turned away
from the light.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from scipy.sparse import coo_matrix
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from jaxhead.captures.hull import SKIN, nearest_surface, solid_cells
from jaxhead.captures.light import light_gradient
from jaxhead.geometry.cameras import camera_centre
from jaxhead.geometry.meshes import uniform_laplacian, vertex_normals

MOST_FRAMES = 24
DEEP = 0.01
"""Metres below the mesh at which nothing is seen through it."""
FACING = 0.2
"""Cosine between normal and view below which a frame tells no colour."""
OUTLINE = 0.25
"""Cosine below which a vertex stands at a frame's outline."""
MOST_HAIR = 0.08
"""Metres that hair is looked for beyond the mesh."""
HOLLOW = ("mouth", "teeth", "eyes")
"""Regions whose surface is not where the head ends."""
HAIRY = ("scalp", "hair")
SPOTS = 8192
_STEP = 0.002
_ROUNDS = 400


class Frame(NamedTuple):
    """One training frame: picture (H, W, 3) uint8, pose (4, 4), the head's mask (H, W) bool, and
    where the mask is sure, so that nothing behind the head tinges the picture."""

    picture: np.ndarray
    head: np.ndarray
    sure: np.ndarray
    head_to_camera: np.ndarray


class Mesh(NamedTuple):
    """The template: vertices (V, 3) metres, faces (F, 3) counter-clockwise from outside, regions
    (V,) as indices into `names`."""

    vertices: np.ndarray
    faces: np.ndarray
    regions: np.ndarray
    names: tuple[str, ...]

    def within(self, names: tuple[str, ...]) -> np.ndarray:
        """(V,) bool: vertices of some regions."""
        return np.isin(self.regions, [self.names.index(n) for n in names if n in self.names])

    def hairy(self) -> np.ndarray:
        """(V,) bool: scalp, and behind the ears the nape down to the height of the mouth."""
        hairy, ears, lips = (self.within(names) for names in (HAIRY, ("ears",), ("lips",)))
        if ears.any() and lips.any():
            _, y, z = self.vertices.T
            hairy = hairy | ((z < z[ears].min()) & (y > y[lips].mean()))
        return hairy


class Unseen(NamedTuple):
    """The guess.

    Attributes:
      cells: (r, r, r) bool, x y z: allowed cells that a frame shows or that the guess fills.
      points: (n, 3) metres of the guessed surface; normals: (n, 3) outwards.
      colors: (n, 3) in [0, 1]; hidden: (n,) bool, False where a frame shows the place.
    """

    cells: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    hidden: np.ndarray


def far_apart(poses: np.ndarray, count: int = MOST_FRAMES) -> np.ndarray:
    """Indices of at most `count` poses (n, 4, 4) whose directions of view differ most."""
    views = np.asarray(poses[:, 2, :3], np.float64)
    chosen = [0]
    distance = np.linalg.norm(views - views[0], axis=-1)
    while len(chosen) < min(count, len(poses)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(views - views[chosen[-1]], axis=-1))
    return np.unique(chosen)


def guess_unseen(
    frames: list[Frame], K: np.ndarray, box: np.ndarray, mesh: Mesh, allowed: np.ndarray
) -> Unseen:
    """The guess from some frames.

    Args:
      frames: see `far_apart`; K: (3, 3) pixels.
      box: (2, 3) metres, of the cells; mesh: the template.
      allowed: (r, r, r) bool, x y z: the cells to judge, all others are left out.
    """
    resolution = len(allowed)
    axis = (np.arange(resolution) + 0.5) / resolution
    centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    centres = box[0] + centres * (box[1] - box[0])
    reach = MOST_HAIR + DEEP
    distance, side, _ = nearest_surface(centres, mesh.vertices, mesh.faces, reach=reach)
    near = np.isfinite(distance)
    core = solid_cells(near.reshape(allowed.shape)).ravel()
    core |= near & (side < 0) & (distance > DEEP)
    wall = _Wall(core.reshape(allowed.shape), box)

    normals = np.asarray(jax.jit(vertex_normals)(mesh.vertices, mesh.faces))
    thickness = hair_thickness(frames, K, mesh, normals)
    points = mesh.vertices + thickness[:, None] * normals
    colors, seen = surface_colors(frames, K, mesh, points, normals, wall)

    nearest = cKDTree(mesh.vertices).query(centres)[1]
    cell = float(np.max(box[1] - box[0])) / resolution
    cells = core | (np.where(side < 0, -distance, distance) <= thickness[nearest] + 0.5 * cell)
    for frame in frames:
        rest = np.flatnonzero(allowed.ravel() & ~cells)
        cells[rest] = ~wall.hides(centres[rest], _camera(frame.head_to_camera))

    outer = ~mesh.within(HOLLOW) & _in_heads(frames, K, points)
    corners, weights = _spots(points, mesh.faces[outer[mesh.faces].all(1)])
    points, normals, colors, known = (
        np.einsum("nk,nk...->n...", weights, x[corners]).astype(np.float32)
        for x in (points, normals, colors, seen)
    )
    cells = allowed & cells.reshape(allowed.shape)
    return Unseen(cells, points, normals, colors, known < 0.5)


def _spots(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`SPOTS` places of a mesh, as many per area everywhere, the same ones each time: corners
    (n, 3) of their triangles and the weights (n, 3) of these; none of an empty mesh."""
    if len(faces) == 0:
        return np.zeros((0, 3), int), np.zeros((0, 3))
    random = np.random.default_rng(0)
    corners = vertices[faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1
    )
    triangles = random.choice(len(faces), SPOTS, p=area / area.sum())
    weights = np.sort(random.random((SPOTS, 2)), -1)
    return faces[triangles], np.diff(weights, prepend=0.0, append=1.0, axis=-1)


def hair_thickness(
    frames: list[Frame], K: np.ndarray, mesh: Mesh, normals: np.ndarray
) -> np.ndarray:
    """(V,) metres: how far the head's silhouettes reach beyond the mesh, 0 at skin.

    Measured where a vertex stands at a frame's outline, the median of the frames that show it
    there; elsewhere between its neighbours.
    """
    steps = np.arange(0, MOST_HAIR + _STEP, _STEP)
    found = np.full((len(frames), len(mesh.vertices)), np.nan)
    skin = mesh.within(SKIN)
    for row, frame in zip(found, frames):
        view = _camera(frame.head_to_camera) - mesh.vertices
        view /= np.linalg.norm(view, axis=-1, keepdims=True)
        edge = np.flatnonzero((np.abs(np.sum(view * normals, -1)) < OUTLINE) & ~skin)
        if len(edge) == 0:
            continue
        places = mesh.vertices[edge, None] + steps[:, None] * normals[edge, None]
        inside, in_picture = _sampled(frame.head, K, frame.head_to_camera, places)
        reach = np.where(inside.all(1), len(steps), np.argmin(inside, 1))
        usable = in_picture.all(1) & (reach < len(steps))
        row[edge[usable]] = np.maximum(reach[usable] - 1, 0) * _STEP
    known = np.isfinite(found).any(0)
    thickness = np.zeros(len(mesh.vertices))
    if known.any():
        thickness[known] = np.nanmedian(found[:, known], 0)
    return _spread(thickness[:, None], known | skin, mesh.faces)[:, 0]


def surface_colors(
    frames: list[Frame], K: np.ndarray, mesh: Mesh, points: np.ndarray, normals: np.ndarray,
    wall: _Wall,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours of the surface points (V, 3) of the mesh's vertices.

    Returns:
      (V, 3) in [0, 1], the mean of what frames show, where none does between its neighbours, the
      scalp's apart from the rest, under the light on its own side; (V,) bool, whether a frame
      shows it.
    """
    total, weight = np.zeros((len(points), 3)), np.zeros(len(points))
    for frame in frames:
        camera = _camera(frame.head_to_camera)
        view = camera - points
        facing = np.sum(view * normals, -1) / np.linalg.norm(view, axis=-1)
        sure, in_picture = _sampled(frame.sure, K, frame.head_to_camera, points)
        usable = (facing > FACING) & sure & in_picture & ~wall.hides(points, camera)
        color, _ = _sampled(frame.picture, K, frame.head_to_camera, points)
        share = np.where(usable, facing, 0.0)
        total += share[:, None] * color / 255
        weight += share
    seen = weight > 0
    colors = total / np.maximum(weight, 1e-12)[:, None]
    hairy = mesh.hairy()
    skin = seen & mesh.within(SKIN)
    sure = seen & _is_hair(colors, seen & hairy, skin)
    shade = np.exp(normals @ light_gradient(colors, normals, (sure, skin)))[:, None]
    for part, known in ((hairy, sure), (~hairy, seen & ~hairy)):
        inner = mesh.faces[part[mesh.faces].all(1)]
        hidden = part & ~seen
        colors = np.where(hidden[:, None], shade * _spread(colors / shade, known, inner), colors)
    return np.clip(colors, 0.0, 1.0), seen


def _is_hair(colors: np.ndarray, hairy: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """(V,) bool: of the vertices seen where hair may grow, those that look more like most of them
    than like skin; a hairline runs across the scalp, and the forehead is no model for the nape."""
    if not (hairy.any() and skin.any()):
        return hairy
    away = [
        np.linalg.norm(colors - np.median(colors[part], 0), axis=-1) for part in (hairy, skin)
    ]
    return hairy & (away[0] <= away[1])


class _Wall(NamedTuple):
    """What nothing is seen through: cells (r, r, r) bool, x y z, of a box (2, 3) metres."""

    cells: np.ndarray
    box: np.ndarray

    def hides(self, points: np.ndarray, camera: np.ndarray) -> np.ndarray:
        """(n,) bool: whether the wall stands between points (n, 3) and a camera (3,)."""
        resolution = len(self.cells)
        size = self.box[1] - self.box[0]
        step = 0.7 * float(size.min()) / resolution
        toward = camera - points
        toward = step * toward / np.linalg.norm(toward, axis=-1, keepdims=True)
        hidden = np.zeros(len(points), bool)
        for k in range(1, int(np.ceil(np.linalg.norm(size) / step))):
            at = (points + k * toward - self.box[0]) / size
            inside = np.all((at >= 0) & (at < 1), -1)
            cell = np.clip((at * resolution).astype(int), 0, resolution - 1)
            hidden |= inside & self.cells[cell[:, 0], cell[:, 1], cell[:, 2]]
        return hidden


def _camera(head_to_camera: np.ndarray) -> np.ndarray:
    return np.asarray(camera_centre(head_to_camera))


def _in_heads(frames: list[Frame], K: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) bool: points that most frames have inside the head's mask; clothes hide the others."""
    votes = np.zeros(len(points))
    for frame in frames:
        head, in_picture = _sampled(frame.head, K, frame.head_to_camera, points)
        votes += head & in_picture
    return votes > 0.5 * len(frames)


def _sampled(picture, K, pose, points):
    """What pictures (H, W, ...) show at points (..., 3) of head space, and whether they do."""
    camera = points @ pose[:3, :3].T + pose[:3, 3]
    depth = np.maximum(camera[..., 2], 1e-6)
    column = np.floor(K[0, 0] * camera[..., 0] / depth + K[0, 2]).astype(int)
    row = np.floor(K[1, 1] * camera[..., 1] / depth + K[1, 2]).astype(int)
    height, width = picture.shape[:2]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return picture[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)], inside


def _spread(values: np.ndarray, known: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, k) with unknown values between their neighbours', as heat spreads over the mesh."""
    if not known.any():
        return values
    ends, share = uniform_laplacian(faces, len(values))
    graph = coo_matrix((share[ends[:, 0]], ends.T), shape=(len(values),) * 2).tocsr()
    spread = np.where(known[:, None], values, values[known].mean(0))
    for _ in range(_ROUNDS):
        spread = np.where(known[:, None], values, graph @ spread)
    return spread
