"""Pictures come in the order of their requests, a few under way together."""

import threading

import numpy as np
import pytest

from jaxhead.rendering.in_order import AT_ONCE, in_order


def picture(request):
    return {"rgb": np.full((2, 2, 3), request)}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 20])
def test_every_picture_comes_once_and_in_order(count):
    found = [int(made["rgb"][0, 0, 0]) for made in in_order(picture, iter(range(7, 7 + count)))]
    assert found == list(range(7, 7 + count))


def test_some_are_made_together_and_few_lie_ready():
    together, read = threading.Barrier(AT_ONCE, timeout=20), []

    def requests():
        for request in range(50):
            read.append(request)
            yield request

    def render(request):
        if request < AT_ONCE:
            together.wait()
        return picture(request)

    frames = in_order(render, requests())
    for count in range(1, 10):
        next(frames)
        assert len(read) == count + AT_ONCE + 1
    frames.close()
    assert len(read) < 50


def test_what_goes_wrong_comes_out_at_its_picture():
    def render(request):
        if request == 2:
            raise FloatingPointError("the third")
        return picture(request)

    frames = in_order(render, range(10))
    for _ in range(2):
        next(frames)
    with pytest.raises(FloatingPointError, match="the third"):
        next(frames)
    assert list(frames) == []
