"""Occupancy grids find what is there and forget what is gone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.occupancy import (
    default_threshold,
    in_parts,
    look_up,
    new_grid,
    occupied,
    occupied_cells,
    update,
    update_by_age,
)

LOW, HIGH = (-1.0, -2.0, 0.0), (1.0, 2.0, 3.0)


def _ball(points):
    centre = jnp.asarray([0.0, 0.5, 1.5])
    return jnp.where(jnp.linalg.norm(points - centre, axis=-1) < 0.8, 5.0, 0.0)


def _updated(steps, **options):
    grid = new_grid(12, LOW, HIGH)
    step = jax.jit(lambda g, k: update(g, _ball, k, **options))
    for n in range(steps):
        grid = step(grid, jax.random.key(n))
    return grid


def _points(n=500):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.uniform(np.array(LOW), np.array(HIGH), (n, 3)), jnp.float32)


def test_a_new_grid_is_full():
    assert bool(occupied_cells(new_grid(4, LOW, HIGH)).all())


@pytest.mark.parametrize("options", [{}, {"cells": 400}])
def test_finds_the_ball_and_forgets_the_rest(options):
    grid = _updated(120, **options)
    points = _points()
    inside = np.asarray(_ball(points)) > 0
    found = np.asarray(occupied(grid, points))
    assert np.all(found[inside])
    assert 0 < found.mean() < 0.35


def test_update_is_a_decaying_maximum():
    grid = new_grid(3, LOW, HIGH, thickness=2.0)
    low = update(grid, lambda p: jnp.zeros(len(p)), jax.random.key(0), decay=0.5)
    np.testing.assert_allclose(low.thickness, 1.0)
    high = update(grid, lambda p: jnp.full(len(p), 7.0), jax.random.key(0), decay=0.5)
    np.testing.assert_allclose(high.thickness, 7.0)
    broken = update(grid, lambda p: jnp.full(len(p), jnp.nan), jax.random.key(0), decay=0.5)
    np.testing.assert_allclose(broken.thickness, 1.0)


def test_points_fall_into_their_own_cells():
    seen = []

    def remember(points):
        seen.append(points)
        return jnp.arange(len(points), dtype=jnp.float32)

    grid = update(new_grid(5, LOW, HIGH, thickness=0.0), remember, jax.random.key(0))
    np.testing.assert_array_equal(
        look_up(grid.thickness, seen[0], grid.low, grid.high), np.arange(125)
    )


def test_threshold_is_the_smaller_of_a_hundredth_and_the_mean():
    grid = new_grid(2, LOW, HIGH, thickness=3.0)
    np.testing.assert_allclose(default_threshold(grid), 0.01)
    thin = grid._replace(thickness=jnp.full((2, 2, 2), 1e-4))
    np.testing.assert_allclose(default_threshold(thin), 1e-4)
    np.testing.assert_array_equal(occupied_cells(thin, threshold=1.0), False)
    empty = grid._replace(thickness=jnp.zeros((2, 2, 2)))
    np.testing.assert_array_equal(occupied_cells(empty), False)


def test_dilation_adds_the_neighbours():
    grid = new_grid(7, LOW, HIGH, thickness=0.0)
    grid = grid._replace(thickness=grid.thickness.at[3, 3, 0].set(1.0))
    assert int(occupied_cells(grid).sum()) == 1
    assert int(occupied_cells(grid, dilation=1).sum()) == 3 * 3 * 2
    assert int(occupied_cells(grid, dilation=2).sum()) == 5 * 5 * 3


def test_outside_the_box_is_empty():
    grid = new_grid(4, LOW, HIGH)
    outside = jnp.asarray([[-1.01, 0, 1], [0, 2.0, 1], [0, 0, jnp.inf], [0, jnp.nan, 1]])
    np.testing.assert_array_equal(occupied(grid, outside), False)
    assert bool(occupied(grid, jnp.asarray([[-1.0, -2.0, 0.0]]))[0])


def test_the_timetable_of_instant_ngp():
    grid = new_grid(4, LOW, HIGH)
    step = jax.jit(lambda n: update_by_age(grid, lambda p: 0 * p[:, 0], jax.random.key(0), n))

    def looked(n):
        return bool(jnp.any(step(n).thickness != grid.thickness))

    assert [n for n in range(8) if looked(n)] == list(range(8))
    assert [n for n in range(64, 76) if looked(n)] == [64, 68, 72]
    assert [n for n in range(320, 353) if looked(n)] == [320, 336, 352]


def test_young_grids_are_looked_at_everywhere_old_ones_in_half_of_their_cells():
    grid = new_grid(6, LOW, HIGH, thickness=0.0)
    step = jax.jit(lambda n: update_by_age(grid, lambda p: 1 + 0 * p[:, 0], jax.random.key(0), n))
    assert bool(jnp.all(step(240).thickness == 1))
    some = float(jnp.mean(step(256).thickness))
    # A quarter of the looks is uniform; an empty grid sends the others to one cell.
    assert 0.15 < some <= 0.25 + 1 / 216


def test_parts_give_what_the_whole_gives():
    points = _points(24)
    np.testing.assert_array_equal(in_parts(_ball, points, most=7), _ball(points))
    np.testing.assert_array_equal(in_parts(_ball, points), _ball(points))
