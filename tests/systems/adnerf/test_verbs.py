"""The fast variant through the verbs: resuming, driving by sounds of every kind, refusals."""

import dataclasses
import os
import signal
import wave

import numpy as np
import pytest

from jaxhead.app.main import main
from jaxhead.captures.format import load_capture
from jaxhead.captures.synthetic import synthesize
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import Background, RenderOptions
from jaxhead.systems.adnerf import verbs
from jaxhead.training import checkpoints
from jaxhead.training.configuration import override
from jaxhead.training.loop import checkpoint_folder
from tests.systems.adnerf.conftest import FAST, trained


def state_of(run):
    folder = checkpoint_folder(run, "hash")
    return checkpoints.read_checkpoint(folder, checkpoints.steps_in(folder)[-1]).state


def pictures(run, **options):
    stream = verbs.render_stream(run, RenderOptions(**options))
    shown = list(stream.frames)
    assert len(shown) == stream.count == len(stream.frame_ids)
    assert all(np.isfinite(value).all() for frame in shown for value in frame.values())
    return stream, shown


def test_a_resumed_run_is_bit_equal(fast_run, folder, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def stop(stage, step, variables, where):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(verbs, "_sampler", lambda *_: stop)
    loop = dataclasses.replace(FAST.loop, sample_every=4)
    stopped = trained(folder, out, dataclasses.replace(FAST, loop=loop))
    assert stopped.interrupted == "SIGTERM" and stopped.step == 4
    assert trained(None, out, FAST).step == 8  # the run knows its capture
    expected, found = state_of(fast_run), state_of(out)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.tobytes() == found[name].tobytes(), name
    assert (out / "metrics.jsonl").read_bytes() == (fast_run / "metrics.jsonl").read_bytes()


def test_held_out_frames_are_rendered_from_their_own_speech(fast_run, capture):
    stream, shown = pictures(fast_run)
    assert stream.frame_ids == [12, 13, 14] and stream.size == (48, 48) and stream.fps == 25
    assert len(stream.audio) == 3 * 640 and not stream.follows_audio
    assert stream.capture.digest == capture.digest
    assert shown[0]["rgb"].shape == (48, 48, 3) and shown[0]["alpha"].max() > 0.5


@pytest.mark.parametrize("samples, rate, frames", [
    (1, 16000, 1), (624, 16000, 1), (640 * 2, 16000, 2), (8000 * 9 // 25, 8000, 9),
])  # fmt: skip
def test_a_clip_is_as_long_as_its_sound(fast_run, wav, samples, rate, frames):
    stream, _ = pictures(fast_run, audio=str(wav(samples, rate)))
    assert stream.count == frames and stream.follows_audio
    assert set(stream.frame_ids) == {-1}
    assert len(stream.audio) <= 640 * frames
    assert any("forwards and backwards" in note for note in stream.notes) == (frames > 3)


def test_stereo_at_8_khz_is_heard_as_its_mean(fast_run, tmp_path):
    left, right = (np.random.default_rng(1).integers(-9000, 9000, (2, 960))).astype("<i2")
    for name, channels in (("stereo", (left, right)), ("same", (left, left))):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((2, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.stack(channels, 1).tobytes())
    stream, shown = pictures(fast_run, audio=str(tmp_path / "stereo.wav"))
    assert stream.count == 3
    _, other = pictures(fast_run, audio=str(tmp_path / "same.wav"))
    assert any(np.any(a["rgb"] != b["rgb"]) for a, b in zip(shown, other))


def test_silence_and_clipping_are_no_trouble(fast_run, wav):
    silent, _ = pictures(fast_run, audio=str(wav(640, level=0.0)), frames=1)
    assert not silent.audio.any()
    pictures(fast_run, audio=str(wav(640, level=50.0)), frames=1)


def test_what_is_said_changes_the_picture_and_what_was_said_long_ago_does_not(fast_run, tmp_path):
    from jaxhead.files.sound import write_wav

    rng = np.random.default_rng(2)
    sounds = 0.1 * rng.standard_normal((2, 640 * 40))
    sounds[1, 640 * 20 :] = sounds[0, 640 * 20 :]
    shown = []
    for number, sound in enumerate(sounds):
        write_wav(tmp_path / f"{number}.wav", sound, 16000)
        opened = verbs.open_run(fast_run)
        clip = verbs.make_clip(
            RenderOptions(audio=str(tmp_path / f"{number}.wav")), opened.spec, opened.inputs,
            opened.config.audio,
        )
        shown.append([request["windows"] for request in opened.requests(clip)])
    assert np.any(shown[0][5] != shown[1][5])
    np.testing.assert_allclose(shown[0][35], shown[1][35], atol=2e-3)


def test_poses_of_another_capture_and_another_background(fast_run, tmp_path, wav):
    other = synthesize(tmp_path / "other", frames=6, size=48, seed=2, novel_frames=0)
    options = dict(pose_from=str(other), audio=str(wav(640 * 8)))
    stream, shown = pictures(fast_run, **options)
    assert stream.count == 8
    np.testing.assert_array_equal(shown[7]["alpha"].shape, (48, 48))
    white = Background(kind="colour", colour=(1.0, 1.0, 1.0))
    _, bright = pictures(fast_run, **options, background=white, frames=1)
    change = bright[0]["rgb"] - shown[0]["rgb"]
    clear = shown[0]["alpha"] < 0.05
    assert np.all(bright[0]["rgb"][clear] > 0.9) and np.abs(change[~clear]).min() < 0.5


def test_another_size_scales_camera_torso_and_plate(fast_run):
    opened = verbs.open_run(fast_run)
    small, big = (
        verbs.make_clip(
            RenderOptions(size=size), opened.spec, opened.inputs, opened.config.audio
        )
        for size in (None, 96)
    )
    assert big.size == (96, 96) and big.background.shape == (96, 96, 3)
    np.testing.assert_allclose(big.K[:2], 2 * small.K[:2])
    a, b = (next(opened.requests(clip))["torso_motion"] for clip in (small, big))
    np.testing.assert_allclose(b[:, 2], 2 * a[:, 2], atol=1e-5)
    np.testing.assert_array_equal(b[:, :2], a[:, :2])


def test_own_poses_are_played_as_they_are(fast_run, folder, capture):
    opened = verbs.open_run(fast_run)
    clip = verbs.make_clip(
        RenderOptions(pose_from=str(folder)), opened.spec, opened.inputs, opened.config.audio,
        own=capture.digest,
    )
    np.testing.assert_array_equal(clip.poses, capture.head_to_camera)
    assert len(clip) == 3 and clip.heard.tolist() == [12, 13, 14]


@pytest.mark.parametrize("options, word", [
    ({"neutral": True}, "neutral: not with adnerf"),
    ({"expression_from": "x"}, "expression_from: not with adnerf"),
    ({"view": (5.0, 0.0)}, "view: not with adnerf"),
    ({"orbit_degrees": 5.0}, "orbit: not with adnerf"),
    ({"audio": "gone.wav"}, "gone.wav"),
    ({"pose_from": "gone"}, "gone"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(fast_run, options, word):
    with pytest.raises(InputError, match=word):
        verbs.render_stream(fast_run, RenderOptions(**options))


def test_an_empty_sound_is_refused(fast_run, tmp_path):
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    with pytest.raises(InputError, match="empty.wav: holds no sound"):
        verbs.render_stream(fast_run, RenderOptions(audio=str(tmp_path / "empty.wav")))


def test_a_silent_capture_is_refused(tmp_path, folder, capture, monkeypatch):
    monkeypatch.setattr(type(capture), "audio", lambda self: None)
    with pytest.raises(InputError, match="has no sound"):
        trained(folder, tmp_path / "run", FAST)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_contradicts_the_run_is_refused(fast_run, folder):
    for assignment in ("hash.field.hidden=32", "audio.window=8", "field=nerf"):
        with pytest.raises(InputError, match=f"{assignment} contradicts"):
            trained(folder, fast_run, override(FAST, [assignment]))
    # How long it is and how it is driven is not part of what is learned.
    assert trained(folder, fast_run, override(FAST, ["loop.log_every=3", "hash.steps=9"])).step == 8


def test_the_command_line_drives_a_head_by_a_sound_and_scores_it(fast_run, folder, tmp_path, wav):
    pytest.importorskip("av")
    from jaxhead.files.video import probe

    out = tmp_path / "said.mp4"
    arguments = ["--audio", str(wav(640 * 5)), "--pose-from", str(folder), "--background", "white"]
    assert main(["render", str(fast_run), "--out", str(out), *arguments]) == 0
    info = probe(out)
    assert (info.frames, info.has_audio, info.width) == (5, True, 48)
    assert main(["evaluate", str(fast_run), "--out", str(tmp_path / "scores")]) == 0
    table = (tmp_path / "scores" / "scores.md").read_text()
    assert "run, from speech and pose" in table and "run, driven" not in table
    assert load_capture(folder).digest


def test_the_defaults_of_every_preset_are_written_down_and_read_back():
    from jaxhead.training.configuration import check, describe, from_document, to_document

    for preset in verbs.presets.values():
        config = preset()
        check(config)
        assert from_document(type(config), to_document(config)) == config
        assert override(verbs.presets["default"](), describe(config)) == config
