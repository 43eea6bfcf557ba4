"""Following one face: the largest first, then the same one; mirrored measurements."""

import numpy as np

from jaxhead.captures.following import choose_face, mean_face, mirror_face, mirror_order
from jaxhead.captures.landmarks import Face

SIZE = (200, 400)


def face(x, y, width=0.1, scores=(0.0, 0.0, 0.0)):
    rng = np.random.default_rng(0)
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = rng.uniform(-0.5, 0.5, (478, 2)) * [width, 2 * width] + [x, y]
    return Face(points, np.array(scores, np.float32), np.eye(4, dtype=np.float32))


def test_the_largest_face_comes_first():
    small, large = face(0.2, 0.5, 0.05), face(0.7, 0.5, 0.2)
    assert choose_face([small, large], None, SIZE) is large
    assert choose_face([], None, SIZE) is None


def test_then_the_nearest_even_if_another_is_larger():
    last, near, large = face(0.2, 0.5), face(0.22, 0.5), face(0.6, 0.5, 0.3)
    assert choose_face([large, near], last, SIZE) is near


def test_another_face_does_not_take_over_at_once():
    last, far = face(0.2, 0.5), face(0.8, 0.5)
    assert choose_face([far], last, SIZE) is None
    assert choose_face([far], last, SIZE, strict=False) is far


def test_mirroring_twice_is_the_identity():
    rng = np.random.default_rng(1)
    half = rng.uniform(0.01, 0.08, (234, 3)).astype(np.float32)
    order = mirror_order(np.concatenate([half, half * np.array([-1, 1, 1], np.float32)]))
    np.testing.assert_array_equal(order[order], np.arange(478))
    names = ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")
    original = face(0.3, 0.4, scores=(0.1, 0.7, 0.5))
    mirrored = mirror_face(original, order, names)
    np.testing.assert_allclose(mirrored.scores, [0.7, 0.1, 0.5])
    np.testing.assert_allclose(
        mirrored.landmarks[:, 0].mean(), 1 - original.landmarks[:, 0].mean(), rtol=1e-5
    )
    again = mirror_face(mirrored, order, names)
    np.testing.assert_allclose(again.landmarks, original.landmarks, atol=1e-6)
    np.testing.assert_allclose(again.scores, original.scores)


def test_mean_of_two_measurements():
    first, second = face(0.2, 0.5, scores=(0, 0, 1)), face(0.3, 0.5, scores=(1, 0, 0))
    mean = mean_face(first, second)
    np.testing.assert_allclose(mean.scores, [0.5, 0, 0.5])
    np.testing.assert_allclose(mean.landmarks, 0.5 * (first.landmarks + second.landmarks))
