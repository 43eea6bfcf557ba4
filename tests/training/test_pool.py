"""The pool of frames: bounded, a function of the step, and in the end every frame is seen."""

import numpy as np
import pytest

from jaxhead.training import pool
from jaxhead.training.pool import frame_order, resident


def test_every_beginning_of_the_order_covers_the_clip():
    for count in (1, 2, 3, 31, 32, 33, 100, 750):
        order = frame_order(count)
        assert order.dtype == np.int32 and sorted(order) == list(range(count))
        for part in (4, 16, 64):
            if part <= count:
                seen = np.sort(order[:part])
                gaps = np.diff(np.concatenate([[-1], seen, [count]]))
                assert gaps.max() <= 2 * count / part + 1, (count, part)


@pytest.mark.parametrize("slots, count", [(5, 5), (40, 100), (100, 100), (64, 65), (3, 17)])
def test_the_pool_grows_is_bounded_and_shows_every_frame(slots, count):
    rotate = 150
    options = dict(slots=slots, count=count, rotate_every=rotate)
    shown, former = set(), np.full(slots, -1)
    full_at = pool.REFRESH_EVERY * -(-max(0, slots - pool.FIRST_FRAMES) // pool.FIRST_FRAMES)
    for step in range(0, 60 * rotate, pool.REFRESH_EVERY):
        now = resident(step, **options)
        np.testing.assert_array_equal(now, resident(step, **options))
        held = now[now >= 0]
        assert now.shape == (slots,) and len(set(held)) == len(held) and held.max() < count
        # A beginning of the slots is filled, and what was resident stays while the pool grows.
        assert np.all(now[: len(held)] >= 0)
        expected = min(slots, pool.FIRST_FRAMES * (1 + step // pool.REFRESH_EVERY))
        assert len(held) == expected
        changed = int(np.sum((now != former) & (former >= 0)))
        assert changed <= max(1, slots // 4)
        assert not changed or (step > full_at and count > slots)
        shown |= set(held.tolist())
        former = now
    assert shown == set(range(count))
