"""Writing a stream of pictures: video with sound, PNG sequences with alpha, meshes."""

import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from jaxhead.app import render
from jaxhead.app.render import Outputs, write_stream
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image
from jaxhead.rendering.requests import RenderStream

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZE, COUNT, RATE = (48, 64), 10, 16000


def _stream(count=COUNT, audio=True, meshes=True, capture=True, fail_at=None):
    rng = np.random.default_rng(0)
    rgb = rng.uniform(0, 1, (*SIZE, 3)).astype(np.float32)
    alpha = np.zeros(SIZE, np.float32)
    alpha[10:40, 10:50] = 0.5

    def frames():
        for index in range(count):
            if index == fail_at:
                raise KeyboardInterrupt
            yield {"rgb": rgb * alpha[..., None], "alpha": alpha, "depth": alpha}

    # One click in the middle of the fifth frame: its place shows whether the sound is in sync.
    sound = np.zeros(count * RATE // 25, np.float32)
    sound[4 * RATE // 25 + 320] = 1.0
    truth = types.SimpleNamespace(frame=lambda i: np.full((24, 32, 3), 10 * i, np.uint8))
    return RenderStream(
        frames=frames(),
        frame_ids=range(count),
        fps=25.0,
        size=SIZE,
        count=count,
        audio=sound if audio else None,
        vertices=(np.full((4, 3), i, np.float32) for i in range(count)) if meshes else None,
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32) if meshes else None,
        capture=truth if capture else None,
        notes=("the torso is predicted",),
    )


def test_video_has_every_frame_and_the_sound_in_sync(tmp_path, capsys):
    pytest.importorskip("av")
    from jaxhead.files.sound import read_audio
    from jaxhead.files.video import decode, probe

    path = tmp_path / "o.mp4"
    write_stream(_stream(), Outputs(str(path), "mp4"))
    assert "the torso is predicted" in capsys.readouterr().err
    info = probe(path)
    assert (info.width, info.height, info.frames, info.has_audio) == (64, 48, COUNT, True)
    assert len(list(decode(path))) == COUNT
    click = np.abs(read_audio(path, rate=RATE)).argmax() / RATE
    assert abs(click - (4.5 / 25)) < 1 / 25


def test_side_by_side_puts_the_truth_to_the_left(tmp_path):
    write_stream(_stream(), Outputs(str(tmp_path / "o"), "png", side_by_side=True))
    picture = read_image(tmp_path / "o" / "000003.png")
    assert picture.shape == (48, 128, 3)
    np.testing.assert_allclose(picture[:, :64], 30, atol=1)
    with pytest.raises(InputError, match="--capture"):
        write_stream(_stream(capture=False), Outputs(str(tmp_path / "p"), "png", side_by_side=True))


def test_png_sequence_with_straight_alpha(tmp_path):
    write_stream(_stream(), Outputs(str(tmp_path / "o"), "png", alpha=True))
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == [f"{i:06d}.png" for i in range(COUNT)]
    picture = read_image(tmp_path / "o" / "000000.png", mode="RGBA")
    rgb = np.random.default_rng(0).uniform(0, 1, (*SIZE, 3))
    inside = picture[..., 3] > 0
    assert inside.sum() == 30 * 40 and set(picture[..., 3][inside]) == {128}
    np.testing.assert_allclose(picture[inside][:, :3], 255 * rgb[inside], atol=1)
    assert not picture[~inside].any()


def test_meshes_beside_the_pictures(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    outputs = Outputs(str(tmp_path / "o"), "png", meshes=str(tmp_path / "m"), mesh_format="obj")
    write_stream(_stream(), outputs)
    files = sorted((tmp_path / "m").iterdir())
    assert len(files) == COUNT
    np.testing.assert_array_equal(trimesh.load(files[7], process=False).vertices, 7.0)
    with pytest.raises(InputError, match="meshes"):
        write_stream(_stream(meshes=False), outputs)


@pytest.mark.parametrize("kind", ["mp4", "png"])
def test_an_interrupted_render_leaves_nothing(tmp_path, kind):
    outputs = Outputs(str(tmp_path / f"o.{kind}"), kind, meshes=str(tmp_path / "m"))
    with pytest.raises(KeyboardInterrupt):
        write_stream(_stream(fail_at=6), outputs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "word"), [(0.1, "silence"), (3.0, "cut")])
def test_another_sound_is_fitted_and_said(tmp_path, capsys, seconds, word):
    pytest.importorskip("av")
    from jaxhead.files.sound import read_audio, write_wav

    wav = tmp_path / "speech.wav"
    write_wav(wav, np.full(int(seconds * RATE), 0.5, np.float32), RATE)
    write_stream(_stream(), Outputs(str(tmp_path / "o.mp4"), "mp4", audio=str(wav)))
    said = capsys.readouterr().err
    assert "the sound only" in said and word in said
    sound = read_audio(tmp_path / "o.mp4", rate=RATE)
    assert abs(len(sound) / RATE - COUNT / 25) < 2 / 25


def test_a_silent_stream_stays_silent(tmp_path):
    pytest.importorskip("av")
    from jaxhead.files.video import probe

    write_stream(_stream(audio=False), Outputs(str(tmp_path / "o.mp4"), "mp4"))
    assert not probe(tmp_path / "o.mp4").has_audio


LONG = """
import sys
import av, numpy as np
import jaxhead.files.video_writer
from jaxhead.app.render import Outputs, write_stream
from jaxhead.rendering.requests import RenderStream

def memory():  # kB; ru_maxrss would be at least that of the process that started this
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

minutes, fps, size = 10, 10, (48, 48)
count = 60 * fps * minutes
sound = 0.01 * np.random.default_rng(0).standard_normal(count * 16000 // fps, np.float32)
resident = [memory()]

def frames():
    alpha = np.ones(size, np.float32)
    for index in range(count):
        if index % (60 * fps) == 0:
            resident.append(memory())
        shade = np.full((*size, 3), index % 50 / 50, np.float32)
        yield {"rgb": shade, "alpha": alpha, "depth": alpha}

stream = RenderStream(
    frames=frames(), frame_ids=range(count), fps=fps, size=size, count=count, audio=sound
)
write_stream(stream, Outputs(sys.argv[1], "mp4"))
print(*resident[:3], max(*resident, memory()), file=sys.stderr)
"""


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc/self/status")
def test_ten_minutes_take_the_memory_of_one(tmp_path):
    """Their sound is held once, 38 MB; their pictures would be 41 MB as bytes."""
    pytest.importorskip("av")
    from jaxhead.files.video import probe

    command = [sys.executable, "-c", LONG, str(tmp_path / "o.mp4")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, begun, minute, most = map(int, done.stderr.splitlines()[-1].split())
    assert begun - before < 20_000, f"the sound is copied: {done.stderr}"
    assert most - minute < 20_000, f"pictures or sound pile up: {done.stderr}"
    info = probe(tmp_path / "o.mp4")
    assert (info.frames, info.has_audio) == (6000, True)
    assert info.duration == pytest.approx(600)


def test_straight_alpha_undoes_the_premultiplication():
    alpha = np.array([[0.0, 0.25, 1.0]], np.float32)
    rgb = np.array([[[0.0] * 3, [0.125] * 3, [0.75] * 3]], np.float32)
    picture = render.straight_alpha(rgb, alpha)
    assert picture[0].tolist() == [[0, 0, 0, 0], [128, 128, 128, 64], [191, 191, 191, 255]]
