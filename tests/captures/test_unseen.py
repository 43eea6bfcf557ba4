"""The guess of a head's far side, on a ball with hair that stands off evenly."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from jaxhead.captures.unseen import (
    SPOTS,
    Frame,
    Mesh,
    far_apart,
    guess_unseen,
    hair_thickness,
)
from jaxhead.geometry.meshes import vertex_normals
from tests.geometry.test_volume import icosphere

K = np.array([[220.0, 0, 64], [0, 220, 64], [0, 0, 1]])
RADIUS, HAIR = 0.09, 0.014
BOX = np.array([[-0.2] * 3, [0.2] * 3], np.float32)
RED, BLUE = (200, 30, 10), (20, 40, 220)


def pose(degrees):
    """(4, 4) of a camera 0.8 m in front of a head that turned."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = 0, 0, 0.8
    return matrix


def frame(degrees, hair=HAIR):
    """A ball whose head's left half is red and whose right half is blue."""
    row, column = np.mgrid[:128, :128] + 0.5
    rays = np.stack([(column - 64) / 220, (row - 64) / 220, np.ones_like(row)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    middle = np.array([0, 0, 0.8])
    along = rays @ middle
    off = middle @ middle - along**2
    head = off < (RADIUS + hair) ** 2
    near = along - np.sqrt(np.maximum((RADIUS + hair) ** 2 - off, 0))
    own = (near[..., None] * rays - middle) @ pose(degrees)[:3, :3]
    picture = np.where((own[..., :1] < 0), np.uint8(RED), np.uint8(BLUE))
    return Frame(np.where(head[..., None], picture, np.uint8(128)), head, head, pose(degrees))


@pytest.fixture(scope="module")
def mesh():
    vertices, faces = icosphere(3, RADIUS)
    a, b, c = np.asarray(vertices, np.float64)[faces].transpose(1, 0, 2)
    inwards = np.sum(np.cross(b - a, c - a) * a, -1) < 0
    faces = np.where(inwards[:, None], faces[:, ::-1], faces)
    return Mesh(vertices, faces, np.zeros(len(vertices), int), ("scalp",))


@pytest.fixture(scope="module")
def guess(mesh):
    frames = [frame(degrees) for degrees in (-15, 0, 15)]
    return guess_unseen(frames, K, BOX, mesh, np.ones((40, 40, 40), bool))


def test_frames_far_apart_are_the_ends_of_a_turn():
    poses = np.stack([pose(degrees) for degrees in (0, 1, 2, 20, 3, -20, 4)])
    assert {3, 5} <= set(far_apart(poses, 3).tolist())
    assert far_apart(poses[:2], 5).tolist() == [0, 1]
    np.testing.assert_array_equal(far_apart(poses[[0, 0, 0]], 2), [0])


def test_hair_is_as_thick_at_the_back_as_at_the_outline(mesh):
    normals = np.asarray(vertex_normals(mesh.vertices, mesh.faces))
    np.testing.assert_allclose(normals, mesh.vertices / RADIUS, atol=0.12)
    thickness = hair_thickness([frame(0), frame(10)], K, mesh, normals)
    np.testing.assert_allclose(thickness, HAIR, atol=0.007)
    bald = hair_thickness([frame(0, hair=0.0)], K, mesh, normals)
    assert bald.max() < 0.005
    skin = mesh._replace(names=("face",))
    assert not hair_thickness([frame(0)], K, skin, normals).any()


def test_hair_grows_behind_the_ears_down_to_the_mouth():
    names = ("face", "lips", "ears", "scalp", "neck")
    places = {  # y and z: (region, hairy)
        (0.05, 0.0): ("face", False), (-0.04, 0.05): ("lips", False), (0.0, -0.05): ("ears", False),
        (0.1, 0.0): ("scalp", True), (-0.03, -0.08): ("neck", True),
        (-0.06, -0.08): ("neck", False), (-0.03, -0.02): ("neck", False),
    }
    vertices = np.array([(0, y, z) for y, z in places])
    regions = np.array([names.index(region) for region, _ in places.values()])
    mesh = Mesh(vertices, np.zeros((0, 3), int), regions, names)
    assert mesh.hairy().tolist() == [hairy for _, hairy in places.values()]
    plain = Mesh(vertices, mesh.faces, np.minimum(regions, 1), ("face", "scalp"))
    np.testing.assert_array_equal(plain.hairy(), plain.regions == 1)


def test_the_guessed_surface_is_the_ball_s(guess):
    assert guess.points.shape == guess.normals.shape == guess.colors.shape == (SPOTS, 3)
    np.testing.assert_allclose(np.linalg.norm(guess.points, axis=-1), RADIUS + HAIR, atol=0.006)
    behind = guess.points[:, 2] > 0.03
    assert guess.hidden[behind].all()
    assert not guess.hidden[guess.points[:, 2] < -0.06].any()


def test_the_far_side_has_the_colours_of_the_near_one(guess):
    left, right = guess.points[:, 0] < -0.04, guess.points[:, 0] > 0.04
    for side, true in ((left, RED), (right, BLUE)):
        near = side & (guess.points[:, 2] < -0.04)
        assert np.abs(guess.colors[near] - np.array(true) / 255).max() < 0.02
        far = guess.colors[side & (guess.points[:, 2] > 0.03)].mean(0)
        other = np.array(BLUE if true is RED else RED) / 255
        assert np.linalg.norm(far - np.array(true) / 255) < 0.5 * np.linalg.norm(far - other)


def test_what_stands_behind_the_edge_tinges_no_guess(mesh):
    tinged = []
    for degrees in (-15, 0, 15):
        plain = frame(degrees)
        sure = ndimage.binary_erosion(plain.head, iterations=4)
        green = np.where(sure[..., None], plain.picture, np.uint8([0, 255, 0]))
        tinged.append(plain._replace(picture=green, sure=sure))
    found = guess_unseen(tinged, K, BOX, mesh, np.ones((40, 40, 40), bool))
    assert found.colors[:, 1].max() < 60 / 255
    as_sure = [f._replace(sure=f.head) for f in tinged]
    found = guess_unseen(as_sure, K, BOX, mesh, np.ones((40, 40, 40), bool))
    assert found.colors[:, 1].max() > 120 / 255


def test_the_side_that_turns_away_from_the_light_is_darker(mesh):
    """Hair lit from the front: the back is guessed darker than its nearest seen neighbours."""
    lit = []
    for degrees in (-15, 0, 15):
        plain = frame(degrees)
        row, column = np.mgrid[:128, :128] + 0.5
        x, y = (column - 64) / 220 * 0.8, (row - 64) / 220 * 0.8
        depth = np.sqrt(np.maximum((RADIUS + HAIR) ** 2 - x**2 - y**2, 0)) / (RADIUS + HAIR)
        gray = 100 * np.exp(0.4 * depth)  # the normal's part towards the camera, about
        picture = np.where(plain.head, gray, 128)[..., None] * np.ones(3)
        lit.append(plain._replace(picture=picture.astype(np.uint8)))
    found = guess_unseen(lit, K, BOX, mesh, np.ones((40, 40, 40), bool))
    level = found.colors.mean(-1) * 255
    side = np.abs(found.points[:, 2]) < 0.02
    behind = found.points[:, 2] > 0.08
    assert level[behind].mean() < 0.88 * level[side].mean()
    # Of light exp(0.4 cos) the back has exp(-0.4): what the front tells of the slope is kept.
    assert 0.55 * 100 < level[behind].mean() < 0.85 * 100
    np.testing.assert_array_less(level, 160)


def test_air_behind_the_head_is_emptied_and_hair_and_what_is_seen_stay(guess):
    axis = (np.arange(40) + 0.5) / 40 * 0.4 - 0.2
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    shadow = (np.hypot(x, y) < 0.03) & (z > RADIUS + HAIR + 0.015) & (z < 0.15)
    assert not guess.cells[shadow].any()
    assert guess.cells[radius < RADIUS + HAIR - 0.005].all()
    assert guess.cells[(z < -0.12)].all() and guess.cells[np.hypot(x, y) > 0.15].all()


def test_cells_that_are_not_allowed_stay_out(mesh):
    allowed = np.random.default_rng(0).random((20, 20, 20)) < 0.5
    found = guess_unseen([frame(0)], K, BOX, mesh, allowed)
    assert not found.cells[~allowed].any() and found.cells.any()


def test_a_mesh_of_holes_alone_has_no_place(mesh):
    hollow = mesh._replace(names=("mouth",))
    found = guess_unseen([frame(0)], K, BOX, hollow, np.ones((8, 8, 8), bool))
    assert found.points.shape == (0, 3) and found.hidden.shape == (0,)
