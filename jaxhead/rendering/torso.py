"""The layer between head and background: where a pixel lies on the torso, and how layers stack."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxhead.rendering.hits import for_hits
from jaxhead.rendering.integrate import Rendered, over


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
    head: jax.Array, alpha: jax.Array, torso: jax.Array, torso_alpha: jax.Array, back: jax.Array,
    front: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Colour and the person's opacity of head over torso over background.

    Args:
      head: (n, 3) premultiplied; alpha: (n,) its opacity.
      torso: (n, 3) straight colour; torso_alpha: (n,).
      back: (n, 3).
      front: (n,) in [0, 1] the share of the torso that stands before the head; None for none.
    """
    person = 1 - (1 - alpha) * (1 - torso_alpha)
    if front is None:
        return over(head, alpha, over(torso * torso_alpha[:, None], torso_alpha, back)), person
    # Half opaque is the rim that the head left over, not clothes.
    above = torso_alpha * front * jnp.clip(2 * torso_alpha - 1, 0, 1)
    # Both together are as opaque as the torso.
    under = (torso_alpha - above) / jnp.maximum(1 - above, 1e-6)
    rgb = over(head, alpha, over(torso * under[:, None], under, back))
    return over(torso * above[:, None], above, rgb), person


def layered_rays(
    head: Rendered, torso: jax.Array, torso_alpha: jax.Array, back: jax.Array, *, heads: int
) -> dict[str, jax.Array]:
    """What a batch of b frames shows, R rays each, of which the first h go through the head.

    Args:
      head: (b * h, ...); torso: (b * R, 3) straight colour; torso_alpha: (b * R,).
      back: (b, R, 3); heads: h.

    Returns:
      {"rgb" (b, R, 3), "person" (b, R), "head" (b, h), "torso" (b, R), "torso_rgb" (b, R, 3)}.
    """
    frames, count, _ = back.shape

    def padded(x):
        x = x.reshape(frames, heads, *x.shape[1:])
        return jnp.pad(x, ((0, 0), (0, count - heads)) + ((0, 0),) * (x.ndim - 2)).reshape(
            frames * count, *x.shape[2:]
        )

    rgb, person = layered(
        padded(head.rgb), padded(head.alpha), torso, torso_alpha, back.reshape(-1, 3)
    )
    return {
        "rgb": rgb.reshape(frames, count, 3),
        "person": person.reshape(frames, count),
        "head": head.alpha.reshape(frames, heads),
        "torso": torso_alpha.reshape(frames, count),
        "torso_rgb": torso.reshape(frames, count, 3),
    }


def torso_in_chunks(
    layer: Callable[[jax.Array], tuple[jax.Array, jax.Array]], points: jax.Array,
    shown: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Colours (n, 3) and opacities (n,) of a torso at points (n, 2), in the memory of a chunk.

    Args:
      layer: points (m, 2) to colours (m, 3) and opacities (m,).
      points: of `torso_points`.
      shown: (n,) bool; elsewhere there is nothing, and no work.
    """
    nothing = jnp.zeros((len(points), 3)), jnp.zeros((len(points),))
    return for_hits(lambda part, _: layer(part), (points, nothing), shown)


def layered_picture(
    head: Rendered, torso: jax.Array, torso_alpha: jax.Array, directions: jax.Array,
    request: dict[str, jax.Array], front: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """The picture of a head over its torso over a background.

    Args:
      head: (n, ...) of every pixel of the picture, row by row.
      torso: (n, 3) straight colour; torso_alpha: (n,).
      directions: (n, 3) unit, of the pixels' rays in head space.
      request: "background" (H, W, 3) in [0, 1], "head_to_camera" (4, 4).
      front: (n,) see `layered`; the depth is the head's all the same.

    Returns:
      {"rgb" (H, W, 3), "alpha" (H, W), "depth" (H, W) metres along the camera's z axis, 0 where
      the head's field is thin}.
    """
    height, width, _ = request["background"].shape
    rgb, person = layered(
        head.rgb, head.alpha, torso, torso_alpha, request["background"].reshape(-1, 3), front
    )
    forward = jnp.abs(directions @ request["head_to_camera"][2, :3])
    depth = jnp.where(
        head.alpha > 0.5, head.depth / jnp.maximum(head.alpha, 1e-3) * forward, 0.0
    )
    return {
        "rgb": jnp.clip(rgb, 0.0, 1.0).reshape(height, width, 3),
        "alpha": person.reshape(height, width),
        "depth": depth.reshape(height, width),
    }
