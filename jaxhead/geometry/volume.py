"""A voxel volume of the nearest triangle per posed frame, and the displacement it stands for.

Training maps every sample to canonical space, which needs its nearest triangle. A tree walk per
sample is exact but slow on SIMD machines. Instead the head's box is cut into voxels; each frame's
nearest triangle per voxel is found from the template's (exact, through the BVH) by a few passes in
which a voxel tries the triangles of other voxels: 4, 2 and 1 voxels away along the axes (the steps
of jump flooding, Rong and Tan 2006), seeded where the triangles lie now, and then the triangle's
own edge neighbours. Every trial is an exact point-triangle distance, so a pass can only improve.
All shapes are static; `vmap` over frames works.

A volume is indexed [z, y, x]; `box` is (2, 3) metres in head space, its lower and upper corner as
(x, y, z). The value of a voxel belongs to its centre.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxhead.geometry import frenet, meshes
from jaxhead.geometry.bvh import build_bvh, nearest_triangle
from jaxhead.geometry.distances import squared_distance, triangle_planes
from jaxhead.geometry.fusion import materialised

STEPS = (4, 2, 1)
# Half a thousandth of a distance (5 micrometres at 1 cm) is given up so that ties, which are the
# rule outside a convex surface, are decided alike in every frame instead of by rounding.
TIE = 1e-3


def fit_box(
    vertices: np.ndarray, *, resolution: int = 48, margin: float = 0.04
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Returns a box of cubic voxels around vertices, and its shape (host).

    Args:
      vertices: (..., 3) metres: the template, or all frames.
      resolution: voxels along the longest side.
      margin: metres added on all sides.

    Returns:
      box (2, 3) float32 and shape (nz, ny, nx).
    """
    flat = np.asarray(vertices, np.float64).reshape(-1, 3)
    lower, upper = flat.min(axis=0) - margin, flat.max(axis=0) + margin
    voxel = (upper - lower).max() / resolution
    counts = np.maximum(np.ceil((upper - lower) / voxel - 1e-6).astype(int), 2)
    centre = 0.5 * (lower + upper)
    half = 0.5 * voxel * counts
    box = np.stack([centre - half, centre + half]).astype(np.float32)
    return box, (int(counts[2]), int(counts[1]), int(counts[0]))


def voxel_centres(box: ArrayLike, shape: tuple[int, int, int]) -> jax.Array:
    """Returns the centres (nz, ny, nx, 3) in metres."""
    return jnp.stack(_centre_planes(jnp.asarray(box), shape), axis=-1).reshape(*shape, 3)


def template_volume(
    vertices: ArrayLike, faces: ArrayLike, box: ArrayLike, *, shape: tuple[int, int, int]
) -> jax.Array:
    """Returns the exact nearest triangle (nz, ny, nx) int32 of every voxel's centre, by the BVH."""
    return nearest_triangle(build_bvh(vertices, faces), voxel_centres(box, shape))


def nearest_volume(
    vertices: ArrayLike,
    faces: ArrayLike,
    neighbours: ArrayLike,
    box: ArrayLike,
    initial: ArrayLike,
    *,
    steps: tuple[int, ...] = STEPS,
    walks: int = 1,
) -> jax.Array:
    """Returns the nearest triangle (nz, ny, nx) int32 of a posed mesh.

    On a head whose mouth opens by 25 mm, 45 x 48 x 36 voxels: 0.25 % of the voxels miss their
    nearest triangle (12 % before), the worst by 1.6 mm in distance; 15 ms on one CPU core. Many
    frames go faster one by one (`lax.map`) than under `vmap`, whose working set leaves the cache.

    Args:
      vertices: (V, 3) of the frame, metres, head space.
      faces: (F, 3).
      neighbours: (F, 3) from `meshes.edge_neighbours`.
      box: (2, 3) metres.
      initial: (nz, ny, nx) int32, from `template_volume` or another frame.
      steps: voxel distances at which other voxels' triangles are tried, in order.
      walks: how often the three edge neighbours of the triangle found are tried at the end.
    """
    initial = jnp.asarray(initial, jnp.int32)
    neighbours = jnp.asarray(neighbours, jnp.int32)
    vertices, box, shape = jnp.asarray(vertices), jnp.asarray(box), initial.shape
    planes = triangle_planes(vertices, faces)
    x, y, z = _centre_planes(box, shape)
    index = initial.reshape(-1)
    count = index.shape[0]
    state = (index, squared_distance(planes, index, x, y, z, tie=TIE))

    def attempt(state, candidate):
        index, best = state
        distance = squared_distance(planes, candidate, x, y, z, tie=TIE)
        closer = distance < best
        return jnp.where(closer, candidate, index), jnp.where(closer, distance, best)

    def try_voxels(state, shift):
        # A wrapped-around candidate is as harmless as any other: its distance is exact.
        twice = jnp.concatenate([state[0], state[0]])
        return attempt(state, jax.lax.dynamic_slice(twice, (shift,), (count,))), None

    def try_neighbours(state, column):
        candidate = column[state[0]]
        return attempt(state, jnp.where(candidate >= 0, candidate, state[0])), None

    # Each trial is one iteration of a loop: unrolled, XLA's CPU fusion recomputes all earlier
    # trials in every later one, fifteen times slower.
    seeds = _seed(index, meshes.centroids(vertices, faces), box, shape)
    state, _ = jax.lax.scan(lambda s, c: (attempt(s, c), None), state, seeds[None])
    state, _ = jax.lax.scan(try_voxels, state, jnp.asarray(_shifts(steps, shape)))
    columns = jnp.tile(neighbours.T, (walks, 1))
    state, _ = jax.lax.scan(try_neighbours, state, columns)
    return state[0].reshape(shape)


def refine_index(
    planes: tuple[jax.Array, ...],
    neighbours: ArrayLike,
    index: ArrayLike,
    points: ArrayLike,
    *,
    walks: int = 1,
) -> jax.Array:
    """Returns a triangle (...) int32 at least as near to each point as the one given.

    With `lookup_nearest` of an index volume this finds a sample's own nearest triangle, where
    `lookup` of the displacement only interpolates between voxels.

    Args:
      planes: 17 arrays (F,) of the posed mesh, from `distances.triangle_planes`.
      neighbours: (F, 3) from `meshes.edge_neighbours`.
      index: (...) int32.
      points: (..., 3) metres.
      walks: how often the three edge neighbours are tried.
    """
    index, neighbours = jnp.asarray(index, jnp.int32), jnp.asarray(neighbours, jnp.int32)
    points = jax.lax.stop_gradient(jnp.asarray(points))
    x, y, z = (points[..., k] for k in range(3))
    planes = jax.lax.stop_gradient(planes)

    def attempt(state, column):
        index, best = state
        candidate = column[index]
        candidate = jnp.where(candidate >= 0, candidate, index)
        distance = squared_distance(planes, candidate, x, y, z, tie=TIE)
        closer = distance < best
        return (jnp.where(closer, candidate, index), jnp.where(closer, distance, best)), None

    state = (index, squared_distance(planes, index, x, y, z, tie=TIE))
    return jax.lax.scan(attempt, state, jnp.tile(neighbours.T, (walks, 1)))[0][0]


def displacement_volume(
    vertices: ArrayLike,
    canonical: ArrayLike,
    faces: ArrayLike,
    neighbours: ArrayLike,
    index_volume: ArrayLike,
    box: ArrayLike,
    *,
    variant: str = "formula",
    beta: float = 4.0,
    own_rate: float = 1.0,
    rules: ArrayLike | None = None,
) -> jax.Array:
    """Returns canonical minus posed position (nz, ny, nx, 3) in metres of every voxel's centre.

    float32; a head's displacements of centimetres lose 0.01 mm when stored as float16.

    Args:
      vertices: (V, 3) of the frame.
      canonical: (V, 3) of the template.
      faces, neighbours: (F, 3) each.
      index_volume: (nz, ny, nx) int32 nearest triangle.
      box: (2, 3) metres.
      variant, beta, own_rate, rules: see `frenet.map_points`.
    """
    index_volume = jnp.asarray(index_volume, jnp.int32)
    p = _centre_planes(jnp.asarray(box), index_volume.shape)
    linear, shift = frenet.point_transforms(
        jnp.stack(p, axis=-1),
        index_volume.reshape(-1),
        frenet.surface(vertices, faces),
        frenet.surface(canonical, faces),
        neighbours,
        variant=variant,
        beta=beta,
        own_rate=own_rate,
        rules=rules,
    )
    moved = [
        linear[r][0] * p[0] + linear[r][1] * p[1] + linear[r][2] * p[2] + shift[r] - p[r]
        for r in range(3)
    ]
    return jnp.stack(moved, axis=-1).reshape(*index_volume.shape, 3)


def lookup(
    volume: ArrayLike, points: ArrayLike, box: ArrayLike, frame: ArrayLike | None = None
) -> jax.Array:
    """Returns the trilinear value (..., C) float32 of a volume at points.

    Outside the centres of the outermost voxels the nearest border value holds, with no gradient
    across the border. The gradient in `points` is that of the trilinear polynomial of the cell.

    Args:
      volume: (nz, ny, nx, C), or (N, nz, ny, nx, C) with `frame`; float32 or float16 (bfloat16
        works, but XLA's CPU backend then converts the whole volume first). Sides of at least two.
      points: (..., 3) metres.
      box: (2, 3) metres; or (3, 3), whose last row says how many voxels along (x, y, z) it spans,
        where the volume goes on with voxels that do not count (of subjects of different size).
      frame: (...) int32 in [0, N), the volume of each point.
    """
    # Points and totals are stored, so that each channel is a kernel of its own over one-dimensional
    # arrays: stacked in one kernel, XLA's CPU backend computes them element by element.
    points = materialised(jnp.asarray(points))
    volume = jnp.asarray(volume)
    shape, channels = volume.shape[-4:-1], volume.shape[-1]
    (x, fx), (y, fy), (z, fz) = _cells(points, jnp.asarray(box), shape)
    base = _flat_index((x, y, z), shape, frame) * channels
    base, fx, fy, fz = materialised((base, fx, fy, fz))
    flat = volume.reshape(-1)
    totals = []
    for k in range(channels):
        values = [
            flat.at[base + (((dz * shape[1] + dy) * shape[2] + dx) * channels + k)]
            .get(mode="promise_in_bounds").astype(fx.dtype)
            for dz in (0, 1) for dy in (0, 1) for dx in (0, 1)
        ]  # fmt: skip
        for share in (fx, fy, fz):
            values = [a + (b - a) * share for a, b in zip(values[::2], values[1::2])]
        totals.append(values[0])
    return jnp.stack(materialised(totals), axis=-1)


def lookup_nearest(
    volume: ArrayLike, points: ArrayLike, box: ArrayLike, frame: ArrayLike | None = None
) -> jax.Array:
    """Returns the value (...) of the voxel that holds each point; outside, of the nearest one.

    Args:
      volume: (nz, ny, nx), or (N, nz, ny, nx) with `frame`; any dtype, such as an index volume.
      points: (..., 3) metres.
      box: (2, 3) metres.
      frame: (...) int32 in [0, N), the volume of each point.
    """
    volume, points, box = jnp.asarray(volume), jnp.asarray(points), jnp.asarray(box)
    shape = volume.shape[-3:]
    cell = []
    for k, n in enumerate(shape[::-1]):
        u = (points[..., k] - box[0, k]) * (n / (box[1, k] - box[0, k]))
        cell.append(jnp.clip(u, 0, n - 1).astype(jnp.int32))
    index = _flat_index(cell, shape, frame)
    return volume.reshape(-1).at[index].get(mode="promise_in_bounds")


def _centre_planes(box, shape):
    """Returns the x, y and z coordinates (nz * ny * nx,) of the voxels' centres."""
    flat = jnp.arange(int(np.prod(shape)), dtype=jnp.int32)
    cell = (flat % shape[2], flat // shape[2] % shape[1], flat // (shape[2] * shape[1]))
    return [
        box[0, k] + (c.astype(box.dtype) + 0.5) * ((box[1, k] - box[0, k]) / n)
        for k, (c, n) in enumerate(zip(cell, shape[::-1]))
    ]


def _seed(index, centroids, box, shape):
    """Returns index (voxels,) with each triangle written into the voxel that holds its centroid."""
    cell = []
    for k, n in enumerate(shape[::-1]):
        u = (centroids[:, k] - box[0, k]) * (n / (box[1, k] - box[0, k]))
        cell.append(jnp.clip(u, 0, n - 1).astype(jnp.int32))
    here = _flat_index(cell, shape, None)
    # max, not set: with several triangles in a voxel the result must not depend on their order.
    seeded = jnp.full_like(index, -1).at[here].max(
        jnp.arange(centroids.shape[0], dtype=jnp.int32), mode="promise_in_bounds"
    )
    return jnp.where(seeded >= 0, seeded, index)


def _shifts(steps, shape):
    """Returns the flat offsets (6 * len(steps),) of the voxels that are tried, made positive."""
    count = int(np.prod(shape))
    unit = np.asarray([1, shape[2], shape[1] * shape[2]])
    offsets = [s * sign * u for s in steps for u in unit for sign in (1, -1)]
    return np.asarray(offsets, np.int32) % count


def _cells(points, box, shape):
    """Returns for x, y, z the lower voxel (...) int32 and the fraction (...) in [0, 1] above it."""
    cells = []
    counts = shape[::-1] if len(box) == 2 else box[2]
    for k, n in enumerate(counts):
        u = (points[..., k] - box[0, k]) * (n / (box[1, k] - box[0, k])) - 0.5
        u = jnp.clip(u, 0.0, n - 1.0)
        lower = jnp.minimum(u.astype(jnp.int32), jnp.asarray(n - 2, jnp.int32))
        cells.append((lower, u - lower.astype(u.dtype)))
    return cells


def _flat_index(cell, shape, frame):
    """Returns the position of voxels in the flattened volume or stack of volumes."""
    x, y, z = cell
    index = (z * shape[1] + y) * shape[2] + x
    return index if frame is None else index + jnp.asarray(frame, jnp.int32) * int(np.prod(shape))
