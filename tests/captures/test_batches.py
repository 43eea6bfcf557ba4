"""Batches of one size: every wanted frame once, the last one repeated."""

import numpy as np
import pytest

from jaxhead.captures.batches import batches


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_batches_have_one_size_and_repeat_the_last_frame(count):
    clip = [np.full((2, 2), k) for k in range(count + 2)]
    wanted = np.arange(len(clip)) > 0
    wanted[-1] = False
    made = list(batches(lambda: iter(clip), wanted, 4))
    assert all(len(ids) == len(pictures) == 4 for ids, pictures in made)
    ids = np.concatenate([ids for ids, _ in made])
    np.testing.assert_array_equal(ids[:count], np.arange(1, count + 1))
    assert (ids[count:] == count).all() and len(ids) - count < 4
    np.testing.assert_array_equal([p[0, 0] for _, batch in made for p in batch], ids)


def test_nothing_wanted_is_no_batch():
    assert not list(batches(lambda: iter([np.zeros(1)]), np.zeros(1, bool), 4))
