"""AD-NeRF's field: NeRF's perceptron whose input carries a code (Guo et al. 2021, section 3.2).

`FaceNeRF` says what the parameters are and is the plain forward pass. `conditioned` takes out what
samples share: the code's part of the first and the skip layer is the same for a whole frame and
becomes their bias, the direction's part of the colour layers is the same along a ray. `raw_values`
is then the same function at fewer products. Parameters carry the published names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxhead.networks.torch_layers import linear


class FaceNeRF(nn.Module):
    """[encoded point | code | encoded direction] -> three colour logits and a density before relu.

    Attributes:
        depth: layers of the trunk; depth // 4 + 1 colour layers of half the width follow.
        width: of the trunk.
        skips: after these layers the trunk's input comes in again, before the hidden values.
        precision: of the products, `jax.lax.Precision` or its name.
    """

    depth: int = 8
    width: int = 256
    skips: tuple[int, ...] = (4,)
    precision: str | None = None

    @nn.compact
    def __call__(self, points: jax.Array, code: jax.Array, directions: jax.Array) -> jax.Array:
        """Returns (..., 4) for encoded points (..., P), codes (..., C), directions (..., D)."""

        def dense(x, outputs, name):
            return linear(x.shape[-1], outputs, name, precision=self.precision)(x)

        lead = points.shape[:-1]
        code = jnp.broadcast_to(code, (*lead, code.shape[-1]))
        directions = jnp.broadcast_to(directions, (*lead, directions.shape[-1]))
        given = x = jnp.concatenate([points, code], -1)
        for i in range(self.depth):
            x = nn.relu(dense(x, self.width, f"pts_linears_{i}"))
            x = jnp.concatenate([given, x], -1) if i in self.skips else x
        if self.is_initializing():
            # Published checkpoints hold this layer, which no published pass uses.
            dense(x, self.width, "feature_linear")
        sigma = dense(x, 1, "alpha_linear")
        x = jnp.concatenate([x, directions], -1)
        for i in range(self.depth // 4 + 1):
            x = nn.relu(dense(x, self.width // 2, f"views_linears_{i}"))
        return jnp.concatenate([dense(x, 3, "rgb_linear"), sigma], -1)


class Conditioned(NamedTuple):
    """A field for one frame.

    Attributes:
        trunk: per layer (kernel of the hidden values or None, kernel of the points or None, bias).
        sigma: (kernel, bias).
        first: kernel of the trunk's values in the first colour layer.
        colour: per further layer (kernel, bias), the last gives the logits.
    """

    trunk: tuple[tuple[jax.Array | None, jax.Array | None, jax.Array], ...]
    sigma: tuple[jax.Array, jax.Array]
    first: jax.Array
    colour: tuple[tuple[jax.Array, jax.Array], ...]


def conditioned(
    params: Mapping[str, Any], code: jax.Array, directions: jax.Array,
    *, points: int, precision: Any = None,
) -> tuple[Conditioned, jax.Array]:
    """The field of one frame's code, and the rays' part of its first colour layer.

    Args:
        params: of `FaceNeRF`; depth, width and skips are read off them.
        code: (C,) of the frame.
        directions: (R, D) encoded, one per ray.
        points: width P of encoded points, static.
        precision: of the products.

    Returns:
        `Conditioned` and (R, width / 2): what `raw_values` takes as `views`.
    """
    given = points + code.shape[-1]
    trunk = []
    for i in range(_count(params, "pts_linears")):
        layer = params[f"pts_linears_{i}"]
        kernel, bias = layer["kernel"], layer["bias"]
        hidden = params[f"pts_linears_{i - 1}"]["kernel"].shape[1] if i else 0
        if kernel.shape[0] == hidden:
            trunk.append((kernel, None, bias))
            continue
        bias = bias + jnp.matmul(code, kernel[points:given], precision=precision)
        trunk.append((kernel[given:] if hidden else None, kernel[:points], bias))
    colours = [params[f"views_linears_{i}"] for i in range(_count(params, "views_linears"))]
    width = trunk[-1][2].shape[0]
    views = jnp.matmul(directions, colours[0]["kernel"][width:], precision=precision)
    further = [*colours[1:], params["rgb_linear"]]
    sigma = params["alpha_linear"]
    field = Conditioned(
        trunk=tuple(trunk),
        sigma=(sigma["kernel"], sigma["bias"]),
        first=colours[0]["kernel"][:width],
        colour=tuple((layer["kernel"], layer["bias"]) for layer in further),
    )
    return field, views + colours[0]["bias"]


def trunk_values(field: Conditioned, points: jax.Array, *, precision: Any = None) -> jax.Array:
    """Hidden values (n, width) of encoded points (n, P)."""
    x = points
    for hidden, given, bias in field.trunk:
        total = bias
        if given is not None:
            total = jnp.matmul(points, given, precision=precision) + total
        if hidden is not None:
            total = jnp.matmul(x, hidden, precision=precision) + total
        x = jax.nn.relu(total)
    return x


def densities(field: Conditioned, hidden: jax.Array, *, precision: Any = None) -> jax.Array:
    """Densities before relu (n,), float32 or wider, of hidden values (n, width)."""
    kernel, bias = field.sigma
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    # A product with one column leaves a processor's units idle; a sum along the row does not.
    if precision is None or precision == "default":
        return jnp.sum(hidden.astype(wide) * kernel[:, 0].astype(wide), -1) + bias[0]
    sigma = jnp.matmul(hidden, kernel, precision=precision, preferred_element_type=wide)
    return sigma[:, 0] + bias[0]


def colour_logits(
    field: Conditioned, hidden: jax.Array, views: jax.Array, *, precision: Any = None
) -> jax.Array:
    """Colour logits (n, 3) of hidden values (n, width) and the rays' parts (n, width / 2)."""
    x = jax.nn.relu(jnp.matmul(hidden, field.first, precision=precision) + views)
    for i, (kernel, bias) in enumerate(field.colour):
        x = jnp.matmul(x, kernel, precision=precision) + bias
        x = x if i == len(field.colour) - 1 else jax.nn.relu(x)
    return x


def raw_values(
    field: Conditioned, points: jax.Array, views: jax.Array, *, precision: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Colour logits (r, s, 3) and densities before relu (r, s) along rays.

    Args:
        field: see `conditioned`.
        points: encoded (r, s, P).
        views: (r, width / 2).
        precision: of the products.
    """
    rays, samples = points.shape[:2]
    hidden = trunk_values(field, points.reshape(rays * samples, -1), precision=precision)
    sigma = densities(field, hidden, precision=precision)
    views = jnp.broadcast_to(views[:, None], (rays, samples, views.shape[-1]))
    logits = colour_logits(
        field, hidden, views.reshape(rays * samples, -1), precision=precision
    )
    return logits.reshape(rays, samples, 3), sigma.reshape(rays, samples)


Oriented = dict[str, Conditioned]
"""A field with its kernels both ways in memory: "plain" for samples as rows, "transposed" for
samples as columns. As columns, products of a layer, of its transpose and of gradients with values
all have the form that processors multiply fastest; as rows the last kind is slow, but samples are
easily picked."""


def oriented(field: Conditioned) -> Oriented:
    """What `kept_values` and `value_slopes` take; gradients of both orientations add up."""
    return {"plain": field, "transposed": jax.tree.map(lambda x: x.T, field)}


Kept = tuple[jax.Array, tuple[jax.Array, ...], tuple[jax.Array, ...]]


def kept_values(
    field: Oriented, points: jax.Array, views: jax.Array,
    *, columns: bool = False, precision: Any = None,
) -> tuple[jax.Array, Kept]:
    """Rows (n, 4) of colour logits and density, and the values of all layers for `value_slopes`.

    Args:
        field: see `oriented`.
        points: encoded (n, P); views: (n, width / 2).
        columns: whether samples are columns inside, static.
        precision: of the products.

    Returns:
        The rows, and the encoded points, the trunk's and the colour layers' values, each
        (n, values) or, as columns, (values, n).
    """
    net = field["transposed" if columns else "plain"]
    if columns:
        points, views = points.T, views.T

    def product(x, kernel):
        left, right = (kernel, x) if columns else (x, kernel)
        return jnp.matmul(left, right, precision=precision)

    def along(bias):
        return bias[:, None] if columns else bias

    hidden: list[jax.Array] = []
    for own, given, bias in net.trunk:
        total = along(bias) if given is None else product(points, given) + along(bias)
        total = total if own is None else product(hidden[-1], own) + total
        hidden.append(jax.nn.relu(total))
    colours = [jax.nn.relu(product(hidden[-1], net.first) + views)]
    for kernel, bias in net.colour[:-1]:
        colours.append(jax.nn.relu(product(colours[-1], kernel) + along(bias)))
    kernel, bias = net.colour[-1]
    logits = product(colours[-1], kernel) + along(bias)
    if columns:
        kernel, bias = net.sigma
        raw = jnp.concatenate([logits, product(hidden[-1], kernel) + along(bias)]).T
    else:
        sigma = densities(net, hidden[-1], precision=precision)
        raw = jnp.concatenate([logits, sigma[:, None]], -1)
    return raw, (points, tuple(hidden), tuple(colours))


def value_slopes(
    field: Oriented, kept: Kept, gradient: jax.Array,
    *, columns: bool = False, precision: Any = None,
) -> tuple[Oriented, jax.Array]:
    """Gradients of the field and of the views (n, width / 2) from that of rows (n, 4).

    The chain rule by hand: where a rectifier was open is read off its output, so that nothing else
    is kept, and what is kept may be that of some samples alone.

    Args:
        field, columns, precision: see `kept_values`.
        kept: what it kept.
        gradient: (n, 4).

    Returns:
        The field's gradient, in the orientation that was used alone, and that of the views.
    """
    points, hidden, colours = kept
    samples = 1 if columns else 0

    def across(x, g):
        left, right = (g, x) if columns else (x, g)
        over = (((samples,), (samples,)), ((), ()))
        return jax.lax.dot_general(left, right, over, precision=precision)

    def back(g, kernel):
        if columns:
            return jnp.matmul(kernel, g, precision=precision)
        return jax.lax.dot_general(g, kernel, (((1,), (1,)), ((), ())), precision=precision)

    net, gradient = field["plain"], gradient.T if columns else gradient
    g, sigma = jnp.split(gradient, (3,), 1 - samples)
    colour = []
    for (kernel, _), x in zip(net.colour[::-1], colours[::-1]):
        colour.append((across(x, g), g.sum(samples)))
        g = jnp.where(x > 0, back(g, kernel), 0)
    views, last = g, hidden[-1]
    first = across(last, views)
    through = back(views, net.first) + sigma * (net.sigma[0] if columns else net.sigma[0][:, 0])
    trunk = []
    for i in range(len(hidden) - 1, -1, -1):
        own, given, _ = net.trunk[i]
        assert through is not None  # only the first layer sees no layer before it
        g = jnp.where(hidden[i] > 0, through, 0)
        trunk.append((
            None if own is None else across(hidden[i - 1], g),
            None if given is None else across(points, g), g.sum(samples),
        ))  # fmt: skip
        through = None if own is None else back(g, own)
    found = Conditioned(
        tuple(trunk[::-1]), (across(last, sigma), sigma.sum(samples)), first, tuple(colour[::-1])
    )
    return ({"transposed": found}, views.T) if columns else ({"plain": found}, views)


def _count(params: Mapping[str, Any], name: str) -> int:
    return sum(key.startswith(f"{name}_") for key in params)
