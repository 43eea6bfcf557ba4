"""Windows against AD-NeRF's loop and its golden, neighbours, rates, lengths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.audio.windows import (
    adnerf_windows,
    check_length,
    frame_rows,
    frame_windows,
    neighbours,
)
from tests.goldens_reader import known_goldens


def _slow_windows(rows):
    """Pads by 8 zero rows and steps by 2."""
    padded = np.concatenate([np.zeros((8, rows.shape[1])), rows, np.zeros((8, rows.shape[1]))])
    return np.stack([padded[i : i + 16] for i in range(0, len(padded) - 16, 2)])


@pytest.mark.parametrize("count", [1, 7, 50])
def test_adnerf_rule(count):
    rows = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    np.testing.assert_array_equal(adnerf_windows(rows), _slow_windows(rows))


def test_smoothing_windows_give_the_golden(goldens):
    for golden in known_goldens(goldens, system="AD-NeRF", module="smoothing window"):
        windows, index = golden.inputs["auds"], np.asarray(golden.config["indices"])
        half = golden.config["smo_size"] // 2
        found = neighbours(windows, index, before=half, after=half - 1)
        codes = [_attended(golden.weights, _codes(golden.weights, np.asarray(w))) for w in found]
        golden.compare("y", np.stack(codes))
        np.testing.assert_array_equal(found[0, :half], 0)


def _conv(x, weight, bias, stride):
    """(L, C) -> (L', D), kernel 3, padding 1."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    taps = [padded[i : i + 3] for i in range(0, len(x), stride)]
    y = np.stack([np.einsum("kc,dck->d", tap, weight) for tap in taps]) + bias
    return np.where(y > 0, y, 0.02 * y)


def _named(weights, *parts):
    (name,) = [n for n in weights if all(part in n for part in parts) and n.endswith("weight")]
    return weights[name].astype(np.float64), weights[name[: -len("weight")] + "bias"]


def _codes(weights, windows):
    """AD-NeRF's AudioNet on (8, 16, 29)."""
    result = []
    for x in windows:
        for layer in (0, 2, 4, 6):
            x = _conv(x, *_named(weights, f"encoder_conv.{layer}."), stride=2)
        first, second = (_named(weights, f"encoder_fc1.{layer}.") for layer in (0, 2))
        x = first[0] @ x[0] + first[1]
        result.append(second[0] @ np.where(x > 0, x, 0.02 * x) + second[1])
    return np.stack(result)


def _attended(weights, codes):
    """AD-NeRF's AudioAttNet on (8, 64)."""
    x = codes[:, :32]
    for layer in (0, 2, 4, 6, 8):
        x = _conv(x, *_named(weights, f"attentionConvNet.{layer}."), stride=1)
    linear = _named(weights, "attentionNet.0.")
    score = linear[0] @ x[:, 0] + linear[1]
    share = np.exp(score - score.max())
    return (share / share.sum()) @ codes


@pytest.mark.parametrize(
    "rate,fps,size", [(50, 25, 16), (50, 30, 8), (25, 25, 5), (62.5, 29.97, 3)]
)
def test_any_rate_and_size(rate, fps, size):
    rows = np.arange(1, 61, dtype=np.float32)[:, None] * [1, 2]
    beyond = np.float32([-1, -2])
    frames = np.arange(-2, 40)
    run = jax.jit(functools.partial(frame_windows, rate=rate, fps=fps, size=size))
    got = np.asarray(run(rows.astype(np.float32), frames, beyond=beyond))
    assert got.shape == (len(frames), size, 2)
    for window, frame in zip(got, frames):
        start = int(np.floor(frame * rate / fps + 0.5)) - size // 2
        for row, number in zip(window, range(start, start + size)):
            np.testing.assert_array_equal(row, rows[number] if 0 <= number < 60 else beyond)


def test_rows_of_an_hour_do_not_drift():
    frames = np.array([0, 1, 3, 90_000, 107_999])
    for rate, fps in ((50, 30), (50, 60), (25, 30)):
        expected = np.floor(frames * rate / fps + 0.5)
        np.testing.assert_array_equal(frame_rows(frames, rate=rate, fps=fps), expected)


def test_ends_can_be_repeated():
    """DINet: five rows at 25 per second, two rows repeated at each end."""
    rows = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    padded = np.concatenate([rows[:1]] * 2 + [rows] + [rows[-1:]] * 2)
    got = frame_windows(rows, np.arange(6), rate=25.0, size=5, beyond=None)
    np.testing.assert_array_equal(got, [padded[t : t + 5] for t in range(6)])
    with pytest.raises(ValueError, match="at least 1"):
        frame_windows(rows[:0], 0, rate=25.0, size=5, beyond=None)


def test_no_rows_and_wrong_arguments():
    got = frame_windows(np.zeros((0, 3)), np.arange(2), rate=50, size=4, beyond=[1, 2, 3])
    np.testing.assert_array_equal(got, np.broadcast_to([1, 2, 3], (2, 4, 3)))
    with pytest.raises(ValueError, match="rate=0"):
        frame_rows(0, rate=0, fps=25)
    with pytest.raises(ValueError, match="expected"):
        frame_windows(np.zeros(3), 0, rate=50)


def test_under_jit_vmap_and_grad():
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(20, 2)), jnp.float32)
    take = lambda frame: frame_windows(rows, frame, rate=50.0, size=4)  # noqa: E731
    frames = jnp.arange(12)
    whole = jax.jit(take)(frames)
    np.testing.assert_array_equal(jax.vmap(take)(frames), whole)
    near = jax.jit(neighbours)(whole, frames)
    np.testing.assert_array_equal(jax.vmap(lambda f: neighbours(whole, f))(frames), near)
    # Every row's gradient is the number of windows in which it stands.
    count = jax.jit(jax.grad(lambda r: frame_windows(r, frames, rate=50.0, size=4).sum()))(rows)
    np.testing.assert_array_equal(count[:, 0], [2] * 20)


@pytest.mark.parametrize(
    "seconds,said",
    [(4.0, None), (4.04, None), (3.96, None), (4.1, "not used"), (3.9, "silence"), (0, "silence")],
)
def test_a_frame_more_or_less_is_nothing_to_talk_about(caplog, seconds, said):
    note = check_length(seconds, frames=100, fps=25)
    assert (note is None) == (said is None) == (not caplog.records)
    assert said is None or said in note
