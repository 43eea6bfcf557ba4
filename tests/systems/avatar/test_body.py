"""The torso's picture laid on a body for cameras that turned."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures import body_size
from jaxhead.rendering.integrate import Rendered
from jaxhead.systems.avatar import body

K = np.array([[300.0, 0, 64], [0, 300, 64], [0, 0, 1]], np.float32)
HEAD = np.array([0.01, -0.05, 1.0], np.float32)
SIZE = (160, 128)
STILL = np.eye(2, 3, dtype=np.float32)
PLACE = body.mean_place(np.array([[*np.eye(4)[0, :3], HEAD[0]], [*np.eye(4)[1, :3], HEAD[1]],
                                  [0, 0, 1, HEAD[2]], [0, 0, 0, 1]])[None], STILL[None], K, SIZE)


def turned_about_the_head(degrees):
    """(4, 4) coordinates of a camera that went round the head, from the own camera's."""
    move = np.eye(4, dtype=np.float32)
    move[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    move[:3, 3] = HEAD - move[:3, :3] @ HEAD
    return move


@jax.jit
def _own_pixels(pixels, move, widths, motion):
    return body.own_pixels(pixels, K, move, motion, body=widths, place=PLACE, size=SIZE)


def own_pixels(pixels, move, widths=body_size.COMMON, motion=STILL):
    return _own_pixels(jnp.asarray(pixels, jnp.float32), move, jnp.array(widths), motion)


def on_the_body(below, angle, widths=body_size.COMMON):
    """(3,) a point of the body's surface in the own camera's coordinates, 0 being the front."""
    wide = np.interp(below, body_size.ROWS, widths)
    deep = np.interp(below, body_size.BELOW, body_size.HALF_DEPTH)
    away = np.array([np.sin(angle), -np.cos(angle)])
    away /= (np.abs(away) ** body._BOXY).sum() ** (1 / body._BOXY)
    return HEAD + np.array([wide * away[0], below, body_size.BEHIND + deep * away[1]])


def seen(point):
    pixel = K @ point
    return pixel[:2] / pixel[2]


def test_without_a_turn_every_pixel_is_its_own():
    pixels = np.random.default_rng(0).uniform(0, 128, (50, 2)).astype(np.float32)
    own, hit, distance = jax.jit(own_pixels)(pixels, np.eye(4, dtype=np.float32))
    assert np.isinf(distance).all()
    np.testing.assert_array_equal(own, pixels)
    assert (hit == 1).all()


def test_a_point_of_the_body_is_looked_up_where_the_own_camera_saw_it():
    for degrees in (-40, 15, 30):
        move = turned_about_the_head(degrees)
        points = [on_the_body(b, a) for b in (0.13, 0.17, 0.2, 0.3) for a in (-0.4, 0.0, 0.3)]
        pixels = np.stack([seen(move[:3, :3] @ p + move[:3, 3]) for p in points])
        own, hit, _ = own_pixels(pixels, move)
        assert (hit == 1).all()
        np.testing.assert_allclose(own, np.stack([seen(p) for p in points]), atol=0.3)


def test_the_body_is_as_far_as_it_stands_and_farther_for_small_turns():
    for degrees, more in ((-40, 0.0), (30, 0.0), (10, (1 - np.deg2rad(10) / body._FIRM) * 0.3)):
        move = turned_about_the_head(degrees)
        points = np.stack([on_the_body(b, a) for b in (0.13, 0.17, 0.3) for a in (-0.4, 0.0, 0.3)])
        there = points @ move[:3, :3].T + move[:3, 3]
        _, hit, distance = own_pixels(np.stack([seen(p) for p in there]), move)
        assert (hit == 1).all()
        np.testing.assert_allclose(distance, np.linalg.norm(there, axis=-1) + more, atol=2e-3)
    _, hit, distance = own_pixels(np.array([[2.0, 2.0]]), move)
    assert not hit.any() and np.isinf(distance).all()


def test_the_body_stands_before_what_of_the_head_is_farther():
    alpha = jnp.array([1.0, 0.5, 1.0, 1.0, 0.0, 1.0])
    depth = jnp.array([0.9, 0.9, 0.899, 0.8, 0.0, 0.9])
    head = Rendered(jnp.zeros((6, 3)), alpha, depth * alpha)
    distance = jnp.array([0.8, 0.8, 0.894, 0.9, 0.8, jnp.inf])
    share = jax.jit(body.before_head)(head, distance)
    np.testing.assert_allclose(share, [1, 1, 0.5, 0, 0, 0], atol=1e-3)
    gradient = jax.grad(lambda d: jnp.sum(body.before_head(head._replace(depth=d), distance)))(
        head.depth
    )
    assert np.isfinite(gradient).all()


def test_broader_shoulders_are_looked_up_farther_out():
    move, wide = turned_about_the_head(25), 1.2 * np.array(body_size.COMMON)
    points = [on_the_body(b, a, wide) for b in (0.13, 0.17) for a in (-0.4, 0.0, 0.3)]
    pixels = np.stack([seen(move[:3, :3] @ p + move[:3, 3]) for p in points])
    own, hit, _ = own_pixels(pixels, move, wide)
    assert (hit == 1).all()
    np.testing.assert_allclose(own, np.stack([seen(p) for p in points]), atol=0.3)
    beside = seen(move[:3, :3] @ on_the_body(0.17, 1.5, wide) + move[:3, 3])[None]
    assert (own_pixels(beside, move, wide)[1] > 0.5).all() and not own_pixels(beside, move)[1].any()


def test_the_far_side_shows_what_the_front_shows_last_and_only_by_degrees():
    farthest = []
    for degrees, limit in ((2, 1.536), (30, body._ROUND)):
        move = turned_about_the_head(degrees)
        points = [on_the_body(0.3, -a) for a in (1.5, 1.65)]
        pixels = np.stack([seen(move[:3, :3] @ p + move[:3, 3]) for p in points])
        own, hit, _ = own_pixels(pixels, move)
        last = seen(_round(0.3, -limit))
        reached = np.asarray(own)[np.asarray(hit) > 0.5, 0]
        assert len(reached) and (reached > last[0] - 0.5).all()
        farthest.append(reached.min())
    assert farthest[0] < farthest[1] - 1


def test_the_outline_covers_its_pixels_in_part():
    for degrees in (-40, 25):
        move = turned_about_the_head(degrees)
        for below in (0.17, 0.24, 0.33):
            angles = np.linspace(-np.pi, np.pi, 4001)
            ring = np.stack([on_the_body(below, a) for a in angles]) @ move[:3, :3].T + move[:3, 3]
            across = seen(ring.T)[0]
            # The row of the ring's own outline, which is no plane's edge in the picture.
            for end, inwards in ((across.argmin(), 1.0), (across.argmax(), -1.0)):
                edge = seen(ring[end])
                steps = np.linspace(-1.5, 1.5, 61)
                pixels = np.stack([edge[0] + inwards * steps, np.full(61, edge[1])], -1)
                own, covered, distance = own_pixels(pixels, move)
                covered = np.asarray(covered)
                assert covered[0] == 0 and covered[-1] == 1 and (np.diff(covered) >= -1e-6).all()
                # The outline is slanted, at the shoulders by up to 45 degrees.
                assert 0.3 < covered[30] < 0.7
                assert np.diff(covered).max() < 0.1
                assert np.isfinite(own).all() and np.isinf(distance)[covered == 0].all()
                assert np.isfinite(distance)[covered > 0].all()


def test_a_camera_turns_away_by_degrees():
    same = turned_about_the_head(20) @ np.linalg.inv(turned_about_the_head(20))
    assert float(body.turned_away(same.astype(np.float32))) == 0
    found = [float(jax.jit(body.turned_away)(turned_about_the_head(d))) for d in (0, 5, -15, 45)]
    assert found[0] == 0 and 0.2 < found[1] < 0.3 < found[2] < found[3] == 1


def test_the_sides_are_looked_up_within_the_ends_of_the_own_cameras_row():
    move = turned_about_the_head(45)
    points = [on_the_body(b, a) for b in (0.12, 0.17) for a in (-1.3, -1.5, -1.7)]
    pixels = np.stack([seen(move[:3, :3] @ p + move[:3, 3]) for p in points])
    own, hit, _ = own_pixels(pixels, move)
    own = np.asarray(own)[np.asarray(hit) > 0.5]
    assert len(own) >= 4
    for pixel, point in zip(own, np.array(points)[np.asarray(hit) > 0.5]):
        wide = np.interp(point[1] - HEAD[1], body_size.ROWS, body_size.COMMON)
        end = seen(HEAD + np.array([-wide, point[1] - HEAD[1], body_size.BEHIND]))
        assert pixel[0] > end[0] + 0.8 * body._INSET * K[0, 0]


def _round(below, angle):
    """(3,) where `body` moves points of a greater angle to."""
    half = np.interp(below, body_size.ROWS, body_size.COMMON), np.interp(
        below, body_size.BELOW, body_size.HALF_DEPTH
    )
    at = np.array([np.sin(angle), -np.cos(angle)])
    at = np.sign(at) * np.abs(at) ** (2 / body._BOXY) * half
    return HEAD + np.array([at[0], below, body_size.BEHIND + at[1]])


def test_what_the_own_camera_did_not_see_is_its_border():
    move = turned_about_the_head(-40)
    point = on_the_body(0.42, 0.2)
    own, hit, _ = own_pixels(seen(move[:3, :3] @ point + move[:3, 3])[None], move)
    assert (hit == 1).all() and seen(point)[1] > 160
    np.testing.assert_allclose(own[0], [np.clip(seen(point)[0], 0.5, 127.5), 159.5], atol=0.3)


def test_beside_the_neck_and_beyond_the_shoulders_is_nothing():
    move = turned_about_the_head(20)
    places = HEAD + np.array([[0.15, 0.12, 0.07], [0.4, 0.3, 0.07], [0.0, 0.3, 0.07]])
    pixels = np.stack([seen(move[:3, :3] @ p + move[:3, 3]) for p in places])
    _, hit, _ = own_pixels(pixels, move)
    assert np.asarray(hit).tolist() == [False, False, True]


def test_the_body_stays_while_the_head_turns_and_moves_with_its_torso():
    random = np.random.default_rng(1)
    # A torso that steps about and heads that turn on it, about its own mean place.
    steps = random.normal(0, 6, (200, 2)) * [1, 0.5]
    motions = np.tile(np.eye(2, 3), (200, 1, 1))
    motions[..., 2] = steps
    poses = np.tile(np.eye(4), (200, 1, 1))
    poses[:, :3, 3] = HEAD + np.pad(steps, ((0, 0), (0, 1))) / 300
    poses[:, :3, 3] += random.normal(0, 0.015, (200, 3))
    place = body.mean_place(poses, motions, K, SIZE)
    np.testing.assert_allclose(place, PLACE, atol=4e-3)
    for motion in motions[:3]:
        found = jax.jit(body.carried_place, static_argnums=3)(place, motion, K, SIZE)
        stands = HEAD + np.pad(motion[:, 2], (0, 1)) / 300
        np.testing.assert_allclose(found, stands, atol=5e-3)


def test_a_torso_that_comes_nearer_carries_the_body_nearer():
    closer = np.array([[1.25, 0, -16], [0, 1.25, -20]], np.float32)
    found = body.carried_place(jnp.asarray(PLACE), closer, K, SIZE)
    pixel = closer[:, :2] @ seen(HEAD) + closer[:, 2]
    np.testing.assert_allclose(found[2], HEAD[2] / 1.25, rtol=1e-5)
    np.testing.assert_allclose(seen(np.asarray(found)), pixel, rtol=1e-5)
    grown = jax.grad(lambda m: body.carried_place(jnp.asarray(PLACE), m, K, SIZE)[2])(closer)
    assert np.isfinite(grown).all() and grown[0, 0] < 0
