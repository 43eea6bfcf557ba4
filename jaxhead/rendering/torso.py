"""The layer between head and background: where a pixel lies on the torso, and how layers stack."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhead.rendering.integrate import over


def torso_points(pixels: jax.Array, motion: jax.Array, size: tuple[int, int]) -> jax.Array:
    """(..., n, 2) coordinates of the reference torso, the picture's longest side being 1.

    Args:
      pixels: (..., n, 2) of the frame.
      motion: (..., 2, 3) affine in pixels, frame = A [reference, 1].
      size: (H, W).
    """
    a, b = motion[..., 0, 0], motion[..., 0, 1]
    c, d = motion[..., 1, 0], motion[..., 1, 1]
    moved = pixels - motion[..., None, :, 2]
    inverse = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
    determinant = (a * d - b * c)[..., None, None]
    reference = jnp.einsum("...ij,...nj->...ni", inverse / determinant, moved,
                           precision=jax.lax.Precision.HIGHEST)
    return reference / max(size)


def layered(
    head: jax.Array, alpha: jax.Array, torso: jax.Array, torso_alpha: jax.Array, back: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Colour and the person's opacity of head over torso over background.

    Args:
      head: (n, 3) premultiplied; alpha: (n,) its opacity.
      torso: (n, 3) straight colour; torso_alpha: (n,).
      back: (n, 3).
    """
    behind = over(torso * torso_alpha[:, None], torso_alpha, back)
    return over(head, alpha, behind), 1 - (1 - alpha) * (1 - torso_alpha)
