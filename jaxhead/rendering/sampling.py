"""Where along rays a field is evaluated: static counts, jittered inside strata.

Letters: t distance from a ray's origin in units of its direction, S samples, M segments. Every
sampler of a ray's content returns `t` and `delta`, the length that a sample stands for in the
rendering sum; a ray without anything to see gets delta 0. The key comes first; None puts samples at
the strata's centres.
"""

import chex
import jax
import jax.numpy as jnp

from jaxhead.geometry import draws
from jaxhead.geometry.fusion import materialised

_TOGETHER = 64
"""Ends that are compared in one kernel; of more there is a loop."""


def ray_box(
    origins: jax.Array, directions: jax.Array, low: jax.Array, high: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the stretch of rays inside an axis-aligned box (slab method, Kay and Kajiya 1986).

    Args:
        origins: [..., 3].
        directions: [..., 3], any length; zero components are allowed.
        low: the box's lower corner [3].
        high: its upper corner [3].

    Returns:
        near [...], far [...] and hit (bool [...]). Never behind the origin; both 0 where the box is
        missed or only touched.
    """
    # A component this small crosses no box within float32's range of distances that matter.
    tiny = jnp.asarray(1e-20, directions.dtype)
    slow = jnp.abs(directions) < tiny
    inverse = 1 / jnp.where(slow, jnp.where(directions < 0, -tiny, tiny), directions)
    one, other = (low - origins) * inverse, (high - origins) * inverse
    near = jnp.maximum(jnp.max(jnp.minimum(one, other), axis=-1), 0)
    far = jnp.min(jnp.maximum(one, other), axis=-1)
    hit = far > near
    return jnp.where(hit, near, 0), jnp.where(hit, far, 0), hit


def depth_range(
    front: jax.Array, back: jax.Array, covered: jax.Array, *, radius: int, margin: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns near and far for every pixel from rasterised depth, as conservative as asked.

    Takes the nearest front and the farthest back inside a square window, so that samples also lie
    around a silhouette (hair), where the mesh's own pixels end.

    Args:
        front: distance of the first surface [H, W].
        back: distance of the last surface [H, W]; `front` again if only that is known.
        covered: bool [H, W], where the mesh is; the others' distances are ignored.
        radius: half the window in pixels.
        margin: added before and behind, in the unit of the distances.

    Returns:
        near [H, W] (at least 0), far [H, W] and hit (bool [H, W]); both 0 where no pixel of the
        window is covered.
    """
    window, strides = (2 * radius + 1,) * 2, (1, 1)

    def extreme(values, start, reduce):
        return jax.lax.reduce_window(values, start, reduce, window, strides, "SAME")

    empty = jnp.asarray(jnp.inf, front.dtype)
    near = extreme(jnp.where(covered, front, empty), empty, jax.lax.min)
    far = extreme(jnp.where(covered, back, -empty), -empty, jax.lax.max)
    hit = jnp.isfinite(near)
    near = jnp.where(hit, jnp.maximum(near - margin, 0), 0)
    return near, jnp.where(hit, far + margin, 0), hit


def stratified(
    key: jax.Array | None, near: jax.Array, far: jax.Array, samples: int
) -> tuple[jax.Array, jax.Array]:
    """Returns one sample in each of S equal parts of [near, far] (Mildenhall et al. 2020, eq. 2).

    Args:
        key: typed random key; None takes the parts' centres.
        near: [...].
        far: [...]; where far <= near, delta is 0.
        samples: S, static.

    Returns:
        t [..., S], ascending, and delta [..., S], the length of a part.
    """
    length = jnp.maximum(far - near, 0)[..., None]
    places = _strata(key, (*jnp.shape(near), samples), length.dtype)
    return near[..., None] + length * places, jnp.broadcast_to(length / samples, places.shape)


def segment_centres(near: jax.Array, far: jax.Array, segments: int) -> jax.Array:
    """Returns the middles [..., M] of M equal parts of [near, far], where to probe an occupancy."""
    return stratified(None, near, far, segments)[0]


def place_by_profile(
    key: jax.Array | None, near: jax.Array, far: jax.Array, profile: jax.Array, samples: int
) -> tuple[jax.Array, jax.Array]:
    """Returns samples spread over a ray in proportion to a coarse profile.

    Segments with profile 0 get no sample; with profile 0 or 1 the occupied segments are laid end to
    end and cut into S equal strata. A stratum never counts the empty space that it jumps over, and
    no ray takes more than S samples, so that all shapes are static.

    Args:
        key: typed random key; None takes the strata's centres.
        near: [...].
        far: [...].
        profile: density of samples in M equal parts of [near, far], [..., M], not negative; bool
            for plain occupancy.
        samples: S, static.

    Returns:
        t [..., S], ascending, and delta [..., S]: 1 / (S * probability density at t), which for a
        bool profile is the occupied length / S; 0 where the profile holds nothing.
    """
    segments = profile.shape[-1]
    profile = jnp.asarray(profile, near.dtype)
    chex.assert_shape(profile, (*near.shape, segments))
    step = jnp.maximum(far - near, 0)[..., None] / segments
    ends = jnp.cumsum(profile, axis=-1)
    total = ends[..., -1:]
    occupied = total > 0
    u = _strata(key, (*near.shape, samples), near.dtype) * total
    t, height = _along(near, step, profile, ends, u)
    return t, jnp.where(occupied, step * total / (samples * height), 0)


def place_by_step(
    key: jax.Array | None, near: jax.Array, far: jax.Array, profile: jax.Array, samples: int,
    step: float,
) -> tuple[jax.Array, jax.Array]:
    """Returns samples one step apart over the occupied parts of a ray (Müller et al. 2022).

    As in instant-ngp empty space is jumped over and a ray's samples share one jitter. Where the
    occupied parts are longer than S steps they get S longer ones: a march of static shape that
    never ends before its ray does.

    Args:
        key: typed random key of the jitter; None takes half a step.
        near: [...].
        far: [...].
        profile: bool, which of M equal parts of [near, far] are occupied, [..., M].
        samples: S, static.
        step: length, above 0.

    Returns:
        t [..., S], ascending, and delta [..., S], the step; 0 behind the last occupied part.
    """
    profile = jnp.asarray(profile, near.dtype)
    part = jnp.maximum(far - near, 0)[..., None] / profile.shape[-1]
    ends = jnp.cumsum(profile, axis=-1)
    length = ends[..., -1:] * part
    spacing = jnp.maximum(length / samples, step)
    inside = 0.5 if key is None else draws.uniform(key, (*near.shape, 1), near.dtype)
    place = (jnp.arange(samples, dtype=near.dtype) + inside) * spacing
    used = place < length
    u = jnp.where(used, place, length) / jnp.where(part > 0, part, 1)
    t, _ = _along(near, part, profile, ends, u)
    return t, jnp.where(used, spacing, 0)


def _along(
    near: jax.Array, step: jax.Array, profile: jax.Array, ends: jax.Array, u: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns where [..., S] the profile's running sum reaches u, and the profile there.

    Args:
        near: [...]; step: [..., 1], length of a segment.
        profile: [..., M]; ends: [..., M], its running sum.
        u: [..., S], ascending, from 0 to the sum.
    """
    # The number of segments that end before u, without those that are empty behind the last: the
    # clip keeps rounding at the upper end inside the last occupied segment.
    last = profile.shape[-1] - 1 - jnp.argmax(profile[..., ::-1] > 0, axis=-1)[..., None]
    segment = jnp.minimum(_ends_before(ends, u), last)
    height = jnp.take_along_axis(profile, segment, axis=-1)
    start = jnp.take_along_axis(ends, segment, axis=-1) - height
    height = jnp.where(height > 0, height, 1)
    inside = jnp.clip((u - start) / height, 0, 1)
    return near[..., None] + (segment + inside) * step, height


def _ends_before(ends: jax.Array, u: jax.Array) -> jax.Array:
    """Returns how many of the ends [..., M] are at most u [..., S], int32."""
    # One kernel that keeps the counts in registers: all comparisons at once would be an array S
    # times as large as the ends, ten times slower on a CPU.
    together = min(_TOGETHER, ends.shape[-1])
    never = jnp.full((*ends.shape[:-1], -ends.shape[-1] % together), jnp.inf, ends.dtype)
    parts = jnp.concatenate([ends, never], axis=-1).reshape(*ends.shape[:-1], -1, together)

    def add(count, part):
        for i in range(part.shape[-1]):
            count = count + (part[..., i, None] <= u).astype(jnp.int32)
        return count, None

    count = jnp.zeros(u.shape, jnp.int32)
    if parts.shape[-2] == 1:
        count, _ = add(count, parts[..., 0, :])
    else:
        count, _ = jax.lax.scan(add, count, jnp.moveaxis(parts, -2, 0))
    # Stored: whoever reads the samples' places would compare anew for each of their pairs.
    return materialised(count)


def sample_pdf(
    key: jax.Array | None, edges: jax.Array, weights: jax.Array, samples: int
) -> jax.Array:
    """Returns distances drawn from a piecewise-constant density (Mildenhall et al. 2020, 5.2).

    Args:
        key: typed random key (one draw in each of S equal strata of the cumulative distribution);
            None takes the strata's centres.
        edges: ascending bin edges [..., M + 1].
        weights: weights of the bins [..., M], not negative; all zero means uniform over the bins.
        samples: S, static.

    Returns:
        Distances [..., S], ascending. No gradient reaches the weights, as published.
    """
    weights = jax.lax.stop_gradient(weights)
    # So little that it never matters beside real weights, and makes an empty ray uniform.
    weights = weights + jnp.finfo(weights.dtype).eps * jnp.max(weights, -1, keepdims=True)
    weights = jnp.where(jnp.sum(weights, -1, keepdims=True) > 0, weights, 1)
    ends = jnp.cumsum(weights, axis=-1)
    u = _strata(key, (*weights.shape[:-1], samples), weights.dtype) * ends[..., -1:]
    bin_ = jnp.minimum(_ends_before(ends, u), weights.shape[-1] - 1)
    height = jnp.take_along_axis(weights, bin_, axis=-1)
    start = jnp.take_along_axis(ends, bin_, axis=-1) - height
    low = jnp.take_along_axis(edges, bin_, axis=-1)
    high = jnp.take_along_axis(edges, bin_ + 1, axis=-1)
    return low + jnp.clip((u - start) / height, 0, 1) * (high - low)


def _strata(key: jax.Array | None, shape: tuple[int, ...], dtype) -> jax.Array:
    """Returns places in [0, 1), one in each of shape[-1] equal parts."""
    inside = 0.5 if key is None else draws.uniform(key, shape, dtype)
    parts = jnp.broadcast_to(jnp.arange(shape[-1], dtype=dtype) + inside, shape)
    # Rounding must not reach 1, which would be the next, absent, part.
    return jnp.minimum(parts / shape[-1], 1 - jnp.finfo(dtype).eps)
