"""Batches of one size."""

import numpy as np

from jaxhead.captures.fitting.pictures import BATCH, blurred


def test_batches_hold_the_wanted_frames_and_repeat_the_last():
    clip = [np.full((4, 4, 3), k, np.float32) for k in range(BATCH + 5)]
    wanted = np.ones(len(clip), bool)
    wanted[[1, len(clip) - 1]] = False
    made = list(blurred(lambda: iter(clip), wanted, 1.0))
    assert [len(ids) for ids, _ in made] == [BATCH, BATCH]
    ids = np.concatenate([ids for ids, _ in made])
    np.testing.assert_array_equal(ids[: wanted.sum()], np.flatnonzero(wanted))
    assert set(ids[wanted.sum() :]) == {np.flatnonzero(wanted)[-1]}
    for ids, batch in made:
        np.testing.assert_allclose(batch[:, 0, 0, 0], ids)
