import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhead.training.feeding import Feeding
from jaxhead.training.feeds import host_feed, shuffled
from jaxhead.training.system import Feed, Stage, System

COMMON = settings(max_examples=40, deadline=None)


@COMMON
@given(st.integers(1, 50), st.integers(1, 6), st.sampled_from([1, 2, 3, 4]), st.integers(0, 99))
def test_processes_are_disjoint_and_cover_every_epoch(count, local, processes, seed):
    batch = local * processes
    parts = [shuffled(count, batch, seed=seed, process=p, processes=processes)
             for p in range(processes)]  # fmt: skip
    whole = shuffled(count, batch, seed=seed)
    steps = -(-3 * count // batch)
    joined = [np.concatenate([part(s) for part in parts]) for s in range(steps)]
    np.testing.assert_array_equal(joined, [whole(s) for s in range(steps)])
    flat = np.concatenate(joined)
    for epoch in range(len(flat) // count):
        one = flat[epoch * count : (epoch + 1) * count]
        assert sorted(one) == list(range(count))


@COMMON
@given(st.integers(2, 30), st.integers(1, 8), st.integers(0, 20), st.integers(0, 5))
def test_the_position_restores_the_remaining_sequence(count, batch, stop, seed):
    feed = host_feed(lambda i: {"i": i}, count, batch, seed=seed)
    position, sequence, positions = feed.start, [], []
    for _ in range(stop + 5):
        positions.append(position)
        rows, position = feed.next(position)
        sequence.append(rows["i"])
    again = host_feed(lambda i: {"i": i}, count, batch, seed=seed)
    position = positions[stop]
    for expected in sequence[stop:]:
        rows, position = again.next(position)
        np.testing.assert_array_equal(rows["i"], expected)


def test_orders_differ_between_epochs_and_seeds():
    one, other = shuffled(100, 100, seed=1), shuffled(100, 100, seed=2)
    assert not np.array_equal(one(0), one(1)) and not np.array_equal(one(0), other(0))


@pytest.mark.parametrize("count, batch, processes", [(0, 1, 1), (5, 3, 2), (5, 0, 1)])
def test_what_cannot_be_split_is_refused(count, batch, processes):
    with pytest.raises(ValueError):
        shuffled(count, batch, seed=0, processes=processes)


def feeding(feed, devices=2, step=0, positions=None):
    stage = Stage("s", System(init=lambda key: None, updates=()), {"f": feed}, {})
    return Feeding(stage, jax.local_devices()[:devices], 4, step, positions or {})


def test_rows_are_split_over_devices_in_order_and_padded():
    made = feeding(host_feed(lambda i: {"i": i, "x": np.ones((len(i), 3))}, 100, 8, seed=0))
    try:
        assert made.positions() == {}
        made.open()
        assert made.positions() == {"f": 0}
        rows = made.rows(3)["f"]
        assert rows["x"].shape == (2, 4, 4, 3)
        expected = shuffled(100, 8, seed=0)
        for step in range(3):
            seen = np.asarray(rows["i"])[:, step].reshape(-1)
            np.testing.assert_array_equal(seen, expected(step))
        assert made.positions() == {"f": 3}
    finally:
        made.close()


def test_only_leaves_that_changed_are_copied_to_the_devices():
    base = {"still": np.arange(4.0, dtype=np.float32), "moving": np.zeros(2, np.float32)}

    def refresh(arrays, step):
        return {**arrays, "moving": np.full(2, step, np.float32)}

    made = feeding(Feed(2, None, base, refresh=refresh, refresh_every=3), step=4)
    first = dict(made.arrays["f"])
    np.testing.assert_array_equal(first["moving"], np.full((2, 2), 3))
    made.refresh(5)
    assert made.arrays["f"]["moving"] is first["moving"]
    made.refresh(6)
    assert made.arrays["f"]["still"] is first["still"]
    np.testing.assert_array_equal(made.arrays["f"]["moving"], np.full((2, 2), 6))


def test_a_refresh_that_changes_shapes_is_refused():
    def refresh(arrays, step):
        return {"x": np.zeros(2 + step, np.float32)}

    made = feeding(Feed(2, None, {"x": np.zeros(2, np.float32)}, refresh=refresh, refresh_every=1))
    with pytest.raises(ValueError, match="feed f: refresh changed"):
        made.refresh(1)
