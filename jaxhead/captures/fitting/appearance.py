"""What a face looks like: an albedo per point of the skin, under one light for the clip.

Light is distant and still in the camera's axes: nine real spherical harmonics per colour of the
normal (Ramamoorthi and Hanrahan 2001). When the head turns, its normals move through that light,
which tells shading from albedo. Letters: T frames, P points.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.encodings.spherical_harmonics import sh
from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST
TERMS = 9
_ROUNDS = 8
_RIDGE = 1e-3


@flax.struct.dataclass
class Appearance:
    """Looks of a face.

    Attributes:
      albedo: (P, 3) in units in which the mean shade is one.
      light: (9, 3) weights of the harmonics in camera axes.
      known: (P,) in [0, 1], how well the point was seen.
      spread: () robust deviation of what is seen from this, colours in [0, 1]; of their `detail`
        where surroundings were given.
    """

    albedo: Array
    light: Array
    known: Array
    spread: Array


def shade(light: Array, normals: Array) -> jax.Array:
    """Returns the shade (..., 3) of unit normals (..., 3) in camera axes under `light` (9, 3)."""
    return jnp.matmul(sh(normals, degree=3), light, precision=_HIGHEST)


def detail(values: Array, near: Array | None, weights: Array) -> jax.Array:
    """Returns values (P, C) less their weighted mean in each point's surroundings.

    Args:
      near: (P, P) of `skin.Skin`; with None values are returned as they are.
      weights: (P,) not negative.
    """
    if near is None:
        return jnp.asarray(values)
    # Not near * weights, which many frames side by side would each hold.
    values, weights = jnp.asarray(values), jnp.asarray(weights)[:, None]
    total = jnp.matmul(near, weights * values, precision=_HIGHEST)
    mass = jnp.matmul(near, weights, precision=_HIGHEST)
    return values - total / jnp.maximum(mass, 1e-6)


def fit_appearance(
    colours: Array, normals: Array, weights: Array, near: Array | None = None
) -> Appearance:
    """Returns the appearance that explains what frames show, by alternating robust least squares.

    Args:
      colours: (T, P, 3) in [0, 1]; normals: (T, P, 3) unit, camera axes.
      weights: (T, P) how well each point is seen, 0 where it is not.
      near: (P, P) of `skin.Skin`, where the spread shall be that of `detail`.
    """
    basis = sh(normals, degree=3)
    flat = jnp.array([1 / 0.28209479177387814, *([0.0] * (TERMS - 1))], colours.dtype)
    light = jnp.tile(flat[:, None], (1, 3))
    mass = weights.sum(0)
    known = jnp.clip(mass / (0.2 * jnp.maximum(mass.max(), 1e-6)), 0.0, 1.0)

    def improve(light, _):
        seen = jnp.matmul(basis, light, precision=_HIGHEST)
        trust = weights[..., None]
        albedo = (trust * seen * colours).sum(0) / jnp.maximum((trust * seen**2).sum(0), 1e-6)
        error = colours - seen * albedo
        spread = robust_spread(error, weights)
        trust = trust / (1 + ((error**2).sum(-1, keepdims=True)) / (2 * spread) ** 2)
        albedo = (trust * seen * colours).sum(0) / jnp.maximum((trust * seen**2).sum(0), 1e-6)
        total = trust.sum()
        # One small system per colour; the ridge draws light that no normal shows to an even one.
        design = basis[..., None, :] * albedo[..., None]
        normal = jnp.einsum("tpc,tpci,tpcj->cij", jnp.broadcast_to(trust, colours.shape), design,
                            design, precision=_HIGHEST)
        ridge = _RIDGE * total * (albedo**2).mean() * jnp.eye(TERMS, dtype=colours.dtype)
        right = jnp.einsum("tpc,tpci->ci", trust * colours, design, precision=_HIGHEST)
        right = right + (ridge @ jnp.tile(flat[:, None], (1, 3))).T
        light = jnp.linalg.solve(normal + ridge, right[..., None])[..., 0].T
        mean = (trust * jnp.matmul(basis, light, precision=_HIGHEST)).sum((0, 1)) / total
        light = light / jnp.maximum(mean, 1e-3)
        return light, (albedo * mean, spread)

    light, (albedos, spreads) = jax.lax.scan(improve, light, None, length=_ROUNDS)
    found = Appearance(albedos[-1], light, known, spreads[-1])
    if near is None:
        return found
    error = colours - found.albedo * shade(light, normals)
    error = jax.vmap(detail, in_axes=(0, None, 0))(error, near, weights * known)
    return found.replace(  # pyright: ignore[reportAttributeAccessIssue]
        spread=robust_spread(error, weights)
    )


def robust_spread(error: Array, weights: Array) -> jax.Array:
    """Returns the weighted deviation () of errors (T, P, 3), far ones counted as at three of it."""
    square = (error**2).sum(-1)
    total = jnp.maximum(weights.sum(), 1e-6)
    spread = jnp.sqrt((weights * square).sum() / total) + 1e-3
    for _ in range(3):
        spread = jnp.sqrt((weights * jnp.minimum(square, 9 * spread**2)).sum() / total) + 1e-3
    return spread


def vertex_albedo(
    appearance: Appearance, corners: np.ndarray, barycentric: np.ndarray, count: int
) -> np.ndarray:
    """Returns (V, 3) albedo per vertex: the mean of the points beside it; zero where there is none.

    Args:
      appearance: of P points.
      corners: (P, 3) their triangles' vertices; barycentric: (P, 3).
      count: V.
    """
    weight = barycentric * np.asarray(appearance.known)[:, None]
    total, mass = np.zeros((count, 3)), np.zeros(count)
    np.add.at(total, corners, weight[..., None] * np.asarray(appearance.albedo)[:, None])
    np.add.at(mass, corners, weight)
    return (total / np.maximum(mass, 1e-9)[:, None]).astype(np.float32)
