"""Whole pictures with work only where rays meet something: static shapes, a data-dependent count.

Not differentiable: the number of chunks depends on the data.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxhead.rendering import occupancy, sampling
from jaxhead.rendering.chunks import suited
from jaxhead.rendering.integrate import Rendered
from jaxhead.rendering.rays import OCCUPIED, Rays, unswayed

CHUNK, LARGE_CHUNK = 2048, 32768
"""Rays rendered together on a CPU and on an accelerator, where a picture is a few chunks."""


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


def render_hits(
    render: Callable[[Rays], Rendered], rays: Rays, hit: jax.Array, *, chunk: int | None = None
) -> Rendered:
    """What rays see, nothing where they hit nothing: those that hit come first and fill chunks.

    Rays that hit nothing fill up the last chunk and show what `render` gives for them.

    Args:
      render: of `chunk` rays, independent of each other; three features, premultiplied.
      rays: n rays; hit: (n,) bool.
      chunk: rays per call, static; None for what suits the device.
    """
    count = len(hit)
    chunk = chunk or chunk_of(count)
    order = jnp.argsort(~hit, stable=True)
    padded = jnp.pad(order, (0, -count % chunk), constant_values=count)
    chunks = (jnp.sum(hit) + chunk - 1) // chunk

    def body(i, out):
        part = jax.lax.dynamic_slice(padded, (i * chunk,), (chunk,))
        at = jnp.minimum(part, count - 1)
        seen = render(jax.tree.map(lambda x: x[at], rays))
        return jax.tree.map(lambda whole, new: whole.at[part].set(new, mode="drop"), out, seen)

    nothing = Rendered(jnp.zeros((count, 3)), jnp.zeros((count,)), jnp.zeros((count,)))
    return jax.lax.fori_loop(0, chunks, body, nothing)
