import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxhead.training import optimizers as op


def test_exponential_schedule_meets_its_ends():
    make = jax.jit(lambda total, step: op.exponential_schedule(
        total, rate=2.0, final=0.1, warmup=0.1, hold=0.5)(step))  # fmt: skip
    values = [float(make(1000, step)) for step in (0, 50, 100, 500, 750, 1000, 2000)]
    expected = [0, 1, 2, 2, 2 * 10**-0.5, 0.2, 0.2]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)


def test_cosine_schedule_equals_optax():
    ours = op.cosine_schedule(100, rate=0.3, final=0.25)
    theirs = optax.cosine_decay_schedule(0.3, 100, alpha=0.25)
    steps = jnp.arange(0, 120, 7)
    np.testing.assert_allclose(ours(steps), theirs(steps), rtol=1e-5)


@pytest.mark.parametrize("clip, decay", [(0.0, 0.0), (0.5, 0.1)])
def test_adam_equals_optax(clip, decay):
    config = op.OptimizerConfig(rate=0.1, final=1.0, clip=clip, weight_decay=decay, eps=1e-8)
    ours = op.adam(config)(10)
    theirs = optax.adamw(0.1, b1=config.b1, b2=config.b2, eps=1e-8, weight_decay=decay)
    theirs = optax.chain(optax.clip_by_global_norm(clip), theirs) if clip else theirs
    params = {"w": jnp.arange(3.0)}
    gradient = {"w": jnp.array([1.0, -2.0, 0.5])}
    a, _ = ours.update(gradient, ours.init(params), params)
    b, _ = theirs.update(gradient, theirs.init(params), params)
    np.testing.assert_allclose(a["w"], b["w"], rtol=1e-6)


def test_groups_get_their_own_rates():
    make = op.grouped(
        lambda path: "slow" if path[0] == "table" else "fast",
        {"slow": lambda total: optax.sgd(0.0), "fast": lambda total: optax.sgd(1.0)},
    )
    params = {"table": (jnp.ones(2),), "net": {"w": jnp.ones(2)}}
    optimizer = make(jnp.int32(5))
    change, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_array_equal(change["table"][0], jnp.zeros(2))
    np.testing.assert_array_equal(change["net"]["w"], -jnp.ones(2))
