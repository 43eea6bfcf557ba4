"""Requests for renders: options that contradict, backgrounds, sound in step with the frames."""

import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.files.images import write_image
from jaxhead.rendering.requests import (
    Background,
    RenderOptions,
    audio_of_frames,
    background_pixels,
)


def test_options_are_hashable_and_checked():
    assert hash(RenderOptions(view=(-20.0, 5.0))) == hash(RenderOptions(view=(-20.0, 5.0)))
    for wrong in (
        {"split": "validation"},
        {"torso": "guessed"},
        {"background": Background(kind="sky")},
        {"neutral": True, "expression_from": "c"},
        {"view": (1.0, 2.0), "orbit_degrees": 3.0},
    ):
        with pytest.raises(InputError):
            RenderOptions(**wrong)


def test_backgrounds_fill_the_frame(tmp_path):
    assert background_pixels(Background(), (4, 6)) is None
    assert not background_pixels(Background(kind="transparent"), (4, 6)).any()
    colour = background_pixels(Background(kind="colour", colour=(1.0, 0.5, 0.0)), (4, 6))
    assert colour.shape == (4, 6, 3) and colour.dtype == np.float32
    np.testing.assert_array_equal(colour[2, 3], np.array([1.0, 0.5, 0.0], np.float32))
    write_image(tmp_path / "b.png", np.full((8, 12, 3), 51, np.uint8))
    picture = background_pixels(Background(kind="image", path=str(tmp_path / "b.png")), (4, 6))
    np.testing.assert_allclose(picture, 0.2, atol=1e-6)


@pytest.mark.parametrize("fps", [25.0, 30.0, 23.976])
def test_sound_of_frames_keeps_each_frame_its_own_samples(fps):
    rate = 16000
    samples = np.arange(int(40 * rate / fps), dtype=np.float32)
    # Consecutive frames give one uncut piece, a gap leaves exactly the missing frames out.
    whole = audio_of_frames(samples, range(3, 20), fps=fps, rate=rate)
    np.testing.assert_array_equal(whole, samples[round(3 * rate / fps) : round(20 * rate / fps)])
    gap = audio_of_frames(samples, [3, 4, 9], fps=fps, rate=rate)
    assert gap[-1] == samples[round(10 * rate / fps) - 1]
    assert abs(len(gap) - 3 * rate / fps) <= 3
    assert audio_of_frames(None, [1], fps=fps) is None
    beyond = audio_of_frames(samples, [10_000], fps=fps, rate=rate)
    assert len(beyond) and not beyond.any()
    assert not audio_of_frames(samples, [-1, -1], fps=fps, rate=rate).any()
