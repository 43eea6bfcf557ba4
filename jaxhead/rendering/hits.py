"""Whole pictures with work only where rays meet something: static shapes, a data-dependent count.

Not differentiable: the number of chunks depends on the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.rendering import occupancy, sampling
from jaxhead.rendering.chunks import suited
from jaxhead.rendering.integrate import Rendered, composite, optical_thickness, volume_weights
from jaxhead.rendering.rays import OCCUPIED, Rays, unswayed

CHUNK, LARGE_CHUNK = 2048, 32768
"""Rays rendered together on a CPU and on an accelerator, where a picture is a few chunks."""
STAGES = 3
"""How often a CPU looks which rays have become opaque."""
STOP = 1e-3
"""Share of the light at which a ray ends: a quarter of a step of 8-bit pictures."""


def chunk_of(count: int) -> int:
    """How many of a picture's rays go together."""
    return min(suited(cpu=CHUNK, accelerator=LARGE_CHUNK), count)


def may_hit(
    rays: Rays, shift: jax.Array, cells: jax.Array, box: jax.Array, segments: int
) -> jax.Array:
    """(n,) bool: whether a ray has an occupied cell on its way through the box.

    Args:
      rays: n rays; shift: (n, 2) of `rays.ray_shift`.
      cells: (r, r, r) int8 of `rays.cell_kinds`; box: (2, 3).
      segments: pieces that a ray's way is cut into.
    """
    near, far, _ = sampling.ray_box(rays.origins, rays.directions, box[0], box[1])
    step = (far - near) / segments
    origins = unswayed(rays.origins, shift)

    def test(hit, i):
        points = origins + (near + (i + 0.5) * step)[:, None] * rays.directions
        seen = occupancy.look_up(cells, points, box[0], box[1])
        return hit | ((seen == OCCUPIED) & (step > 0)), None

    start = jnp.zeros((len(near),), bool)
    # Unrolled where every turn of a loop is a launch.
    unroll = suited(cpu=1, accelerator=16)
    return jax.lax.scan(test, start, jnp.arange(segments, dtype=jnp.float32), unroll=unroll)[0]


def for_hits(
    update: Callable[[Any, Any], Any], of: tuple[Any, Any], hit: jax.Array, *,
    chunk: int | None = None,
) -> Any:
    """New values of n rows where `hit` is set, the old ones elsewhere: rows that hit fill chunks.

    Args:
      update: (arguments, values) of `chunk` rows, independent of each other -> their new values.
        The last row fills up the last chunk, in vain.
      of: pytrees of arrays (n, ...), the arguments and the values.
      hit: (n,) bool.
      chunk: rows per call, static; None for what suits the device.
    """
    count = len(hit)
    chunk = chunk or chunk_of(count)
    place = jnp.cumsum(hit.astype(jnp.int32)) - 1
    padded = jnp.full((count + -count % chunk,), count, jnp.int32)
    padded = padded.at[jnp.where(hit, place, len(padded))].set(jnp.arange(count), mode="drop")
    chunks = (place[-1] + chunk) // chunk
    given, values = of

    def body(i, out):
        part = jax.lax.dynamic_slice(padded, (i * chunk,), (chunk,))
        at = jnp.minimum(part, count - 1)
        new = update(*jax.tree.map(lambda x: x[at], (given, out)))
        return jax.tree.map(lambda whole, new: whole.at[part].set(new, mode="drop"), out, new)

    return jax.lax.fori_loop(0, chunks, body, values)


def march_hits(
    shade: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]], rays: Any,
    t: jax.Array, delta: jax.Array, hit: jax.Array, *,
    stages: int | None = None, stop: float = STOP, chunk: int | None = None,
) -> Rendered:
    """What samples along rays show, in stages front to back: a ray that is opaque ends.

    Args:
      shade: (m rays, (m, s) distances) -> colours (m, s, 3) and densities (m, s).
      rays: a pytree of n rays.
      t, delta: (n, S) ascending distances and the lengths that they stand for.
      hit: (n,) bool, rays whose samples count.
      stages: parts of a ray's samples, static; None for what suits the device.
      stop: share of the light, above 0, at which a ray ends.
      chunk: rays per call of `shade`, static; None as for `stages`.

    Returns:
      As `composite` of `volume_weights`, up to `stop` of the light.
    """
    count, samples = t.shape
    stages = min(stages or suited(cpu=STAGES, accelerator=1), samples)
    width = -(-samples // stages)
    # What fills up the last stage has no length.
    padding = ((0, 0), (0, width * stages - samples))
    t, delta = jnp.pad(t, padding, mode="edge"), jnp.pad(delta, padding)

    def stage(k, carry):
        def update(part, values):
            rays, t, delta = part
            seen, dark = values
            rgb, sigma = shade(rays, t)
            weights = jnp.exp(-dark)[:, None] * volume_weights(sigma, delta)
            more = composite(weights, rgb, t)
            dark = dark + optical_thickness(sigma, delta).sum(-1)
            return jax.tree.map(jnp.add, seen, more), dark

        def columns(x):
            return jax.lax.dynamic_slice_in_dim(x, k * width, width, 1)

        alive = hit & (carry[1] < -math.log(stop))
        return for_hits(update, ((rays, columns(t), columns(delta)), carry), alive, chunk=chunk)

    seen = Rendered(jnp.zeros((count, 3)), jnp.zeros((count,)), jnp.zeros((count,)))
    return jax.lax.fori_loop(0, stages, stage, (seen, jnp.zeros((count,))))[0]
