"""Real spherical harmonics of directions, in the sign convention of instant-ngp."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

MAX_DEGREE = 4


def sh(directions: jax.Array | np.ndarray, *, degree: int = 4) -> jax.Array:
    """Returns the real spherical harmonics of unit directions, orders 0 .. degree - 1.

    With the Condon-Shortley sign, as in tiny-cuda-nn: order 1 is proportional to (-y, z, -x). The
    polynomials are those of Sloan 2013, "Efficient spherical harmonic evaluation", appendix.

    Args:
        directions: unit vectors [..., 3]. (tiny-cuda-nn takes them mapped to [0, 1] and undoes that
            inside; here they are plain.)
        degree: number of orders, 1..4.

    Returns:
        [..., degree**2] values, orthonormal over the sphere.
    """
    if not 1 <= degree <= MAX_DEGREE:
        raise ValueError(f"degree is {degree}, expected 1..{MAX_DEGREE}")
    chex.assert_axis_dimension(directions, -1, 3)
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    xx, yy, zz = x * x, y * y, z * z
    values = [jnp.full_like(x, 0.28209479177387814)]
    if degree > 1:
        values += [-0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x]
    if degree > 2:
        values += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * zz - 1),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree > 3:
        values += [
            0.5900435899266435 * y * (yy - 3 * xx),
            2.890611442640554 * x * y * z,
            0.4570457994644657 * y * (1 - 5 * zz),
            0.3731763325901154 * z * (5 * zz - 3),
            0.4570457994644657 * x * (1 - 5 * zz),
            1.445305721320277 * z * (xx - yy),
            0.5900435899266435 * x * (3 * yy - xx),
        ]
    return jnp.stack(values, axis=-1)
