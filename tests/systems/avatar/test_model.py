"""The head's field against the published network, and its laws."""

import dataclasses

import goldens_reader
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxhead.encodings.frequency import frequency
from jaxhead.encodings.hash_grid import HashGridConfig
from jaxhead.files.errors import InputError
from jaxhead.networks.hash_field import direction_values, encoded_directions
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.checkpoint import head_from_insta, head_to_insta
from jaxhead.systems.avatar.config import FieldConfig, TorsoConfig

SMALL = FieldConfig(levels=3, log2_size=8, finest_resolution=32, hidden=16)


def published_field(golden):
    """Grid, configuration and bound of a golden's network, all sizes from its manifest."""
    config, sizes = golden.config, golden.config["grid"]
    grid = HashGridConfig(
        levels=sizes["levels"],
        features=sizes["features"],
        log2_size=sizes["log2_hashmap_size"],
        base_resolution=sizes["base_resolution"],
        per_level_scale=sizes["per_level_scale"],
        rule=sizes["rule"],
    )
    field = FieldConfig(
        levels=grid.levels,
        features=grid.features,
        hidden=config["hidden"],
        density_layers=config["num_layers"],
        color_layers=config["num_layers_color"],
        geometry_features=config["geo_feat_dim"],
    )
    return grid, field, config["bound"]


def test_golden_field(goldens):
    for golden in goldens_reader.known_goldens(goldens, system="avatar", module="NeRFNetwork"):
        grid, field, bound = published_field(golden)
        params = head_from_insta(golden.weights, grid)
        x = jnp.asarray(golden.inputs["x"])
        lips = jnp.isin(golden.inputs["triangle"], jnp.asarray(golden.config["lips_triangles"]))
        with jax.default_matmul_precision("highest"):
            condition = model.region_condition(
                jnp.atleast_2d(golden.inputs["expression"]),
                lips.astype(jnp.float32),
                config=dataclasses.replace(field, expression_region="lips", pose=False),
            )
            color, sigma, geometry = jax.jit(
                lambda p, x, d, c, field=field, grid=grid: model.head_field(
                    p, x, d, c, config=field, grid=grid
                )
            )(params, (x + bound) / (2 * bound), golden.inputs["directions"], condition)
        outputs = {"condition": condition.T, "sigma": sigma, "color": color, "geometry": geometry}
        for name, value in outputs.items():
            goldens_reader.compare(f"{golden.name}/{name}", value, golden.outputs[name])


def test_golden_state_dict_converts_both_ways(goldens):
    for golden in goldens_reader.known_goldens(goldens, system="avatar", module="NeRFNetwork"):
        grid, _, _ = published_field(golden)
        back = head_to_insta(head_from_insta(golden.weights, grid))
        assert back.keys() == golden.weights.keys()
        for name, value in back.items():
            np.testing.assert_array_equal(value, golden.weights[name])


def test_foreign_names_and_shapes_are_refused():
    grid = HashGridConfig(levels=2, log2_size=6, base_resolution=2, finest_resolution=4)
    table = np.zeros((grid.entries, grid.features), np.float32)
    good = {
        "encoder.embeddings": table,
        "sigma_net.0.weight": np.zeros((16, 4)),
        "color_net.0.weight": np.zeros((3, 31)),
    }
    head_from_insta(good | {"density_grid": np.zeros(3)}, grid)
    with pytest.raises(InputError, match="head.bias"):
        head_from_insta(good | {"head.bias": np.zeros(3)}, grid)
    with pytest.raises(InputError, match="embeddings"):
        head_from_insta(good | {"encoder.embeddings": table[1:]}, grid)
    with pytest.raises(InputError, match="color"):
        head_from_insta({k: v for k, v in good.items() if "color" not in k}, grid)


def test_density_does_not_depend_on_the_direction():
    params = model.init_head(jax.random.key(0), SMALL, 4)
    points = jax.random.uniform(jax.random.key(1), (7, 3))
    one, other = jax.random.normal(jax.random.key(2), (2, 7, 3))
    condition = jnp.ones((4, 7))

    def field(directions):
        unit = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
        return model.head_field(params, points, unit, condition, config=SMALL)

    assert jnp.array_equal(field(one)[1], field(other)[1])
    assert not jnp.allclose(field(one)[0], field(other)[0])


def test_points_that_stand_together_may_share_their_direction():
    params = model.init_head(jax.random.key(0), SMALL, 4)
    points = jax.random.uniform(jax.random.key(1), (12, 3))
    directions = jax.random.normal(jax.random.key(2), (4, 3))
    directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)

    def field(directions):
        return model.head_field(params, points, directions, jnp.ones((4, 12)), config=SMALL)

    for one, other in zip(field(directions), field(jnp.repeat(directions, 3, axis=0))):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_exponential_keeps_a_gradient_at_extremes():
    x = jnp.array([-100.0, -15.0, 0.0, 15.0, 80.0])
    slope = jax.vmap(jax.grad(model.bounded_exp))(x)
    np.testing.assert_allclose(slope, np.exp(np.clip(x, -15, 15)), rtol=1e-6)
    np.testing.assert_allclose(model.bounded_exp(x[1:4]), np.exp(x[1:4]), rtol=1e-6)


def test_published_size_constructs_and_runs():
    from jaxhead.systems.avatar.config import insta

    config = insta().field
    params = jax.eval_shape(lambda k: model.init_head(k, config, 16), jax.random.key(0))
    entries = sum(np.prod(t.shape) for t in params["tables"])
    assert 10e6 < entries < 40e6
    params = model.init_head(jax.random.key(0), config, 16)
    rgb, sigma, _ = model.head_field(
        params, jnp.full((8, 3), 0.5), jnp.tile(jnp.array([0.0, 0, 1]), (8, 1)), jnp.ones((16, 8)),
        config=config,
    )
    assert rgb.shape == (8, 3) and np.all(np.isfinite(sigma))


def test_torso_field_is_bounded_and_differentiable():
    config = TorsoConfig(levels=3, log2_size=8, finest_resolution=32, hidden=16)
    params = model.init_torso(jax.random.key(0), config, 6)
    points = jnp.array([[0.5, 0.5], [-3.0, 0.2], [7.0, 9.0]])

    def total(params):
        rgb, alpha = model.torso_field(params, points, jnp.ones((3, 6)), config=config)
        return jnp.sum(rgb) + jnp.sum(alpha), (rgb, alpha)

    gradient, (rgb, alpha) = jax.grad(total, has_aux=True)(params)
    assert rgb.shape == (3, 3) and alpha.shape == (3,)
    assert jnp.all((rgb >= 0) & (rgb <= 1)) and jnp.all((alpha >= 0) & (alpha <= 1))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_config_is_hashable_and_frozen():
    assert hash(SMALL) == hash(dataclasses.replace(SMALL))
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.levels = 4


@pytest.mark.parametrize("region, elsewhere", [("face", 0.0), ("lips", 1.0), ("everywhere", None)])
def test_the_condition_acts_where_its_region_says(region, elsewhere):
    expression = jnp.array([[0.5, -2.0]])
    share = jnp.array([0.0, 1.0, 0.25])
    field = FieldConfig(expression_region=region, pose=False)
    out = np.asarray(jax.jit(lambda e, s: model.region_condition(e, s, config=field))(
        expression, share
    )).T
    expression = expression[0]
    np.testing.assert_allclose(out[1], expression)
    for row, part in ((0, 0.0), (2, 0.25)):
        rest = expression if elsewhere is None else elsewhere
        np.testing.assert_allclose(out[row], part * expression + (1 - part) * rest, atol=1e-6)


def test_the_head_s_pose_acts_where_expressions_do_not():
    condition = jnp.concatenate([jnp.array([0.5, -2.0]), jnp.arange(1.0, 7.0)])[None]
    share = jnp.array([[0.0], [1.0], [0.25]])
    out = model.region_condition(condition, share[:, 0], config=FieldConfig()).T
    assert model.pose_numbers(FieldConfig()) == 6
    np.testing.assert_allclose(out[:, :2], share * condition[:, :2], atol=1e-6)
    np.testing.assert_allclose(out[:, 2:], (1 - share) * condition[:, 2:], atol=1e-6)


def test_conditions_belong_to_the_samples_of_their_frame():
    conditions = jax.random.normal(jax.random.key(0), (3, 9))
    share = jax.random.uniform(jax.random.key(1), (12,))
    whole = model.region_condition(conditions, share, config=FieldConfig())
    for n in range(3):
        part = slice(4 * n, 4 * n + 4)
        alone = model.region_condition(conditions[n, None], share[part], config=FieldConfig())
        np.testing.assert_array_equal(whole[:, part], alone)


@pytest.mark.parametrize("encoding", ["dense", "triplane"])
def test_other_encodings_of_points_learn(encoding):
    config = dataclasses.replace(
        SMALL, encoding=encoding, dense_resolution=16, plane_resolution=16, base_resolution=8
    )
    params = model.init_head(jax.random.key(0), config, 2)
    points = jax.random.uniform(jax.random.key(1), (64, 3))
    directions = jnp.broadcast_to(jnp.asarray([0.0, 0, 1]), (64, 3))
    wanted = (points > 0.5).astype(jnp.float32)

    def loss(params):
        field = model.head_field(params, points, directions, jnp.zeros((2, 64)), config=config)
        return jnp.mean((field[0] - wanted) ** 2)

    rule = optax.adam(0.02)

    @jax.jit
    def step(params, state):
        updates, state = rule.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    before, state = float(loss(params)), rule.init(params)
    for _ in range(60):
        params, state = step(params, state)
    assert float(loss(params)) < 0.2 * before


@pytest.mark.parametrize("bands", [1, 4])
def test_directions_may_be_encoded_by_waves(bands):
    config = FieldConfig(
        levels=1, log2_size=6, base_resolution=4, finest_resolution=4, hidden=8,
        geometry_features=3, direction_encoding="frequency", direction_bands=bands,
    )  # fmt: skip
    params = model.init_head(jax.random.key(0), config, 2)
    first = params["color"]["layer_0"]["kernel"]
    assert first.shape == (3 * (2 * bands + 1) + 3, 8)
    assert direction_values(FieldConfig()) == 16
    points = jnp.full((2, 3), 0.4)
    directions = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    np.testing.assert_allclose(
        encoded_directions(directions, config), frequency(directions, bands=bands)
    )

    @jax.jit
    def field(params, directions):
        return model.head_field(params, points, directions, jnp.ones((2, 2)), config=config)

    rgb, sigma, _ = field(params, directions)
    assert np.abs(rgb[0] - rgb[1]).max() > 1e-4
    np.testing.assert_array_equal(sigma[0], sigma[1])
    slope = jax.grad(lambda p: jnp.sum(field(p, directions)[0]))(params)
    assert np.all(np.any(np.asarray(slope["color"]["layer_0"]["kernel"]) != 0, axis=1)[-3:])
