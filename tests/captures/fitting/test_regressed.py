"""DECA's crops and codes, and a fit that starts from them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from captures.fitting.clips import CONFIG, FOCAL, HEIGHT, problem_of, seen, truth
from captures.fitting.small_heads import small_body, small_head, small_marks
from files import torch_pickles
from goldens_reader import known_goldens
from quick_compile import compiled

from jaxhead.captures import record
from jaxhead.captures.crop import Crop
from jaxhead.captures.fitting import fit, regressed
from jaxhead.captures.fitting.marks import MEDIAPIPE_68
from jaxhead.captures.fitting.problem import POSE, State
from jaxhead.captures.fitting.regressed import Codes, Regressor, face_crop, guess_of, regress
from jaxhead.captures.fitting.residuals import total_cost
from jaxhead.captures.fitting.solver import Solution
from jaxhead.captures.fitting.starting import start_state
from jaxhead.captures.fitting.tracked import Clip, Fittable
from jaxhead.captures.following import FaceTrack
from jaxhead.files.errors import InputError
from jaxhead.networks.deca import DecaRegressor, from_state_dict

COUNT = 24
EVERY = np.ones(COUNT, bool)


def flame(**changed):
    """The small head by FLAME's name, whose joints it has."""
    head = small_head().replace(**{"name": "flame", **changed})
    return Fittable(head, small_body(), small_marks(), CONFIG, ("left", "right"))


def codes_of(true):
    """What a regressor that knows the truth would say; later components are of no head here."""
    rng = np.random.default_rng(3)
    shape, expression = rng.normal(size=(COUNT, 100)), rng.normal(size=(COUNT, 50))
    shape[:, :4] = true.shared[1:] + 0.2 * rng.normal(size=(COUNT, 4))
    shape[0] = 40.0  # one frame that it takes for somebody else
    expression[:, :5] = true.frames[:, POSE : POSE + 5]
    return Codes(np.float32(shape), np.float32(expression), true.frames[:, 13:16])


def clip_of(pixels, status):
    size, count = (90, 120), len(status)
    face = FaceTrack(pixels, np.zeros((count, 52)), status == 0, status * 0 + 1, (), size)
    return Clip(face, pixels, status, np.arange(count) < count - 1)


def test_the_crop_is_decas():
    rows, columns = np.mgrid[:90, :120]
    frame = np.stack([columns, rows, 0 * rows + 200], -1).astype(np.uint8)
    # A box of 20 x 12 pixels around (60, 40): 16 * 1.1 * 1.25 = 22 pixels.
    points = np.array([[50.0, 40.0], [70.0, 46.0], [60.0, 34.0]]) + 0.5
    crop = 255 * face_crop(frame, points)
    assert crop.shape == (224, 224, 3) and crop.dtype == np.float32
    np.testing.assert_allclose(crop[0, :, 0], np.linspace(49, 71, 224), atol=1e-3)
    np.testing.assert_allclose(crop[:, 9, 1], np.linspace(29, 51, 224), atol=1e-3)
    np.testing.assert_allclose(crop[..., 2], 200, atol=1e-3)
    beyond = 255 * face_crop(frame, points - [60.0, 0.0])
    np.testing.assert_array_equal(beyond[:, :100], 0)
    np.testing.assert_allclose(beyond[:, 115:, 2], 200, atol=1e-3)
    assert not face_crop(frame, points + 1000.0).any()


def test_codes_of_the_measured_frames(goldens, tmp_path):
    golden = known_goldens(goldens, system="DECA", module="regressor", blocks=[1, 2, 1, 1])[0]
    torch_pickles.save(
        tmp_path / "deca_model.tar",
        {"E_flame": {k.removeprefix("E_flame."): v for k, v in golden.weights.items()}},
    )
    regressor = regressed.read_regressor(tmp_path)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (10, 90, 120, 3), np.uint8)
    pixels = rng.uniform(20, 70, (10, 478, 2))
    status = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0], np.uint8)
    told = []
    clip = clip_of(pixels, status)
    codes = regress(regressor, frames, clip, progress=lambda *done: told.append(done))
    assert told == [(8, 9), (9, 9)] and [len(part) for part in codes] == [9, 9, 9]
    crops = [face_crop(frames[k], pixels[k][list(MEDIAPIPE_68)]) for k in (1, 9)]
    crops = jnp.asarray(np.stack(crops * 4))  # the batch of a clip: one program does
    _, variables = from_state_dict(golden.weights)
    direct = np.asarray(regressed._code(regressor.config, variables, crops))[:2]
    for part, columns in zip(codes, (slice(100), slice(150, 200), slice(203, 206))):
        np.testing.assert_allclose(part[[1, 8]], direct[:, columns], rtol=2e-4, atol=1e-5)
    with pytest.raises(InputError, match="8 of 9 frames could be read again"):
        regress(regressor, frames[:-1], clip)
    last = {"kernel": jnp.full((1024, 236), jnp.nan), "bias": jnp.zeros(236)}
    broken = dataclasses.replace(
        regressor, variables={**variables, "params": {**variables["params"], "out": last}}
    )
    with pytest.raises(InputError, match=r"deca_model\.tar: E_flame gives numbers that are not"):
        regress(broken, frames, clip)


def test_the_shape_is_the_median_and_the_first_components_are_taken():
    true = truth(COUNT)
    codes = codes_of(true)
    train = np.arange(COUNT) < 9
    guess = guess_of(small_body(), codes, train)
    np.testing.assert_array_equal(guess.identity, np.median(codes.shape[:9, :4], axis=0))
    assert np.abs(guess.identity - true.shared[1:]).max() < 0.3
    np.testing.assert_array_equal(guess.numbers[:, :5], true.frames[:, POSE : POSE + 5])
    np.testing.assert_array_equal(guess.numbers[:, 7:10], true.frames[:, 13:16])
    assert not guess.numbers[:, 5:7].any() and not guess.numbers[:, 10:].any()
    wide = Codes(codes.shape[:, :2], codes.expression[:, :3], codes.jaw)
    guess = guess_of(small_body(), wide, train)
    assert not guess.identity[2:].any() and not guess.numbers[:, 3:7].any()


@pytest.mark.long
def test_a_start_near_the_truth_costs_less():
    true = truth(COUNT)
    # From afar, where scaled orthography is all but exact.
    true.frames[:, 5] += np.log(6)
    true.shared[0] += np.log(6)
    problem = problem_of(true)
    guess = guess_of(small_body(), codes_of(true), EVERY)
    pixels, one = np.asarray(problem.pixels), np.ones(problem.trust.shape)
    starts = [
        start_state(problem.body, problem.marks, pixels, one, 6 * FOCAL, own)
        for own in (None, guess)
    ]
    cost = compiled(total_cost, problem, starts[0])
    costs = [float(cost(problem, start)) for start in starts]
    assert costs[1] < 0.6 * costs[0]
    np.testing.assert_array_equal(starts[1].shared[1:], guess.identity)
    np.testing.assert_array_equal(starts[1].frames[:, POSE:], guess.numbers)


def test_every_solve_of_a_fit_starts_from_the_guess(monkeypatch):
    true = truth(COUNT)
    guess = guess_of(small_body(), codes_of(true), EVERY)
    asked = []

    def start(body, marks, pixels, trust, focal, own):
        frames = np.zeros((len(pixels), 22), np.float32)
        shared = np.zeros(5, np.float32)
        if own is not None:
            frames[:, POSE:], shared[1:] = own.numbers, own.identity
        asked.append(len(pixels))
        return State(shared, np.zeros((len(pixels), 3, 3), np.float32), frames)

    def stay(problem, state, **_):
        return Solution(state, 1.0, 1)

    monkeypatch.setattr(fit, "start_state", start)
    monkeypatch.setattr(fit, "solve", stay)
    monkeypatch.setattr(fit, "mark_errors", lambda problem, state: np.zeros(len(state.frames)))
    config = dataclasses.replace(CONFIG, fitted_frames=8, scout_frames=4, block=10, overlap=2)
    arguments = (seen(true), np.arange(COUNT), EVERY, HEIGHT, config)
    found = fit.fit_head(small_body(), small_marks(), *arguments, guess=guess)
    assert asked == [4, 4, 8, 10, 10, 10]
    np.testing.assert_array_equal(found.frames[:, POSE:], guess.numbers)
    np.testing.assert_array_equal(found.identity, guess.identity)
    plain = fit.fit_head(small_body(), small_marks(), *arguments)
    assert not plain.frames.any() and not plain.identity.any()


def test_the_tracker_starts_where_the_regressor_says(monkeypatch):
    true = truth(COUNT)
    status = np.zeros(COUNT, np.uint8)
    clip = clip_of(np.zeros((COUNT, 478, 2)), status)
    regressor = Regressor(DecaRegressor().config, {}, "deca_model.tar")
    asked = []

    def stop(clip, fittable, *, guess, progress):
        asked.append(guess)
        raise InputError("far enough")

    monkeypatch.setattr(regressed, "regress", lambda *_, **__: codes_of(true))
    monkeypatch.setattr(record, "observe", lambda face, folder: clip)
    monkeypatch.setattr(record, "decode", lambda video, fps: iter(()))
    monkeypatch.setattr(record, "fit_clip", stop)
    monkeypatch.setattr(record, "crop_of", lambda clip, size: Crop(0, 0, 90, size))
    for own in (regressor, None):
        with pytest.raises(InputError, match="far enough"):
            record.track_head(
                "v.mp4", 25.0, clip.face, flame(), 64, None, lambda *_: None,
                photometric=False, regressor=own,
            )  # fmt: skip
    np.testing.assert_array_equal(asked[0].numbers[:, 7:10], true.frames[:, 13:16])
    assert asked[1] is None


def test_other_heads_and_other_checkpoints_are_refused(tmp_path):
    for other in (flame(name="bfm"), Fittable(small_head(joints=False).replace(name="flame"),
                  small_body(joints=False), small_marks(), CONFIG)):  # fmt: skip
        with pytest.raises(InputError, match="DECA's codes are of FLAME, expected flame:PATH"):
            regressed.require_flame(other)
    regressed.require_flame(flame())
    with pytest.raises(InputError, match="no head is fitted"):
        regressed.require_flame(None)
    with pytest.raises(InputError, match=r"deca_model\.tar") as error:
        regressed.read_regressor(tmp_path)
    assert "\n" not in str(error.value)
    torch_pickles.save(tmp_path / "deca_model.tar", {"G": {"w": np.zeros(3, np.float32)}})
    with pytest.raises(InputError, match=r"deca_model\.tar: lacks E_flame"):
        regressed.read_regressor(tmp_path)
    with pytest.raises(InputError, match="DECA's codes are of FLAME"):
        record.record(
            "no.mp4", tmp_path / "c", fittable=flame(name="other"),
            regressor=Regressor(DecaRegressor().config, {}, ""),
        )  # fmt: skip
    assert not (tmp_path / "c").exists()
