"""Which vertices of a head the pixels are compared on."""

import numpy as np
from captures.fitting.small_heads import small_head, small_marks

from jaxhead.captures.fitting.pixels import within_marks
from jaxhead.captures.fitting.tracked import near_marks


def test_only_vertices_within_the_marks_outline_count():
    template, marks = np.asarray(small_head().template), small_marks()
    used, near = within_marks(marks, template), near_marks(marks, template)
    points = template[np.unique(np.asarray(marks.corners)), :2]
    low, high = points.min(0), points.max(0)
    assert used.any() and not (used & ~near).any()
    assert ((template[used, :2] >= low) & (template[used, :2] <= high)).all()
    # Vertices beside the face are near a mark all the same.
    assert (near & ~used).any()
