"""Batches of one size, and detail without its surroundings' brightness."""

import numpy as np

from jaxhead.captures.fitting.pictures import BATCH, blurred, evened


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


def test_evened_pictures_forget_brightness_and_keep_detail():
    rng = np.random.default_rng(0)
    picture = rng.uniform(size=(1, 32, 32, 3)).astype(np.float32)
    ramp = np.linspace(0, 5, 32, dtype=np.float32)[None, None, :, None]
    plain, lit = evened(picture, 3.0), evened(picture + ramp, 3.0)
    inner = np.s_[:, :, 12:-12]
    np.testing.assert_allclose(plain[inner], lit[inner], atol=2e-2)
    assert plain.std() > 0.8 * picture.std()
    assert evened(picture, 0.0) is picture
