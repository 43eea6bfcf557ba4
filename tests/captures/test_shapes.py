"""Shapes smoothed in blocks equal those smoothed in memory."""

import numpy as np
import pytest

from jaxhead.captures.shapes import shape_modes, smooth_shapes
from jaxhead.captures.smoothing import choose_strength, filled_rows, smooth
from jaxhead.files.rows import RowFile

COUNT, POINTS = 600, 50


@pytest.fixture
def clip(tmp_path):
    """Shapes of the measured frames of a clip, in memory and in a file, and which those are."""
    rng = np.random.default_rng(0)
    time = np.arange(COUNT) / 25
    motion = np.stack([np.sin(3 * time), np.cos(5 * time)], 1) @ rng.normal(size=(2, 3 * POINTS))
    values = (0.01 * motion + 0.001 * rng.normal(size=motion.shape)).astype(np.float32)
    measured = np.ones(COUNT, bool)
    measured[100:103] = measured[590:] = False
    shapes = RowFile(tmp_path, (3 * POINTS,))
    shapes.append(values[measured])
    return values[measured], shapes, measured, np.arange(COUNT) < 480, 0.01 * motion


def test_the_same_as_in_memory(clip, tmp_path):
    values, shapes, measured, train, _ = clip
    modes = shape_modes(shapes, train[measured])
    loads = filled_rows(modes.loads(shapes), measured)
    result, strength = smooth_shapes(shapes, modes, loads, measured, train, tmp_path)
    assert result.shape == (COUNT, POINTS, 3) and not list(tmp_path.iterdir())
    rest = values - modes.mean - ((values - modes.mean) @ modes.rows.T) @ modes.rows
    rest = filled_rows(rest, measured)
    assert strength == choose_strength(rest[train][:, :: 3 * POINTS // 64])
    expected = smooth(rest, strength) + loads @ modes.rows + modes.mean
    np.testing.assert_allclose(result[:].reshape(COUNT, -1), expected, atol=1e-6)


def test_noise_goes_and_motion_stays(clip, tmp_path):
    values, shapes, measured, train, motion = clip
    modes = shape_modes(shapes, train[measured])
    loads = filled_rows(modes.loads(shapes), measured)
    smoothed = np.asarray(smooth_shapes(shapes, modes, loads, measured, train, tmp_path)[0])
    error = np.abs(smoothed.reshape(COUNT, -1) - motion)[measured].mean()
    assert error < 0.8 * np.abs(values - motion[measured]).mean()
