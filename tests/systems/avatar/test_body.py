"""The torso's picture laid on a body for cameras that turned."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.systems.avatar import body

K = np.array([[300.0, 0, 64], [0, 300, 64], [0, 0, 1]], np.float32)
HEAD = np.array([0.01, -0.05, 1.0], np.float32)


def turned_about_the_head(degrees):
    """(4, 4) coordinates of a camera that went round the head, from the own camera's."""
    move = np.eye(4, dtype=np.float32)
    move[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    move[:3, 3] = HEAD - move[:3, :3] @ HEAD
    return move


def on_the_body(below, angle):
    """(3,) a point of the body's surface in the own camera's coordinates, 0 being the front."""
    wide, deep = (np.interp(below, body.BELOW, s) for s in (body.HALF_WIDTH, body.HALF_DEPTH))
    aside, ahead = wide * np.sin(angle), -deep * np.cos(angle)
    return HEAD + np.array([aside, below, body.BEHIND + ahead])


def seen(point):
    pixel = K @ point
    return pixel[:2] / pixel[2]


def test_without_a_turn_every_pixel_is_its_own():
    pixels = np.random.default_rng(0).uniform(0, 128, (50, 2)).astype(np.float32)
    own, hit = jax.jit(body.own_pixels)(pixels, K, np.eye(4, dtype=np.float32), HEAD)
    np.testing.assert_array_equal(own, pixels)
    assert hit.all()


def test_a_point_of_the_body_is_looked_up_where_the_own_camera_saw_it():
    for degrees in (-40, 15, 30):
        move = turned_about_the_head(degrees)
        points = [on_the_body(b, a) for b in (0.13, 0.17, 0.2, 0.3) for a in (-0.4, 0.0, 0.3)]
        pixels = np.stack([seen(move[:3, :3] @ p + move[:3, 3]) for p in points])
        own, hit = body.own_pixels(jnp.asarray(pixels, jnp.float32), K, move, HEAD)
        assert hit.all()
        np.testing.assert_allclose(own, np.stack([seen(p) for p in points]), atol=0.3)


def test_beside_the_neck_and_beyond_the_shoulders_is_nothing():
    move = turned_about_the_head(20)
    places = HEAD + np.array([[0.15, 0.12, 0.07], [0.4, 0.3, 0.07], [0.0, 0.3, 0.07]])
    pixels = np.stack([seen(move[:3, :3] @ p + move[:3, 3]) for p in places])
    _, hit = body.own_pixels(jnp.asarray(pixels, jnp.float32), K, move, HEAD)
    assert np.asarray(hit).tolist() == [False, False, True]
