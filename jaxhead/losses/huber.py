"""The Huber loss in the scalings of the programs that trained with it."""

import jax
import jax.numpy as jnp

SCALINGS = ("standard", "torch-port", "instant-ngp")


def huber(
    prediction: jax.Array, target: jax.Array, *, delta: float = 0.1, scaling: str = "standard"
) -> jax.Array:
    """Returns the Huber loss of every element.

    With e = prediction - target: e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2)
    (Huber 1964; patent CN117115331B, colour loss, delta 0.1).

    Args:
        prediction: floats, any shape.
        target: the same shape.
        delta: where the parabola becomes a line, above 0, in the unit of the values.
        scaling: "standard" as above; "torch-port" divided by delta (INSTA-pytorch); "instant-ngp"
            divided by delta and by 5 (INSTA's C++ program).

    Returns:
        Values of the inputs' shape.
    """
    divisors = {"standard": 1.0, "torch-port": delta, "instant-ngp": 5 * delta}
    if scaling not in divisors:
        raise ValueError(f"scaling is {scaling!r}, expected one of {', '.join(SCALINGS)}")
    error = jnp.abs(prediction - target)
    # The clipped form of the two branches: its gradient needs no guard.
    inner = jnp.minimum(error, delta)
    return inner * (error - 0.5 * inner) / divisors[scaling]
