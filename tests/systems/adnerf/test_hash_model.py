"""The fast variant's networks: who is told what, and that gradients reach every part."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.pose_predictor import POSE
from jaxhead.systems.adnerf import hash_model as model
from jaxhead.systems.adnerf import hash_verbs, verbs
from jaxhead.systems.adnerf.hash_system import PLAYER
from jaxhead.training.system import Shard
from tests.systems.adnerf.conftest import FAST


def test_speech_counts_at_the_mouth_and_the_pose_away_from_the_face():
    config = FAST.hash
    condition = np.random.default_rng(0).standard_normal((2, 3 + 2 + POSE), np.float32)
    shares = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.5, 0.25]])
    placed = jax.jit(lambda c, s: model.condition_by_place(c, s, config=config))(condition, shares)
    for sample, (expression, speech) in enumerate(np.asarray(shares)):
        own = np.asarray(condition[sample // 2])
        expected = [speech * own[:3], expression * own[3:5], (1 - expression) * own[5:]]
        np.testing.assert_allclose(placed[:, sample], np.concatenate(expected), atol=1e-6)


def test_the_numbers_are_bounded_and_hear_every_neighbour():
    config = FAST.hash.speech
    windows = jax.random.normal(jax.random.key(0), (8, 16, 83))
    params = model.SpeechNet(config).init(jax.random.key(1), windows)["params"]

    def numbers(x):
        return model.speech_numbers(params, x, config=config)

    assert numbers(windows).shape == (3,) and np.all(np.abs(numbers(1e6 * windows)) <= 3)
    slopes = jax.jacobian(numbers)(windows)
    assert np.all(np.abs(slopes).max((0, 2, 3)) > 0)
    both = jax.vmap(numbers)(jnp.stack([windows, 2 * windows]))
    np.testing.assert_allclose(both[0], numbers(windows), atol=1e-5)


def test_the_loss_teaches_every_part(folder, capture, fast_run):
    opened = verbs.open_run(fast_run)
    (stage,) = hash_verbs.stages(FAST, opened.spec, opened.inputs, capture)
    feed = stage.feeds["rays"]
    arrays = feed.refresh(feed.arrays, 0)
    variables = stage.system.init(jax.random.key(0))

    @jax.jit
    def gradient(arrays, variables):
        shard = Shard(offset=jnp.int32(0), count=feed.batch, total=feed.batch)
        batch = {"rays": feed.sample(arrays, None, jax.random.key(2), 0, shard)}

        def total(params):
            return stage.system.updates[0].loss(
                variables.replace(params={PLAYER: params}), {}, batch, jax.random.key(3), 0
            )[0]

        return jax.grad(total)(variables.params[PLAYER])

    found = gradient(jax.tree.map(jnp.asarray, arrays), variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.isfinite(leaf).all(), path
    for part in ("head", "torso", "speech"):
        reached = [np.any(leaf != 0) for leaf in jax.tree.leaves(found[part])]
        assert np.mean(reached) > 0.9, part
