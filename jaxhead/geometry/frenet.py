"""Points of a deformed head brought to canonical space by the frames of its triangles.

CN117115331B, sections "deformation" (the published formula), and INSTA (arXiv 2211.12499, equation
2; `rta/affine.cuh`, `src/core.cu` for the variants). A triangle (a, b, c) has the frame
L = [tangent bitangent normal | a] and carries a point from the deformed to the canonical mesh by
F = L_canonical L_deformed^-1. The mapping of a point is a mean over its nearest triangle and that
triangle's edge neighbours.

Per-point work is laid out as one-dimensional gathers of single coefficients: on the CPU they are
several times faster than gathers of 4x4 rows.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxhead.geometry import meshes
from jaxhead.geometry.safe import safe_divide, safe_normalize, safe_sqrt
from jaxhead.geometry.transforms import matmul, rigid

VARIANTS = ("formula", "nearest", "scaled", "program")
RULES = {"nearest": 0, "scaled": 1, "program": 2}
"""Labels of triangles for the variant "regions", by what happens there."""


@flax.struct.dataclass
class Surface:
    """What the mapping needs of one posed mesh.

    Attributes:
      frames: (F, 4, 4) triangle frames, frame to head space.
      centroids: (F, 3) metres.
      areas: (F,) square metres.
    """

    frames: jax.Array
    centroids: jax.Array
    areas: jax.Array


def surface(vertices: ArrayLike, faces: ArrayLike) -> Surface:
    """Returns the Surface of vertices (..., V, 3) and faces (F, 3)."""
    return Surface(
        frames=triangle_frames(vertices, faces),
        centroids=meshes.centroids(vertices, faces),
        areas=meshes.areas(vertices, faces),
    )


def triangle_frames(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Returns the frame L = [tangent bitangent normal | a] of each triangle, (..., F, 4, 4).

    normal = unit((b-a) x (c-a)), bitangent = unit((b-a) x normal), tangent = unit(bitangent x
    normal) (INSTA `affine.cuh`). The axes of a triangle without area are zero vectors, which sends
    every point to the canonical first corner: finite, and as good as a point can get there.

    Args:
      vertices: (..., V, 3).
      faces: (F, 3).
    """
    a, b, c = meshes.corners(vertices, faces)
    normal = safe_normalize(jnp.cross(b - a, c - a))
    bitangent = safe_normalize(jnp.cross(b - a, normal))
    tangent = safe_normalize(jnp.cross(bitangent, normal))
    return rigid(jnp.stack([tangent, bitangent, normal], axis=-1), a)


def neighbourhood(index: ArrayLike, neighbours: ArrayLike) -> jax.Array:
    """Returns (..., 4) int32: the nearest triangle, then its edge neighbours, -1 where missing.

    Args:
      index: nearest triangle (...).
      neighbours: (F, 3) from `meshes.edge_neighbours`.
    """
    index, neighbours = jnp.asarray(index, jnp.int32), jnp.asarray(neighbours, jnp.int32)
    return jnp.stack([index, *(neighbours[:, k][index] for k in range(3))], axis=-1)


def neighbourhood_weights(
    points: ArrayLike,
    centroids: ArrayLike,
    hood: ArrayLike,
    *,
    beta: float = 4.0,
    own_rate: float | None = None,
) -> jax.Array:
    """Returns weights (..., 4), exp(-beta |c_f - p|) normalised over the neighbourhood.

    Args:
      points: (..., 3) metres.
      centroids: (F, 3) of the mesh in the points' space.
      hood: (..., 4) from `neighbourhood`; entries of -1 get weight zero, the first is always there.
      beta: 1 / metre.
      own_rate: 1 / metre, the rate of the nearest triangle itself; None means beta. INSTA's
        program uses 1 there.
    """
    points, planes = jnp.asarray(points), _columns(centroids)
    rates = (beta if own_rate is None else own_rate, beta, beta, beta)
    return jnp.stack(_weights(points, planes, jnp.asarray(hood), rates), axis=-1)


def map_points(
    points: ArrayLike,
    directions: ArrayLike,
    index: ArrayLike,
    deformed: Surface,
    canonical: Surface,
    neighbours: ArrayLike,
    *,
    variant: str = "formula",
    beta: float = 4.0,
    own_rate: float = 1.0,
    rules: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns points and view directions of head space in canonical space.

    Args:
      points: (..., 3) metres, head space of the posed mesh.
      directions: (..., 3); need not be unit.
      index: nearest triangle of the posed mesh (...), int32.
      deformed: Surface of the posed mesh.
      canonical: Surface of the canonical mesh.
      neighbours: (F, 3) from `meshes.edge_neighbours`.
      variant: "formula", p' = sum w_f F_f p with w_f = exp(-beta |c_f - p|) normalised (the
        published mapping); "nearest", the nearest triangle alone (INSTA outside the face, its
        PyTorch port everywhere); "scaled", the nearest triangle with the deformed rotation times
        deformed / canonical area before inversion (INSTA's eye region); "program", the frames
        themselves averaged, M_canonical M_deformed^-1 p (INSTA's face region).
      beta: 1 / metre, rate of the weights.
      own_rate: 1 / metre, "program" only: the rate of the nearest triangle.

    Returns:
      canonical points (..., 3) and unit canonical directions (..., 3).

    Raises:
      ValueError: unknown variant, or "regions" without rules.
    """
    points, directions = jnp.asarray(points), jnp.asarray(directions)
    linear, shift = point_transforms(
        points, index, deformed, canonical, neighbours, variant=variant, beta=beta,
        own_rate=own_rate, rules=rules,
    )
    p, d = _split(points), _split(directions)
    mapped = [_row(linear[r], p) + shift[r] for r in range(3)]
    turned = [_row(linear[r], d) for r in range(3)]
    return jnp.stack(mapped, axis=-1), safe_normalize(jnp.stack(turned, axis=-1))


def point_transforms(
    points: jax.Array,
    index: ArrayLike,
    deformed: Surface,
    canonical: Surface,
    neighbours: ArrayLike,
    *,
    variant: str,
    beta: float,
    own_rate: float = 1.0,
    rules: ArrayLike | None = None,
) -> tuple[list[list[jax.Array]], list[jax.Array]]:
    """Returns each point's affine map to canonical space as planes ([3][3], [3]) of (...) arrays.

    Arguments as in `map_points`; `linear[r][k]` is row r, column k of the 3x3 part.
    """
    index = jnp.asarray(index, jnp.int32)
    if variant in ("nearest", "scaled"):
        maps = triangle_maps(deformed, canonical, scaled=variant == "scaled")
        planes = _affine_planes(maps)
        return _as_rows([plane[index] for plane in planes])
    if variant == "regions":
        return _by_rule(points, index, deformed, canonical, neighbours, beta, own_rate, rules)
    hood = neighbourhood(index, neighbours)
    if variant == "formula":
        weights = _weights(points, _columns(deformed.centroids), hood, (beta,) * 4)
        planes = _affine_planes(triangle_maps(deformed, canonical))
        return _as_rows(_blend(planes, hood, weights))
    if variant == "program":
        return _averaged_frames(points, hood, deformed, canonical, (own_rate, beta, beta, beta))
    raise ValueError(f"variant={variant!r}: expected one of {', '.join((*VARIANTS, 'regions'))}")


def _by_rule(points, index, deformed, canonical, neighbours, beta, own_rate, rules):
    """Returns the transforms of the variant that the nearest triangle's label asks for."""
    if rules is None:
        raise ValueError("variant='regions': expected rules, a label per triangle")
    # One look-up serves both single-triangle rules: their maps are chosen per triangle, not point.
    rules = jnp.asarray(rules, jnp.int32)
    maps = jnp.where(
        (rules == RULES["scaled"])[:, None, None],
        triangle_maps(deformed, canonical, scaled=True), triangle_maps(deformed, canonical),
    )  # fmt: skip
    single = [plane[index] for plane in _affine_planes(maps)]
    hood = neighbourhood(index, neighbours)
    linear, shift = _averaged_frames(
        points, hood, deformed, canonical, (own_rate, beta, beta, beta)
    )
    averaged = [x for r in range(3) for x in (*linear[r], shift[r])]
    here = rules[index] == RULES["program"]
    return _as_rows([jnp.where(here, a, b) for a, b in zip(averaged, single)])


def _averaged_frames(
    points, hood, deformed, canonical, rates
) -> tuple[list[list[Any]], list[Any]]:
    """Returns the transforms M_canonical M_deformed^-1 of averaged frames."""
    w_deformed = _weights(points, _columns(deformed.centroids), hood, rates)
    # The program measures the canonical weights from the deformed point too.
    w_canonical = _weights(points, _columns(canonical.centroids), hood, rates)
    source = _as_rows(_blend(_affine_planes(deformed.frames), hood, w_deformed))
    target = _as_rows(_blend(_affine_planes(canonical.frames), hood, w_canonical))
    inverse = _inverse_3x3(source[0])
    linear = [
        [sum(target[0][r][m] * inverse[m][k] for m in range(3)) for k in range(3)]
        for r in range(3)
    ]
    shift = [target[1][r] - _row(linear[r], source[1]) for r in range(3)]
    return linear, shift


def triangle_maps(deformed: Surface, canonical: Surface, *, scaled: bool = False) -> jax.Array:
    """Returns F = L_canonical L_deformed^-1 of every triangle, (F, 4, 4).

    Args:
      deformed, canonical: Surfaces of the two meshes.
      scaled: multiplies the deformed rotation by deformed / canonical area before the inversion.
    """
    rotation = jnp.swapaxes(deformed.frames[..., :3, :3], -1, -2)
    if scaled:
        ratio = safe_divide(canonical.areas, deformed.areas)
        rotation = rotation * ratio[..., None, None]
    linear = matmul(canonical.frames[..., :3, :3], rotation)
    shift = canonical.frames[..., :3, 3] - matmul(linear, deformed.frames[..., :3, 3:])[..., 0]
    return rigid(linear, shift)


def _weights(points, centroid_planes, hood, rates):
    """Returns the four normalised weights as a list of (...)."""
    p = _split(points)
    exponents = []
    for k, rate in enumerate(rates):
        f = jnp.maximum(hood[..., k], 0)
        squared = sum((plane[f] - x) ** 2 for plane, x in zip(centroid_planes, p))
        exponent = -rate * safe_sqrt(squared)
        exponents.append(exponent if k == 0 else jnp.where(hood[..., k] >= 0, exponent, -jnp.inf))
    # Shifting by the largest exponent keeps far points from dividing zero by zero.
    top = jax.lax.stop_gradient(exponents[0])
    for exponent in exponents[1:]:
        top = jnp.maximum(top, jax.lax.stop_gradient(exponent))
    raw = [jnp.exp(exponent - top) for exponent in exponents]
    total = sum(raw)
    return [w / total for w in raw]


def _blend(planes, hood, weights) -> list[Any]:
    """Returns sum_k w_k plane[hood_k] for each plane (F,), as a list of (...)."""
    faces = [jnp.maximum(hood[..., k], 0) for k in range(4)]
    return [sum(w * plane[f] for w, f in zip(weights, faces)) for plane in planes]


def _affine_planes(transforms):
    """Returns the 12 coefficients of (F, 4, 4) affine maps, row by row, as (F,) arrays."""
    return [transforms[:, r, c] for r in range(3) for c in range(4)]


def _as_rows(planes):
    """Returns (linear [3][3], shift [3]) from 12 planes, row by row."""
    linear = [[planes[4 * r + c] for c in range(3)] for r in range(3)]
    return linear, [planes[4 * r + 3] for r in range(3)]


def _inverse_3x3(m):
    """Returns the inverse of planes m [3][3] by cofactors; zero where the determinant is."""
    def cofactor(r, c):
        r1, r2, c1, c2 = (r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3
        return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]

    cofactors = [[cofactor(r, c) for c in range(3)] for r in range(3)]
    determinant = sum(m[0][c] * cofactors[0][c] for c in range(3))
    return [[safe_divide(cofactors[c][r], determinant) for c in range(3)] for r in range(3)]


def _columns(array):
    """Returns the columns of (F, 3) as three (F,) arrays."""
    return [jnp.asarray(array)[:, k] for k in range(3)]


def _split(points):
    """Returns the coordinates of (..., 3) as three (...) arrays."""
    return [points[..., k] for k in range(3)]


def _row(row, vector):
    """Returns the inner product of a row of planes with a vector of planes."""
    return row[0] * vector[0] + row[1] * vector[1] + row[2] * vector[2]
