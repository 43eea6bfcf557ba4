import struct
import wave

import numpy as np
import pytest
from files.making import clip, mutated

from jaxhead.files import sound
from jaxhead.files.errors import InputError
from jaxhead.files.sound import audio_rows, read_audio, write_wav


def tone(count, rate=16000, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(count) / rate)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 624, 16000])
def test_wav_round_trip_is_within_half_a_step(tmp_path, count):
    write_wav(tmp_path / "a.wav", tone(count), 16000)
    back = read_audio(tmp_path / "a.wav")
    assert back.dtype == np.float32 and back.shape == (count,)
    assert np.abs(back - tone(count)).max(initial=0) <= 0.5 / 32768


def test_samples_beyond_one_are_clipped(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([-2.0, 2.0]), 16000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), np.float32([-1, 32767 / 32768]))
    for bad in [np.array([np.nan]), np.zeros((2, 2))]:
        with pytest.raises(ValueError, match="finite"):
            write_wav(tmp_path / "b.wav", bad, 16000)


def test_channels_are_averaged_and_pyav_is_not_needed(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.array([[1000, 3000], [-8, 8]], "<i2").tobytes())
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), [2000 / 32768, 0])
    with pytest.raises(InputError, match="PyAV"):
        read_audio(tmp_path / "a.wav", rate=8000)


@pytest.mark.parametrize("stored", [8000, 44100, 48000])
def test_other_rates_are_resampled(tmp_path, stored):
    pytest.importorskip("av")
    write_wav(tmp_path / "a.wav", tone(stored, stored), stored)
    back = read_audio(tmp_path / "a.wav")
    assert abs(len(back) - 16000) <= 40
    middle = slice(2000, 14000)
    assert np.abs(back[middle] - tone(len(back))[middle]).max() < 0.01


@pytest.mark.parametrize("stored", [1, 999, 1_000_001, 453_000_832])
def test_a_rate_that_no_recorder_has_is_refused(tmp_path, stored):
    """The filter that resamples 453 MHz alone takes seconds."""
    pytest.importorskip("av")
    write_wav(tmp_path / "a.wav", tone(2000), stored)
    with pytest.raises(InputError, match=f"sound of {stored} samples per second, expected 1000"):
        read_audio(tmp_path / "a.wav")


def test_float_wav_and_flac_are_read_and_nan_refused(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("av")
    samples = tone(3000)
    soundfile.write(tmp_path / "f.wav", samples, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "f.wav"), samples, atol=1e-6)
    soundfile.write(tmp_path / "a.flac", samples, 16000, subtype="PCM_16")
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac"), samples, atol=1e-4)
    samples[100] = np.nan
    soundfile.write(tmp_path / "n.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match="not finite"):
        read_audio(tmp_path / "n.wav")


def test_a_video_without_sound_gives_none(tmp_path):
    pytest.importorskip("av")
    assert read_audio(clip(tmp_path / "a.mp4", frames=3)) is None


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_that_starts_late_is_preceded_by_silence(tmp_path, name):
    pytest.importorskip("av")
    burst = np.zeros(16000, np.float32)
    burst[4000:4200] = 0.9
    path = clip(tmp_path / name, sound=burst, delay=0.5)
    back = read_audio(path)
    first = np.flatnonzero(np.abs(back) > 0.4)[0]
    assert abs(first - 12000) < 80
    assert np.abs(back[:6000]).max() < 0.01


@pytest.mark.parametrize("kind", ["16000", "44100", "float", "mp4", "silent", "empty"])
def test_sound_on_disk_is_that_in_memory(tmp_path, monkeypatch, kind):
    pytest.importorskip("av")
    monkeypatch.setattr(sound, "_BLOCK", 4096)
    path = tmp_path / "a.wav"
    if kind in ("16000", "44100"):
        write_wav(path, tone(30000), int(kind))
    elif kind == "empty":
        write_wav(path, tone(0), 16000)
    elif kind == "float":
        soundfile = pytest.importorskip("soundfile")
        soundfile.write(str(path), 3 * tone(20000), 16000, subtype="FLOAT")
    else:
        burst = None if kind == "silent" else tone(20000)
        path = clip(tmp_path / "a.mp4", **({} if burst is None else {"sound": burst, "delay": 0.5}))
    expected, rows = read_audio(path), audio_rows(path, folder=tmp_path)
    if kind == "silent":
        assert expected is None and rows is None
        return
    assert rows.shape == expected.shape and rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows[100:300], expected[100:300])


def test_cut_off_wavs_are_refused(tmp_path):
    pytest.importorskip("av")
    for rate in (16000, 44100):
        write_wav(tmp_path / "a.wav", tone(20000), rate)
        data = (tmp_path / "a.wav").read_bytes()
        (tmp_path / "a.wav").write_bytes(data[: len(data) // 2])
        for read in (read_audio, audio_rows):
            with pytest.raises(InputError, match="cut off .*second"):
                read(tmp_path / "a.wav")


def test_a_recording_of_unknown_length_is_read(tmp_path):
    pytest.importorskip("av")
    write_wav(tmp_path / "a.wav", tone(3000), 16000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone(3000), atol=1e-4)


def test_damage_never_raises_anything_else(tmp_path):
    pytest.importorskip("av")
    write_wav(tmp_path / "a.wav", tone(2000), 16000)
    data = (tmp_path / "a.wav").read_bytes()
    for seed in range(60):
        (tmp_path / "m.wav").write_bytes(mutated(data[: 400 if seed % 2 else None], seed))
        try:
            samples = read_audio(tmp_path / "m.wav")
            assert samples is None or np.isfinite(samples).all()
            rows = audio_rows(tmp_path / "m.wav")
            assert rows is None or np.array_equal(rows[:], samples)
        except InputError as error:
            assert str(tmp_path / "m.wav") in str(error)


def test_what_is_no_sound_is_one_line(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("#EXTM3U\n/etc/passwd")
    for path in [tmp_path / "empty.wav", tmp_path / "text.wav", tmp_path, "http://x/a.wav", ""]:
        for read in (read_audio, audio_rows):
            with pytest.raises(InputError):
                read(path)
    with pytest.raises(InputError, match="rate"):
        read_audio(tmp_path / "text.wav", rate=0)


def test_real_clips_have_sound_of_their_length(clips):
    assert len(read_audio(clips / "may_5s.mp4")) == 80000
    assert abs(len(read_audio(clips / "obama_5s.wav")) - 80213) <= 1
