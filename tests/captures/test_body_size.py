"""The size of the body below a head, read off the torso's silhouette."""

import numpy as np
import pytest

from jaxhead.captures import body_size

K = np.array([[300.0, 0, 64], [0, 300, 64], [0, 0, 1]])
HEAD = np.array([0.01, -0.12, 0.9])


def mask_of(lift, scale):
    """(128, 128) bool: the silhouette of the table's body, moved and scaled."""
    distance = HEAD[2] + body_size.BEHIND
    row, column = np.mgrid[:128, :128] + 0.5
    below = (row - 64) / 300 * distance - HEAD[1]
    aside = (column - 64) / 300 * distance - HEAD[0]
    half = scale * np.interp(below + lift, body_size.BELOW, body_size.HALF_WIDTH)
    return (np.abs(aside) < half) & (below > 0.1)


def fitted(*masks):
    poses = np.tile(np.eye(4), (len(masks), 1, 1))
    poses[:, :3, 3] = HEAD
    return body_size.fit_body(lambda frame: masks[frame], np.arange(len(masks)), K, poses)


@pytest.mark.parametrize("lift, scale", [(0.0, 1.0), (0.02, 1.0), (-0.015, 1.1), (0.01, 0.9)])
def test_a_silhouette_gives_the_width_of_its_rows(lift, scale):
    found = fitted(*[mask_of(lift, scale)] * 3)
    below = np.linspace(0.13, 0.25, 20)
    true = scale * np.interp(below + lift, body_size.BELOW, body_size.HALF_WIDTH)
    np.testing.assert_allclose(np.interp(below, body_size.ROWS, found), true, atol=0.005)


def test_a_narrow_neck_on_common_shoulders_is_found():
    slim = mask_of(0.0, 1.0)
    row = (np.arange(128) + 0.5 - 64) / 300 * (HEAD[2] + body_size.BEHIND) - HEAD[1]
    at = np.abs(row - 0.15) < 0.0151
    slim[at] = mask_of(0.0, 0.7)[at]
    found, usual = fitted(*[slim] * 3), fitted(*[mask_of(0.0, 1.0)] * 3)
    rows = np.array(body_size.ROWS)
    neck = np.isclose(rows, 0.15)
    assert found[neck] == pytest.approx(0.7 * 0.095, abs=0.007)
    far = rows > 0.25
    np.testing.assert_allclose(found[far], usual[far], rtol=0.1)


def test_without_an_outline_the_body_is_the_common_one():
    nothing, everything = np.zeros((128, 128), bool), np.ones((128, 128), bool)
    for mask in (nothing, everything):
        np.testing.assert_allclose(fitted(mask), body_size.COMMON, atol=1e-6)


def test_some_frames_of_many_with_another_width_change_nothing():
    usual = fitted(*[mask_of(0.01, 1.0)] * 5)
    np.testing.assert_allclose(
        fitted(*[mask_of(0.01, 1.0)] * 5, mask_of(0.01, 1.4), mask_of(0.01, 0.7)), usual, atol=1e-3
    )
