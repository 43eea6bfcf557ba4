"""Samplers: strata, boxes, depth windows, profiles and inverse distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.sampling import (
    depth_range,
    place_by_profile,
    place_by_step,
    ray_box,
    sample_pdf,
    segment_centres,
    stratified,
)

KEYS = pytest.mark.parametrize("seed", [None, 0])


def _key(seed):
    return None if seed is None else jax.random.key(seed)


@KEYS
def test_stratified_has_one_sample_in_each_part(seed):
    near, far = jnp.asarray([1.0, 0.0]), jnp.asarray([3.0, 0.5])
    t, delta = stratified(_key(seed), near, far, 8)
    part = (t - near[:, None]) / delta
    np.testing.assert_array_equal(jnp.floor(part), np.tile(np.arange(8), (2, 1)))
    np.testing.assert_allclose(delta.sum(-1), far - near, rtol=1e-6)
    if seed is None:
        np.testing.assert_allclose(part % 1, 0.5, atol=1e-5)


def test_an_empty_stretch_has_no_length():
    t, delta = stratified(None, jnp.asarray([2.0]), jnp.asarray([1.0]), 4)
    np.testing.assert_array_equal(delta, 0)
    np.testing.assert_array_equal(t, 2)


def test_ray_box_against_a_dense_walk():
    rng = np.random.default_rng(0)
    origins = rng.normal(size=(60, 3)).astype(np.float32)
    directions = rng.normal(size=(60, 3)).astype(np.float32)
    directions[:10, 0] = 0.0
    directions[5:15, 2] = 0.0
    low, high = np.float32([-0.5, -0.4, -0.3]), np.float32([0.5, 0.6, 0.7])
    near, far, hit = ray_box(origins, directions, low, high)
    steps = np.linspace(0, 8, 16001)
    for n in range(60):
        points = origins[n] + steps[:, None] * directions[n]
        inside = steps[np.all((points >= low) & (points <= high), -1)]
        if hit[n] and far[n] - near[n] > 2e-3:
            np.testing.assert_allclose([near[n], far[n]], inside[[0, -1]], atol=2e-3)
        else:
            assert len(inside) <= 5


def test_a_ray_along_a_face_or_past_the_box():
    low, high = jnp.zeros(3), jnp.ones(3)
    origins = jnp.asarray([[0.5, 0.5, -1.0], [2.0, 0.5, -1.0], [0.5, 0.5, 3.0], [0.5, 0.5, 0.5]])
    near, far, hit = ray_box(origins, jnp.asarray([[0.0, 0.0, 1.0]] * 4), low, high)
    np.testing.assert_array_equal(hit, [True, False, False, True])
    np.testing.assert_allclose(near, [1, 0, 0, 0])
    np.testing.assert_allclose(far, [2, 0, 0, 0.5])
    slope = jax.grad(lambda o: ray_box(o, jnp.asarray([0.0, 0.0, 1.0]), low, high)[1])(origins[0])
    np.testing.assert_allclose(slope, [0, 0, -1])


def test_depth_range_against_loops():
    rng = np.random.default_rng(0)
    front = rng.uniform(1, 2, (7, 9)).astype(np.float32)
    back = front + 0.5
    covered = rng.uniform(size=(7, 9)) < 0.15
    near, far, hit = depth_range(front, back, jnp.asarray(covered), radius=1, margin=0.1)
    for y in range(7):
        for x in range(9):
            window = (slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))
            inside = covered[window]
            assert hit[y, x] == inside.any()
            if inside.any():
                np.testing.assert_allclose(near[y, x], front[window][inside].min() - 0.1, rtol=1e-5)
                np.testing.assert_allclose(far[y, x], back[window][inside].max() + 0.1, rtol=1e-5)
            else:
                assert near[y, x] == far[y, x] == 0


@KEYS
def test_samples_lie_in_occupied_segments_only(seed):
    rng = np.random.default_rng(1)
    profile = jnp.asarray(rng.uniform(size=(50, 12)) < 0.3)
    near, far = jnp.full(50, 1.0), jnp.asarray(rng.uniform(2, 3, 50), jnp.float32)
    t, delta = place_by_profile(_key(seed), near, far, profile, 6)
    step = (far - near)[:, None] / 12
    segment = np.clip(np.asarray((t - 1) / step + 1e-4 * (seed is not None), int), 0, 11)
    some = np.asarray(profile.any(-1))
    fits = np.take_along_axis(np.asarray(profile), segment, -1)
    # A sample within rounding of a segment's edge may be counted to its neighbour.
    edge = np.abs((t - 1) / step - np.round((t - 1) / step)) < 1e-3
    assert np.all((fits | edge)[some])
    assert np.all(np.diff(t, axis=-1) >= -1e-6)
    length = profile.sum(-1) * step[:, 0]
    np.testing.assert_allclose(delta.sum(-1), length, rtol=1e-5)
    np.testing.assert_array_equal(delta[~some], 0)
    assert np.all(np.isfinite(t))


def test_a_full_profile_is_stratified_sampling():
    near, far = jnp.asarray([0.0, 1.0]), jnp.asarray([2.0, 4.0])
    placed = place_by_profile(jax.random.key(3), near, far, jnp.ones((2, 10), bool), 7)
    plain = stratified(jax.random.key(3), near, far, 7)
    for a, b in zip(placed, plain):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_an_uneven_profile_integrates_without_bias():
    # Sum of delta * f(t) estimates the integral of f over the occupied part.
    profile = jnp.asarray([0.0, 3.0, 1.0, 0.0, 0.5, 0.0])
    keys = jax.random.split(jax.random.key(0), 30000)
    zero, one = jnp.float32(0), jnp.float32(1)
    t, delta = jax.vmap(lambda k: place_by_profile(k, zero, one, profile, 5))(keys)
    edges = np.arange(7) / 6
    f = [(b**3 - a**3) / 3 for a, b in zip(edges, edges[1:])]
    expected = f[1] + f[2] + f[4]
    np.testing.assert_allclose(np.mean(np.sum(delta * t**2, -1)), expected, rtol=1e-2)


ONE = jnp.float32(1)


def _march(near, far, profile, step, inside):
    """The samples of a loop that jumps over empty parts and takes equal steps in the others."""
    part = (far - near) / len(profile)
    place, before, found = inside * step, 0.0, []
    for index, occupied in enumerate(profile):
        while occupied and place < before + part:
            found.append(near + index * part + place - before)
            place += step
        before += part if occupied else 0.0
    return found


@pytest.mark.parametrize("segments", [1, 5, 64, 65, 300])
def test_many_segments_against_a_search(segments):
    random = np.random.default_rng(segments)
    profile = random.random((7, segments)).astype(np.float32)
    profile *= random.random((7, segments)) < 0.6
    profile[:, 0] += 0.1
    t, delta = place_by_profile(
        None, jnp.full(7, 2.0), jnp.full(7, 3.0), jnp.asarray(profile), 9
    )
    ends = np.cumsum(profile, -1)
    for row in range(7):
        u = (np.arange(9) + 0.5) / 9 * ends[row, -1]
        segment = np.searchsorted(ends[row], u, side="right")
        start = ends[row, segment] - profile[row, segment]
        place = segment + (u - start) / profile[row, segment]
        np.testing.assert_allclose(t[row], 2 + place / segments, rtol=2e-5)
        share = profile[row, segment] / ends[row, -1] * segments
        np.testing.assert_allclose(delta[row], 1 / (9 * share), rtol=2e-3)


def test_equal_steps_against_a_walk():
    profile = np.array([0, 1, 1, 0, 0, 1, 0, 1], bool)
    place = jax.jit(lambda p: place_by_step(None, ONE, 3 * ONE, p, 16, 0.11))
    t, delta = place(jnp.asarray(profile))
    found = _march(1.0, 3.0, profile, 0.11, 0.5)
    assert len(found) == 9
    np.testing.assert_allclose(t[:9], found, atol=1e-6)
    np.testing.assert_allclose(delta, [0.11] * 9 + [0.0] * 7, atol=1e-7)
    assert np.all(np.diff(t) >= 0)
    # Rays share nothing but the step: one jitter each.
    keys = jax.random.split(jax.random.key(0), 3)
    t, _ = jax.vmap(lambda k: place_by_step(k, ONE, 3 * ONE, jnp.asarray(profile), 16, 0.1))(keys)
    assert len(np.unique(np.asarray(t)[:, 0])) == 3
    np.testing.assert_allclose(np.diff(t[:, :5]), 0.1, atol=1e-6)


def test_longer_steps_where_samples_would_run_out():
    for profile, length in (([True] * 4, 2.0), ([True, False, False, True], 1.0)):
        t, delta = place_by_step(None, ONE, 3 * ONE, jnp.array(profile), 5, 0.01)
        np.testing.assert_allclose(delta, length / 5, rtol=1e-6)
        assert t[0] < 1.5 and t[-1] > 2.5
    t, delta = place_by_step(None, ONE, 3 * ONE, jnp.zeros(4, bool), 5, 0.01)
    assert np.all(np.asarray(delta) == 0) and np.all(np.isfinite(t))
    t, delta = place_by_step(None, ONE, ONE, jnp.ones(4, bool), 5, 0.01)
    assert np.all(np.asarray(delta) == 0) and np.all(np.isfinite(t))


def test_segment_centres():
    np.testing.assert_allclose(
        segment_centres(jnp.float32(1), jnp.float32(3), 4), [1.25, 1.75, 2.25, 2.75]
    )


@KEYS
def test_sample_pdf_follows_the_histogram(seed):
    edges = jnp.asarray([0.0, 0.1, 0.5, 0.6, 1.0])
    weights = jnp.asarray([1.0, 0.0, 5.0, 2.0])
    t = sample_pdf(_key(seed), edges, weights, 8000)
    counts, _ = np.histogram(t, np.asarray(edges))
    np.testing.assert_allclose(counts / 8000, weights / 8, atol=2e-3)
    assert np.all(np.diff(t) >= 0)


def test_sample_pdf_without_weights_is_uniform_over_the_bins():
    t = sample_pdf(None, jnp.asarray([0.0, 1.0, 2.0]), jnp.zeros(2), 4)
    np.testing.assert_allclose(t, [0.25, 0.75, 1.25, 1.75], rtol=1e-6)


def test_jit_and_vmap_agree():
    near, far = jnp.zeros(3), jnp.asarray([1.0, 2.0, 0.0])
    profile = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 5)), jnp.float32)

    def one(near, far, profile):
        return place_by_profile(None, near, far, profile, 4)

    together = jax.jit(one)(near, far, profile)
    for a, b in zip(together, jax.vmap(one)(near, far, profile)):
        np.testing.assert_allclose(a, b, rtol=1e-6)
