"""Rows on disk behave like the rows of an array."""

import numpy as np
import pytest

from jaxhead.files.rows import RowFile


@pytest.fixture
def filled(tmp_path):
    rows = RowFile(tmp_path, (3, 2))
    values = np.random.default_rng(0).normal(size=(700, 3, 2)).astype(np.float32)
    for start in range(0, 700, 90):
        rows.append(values[start : start + 90])
    return rows, values


@pytest.mark.parametrize(
    "index",
    [
        5,
        -1,
        np.int64(3),
        slice(None),
        slice(10, 20),
        slice(690, 900),
        slice(20, 10),
        slice(None, None, 7),
        [3, 4, 5, 5, 2, -1],
        np.arange(700) % 3 == 0,
        np.zeros(0, int),
    ],
)
def test_reading_is_that_of_an_array(filled, index):
    rows, values = filled
    np.testing.assert_array_equal(rows[index], values[index])


def test_shape_blocks_and_whole(filled):
    rows, values = filled
    assert (len(rows), rows.shape, rows.ndim, rows.nbytes) == (700, (700, 3, 2), 3, values.nbytes)
    assert [len(block) for block in rows.blocks(300)] == [300, 300, 100]
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks(300))), values)
    np.testing.assert_array_equal(np.asarray(rows, np.float64), values.astype(np.float64))


def test_rows_are_replaced_and_converted(filled):
    rows, values = filled
    part = rows[100:103]
    rows[100:103] = np.ones((3, 3, 2))
    np.testing.assert_array_equal(part, values[100:103])
    assert (rows[100:103] == 1).all() and (rows[103] == values[103]).all()


def test_misuse_is_named(filled):
    rows, _ = filled
    for index in (700, -701, (1, 2), np.zeros((2, 2), int)):
        with pytest.raises(IndexError):
            rows[index]
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        rows.append(np.zeros((1, 2, 3)))
    with pytest.raises(IndexError):
        rows[0:3] = np.zeros((2, 3, 2))


def test_nothing_lies_in_the_folder(filled, tmp_path):
    assert not list(tmp_path.iterdir())
