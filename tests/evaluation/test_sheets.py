"""Picture sheets."""

import numpy as np
import pytest

from jaxhead.evaluation import sheets


def _row(seed, truth=True):
    rng = np.random.default_rng(seed)
    rgb = rng.uniform(0, 1, (24, 32, 3)).astype(np.float32)
    return {
        "label": f"frame {seed}",
        "truth": sheets.to_uint8(rgb) if truth else None,
        "rgb": rgb,
        "alpha": np.ones((24, 32), np.float32),
        "depth": rng.uniform(0.5, 1.0, (24, 32)).astype(np.float32),
    }


def test_sheet_has_four_columns_and_a_row_per_frame():
    sheet = sheets.picture_sheet([_row(0), _row(1), _row(2, truth=False)])
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 4 * 32 and sheet.shape[0] > 3 * 24
    last = sheet[-24:]
    np.testing.assert_array_equal(last[20:, :32], 0)
    np.testing.assert_array_equal(last[20:, 32:64], sheets.to_uint8(_row(2)["rgb"])[20:])
    with pytest.raises(ValueError):
        sheets.picture_sheet([])


def test_to_uint8_rounds_and_clips():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan])
    assert sheets.to_uint8(values).tolist() == [0, 0, 128, 255, 255, 0]


def test_error_is_black_where_equal_and_white_where_far():
    a = np.zeros((2, 2, 3), np.uint8)
    assert not sheets.error_picture(a, a).any()
    assert (sheets.error_picture(a, a + 200) == 255).all()


def test_depth_is_bright_near_and_black_behind():
    depth = np.linspace(0.5, 1.0, 64, dtype=np.float32).reshape(8, 8)
    alpha = np.ones((8, 8), np.float32)
    alpha[0, 0] = 0.0
    picture = sheets.depth_picture(depth, alpha)
    assert picture[0, 1, 0] > picture[7, 7, 0] > 0 and not picture[0, 0].any()
    assert not sheets.depth_picture(depth, 0 * alpha).any()
    flat = sheets.depth_picture(np.ones((4, 4)), np.ones((4, 4)))
    assert (flat == 255).all()
