"""The hash grid against goldens, a slow reference, and its own laws."""

import dataclasses
import functools
import math

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens
from jax.test_util import check_grads

from jaxhead.encodings import hash_grid
from jaxhead.encodings.hash_grid import (
    HashGridConfig,
    init_table,
    level_table,
    tables_from_flat,
    tables_to_flat,
)

# Compiled, because sixty gathers one by one take longer than compiling them together.
hash_encode = jax.jit(hash_grid.hash_encode, static_argnums=2)
SMALL = dict(levels=3, log2_size=8, base_resolution=3, finest_resolution=20)
RULES = ("instant-ngp", "torch-ngp")


def _config_of(golden) -> HashGridConfig:
    c = golden.config
    finest = c.get("finest_resolution")
    return HashGridConfig(
        levels=c["levels"],
        features=c["features"],
        log2_size=c["log2_hashmap_size"],
        base_resolution=c["base_resolution"],
        per_level_scale=c.get("per_level_scale"),
        rule=c["rule"],
        **({} if finest is None else {"finest_resolution": finest}),
    )


def test_goldens(goldens):
    for golden in known_goldens(goldens, module="multi-resolution hash encoding"):
        config = _config_of(golden)
        for level, expected in zip(level_table(config), golden.config["level_table"], strict=True):
            actual = level._asdict()
            assert math.isclose(actual.pop("scale"), expected["scale"], rel_tol=1e-9)
            assert actual == {k: v for k, v in expected.items() if k != "scale"}
        tables = tables_from_flat(golden.inputs["table"], config)
        golden.compare("features", hash_encode(tables, jnp.asarray(golden.inputs["x"]), config))


def _reference(tables, x, config):
    """One point, one corner at a time, in Python integers and float64."""
    out = np.zeros((len(x), config.dimensions))
    for n, point in enumerate(np.asarray(x, np.float64)):
        if config.rule == "torch-ngp" and not all(0 <= c <= 1 for c in point):
            continue
        for l, (table, level) in enumerate(zip(tables, level_table(config))):
            place = point * level.scale + 0.5
            cell = np.floor(place).astype(int)
            inside = place - cell
            for corner in np.ndindex(2, 2, 2):
                at = [(int(c) + b) % 2**32 for c, b in zip(cell, corner)]
                if level.dense:
                    index = at[0] + at[1] * level.stride + at[2] * level.stride**2
                else:
                    index = at[0] ^ (at[1] * 2654435761) ^ (at[2] * 805459861)
                index = index % 2**32 % level.size
                weight = np.prod([f if b else 1 - f for f, b in zip(inside, corner)])
                f = config.features
                out[n, l * f : (l + 1) * f] += weight * np.asarray(table)[:, index]
    return out


def _plain(tables, x, config):
    """The forward program, differentiated by JAX."""
    return hash_grid._encode.fun(tables, x, config).T


def _setup(n=40, **changes):
    config = HashGridConfig(**(SMALL | changes))
    rng = np.random.default_rng(1)
    shapes = [(config.features, level.size) for level in level_table(config)]
    tables = tuple(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    return config, tables, jnp.asarray(rng.uniform(size=(n, 3)), jnp.float32)


@pytest.mark.parametrize("rule,features", [(RULES[0], 2), (RULES[1], 3), (RULES[1], 1)])
def test_slow_reference(rule, features):
    config, tables, x = _setup(rule=rule, features=features)
    edges = jnp.asarray([[0, 0, 0], [1, 1, 1], [1, 0, 0.5], [-0.1, 0.5, 0.5], [0.5, 1.2, 0.1]])
    x = jnp.concatenate([x, edges])
    actual = hash_encode(tables, x, config)
    np.testing.assert_allclose(actual, _reference(tables, x, config), atol=2e-5)


def test_torch_ngp_gives_zeros_outside_and_instant_ngp_stays_finite():
    outside = jnp.asarray([[1.0001, 0.5, 0.5], [0.5, -1e-4, 0.5], [jnp.inf, 0, 0], [jnp.nan, 0, 0]])
    config, tables, _ = _setup(rule="torch-ngp")
    np.testing.assert_array_equal(hash_encode(tables, outside, config), 0)
    slope = jax.jit(jax.grad(lambda t: hash_encode(t, outside, config).sum()))(tables)
    assert all(np.all(np.asarray(s) == 0) for s in slope)
    config, tables, _ = _setup(rule="instant-ngp")
    assert np.all(np.isfinite(hash_encode(tables, outside[:2], config)))


@pytest.mark.parametrize("rule,features", [(RULES[0], 2), (RULES[1], 3)])
def test_table_gradient_is_the_transpose(rule, features):
    config, tables, x = _setup(rule=rule, features=features)
    g = jnp.asarray(np.random.default_rng(2).normal(size=(len(x), config.dimensions)), jnp.float32)
    expected = jax.jit(jax.grad(lambda t: (_plain(t, x, config) * g).sum()))(tables)
    planar = jax.jit(functools.partial(hash_grid._table_gradient, config=config))(x, g.T)
    by_autodiff = jax.jit(jax.grad(lambda t: (hash_encode(t, x, config) * g).sum()))(tables)
    for actual, other, wanted in zip(by_autodiff, planar, expected):
        np.testing.assert_allclose(actual, wanted, atol=1e-5)
        np.testing.assert_allclose(other, wanted, atol=1e-5)


@pytest.mark.parametrize("features", [1, 2, 3])
def test_a_table_gradient_of_many_points_in_few_cells_loses_none(features):
    config, _, _ = _setup(features=features)
    random = np.random.default_rng(3)
    x = jnp.asarray(0.2 + 0.1 * random.random((5000, 3)), jnp.float32)
    g = jnp.asarray(random.normal(size=(config.dimensions, len(x))), jnp.float32)
    forms = hash_grid._table_gradient, hash_grid._table_gradient_by_corner
    copied, plain = (jax.jit(functools.partial(form, config=config))(x, g) for form in forms)
    assert len(x) > 4 * level_table(config)[0].size  # so that it is spread over copies
    for found, expected in zip(copied, plain):
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert np.abs(expected).max() > 10


@pytest.mark.parametrize("rule", RULES)
def test_gradients_by_finite_differences(rule):
    config, tables, x = _setup(n=5, rule=rule)
    check_grads(lambda t: hash_encode(t, x, config), (tables,), 1, ["rev"], atol=2e-2, rtol=2e-2)
    # Points in the middle of every level's cell, where a small step meets no kink.
    one = dataclasses.replace(config, levels=1, per_level_scale=1.0, base_resolution=5)
    tables = init_table(jax.random.key(0), one)
    tables = [1e4 * table for table in tables]
    x = (jnp.asarray([[1.3, 2.5, 0.7], [0.8, 3.4, 2.4]]) - 0.5) / level_table(one)[0].scale
    check_grads(
        lambda p: hash_encode(tables, p, one), (x,), 1, ["rev"], atol=2e-2, rtol=2e-2, eps=1e-3
    )


def test_position_gradient_agrees_with_plain_autodiff():
    config, tables, x = _setup()
    g = jnp.asarray(np.random.default_rng(2).normal(size=(len(x), config.dimensions)), jnp.float32)
    actual = jax.jit(jax.grad(lambda p: (hash_encode(tables, p, config) * g).sum()))(x)
    expected = jax.jit(jax.grad(lambda p: (_plain(tables, p, config) * g).sum()))(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_an_unwanted_gradient_is_not_computed():
    config, tables, x = _setup()

    def names(argnums):
        def loss(t, p):
            return hash_encode(t, p, config).sum()

        return str(jax.make_jaxpr(jax.grad(loss, argnums))(tables, x))

    assert "scatter" in names(0)
    assert "scatter" not in names(1)
    assert len(names(0)) < len(names((0, 1)))


def test_gradient_of_a_gradient_exists():
    config, tables, x = _setup(n=6)

    def slope(t):
        return jnp.sum(jax.grad(lambda p: hash_encode(t, p, config).sum())(x) ** 2)

    assert all(np.all(np.isfinite(g)) for g in jax.jit(jax.grad(slope))(tables))


def test_leading_axes_vmap_over_subjects_scan_and_remat():
    config, tables, x = _setup()
    plain = hash_encode(tables, x, config)
    folded = hash_encode(tables, x.reshape(4, 10, 3), config)
    np.testing.assert_allclose(folded.reshape(40, -1), plain, atol=1e-6)

    def loss(t, p):
        return jnp.sum(hash_encode(t, p, config) ** 2)

    two = jax.tree.map(lambda t: jnp.stack([t, 2 * t]), tables)
    grads = jax.jit(jax.vmap(jax.grad(loss), in_axes=(0, None)))(two, x)
    alone = jax.jit(jax.grad(loss))(tables, x)
    for both, one in zip(grads, alone):
        np.testing.assert_allclose(both[0], one, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(both[1], 2 * one, rtol=1e-5, atol=1e-4)

    def scanned(t):
        step = jax.checkpoint(lambda total, p: (total + loss(t, p), None))
        return jax.lax.scan(step, jnp.float32(0), x.reshape(4, 10, 3))[0]

    for chunked, one in zip(jax.jit(jax.grad(scanned))(tables), alone):
        np.testing.assert_allclose(chunked, one, rtol=1e-4, atol=1e-4)


def test_value_and_gradient_lower_for_every_platform():
    config, tables, x = _setup()
    loss = jax.jit(jax.grad(lambda t, p: hash_encode(t, p, config).sum(), argnums=(0, 1)))
    exported = jax.export.export(loss, platforms=["cpu", "cuda", "tpu"])(tables, x)
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}


def test_pmap_gives_what_one_device_gives():
    config, tables, x = _setup()
    devices = jax.local_device_count()
    slope = jax.grad(lambda t, p: jnp.sum(hash_encode(t, p, config) ** 2))
    many = jax.pmap(slope, in_axes=(None, 0))(tables, jnp.stack([x] * devices))
    for a, b in zip(many, jax.jit(slope)(tables, x)):
        np.testing.assert_allclose(a[-1], b, rtol=1e-5, atol=1e-5)


def test_flat_tables_round_trip():
    config, tables, _ = _setup(features=3)
    flat = tables_to_flat(tables)
    assert flat.shape == (config.entries, 3)
    for back, table in zip(tables_from_flat(flat, config), tables):
        np.testing.assert_array_equal(back, table)
    with pytest.raises(ValueError, match="expected"):
        tables_from_flat(flat[1:], config)


def test_new_tables_are_small_and_differ_by_level():
    config = HashGridConfig(**SMALL)
    tables = init_table(jax.random.key(3), config)
    assert max(float(jnp.abs(t).max()) for t in tables) <= 1e-4
    assert not np.array_equal(tables[1][:, :8], tables[2][:, :8])


def test_a_level_of_constant_entries_encodes_to_that_constant():
    config, _, x = _setup(rule="torch-ngp")
    sizes = [(config.features, level.size) for level in level_table(config)]
    tables = tuple(jnp.full(s, 3.0) for s in sizes)
    np.testing.assert_allclose(hash_encode(tables, x, config), 3.0, rtol=1e-6)


def test_the_published_size_runs():
    config = HashGridConfig(levels=16, features=8, log2_size=19, finest_resolution=4096)
    assert level_table(config)[-1].resolution == 4096
    shapes = [(8, level.size) for level in level_table(config)]
    # One array per shape, so that the test needs little memory.
    made = {shape: jnp.ones(shape) for shape in shapes}
    out = hash_encode(tuple(made[s] for s in shapes), jnp.full((2, 3), 0.3), config)
    np.testing.assert_allclose(out, np.ones((2, 128)), rtol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"rule": "ngp"}, {"levels": 0}, {"log2_size": 40}, {"finest_resolution": 2}]
)
def test_bad_configurations_are_refused(changes):
    with pytest.raises(ValueError):
        HashGridConfig(**(SMALL | changes))


@pytest.mark.parametrize("rule", RULES)
def test_rows_are_the_features_a_row_each(rule):
    config, tables, x = _setup(rule=rule)
    rows = jax.jit(hash_grid.hash_rows, static_argnums=2)(tables, x, config)
    np.testing.assert_array_equal(np.asarray(rows).T, hash_encode(tables, x, config))
