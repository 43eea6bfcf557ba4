"""A z-buffer rasteriser in pure JAX with static shapes.

Every triangle's pixel box is cut into runs of eight pixels of one row. A `while_loop` works through
the runs of all triangles in blocks of fixed size, so any mixture of triangle sizes is drawn
completely, and the work is proportional to the area of the boxes. The winner of a pixel is a
maximum over one uint32 per fragment: quantised inverse depth in the high bits, the face in the low
ones. Barycentric weights and depth are then computed per pixel from the winning face, and these
are differentiable in the vertices (visibility is not).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxhead.geometry.safe import safe_divide

RUN = 8
BLOCK = 4096
# A pixel this close to an edge (in pixels) counts as inside: two triangles that share the edge
# round its equation differently and would otherwise leave pin holes.
SLACK = 1e-3


def rasterise(
    pixels: ArrayLike,
    depth: ArrayLike,
    faces: ArrayLike,
    size: tuple[int, int],
    *,
    keep: str = "nearest",
    cull: str = "none",
    near: float = 1e-3,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns which triangle each pixel's centre sees, and where on it.

    Args:
      pixels: (V, 2) vertices as (x, y) in pixels, centres at +0.5, from `cameras.project`.
      depth: (V,) their depth in metres.
      faces: (F, 3) int32.
      size: (height, width).
      keep: "nearest" or "farthest" surface of those that cover a pixel.
      cull: "none"; "back" drops triangles seen from inside (clockwise on screen), "front" those
        seen from outside.
      near: metres; a triangle with a vertex nearer than this is not drawn (there is no clipping).

    Returns:
      face (H, W) int32, -1 where nothing is seen; perspective-correct barycentric weights
      (H, W, 3), zero there; depth (H, W) in metres, zero there. Two surfaces closer to each other
      than about 1e-5 of the mesh's depth range may be exchanged.

    Raises:
      ValueError: unknown `keep` or `cull`, or more than 2^20 faces.
    """
    faces = jnp.asarray(faces, jnp.int32)
    if keep not in ("nearest", "farthest"):
        raise ValueError(f"keep={keep!r}: expected nearest or farthest")
    if cull not in ("none", "back", "front"):
        raise ValueError(f"cull={cull!r}: expected none, back or front")
    if faces.shape[0] > 2**20:
        raise ValueError(f"faces has {faces.shape[0]} rows, expected at most 2^20")
    height, width = size
    if faces.shape[0] == 0:
        return _look_up(jnp.full(size, -1, jnp.int32), jnp.zeros((1, 3, 3)), size)
    corner = jnp.concatenate(
        [jnp.asarray(pixels), jnp.asarray(depth)[:, None]], axis=-1
    )[faces]
    setup = _set_up(jax.lax.stop_gradient(corner), size, cull, near, keep)
    winner = _fill(setup, height * width, width, faces.shape[0])
    return _look_up(winner.reshape(size), corner, size)


def interpolate(
    attributes: ArrayLike, faces: ArrayLike, face: ArrayLike, weights: ArrayLike
) -> jax.Array:
    """Returns vertex attributes at pixels, (..., C); zero where no face is seen.

    Args:
      attributes: (V, C).
      faces: (F, 3).
      face: (...) int32 from `rasterise`, or any face ids.
      weights: (..., 3) barycentric.
    """
    attributes, face = jnp.asarray(attributes), jnp.asarray(face)
    weights = jnp.where(face[..., None] >= 0, weights, 0.0)
    ids = jnp.asarray(faces)[jnp.maximum(face, 0)]
    parts = (attributes[ids[..., k]] * weights[..., k, None] for k in range(3))
    return sum(parts, start=jnp.zeros((*face.shape, attributes.shape[-1]), weights.dtype))


def _set_up(corner, size, cull, near, keep):
    """Returns per-face arrays: number of runs, box, edge equations and key equation."""
    height, width = size
    x, y, z = corner[..., 0], corner[..., 1], corner[..., 2]
    double_area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0])
    double_area = double_area - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    visible = jnp.all(z > near, axis=-1) & jnp.all(jnp.isfinite(corner), axis=(1, 2))
    # With y pointing down, counter-clockwise seen from outside has a negative area.
    visible &= {"none": double_area != 0, "back": double_area < 0, "front": double_area > 0}[cull]

    def pixel_range(values, count):
        low = jnp.clip(jnp.min(values, axis=-1) - 0.5 - SLACK, 0.0, count)
        high = jnp.clip(jnp.max(values, axis=-1) - 0.5 + SLACK, -1.0, count - 1.0)
        return jnp.ceil(low).astype(jnp.int32), jnp.floor(high).astype(jnp.int32)

    left, right = pixel_range(jnp.where(visible[:, None], x, 0.0), width)
    top, bottom = pixel_range(jnp.where(visible[:, None], y, 0.0), height)
    runs = jnp.where(visible & (right >= left), (right - left + RUN) // RUN, 0)
    rows = jnp.where(visible, jnp.maximum(bottom - top + 1, 0), 0)

    origin_x, origin_y = left + 0.5, top + 0.5
    edges = []
    sign = jnp.sign(double_area)
    for k in range(3):
        ax, ay, bx, by = x[:, k], y[:, k], x[:, (k + 1) % 3], y[:, (k + 1) % 3]
        dx, dy = (bx - ax) * sign, (by - ay) * sign
        length = jnp.sqrt(dx * dx + dy * dy)
        nx, ny = safe_divide(-dy, length), safe_divide(dx, length)
        edges.append((nx, ny, nx * (origin_x - ax) + ny * (origin_y - ay)))
    key = _key_plane(corner, visible, double_area, origin_x, origin_y, keep)
    return {"runs": runs, "rows": rows, "left": left, "top": top, "edges": edges, "key": key}


def _key_plane(corner, visible, double_area, origin_x, origin_y, keep):
    """Returns (slope x, slope y, value at the box's corner) of the depth key in [0, 1].

    Inverse depth is affine on the screen; it is scaled to the range of what is drawn.
    """
    x, y, z = corner[..., 0], corner[..., 1], corner[..., 2]
    inverse = 1.0 / jnp.where(visible[:, None], z, 1.0)
    low = jnp.min(jnp.where(visible[:, None], inverse, jnp.inf))
    high = jnp.max(jnp.where(visible[:, None], inverse, -jnp.inf))
    unit = safe_divide(inverse - low, jnp.broadcast_to(high - low, inverse.shape))
    unit = unit if keep == "nearest" else 1 - unit
    d1, d2 = unit[:, 1] - unit[:, 0], unit[:, 2] - unit[:, 0]
    x1, x2, y1, y2 = (v[:, k] - v[:, 0] for v in (x, y) for k in (1, 2))
    slope_x = safe_divide(d1 * y2 - d2 * y1, double_area)
    slope_y = safe_divide(d2 * x1 - d1 * x2, double_area)
    return slope_x, slope_y, unit[:, 0] + slope_x * (origin_x - x[:, 0]) + slope_y * (
        origin_y - y[:, 0])


def _fill(setup, count, width, faces):
    """Returns the winning face (count,) int32 of each pixel, -1 for none."""
    bits = max(1, faces.bit_length())
    levels = min(24, 32 - bits)
    runs = setup["runs"] * setup["rows"]
    starts = jnp.cumsum(runs) - runs
    total = starts[-1] + runs[-1]
    lanes = jnp.arange(RUN, dtype=jnp.int32)
    block = jnp.arange(BLOCK, dtype=jnp.int32)

    def draw(state):
        begin, buffer = state
        unit = begin + block
        face = _owner(starts, runs, begin)
        local = unit - starts[face]
        row = local // jnp.maximum(setup["runs"][face], 1)
        column = (local - row * setup["runs"][face]) * RUN
        j = column[:, None] + lanes
        fx, fy = j.astype(jnp.float32), row.astype(jnp.float32)[:, None]
        inside = (unit < total)[:, None]
        for nx, ny, c in setup["edges"]:
            distance = nx[face][:, None] * fx + (ny[face][:, None] * fy + c[face][:, None])
            inside &= distance >= -SLACK
        sx, sy, c = (a[face][:, None] for a in setup["key"])
        key = jnp.clip(sx * fx + (sy * fy + c), 0.0, 1.0) * (2**levels - 1)
        packed = (key.astype(jnp.uint32) << bits) | (face + 1).astype(jnp.uint32)[:, None]
        px = setup["left"][face][:, None] + j
        inside &= px < width
        target = (setup["top"][face] + row)[:, None] * width + px
        target = jnp.where(inside, target, count)
        return begin + BLOCK, buffer.at[target].max(packed, mode="drop")

    state = (jnp.int32(0), jnp.zeros((count,), jnp.uint32))
    buffer = jax.lax.while_loop(lambda s: s[0] < total, draw, state)[1]
    return (buffer & jnp.uint32(2**bits - 1)).astype(jnp.int32) - 1


def _owner(starts, runs, begin):
    """Returns the face (BLOCK,) that owns each of the units begin, begin + 1, ..."""
    ids = jnp.arange(starts.shape[0], dtype=jnp.int32)
    place = jnp.where(runs > 0, starts - begin, -1)
    # The face that is already under way when the block begins starts at or before its first unit.
    first = jnp.max(jnp.where((place <= 0) & (runs > 0), ids, 0))
    place = jnp.where((place > 0) & (place < BLOCK), place, BLOCK)
    marks = jnp.zeros((BLOCK,), jnp.int32).at[place].max(ids, mode="drop")
    return jax.lax.cummax(jnp.maximum(marks, jnp.where(jnp.arange(BLOCK) == 0, first, 0)))


def _look_up(face, corner, size):
    """Returns (face, weights, depth) at the centres of the pixels, differentiable in corner."""
    seen = face >= 0
    chosen = jnp.maximum(face, 0)
    x, y, z = ([corner[:, k, c][chosen] for k in range(3)] for c in range(3))
    py = (jnp.arange(size[0]) + 0.5)[:, None]
    px = (jnp.arange(size[1]) + 0.5)[None, :]

    def area(a, b):
        return (x[a] - px) * (y[b] - py) - (y[a] - py) * (x[b] - px)

    over_z = [
        safe_divide(area((k + 1) % 3, (k + 2) % 3), jnp.where(seen, z[k], 1.0)) for k in range(3)
    ]
    total_over_z = over_z[0] + over_z[1] + over_z[2]
    total = area(1, 2) + area(2, 0) + area(0, 1)
    weights = jnp.stack([safe_divide(w, total_over_z) for w in over_z], axis=-1)
    depth = safe_divide(total, total_over_z)
    return face, jnp.where(seen[..., None], weights, 0.0), jnp.where(seen, depth, 0.0)
