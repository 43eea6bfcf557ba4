"""Eyes that are open least are found, boxed and drawn."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmarks import blinks
from jaxhead.captures.format import load_capture
from jaxhead.captures.synthetic import synthesize
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar import verbs


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "head"
    synthesize(path, frames=10, size=64, seed=1, novel_frames=0)
    return load_capture(path)


def closed_in(capture, frame):
    """The capture with its lids at the height of their middle in one frame."""
    vertices = np.array(capture.vertices)
    eyes = np.asarray(capture.head.regions) == capture.head.region_names.index("eyes")
    for side in (vertices[frame, :, 0] > 0, vertices[frame, :, 0] <= 0):
        heights = vertices[frame, eyes & side, 1]
        vertices[frame, eyes & side, 1] = heights.mean() + 0.1 * (heights - heights.mean())
    return dataclasses.replace(capture, vertices=vertices)


def drawing_the_truth(capture, darker=0.0):
    def stream(run, options):
        ids = [int(i) for i in {"train": capture.train, "test": capture.test}[options.split]]
        frames = ({"rgb": capture.frame(i) / np.float32(255) - darker} for i in ids)
        return SimpleNamespace(frame_ids=ids, frames=frames)

    return stream


def test_the_frame_of_closed_lids_comes_first(capture, monkeypatch):
    monkeypatch.setattr(verbs, "render_stream", drawing_the_truth(capture, darker=0.1))
    found = blinks.blinks(closed_in(capture, 3), "run", "train", 3)
    assert found[0].frame == 3 and found[0].openness < 0.2 < found[1].openness
    assert [b.openness for b in found] == sorted(b.openness for b in found)
    np.testing.assert_allclose([b.psnr for b in found], 20.0, atol=1e-3)


def test_boxes_hold_both_eyes_and_little_else(capture):
    rows, columns = blinks.eye_box(capture, 0)
    head = capture.masks(0)[..., 1] > 127
    height, width = rows.stop - rows.start, columns.stop - columns.start
    assert head[rows, columns].mean() > 0.9 and 1.5 < width / height < 2.5
    assert height * width < 0.3 * head.sum()


def test_the_picture_has_two_lines_per_split(capture, monkeypatch):
    monkeypatch.setattr(verbs, "render_stream", drawing_the_truth(capture))
    rows = [blinks.blinks(capture, "run", split, count) for split, count in
            (("train", 3), ("test", 2))]
    picture = blinks.sheet(rows)
    assert picture.shape == (4 * 80, 3 * 160, 3) and not picture[160:, 320:].any()
    np.testing.assert_array_equal(picture[:80], picture[80:160])
    text = blinks.report({"train": rows[0], "test": rows[1]})
    assert text.count("\n") == 8 and "| test, mean | | | 100.00 |" in text


def test_a_head_without_eyes_is_refused(capture):
    names = tuple("face" if n == "eyes" else n for n in capture.head.region_names)
    head = capture.head.replace(region_names=names)
    with pytest.raises(InputError, match="where the eyes are"):
        blinks.openness(dataclasses.replace(capture, head=head))
