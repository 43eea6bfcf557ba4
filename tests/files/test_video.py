import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from files.making import clip, number_of, picture

from jaxhead.files.errors import InputError
from jaxhead.files.video import decode, probe

pytest.importorskip("av")

GREEN = (0, 255, 0)
HOSTILE = [
    "with space.mp4",
    "quo'te\".mp4",
    "-dash.mp4",
    "ünï→.mp4",
    "a:b.mp4",
    "%03d.mp4",
    "c\nd.mp4",
]


def numbers(path, **options) -> list[int]:
    return [number_of(frame) for frame in decode(path, **options)]


def test_probe_reports_the_clip(tmp_path):
    info = probe(clip(tmp_path / "a.mp4", sound=np.zeros(32000)))
    assert (info.width, info.height, info.fps, info.frames) == (64, 48, 25.0, 50)
    assert info.duration == pytest.approx(2.0)
    assert (info.rotation, info.has_audio, info.codec) == (0, True, "h264")
    assert not probe(clip(tmp_path / "b.mp4")).has_audio


@pytest.mark.parametrize(
    "name, codec",
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.mov", "libx264"),
        ("a.webm", "libvpx"),
    ],
)
def test_a_clip_at_the_rate_comes_out_frame_by_frame(tmp_path, name, codec):
    assert numbers(clip(tmp_path / name, codec=codec)) == list(range(50))


def test_fragmented_and_fast_starting_files_are_whole(tmp_path):
    for flags in ("faststart", "frag_keyframe+empty_moov"):
        assert numbers(clip(tmp_path / f"{flags}.mp4", flags=flags)) == list(range(50))


def test_a_live_recording_states_no_length_and_is_read(tmp_path):
    path = clip(tmp_path / "a.webm", codec="libvpx", container={"live": "1"})
    assert probe(path).duration == 0
    assert numbers(path) == list(range(50))


@pytest.mark.parametrize("fps", [30, 60, 50])
def test_a_faster_clip_is_thinned_to_the_nearest_frames(tmp_path, fps):
    got = numbers(clip(tmp_path / "a.mp4", frames=fps, fps=fps))
    times = np.arange(25) / 25
    assert len(got) == 25
    assert np.abs(np.array(got) / fps - times).max() <= 0.5 / fps + 1e-6


def test_a_slower_clip_repeats_frames_of_their_own_memory(tmp_path):
    frames = list(decode(clip(tmp_path / "a.mp4", frames=10, fps=5), fps=25))
    assert [number_of(frame) for frame in frames[3:43]] == [
        n for n in range(1, 9) for _ in range(5)
    ]
    assert len(frames) == 50
    assert not np.shares_memory(frames[4], frames[5])


def test_variable_rate_is_resampled_by_time_stamps(tmp_path):
    times = [0, 40, 80, 90, 100, 300, 340, 380, 420, 460]
    got = numbers(clip(tmp_path / "a.mp4", times=times))
    stored = np.array(times) / 1000
    off = [abs(stored[number] - k / 25) for k, number in enumerate(got)]
    assert len(got) in (12, 13)
    assert np.allclose(off, [np.abs(stored - k / 25).min() for k in range(len(got))])


def test_time_counts_from_the_first_frame(tmp_path):
    times = [1000 + 40 * i for i in range(10)]
    assert numbers(clip(tmp_path / "a.mkv", times=times)) == list(range(10))


@pytest.mark.parametrize("rotation, corner", [(90, (0, 0)), (-90, (-1, -1)), (180, (-1, 0))])
def test_rotation_is_applied(tmp_path, rotation, corner):
    path = clip(tmp_path / "a.mp4", frames=3, rotation=rotation)
    info, frame = probe(path), next(decode(path))
    assert info.rotation == rotation % 360
    assert frame.shape == (info.height, info.width, 3)
    assert frame.shape[:2] == ((48, 64) if rotation == 180 else (64, 48))
    upright = np.rot90(picture(0), rotation // 90)
    assert np.abs(frame[corner].astype(int) - GREEN).max() < 40
    assert np.abs(frame.astype(int) - upright).mean() < 5


def test_wide_pixels_are_made_square(tmp_path):
    from fractions import Fraction

    info = probe(clip(tmp_path / "a.mp4", frames=3, aspect=Fraction(2)))
    assert (info.width, info.height) == (128, 48)


def test_max_frames_and_early_close_stop_decoding(tmp_path):
    path = clip(tmp_path / "a.mp4")
    assert numbers(path, max_frames=7) == list(range(7))
    frames = decode(path)
    next(frames)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    del frames
    if before:
        assert len(os.listdir("/proc/self/fd")) < before


@pytest.mark.parametrize(
    "name, codec, flags",
    [
        ("a.mp4", "libx264", "faststart"),
        ("a.mkv", "libx264", ""),
        ("a.mp4", "libx264", "frag_keyframe+empty_moov"),
        ("a.avi", "mpeg4", ""),
        ("a.mp4", "libx264", ""),
    ],
)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.97])
def test_a_cut_off_clip_is_an_error_that_names_file_and_second(tmp_path, name, codec, flags, share):
    options = {"flags": flags} if flags else {}
    path = clip(tmp_path / name, frames=100, codec=codec, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"second \d|cut off before its index") as error:
        list(decode(path))
    assert str(path) in str(error.value)


def test_damage_in_the_middle_names_the_second(tmp_path):
    path = clip(tmp_path / "a.mkv", frames=200)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    try:
        count = len(list(decode(path)))
    except InputError as error:
        assert "second" in str(error)
    else:
        assert count == 200  # concealed by the decoder, nothing lost


def bad_inputs(folder: pathlib.Path):
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("hello")
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile '/etc/hostname'\n")
    (folder / "folder.mp4").mkdir()
    (folder / "ftyp.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(12))
    names = [
        "empty.mp4",
        "text.mp4",
        "list.mp4",
        "concat.mp4",
        "folder.mp4",
        "ftyp.mp4",
        "none.mp4",
    ]
    odd = ["", "http://localhost/a.mp4", "concat:a|b", "file:///etc/passwd", "a\0b.mp4", "x" * 5000]
    return [str(folder / name) for name in names] + odd


def test_what_is_no_video_is_one_line(tmp_path):
    for path in bad_inputs(tmp_path):
        for function in (probe, decode):
            with pytest.raises(InputError) as error:
                function(path)
            assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no video track"):
        probe(_only_sound(tmp_path / "sound.mp4"))


def _only_sound(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


BOMB = """
import sys
import av, numpy
from jaxhead.files.errors import InputError
from jaxhead.files.video import probe

def peak():  # kB; ru_maxrss would be at least that of the process that started this one
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

before = peak()
try:
    probe(sys.argv[1])
    error = "not refused"
except InputError as refusal:
    error = refusal
print(peak() - before, error)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc/self/status")
def test_8k_is_refused_before_a_frame_is_allocated(tmp_path):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(7680, 4320, "yuv420p")))
        container.mux(stream.encode(None))
    done = subprocess.run([sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True)
    grown, _, message = done.stdout.partition(" ")
    assert "7680 x 4320" in message or "not readable" in message, done
    assert int(grown) < 20_000, done  # kB; one such frame has 50 MB


def test_a_hole_in_time_is_refused(tmp_path):
    path = clip(tmp_path / "a.mkv", times=[0, 40, 80, 900_000])
    with pytest.raises(InputError, match="no frame between second 0.08 and 900"):
        list(decode(path))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), 1e9])
def test_an_impossible_rate_is_refused(tmp_path, fps):
    with pytest.raises(InputError, match="fps"):
        decode(tmp_path / "a.mp4", fps=fps)


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_names_work(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip("plain.mp4", frames=3)
    os.rename("plain.mp4", name)
    assert numbers(name) == [0, 1, 2]


def test_memory_does_not_grow_with_length(tmp_path):
    statm = pathlib.Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc/self/statm")
    frames = decode(clip(tmp_path / "a.mp4", frames=200, size=(320, 480)))
    for _ in range(20):
        next(frames)
    before = int(statm.read_text().split()[1])
    assert sum(1 for _ in frames) == 180
    # 180 frames of 480 x 320 are 83 MB.
    assert (int(statm.read_text().split()[1]) - before) * os.sysconf("SC_PAGE_SIZE") < 30e6


def test_real_clips_have_every_frame(clips):
    for name, count in [("may_5s.mp4", 125), ("hill_8s.mp4", 200)]:
        assert sum(1 for _ in decode(clips / name)) == count
