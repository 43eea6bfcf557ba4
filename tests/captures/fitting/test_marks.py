"""Landmarks of a picture and points of a mesh."""

import jax.numpy as jnp
import numpy as np
import pytest
from captures.fitting.small_heads import MARKS, small_body, small_head
from scipy.spatial.transform import Rotation

from jaxhead.captures.fitting.marks import (
    IRISES,
    MEDIAPIPE_68,
    marked_part,
    marked_points,
    marks_of,
    marks_seen,
    skull_joint,
    yaw_row,
)
from jaxhead.captures.fitting.posing import posed
from jaxhead.files.errors import InputError
from jaxhead.heads.mediapipe import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE

FRONT = np.diag([1.0, -1.0, -1.0])


def turned(degrees):
    """A head turned to its own left by so many degrees."""
    return FRONT @ Rotation.from_euler("y", degrees, degrees=True).as_matrix()


def with_landmarks(count, joints=True):
    head = small_head(joints=joints)
    rng = np.random.default_rng(1)
    return head.replace(
        landmark_faces=rng.integers(0, len(head.faces), count).astype(np.int32),
        landmark_weights=np.full((count, 3), 1 / 3, np.float32),
    )


def test_the_68_are_mediapipes_own_eyes_and_lips():
    assert set(MEDIAPIPE_68[36:42]) < set(RIGHT_EYE) and set(MEDIAPIPE_68[42:48]) < set(LEFT_EYE)
    assert set(MEDIAPIPE_68[48:60]) < set(OUTER_LIPS) and set(MEDIAPIPE_68[60:]) < set(INNER_LIPS)
    assert len(set(MEDIAPIPE_68)) == 68


def test_rows_by_yaw():
    degrees = [0, 0.4, 10, 38.6, 80, -1, -25.2, -39, -70]
    rows = [int(yaw_row(jnp.asarray(turned(d), jnp.float32))) for d in degrees]
    assert rows == [0, 0, 10, 39, 39, 40, 64, 78, 78]
    assert int(yaw_row(jnp.asarray(turned(10), jnp.float32), -1.0)) == 49


@pytest.mark.parametrize(("count", "first"), [(68, 127), (51, 70), (468, 0), (478, 0)])
def test_known_sets_are_told_by_their_number(count, first):
    head = with_landmarks(count, joints=False)
    marks = marks_of(head, small_body(joints=False))
    assert marks.corners.shape == (1, count, 3) and marks.observed[0] == first
    assert set(np.unique(marks.trust)) <= {np.float32(0.3), np.float32(1)}


def test_other_sets_are_refused_unless_numbered():
    head, body = with_landmarks(12, joints=False), small_body(joints=False)
    with pytest.raises(InputError, match="12 landmarks, expected 468"):
        marks_of(head, body)
    marks = marks_of(head, body, observed=np.arange(100, 112))
    assert marks.observed.tolist() == list(range(100, 112))
    for wrong in (np.arange(11), np.arange(470, 482)):
        with pytest.raises(InputError, match="expected 12 within 0 to 477"):
            marks_of(head, body, observed=wrong)


def test_eyeballs_of_a_flame_skeleton_show_irises():
    head, body = with_landmarks(68), small_body()
    marks = marks_of(head, body)
    assert sorted(marks.observed[-2:].tolist()) == sorted(IRISES)
    for number, corner in zip(marks.observed[-2:], marks.corners[0, -2:, 0]):
        x = body.template[corner, 0]
        assert (x < 0) == (number == IRISES[0])  # 468 is the subject's right eye
        joint = 3 if x > 0 else 4
        assert body.weights[corner, joint] > 0.9


def test_the_contour_follows_the_yaw_and_its_side_is_read_from_the_mesh():
    head, body = with_landmarks(68), small_body()
    template, faces = np.asarray(head.template), np.asarray(head.faces)
    centre = template[faces].mean(1)
    side = np.where(np.arange(17) < 8, -1, 1)

    def contour(flip):
        index = np.zeros((79, 17), np.int32)
        for row in range(79):
            yaw = flip * (row if row < 40 else 39 - row)
            wide = 0.07 - 0.0012 * np.clip(side * yaw, 0, 39)
            for k in range(17):
                goal = [side[k] * wide[k], -0.05 - 0.002 * k, 0.03]
                index[row, k] = np.linalg.norm(centre - goal, axis=1).argmin()
        return index, np.full((79, 17, 3), 1 / 3)

    for flip in (1, -1):
        dynamic = contour(flip)
        marks = marks_of(head, body, dynamic=dynamic)
        assert marks.side == flip
        part, few = marked_part(body, marks)
        rest = [jnp.zeros(n) for n in (4, 5, 2)] + [jnp.zeros((3, 3)), jnp.zeros(3)]
        part, few = marks_seen(part, few, jnp.asarray(turned(30), jnp.float32))
        points = marked_points(few, posed(part, *rest))
        row = 30 if flip > 0 else 69
        np.testing.assert_allclose(points[:17], centre[dynamic[0][row]], atol=1e-6)
    with pytest.raises(InputError, match="expected 79 x 17"):
        marks_of(head, body, dynamic=(dynamic[0][:5], dynamic[1][:5]))
    with pytest.raises(InputError, match="needs iBUG's 68"):
        marks_of(small_head(), body, observed=np.arange(MARKS), dynamic=dynamic)


def test_the_skull_is_what_most_landmarks_hang_on():
    assert skull_joint(small_head()) == 1
    assert skull_joint(small_head(joints=False)) == 0
