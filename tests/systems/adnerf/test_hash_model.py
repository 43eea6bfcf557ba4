"""The fast variant's networks: who is told what, and that gradients reach every part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.captures.pose_predictor import POSE
from jaxhead.systems.adnerf import hash_model as model
from jaxhead.training import checkpoints
from jaxhead.training.loop import checkpoint_folder
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


@pytest.mark.long
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


def test_the_loss_teaches_every_part(fast_run):
    folder = checkpoint_folder(fast_run, "hash")
    state = checkpoints.read_checkpoint(folder, checkpoints.steps_in(folder)[-1]).state
    moments = {name: value for name, value in state.items() if ".nu." in name}
    assert all(np.isfinite(value).all() for value in moments.values())
    for part in ("head", "torso", "speech.audio", "speech.attention", "speech.numbers"):
        reached = [np.any(value != 0) for name, value in moments.items() if f".nu.{part}." in name]
        assert len(reached) > 1 and np.mean(reached) > 0.9, part
