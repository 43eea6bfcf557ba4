"""Known numbers come back from their projections."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from captures.fitting.clips import CONFIG, FOCAL, HEIGHT, seen, truth
from captures.fitting.small_heads import MARKS, small_body, small_marks

from jaxhead.captures.fitting.fit import fit_head, start_state
from jaxhead.captures.fitting.marks import marked_part
from jaxhead.captures.fitting.posing import posed
from jaxhead.captures.fitting.problem import State, frame_parts, frame_translation
from jaxhead.files.errors import InputError

COUNT = 24
# Priors that exact landmarks outweigh: what is left is the solver's own error.
EXACT = dataclasses.replace(
    CONFIG,
    deviations=dataclasses.replace(CONFIG.deviations, mark=2e-4, turn=1.0, lids=1.0, distance=5.0),
    steadiness=dataclasses.replace(
        CONFIG.steadiness, turn=1.0, place=1.0, expression=5.0, lids=5.0, joint=5.0
    ),
)


def fitted(landmarks, config, ids=None, **options):
    ids = np.arange(len(landmarks)) if ids is None else ids
    train = np.ones(len(ids), bool)
    return fit_head(small_body(), small_marks(), landmarks, ids, train, HEIGHT, config, **options)


def figures(fit, true):
    """Largest turn (degrees), place (mm), mean vertex error (mm) and focal error (percent)."""
    relative = np.einsum("nij,nkj->nik", fit.rotation, true.rotation)
    turn = np.degrees(np.arccos(((np.trace(relative, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))
    place = frame_translation(jnp.asarray(fit.frames)) - frame_translation(jnp.asarray(true.frames))

    def vertices(identity, frame):
        parts = frame_parts(small_body(), jnp.asarray(frame, jnp.float32))
        return posed(small_body(), jnp.asarray(identity), *parts, jnp.zeros(3))

    middle = len(true.frames) // 2
    error = vertices(fit.identity, fit.frames[middle]) - vertices(
        true.shared[1:], true.frames[middle]
    )
    front = np.unique(np.asarray(small_marks().corners))
    return {
        "turn": turn.max(),
        "place": 1e3 * np.linalg.norm(place, axis=1).max(),
        "vertices": 1e3 * np.linalg.norm(error, axis=1)[front].mean(),
        "focal": 100 * abs(fit.focal / FOCAL - 1),
    }


@pytest.mark.long
def test_exact_landmarks_give_everything_back():
    true = truth(COUNT)
    fit = fitted(seen(true), EXACT)
    found = figures(fit, true)
    assert fit.error.max() < 0.05
    assert found["focal"] < 0.5 and found["turn"] < 0.3
    assert found["vertices"] < 0.3 and found["place"] < 4.0
    np.testing.assert_allclose(fit.identity, true.shared[1:], atol=0.05)


@pytest.mark.long
def test_errors_that_all_frames_share_move_the_shape_less_than_independent_ones_would():
    true = truth(COUNT)
    off = {1.0: [], 20.0: []}
    for seed in range(3):
        same = np.random.default_rng(seed).normal(size=(1, 478, 2))
        for frames in off:
            config = dataclasses.replace(CONFIG, independent_frames=frames)
            fit = fitted(seen(true) + 6.0 * same, config)
            off[frames].append(np.abs(fit.identity - true.shared[1:]).mean())
    assert np.mean(off[1.0]) < 0.9 * np.mean(off[20.0]), off


@pytest.mark.long
def test_one_landmark_in_ten_may_be_anything():
    true = truth(COUNT, seed=1)
    rng = np.random.default_rng(2)
    landmarks = seen(true) + 0.3 * rng.normal(size=(COUNT, 478, 2))
    clean = figures(fitted(landmarks, CONFIG), true)
    wild = rng.uniform(size=(COUNT, MARKS)) < 0.1
    landmarks[:, :MARKS][wild] += rng.uniform(-80, 80, (wild.sum(), 2))
    dirty = figures(fitted(landmarks, CONFIG), true)
    assert dirty["turn"] < clean["turn"] + 0.6
    assert dirty["vertices"] < clean["vertices"] + 0.4
    assert dirty["focal"] < clean["focal"] + 2


@pytest.mark.long
def test_frames_without_landmarks_lie_between_their_neighbours():
    true = truth(COUNT)
    hidden = np.ones((COUNT, 478))
    hidden[10] = 0
    fit = fitted(seen(true), CONFIG, seen=hidden)
    middle = 0.5 * (fit.frames[9, 3:] + fit.frames[11, 3:])
    assert np.abs(fit.frames[10, 3:6] - middle[:3]).max() < 2e-3
    # Priors draw what nothing shows towards rest, lids more than others.
    apart = np.abs(fit.frames[10, 6:] - middle[3:])
    assert np.delete(apart, [5, 6]).max() < 0.12 and apart.max() < 0.35


@pytest.mark.long
def test_a_long_clip_in_blocks_agrees_with_itself():
    true = truth(2 * COUNT)
    short = dataclasses.replace(CONFIG, fitted_frames=COUNT)
    told = []
    fit = fitted(seen(true), short, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (2 * COUNT, 2 * COUNT) and len(told) == 3
    assert fit.error.max() < 2 * np.median(fit.error) + 0.2
    jump = np.abs(np.diff(fit.frames[:, 6:], axis=0)).max(1)
    smooth = np.abs(np.diff(true.frames[:, 6:], axis=0)).max(1)
    assert (jump < smooth + 0.15).all()


def test_the_start_is_a_pose_near_the_truth():
    true = truth(COUNT)
    still = State(0 * true.shared, true.rotation, true.frames * (np.arange(22) < 6))
    still.shared[0] = np.log(FOCAL)
    body, marks = marked_part(small_body(), small_marks())
    pixels = seen(still)[:, :MARKS]
    start = start_state(body, marks, pixels, np.ones(pixels.shape[:2]), FOCAL)
    cosine = np.einsum("nij,nij->n", start.rotation, still.rotation)
    assert np.degrees(np.arccos((cosine - 1) / 2)).max() < 8
    assert np.abs(start.frames[:, 3:6] - still.frames[:, 3:6]).max() < 0.1


def test_too_few_landmarks_or_no_training_frame():
    true = truth(4)
    few = small_marks().replace(observed=np.arange(3))
    args = (seen(true), np.arange(4))
    with pytest.raises(InputError, match="3 landmarks of the head"):
        fit_head(small_body(), few, *args, np.ones(4, bool), HEIGHT, CONFIG)
    with pytest.raises(InputError, match="no frame with landmarks"):
        fit_head(small_body(), small_marks(), *args, np.zeros(4, bool), HEIGHT, CONFIG)
