import numpy as np
import pytest
from captures.small_captures import small_capture
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhead.captures.clips import clip_starts, layout_of, pack_clip, unpack_clip
from jaxhead.captures.format import load_capture
from jaxhead.captures.sheet import NODES
from jaxhead.files.arrays import pack_npz, unpack_npz
from jaxhead.files.errors import InputError

FRAMES = 6


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return load_capture(small_capture(tmp_path_factory.mktemp("clips") / "c", subject=3, sway=5))


def layout(capture, **other):
    return layout_of(capture, **({"frames": FRAMES, "margin": 0.1, "masks": True} | other))


def record(capture, first=4, **other):
    return pack_clip(capture, 7, first, capture.audio(), layout(capture, **other))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 40)), st.integers(1, 6), st.integers(1, 8))
def test_clips_are_runs_without_gaps_and_none_is_left_out(ids, frames, stride):
    ids = sorted(ids)
    starts = clip_starts(np.array(ids, np.int32), frames, stride)
    assert all(set(range(s, s + frames)) <= set(ids) for s in starts)
    possible = [s for s in ids if set(range(s, s + frames)) <= set(ids)]
    assert clip_starts(np.array(ids, np.int32), frames, 1) == possible
    assert set(starts) <= set(possible) and bool(starts) == bool(possible)


def test_a_clip_is_what_the_capture_has(capture):
    clip = unpack_clip(record(capture), "r", layout(capture))
    for place, frame in enumerate(range(4, 4 + FRAMES)):
        np.testing.assert_array_equal(clip["frames"][place], capture.frame(frame))
        np.testing.assert_array_equal(clip["masks"][place], capture.masks(frame))
    for name in ("head_to_camera", "expression", "vertices", "landmarks", "torso_motion",
                 "torso_measured", "status", "sway"):  # fmt: skip
        np.testing.assert_array_equal(clip[name], getattr(capture, name)[4 : 4 + FRAMES])
        assert clip[name].dtype == getattr(capture, name).dtype
    assert clip["sway"].any()
    np.testing.assert_array_equal(clip["sway_box"], capture.sway_box)
    np.testing.assert_array_equal(clip["K"], capture.K)
    assert clip["capture"] == 7 and clip["first"] == 4
    np.testing.assert_allclose(clip["sound"], capture.audio()[2560 - 1600 : 6400 + 1600])


@pytest.mark.parametrize("offset, frames", [(0, 6), (2, 3), (5, 1)])
def test_a_part_is_a_part_of_everything(capture, offset, frames):
    whole = unpack_clip(record(capture), "r", layout(capture))
    part = unpack_clip(record(capture), "r", layout(capture), offset=offset, frames=frames)
    inside = slice(offset, offset + frames)
    np.testing.assert_array_equal(part["frames"], whole["frames"][inside])
    for name in ("landmarks", "sway"):
        np.testing.assert_array_equal(part[name], whole[name][inside])
    np.testing.assert_array_equal(part["sway_box"], whole["sway_box"])
    assert part["first"] == 4 + offset
    begin = offset * 640
    np.testing.assert_array_equal(part["sound"], whole["sound"][begin :][: frames * 640 + 3200])


def test_sound_has_one_length_at_any_rate_and_silence_outside(tmp_path):
    capture = load_capture(small_capture(tmp_path / "c", fps=29.97))
    lengths = set()
    for first in range(14):
        given = layout(capture)
        data = pack_clip(capture, 0, first, capture.audio(), given)
        for offset in range(4):
            part = unpack_clip(data, "r", given, fields=("sound",), offset=offset, frames=3)
            lengths.add(part["sound"].shape)
        if first == 0:
            assert not unpack_clip(data, "r", given)["sound"][:1600].any()
    assert lengths == {(given.samples(3),)}


def test_without_sound_and_masks(tmp_path):
    capture = load_capture(small_capture(tmp_path / "c", sound=False))
    clip = unpack_clip(record(capture, masks=False), "r", layout(capture, masks=False))
    assert "masks" not in clip and not clip["sound"].any()
    with pytest.raises(InputError, match="r: holds no masks"):
        unpack_clip(record(capture, masks=False), "r", layout(capture))


def test_what_stands_still_is_zeros_as_wide_as_what_sways(tmp_path):
    capture = load_capture(small_capture(tmp_path / "c"))
    given = layout(capture)
    assert given.counts["sway"] == NODES and capture.sway.shape[1] == 2
    clip = unpack_clip(record(capture), "r", given, fields=("sway", "sway_box"), frames=2)
    np.testing.assert_array_equal(clip["sway"], np.zeros((2, NODES, NODES, 2), np.float32))
    np.testing.assert_array_equal(clip["sway_box"], capture.sway_box)


def test_equal_clips_are_equal_bytes(capture):
    assert record(capture) == record(capture)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a | {"frames_end": a["frames_end"][::-1]}, "frames: the ends"),
        (lambda a: a | {"frames_end": a["frames_end"][:-1]}, "frames: the ends"),
        (lambda a: a | {"frames": a["frames"][:-1]}, "frames: the ends"),
        (lambda a: a | {"masks": 0 * a["masks"]}, "masks: not a PNG"),
        (lambda a: a | {"vertices": a["vertices"][:, :1]}, "vertices is float32"),
        (lambda a: a | {"sway": a["sway"][:, 1:]}, r"sway is float32\[6, 4, 5, 2\], expected"),
        (lambda a: {k: v for k, v in a.items() if k != "sway"}, "holds no sway"),
        (lambda a: a | {"sound": a["sound"].astype(np.float64)}, "sound is float64"),
        (lambda a: {k: v for k, v in a.items() if k != "K"}, "holds no K"),
    ],
)
def test_what_does_not_fit_is_named(capture, change, words):
    data = pack_npz(change(unpack_npz(record(capture), "r")))
    with pytest.raises(InputError, match=f"r: {words}"):
        unpack_clip(data, "r", layout(capture))


def test_damaged_records_raise_nothing_else(capture):
    data, given = record(capture), layout(capture)
    rng = np.random.default_rng(0)
    for _ in range(60):
        bad = bytearray(data)
        for place in rng.integers(0, len(bad), 4):
            bad[place] = rng.integers(256)
        try:
            unpack_clip(bytes(bad), "r", given)
        except InputError as error:
            assert str(error).startswith("r")
    with pytest.raises(InputError):
        unpack_clip(data[: len(data) // 2], "r", given)


def test_a_damaged_picture_of_the_capture_is_named(tmp_path):
    folder = small_capture(tmp_path / "c")
    capture = load_capture(folder)
    (folder / "frames/000005.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"000005\.png: damaged"):
        record(capture)
