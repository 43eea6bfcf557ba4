"""A picture of a head whose parts shift from frame to frame: the shifts are found and explained."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from jaxhead.captures import sway as module
from jaxhead.captures.sheet import CELL, NODES, by_cell, make_sheet, spread
from jaxhead.captures.sway import measure_sway
from jaxhead.captures.sway_predictor import fit_sway_predictor, less_of_pose, predict_sway
from jaxhead.heads.procedural import procedural_head

SIZE, FRAMES, TRAIN = 128, 24, 19
K = np.array([[330.0, 0, 64], [0, 330.0, 64], [0, 0, 1]])


@pytest.fixture(scope="module")
def head():
    """A head without ears, beside which the sheet would be held: all but the face may sway."""
    head = procedural_head()
    ears, scalp = (head.region_names.index(name) for name in ("ears", "scalp"))
    regions = np.asarray(head.regions)
    return head.replace(regions=np.where(regions == ears, scalp, regions))


@pytest.fixture(scope="module")
def sheet(head):
    return make_sheet(head)


def test_points_lie_on_the_mesh_and_beside_it(head, sheet):
    vertices = np.asarray(head.template)
    points = sheet.points(np.stack([vertices, vertices + [0, 0, 0.05]]))
    side = CELL * (NODES - 1)
    assert points.shape == (2, side * side, 3) and points.dtype == np.float32
    moved = points[1] - points[0]
    expected = np.where(sheet.covered[:, None], [0, 0, 0.05], 0)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    assert 0.1 < sheet.covered.mean() < 0.9
    # The raster: columns rise with x, rows fall with y, all inside the box, half a pitch from it.
    grid = points[0].reshape(side, side, 3)
    np.testing.assert_allclose(np.diff(grid[..., 0], axis=1), sheet.pitch, atol=1e-4)
    np.testing.assert_allclose(np.diff(grid[..., 1], axis=0), -sheet.pitch, atol=1e-4)
    np.testing.assert_allclose(grid[-1, 0, :2], sheet.box[0] + sheet.pitch / 2, atol=1e-4)
    # On the front of the mesh: nothing of it is nearer to the viewer.
    nose = vertices[vertices[:, 2].argmax()]
    at = np.abs(grid[..., :2] - nose[:2]).sum(-1).argmin()
    assert abs(points[0, at, 2] - nose[2]) < 0.005
    assert sheet.skin.max() > 0.9 and sheet.skin[0].max() < 0.1


def test_nodes_beside_an_ear_are_held_as_those_on_skin(sheet):
    head = procedural_head()
    template, ears = np.asarray(head.template), head.region_names.index("ears")
    nodes = sheet.nodes(template)[:, :2]
    beside = template[np.asarray(head.regions) == ears][:, None, :2]
    away = np.linalg.norm(nodes - beside, axis=-1).min(0).reshape(NODES, NODES)
    near = away < 0.02
    assert near.sum() > 6 and make_sheet(head).skin[near].min() > 0.6
    assert sheet.skin[near].min() < 0.1
    nameless = head.replace(region_names=tuple(f"{name}s" for name in head.region_names))
    assert not make_sheet(nameless).skin.any()


def test_a_raised_sheet_is_bilinear_between_its_nodes(head, sheet):
    template = np.asarray(head.template)
    heights = np.random.default_rng(0).normal(size=NODES * NODES) * 0.01
    raised = sheet.raised_by(heights).raised_by(heights)
    moved = raised.points(template[None]) - sheet.points(template[None])
    expected = 2 * np.asarray(spread(jnp.asarray(heights[:, None], jnp.float32)))[:, 0]
    np.testing.assert_allclose(moved[0, :, 2], expected, atol=1e-6)
    assert not moved[..., :2].any() and not sheet.raised.any()
    nodes = sheet.nodes(template).reshape(NODES, NODES, 3)
    np.testing.assert_allclose(nodes[-1, 0, :2], sheet.box[0], atol=1e-6)
    np.testing.assert_allclose(nodes[0, -1, :2], sheet.box[1], atol=1e-6)
    side = CELL * (NODES - 1)
    points = sheet.points(template[None])[0].reshape(side, side, 3)
    np.testing.assert_allclose(nodes[1:-1, 1:-1, 2], points[CELL:-1:CELL, CELL:-1:CELL, 2])


def test_spreading_is_bilinear_between_nodes(sheet):
    axis = np.linspace(0, 1, NODES)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    lattice = np.stack([rows, 2 * columns + 1], -1).reshape(-1, 2)
    side = CELL * (NODES - 1)
    share = (np.arange(side) + 0.5) / side
    found = np.asarray(spread(jnp.asarray(lattice, jnp.float32))).reshape(side, side, 2)
    np.testing.assert_allclose(found[..., 0], np.tile(share[:, None], (1, side)), atol=1e-5)
    np.testing.assert_allclose(found[..., 1], np.tile(2 * share + 1, (side, 1)), atol=1e-5)
    grouped = np.asarray(by_cell(jnp.arange(side * side)))
    assert grouped.shape == ((NODES - 1) ** 2, CELL * CELL)
    assert grouped[1, 0] == CELL and grouped[NODES - 1, 0] == CELL * side
    assert grouped[0, CELL] == side


def clip(head, sheet):
    """Frames of a textured sheet whose upper half shifts to and fro, and the true shifts."""
    random = np.random.default_rng(0)
    side = CELL * (NODES - 1)
    texture = gaussian_filter(random.normal(size=(side, side)), 2.5)
    texture = 0.5 + 0.15 * texture / texture.std()
    time = np.arange(FRAMES)
    amount = 0.006 * np.stack([np.sin(0.7 * time), 0.5 * np.sin(0.45 * time + 1)], -1)
    amount -= amount[:TRAIN].mean(0)
    high = np.clip((sheet.beside[:, 1] - sheet.box.mean(0)[1]) / 0.05 + 0.5, 0, 1)
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    turn = np.stack([0 * time, 0.04 * np.sin(0.3 * time), 0 * time], -1)
    poses[:, :3, :3] = Rotation.from_rotvec(turn).as_matrix() @ np.diag([1.0, -1, -1])
    poses[:, 2, 3] = 0.9
    flat = sheet.points(np.asarray(head.template)[None])[0]
    depth = flat[:, 2].reshape(side, side)
    pictures = np.zeros((FRAMES, 2, SIZE, SIZE), np.uint8)
    for n in range(FRAMES):
        pictures[n, 0] = np.round(255 * np.clip(shown(
            texture, depth, high.reshape(side, side), amount[n], poses[n], sheet
        ), 0, 1))
    pictures[:, 1] = 255
    return pictures, poses, amount[:, None] * high[None, :, None]


def shown(texture, depth, high, amount, pose, sheet):
    """(SIZE, SIZE) the picture of the shifted sheet, by following every pixel's ray to it."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1)
    rays, origin = rays @ pose[:3, :3], -pose[:3, 3] @ pose[:3, :3]
    side = len(texture)

    def at(values, place):
        row = (sheet.box[1, 1] - place[..., 1]) / sheet.pitch - 0.5
        column = (place[..., 0] - sheet.box[0, 0]) / sheet.pitch - 0.5
        return map_coordinates(values, [row, column], order=1, mode="nearest")

    z = np.full((SIZE, SIZE), 0.0)
    source = np.zeros((SIZE, SIZE, 2))
    for _ in range(15):  # fixed point: where the ray meets the sheet, and where that was before
        place = origin + rays * ((z - origin[2]) / rays[..., 2])[..., None]
        source = place[..., :2] - at(high, source)[..., None] * amount
        z = at(depth, source)
    assert side == CELL * (NODES - 1)
    return at(texture, source)


@pytest.fixture(scope="module")
def measured(head, sheet):
    pictures, poses, truth = clip(head, sheet)
    training = np.arange(FRAMES) < TRAIN
    vertices = np.tile(np.asarray(head.template), (FRAMES, 1, 1))
    steps = []
    seen = np.arange(FRAMES) != 7
    found = measure_sway(
        pictures, vertices, head, K, poses, training, seen,
        progress=lambda done, total: steps.append((done, total)),
    )
    return found, truth, poses, steps


def at_points(shifts):
    """(N, P, 2) shifts at the sheet's points."""
    rows = shifts[:, ::-1].reshape(len(shifts), -1, 2)
    return np.stack([np.asarray(spread(jnp.asarray(row))) for row in rows])


def test_shifts_of_all_frames_are_found(measured, sheet):
    found, truth, _, steps = measured
    assert found.shifts.shape == (FRAMES, NODES, NODES, 2) and found.shifts.dtype == np.float32
    # The middle of the sheet is seen by all frames and lies off the skin's own stiffness.
    middle = (np.abs(sheet.beside[:, :2] - sheet.box.mean(0)) < 0.13).all(1)
    skin = np.asarray(spread(jnp.asarray(sheet.skin.reshape(-1, 1))))[:, 0] < 0.05
    chosen = middle & skin
    assert chosen.sum() > 300
    missed = (at_points(found.shifts) - truth)[:, chosen]
    size = np.sqrt((truth[:, chosen] ** 2).mean())
    assert np.sqrt((missed**2).mean()) < 0.35 * size
    assert np.sqrt((missed[TRAIN:] ** 2).mean()) < 0.45 * size
    assert found.after < 0.5 * found.before
    total = len(module.ROUNDS) * (FRAMES - 1)
    assert steps[-1] == (total, total) and len(steps) == len(set(steps))


def test_the_mean_of_the_training_frames_stays_the_template(measured):
    found, _, _, _ = measured
    seen = np.setdiff1d(np.arange(TRAIN), [7])
    assert np.abs(found.shifts[seen].mean(0)).max() < 0.1 * np.abs(found.shifts).max()


def test_a_frame_that_was_not_measured_lies_between_its_neighbours(measured):
    found, truth, _, _ = measured
    between = 0.5 * (found.shifts[6] + found.shifts[8])
    assert np.abs(found.shifts[7] - between).max() < 0.3 * np.abs(found.shifts).max()


@pytest.mark.long
def test_held_out_frames_do_not_move_the_training_frames(head, sheet, monkeypatch):
    # Smoothing in time mixes neighbours, on purpose; its strengths come from training frames.
    monkeypatch.setattr(module, "_smoothed", lambda shifts, training, measured: shifts)
    rounds = module.Round(2.0, near=False, depth=True), module.Round(2.0, near=True, depth=False)
    monkeypatch.setattr(module, "ROUNDS", rounds)
    pictures, poses, _ = clip(head, sheet)
    vertices = np.tile(np.asarray(head.template), (FRAMES, 1, 1))
    training, seen = np.arange(FRAMES) < TRAIN, np.ones(FRAMES, bool)
    whole = measure_sway(pictures, vertices, head, K, poses, training, seen)
    changed = pictures.copy()
    changed[TRAIN:, 0] = 255 - changed[TRAIN:, 0]
    other = measure_sway(changed, vertices, head, K, poses, training, seen)
    np.testing.assert_array_equal(whole.shifts[:TRAIN], other.shifts[:TRAIN])
    assert not np.allclose(whole.shifts[TRAIN:], other.shifts[TRAIN:], atol=1e-3)


@pytest.mark.long
def test_what_cannot_be_registered_is_filled_in(head, sheet):
    pictures, poses, _ = clip(head, sheet)
    vertices = np.tile(np.asarray(head.template), (FRAMES, 1, 1))
    training, seen = np.arange(FRAMES) < TRAIN, np.ones(FRAMES, bool)
    pictures[9, 0] = 255 - pictures[9, 0]
    found = measure_sway(pictures, vertices, head, K, poses, training, seen).shifts
    between = 0.5 * (found[8] + found[10])
    assert np.abs(found).max() < module.LARGEST
    assert np.abs(found[9] - between).max() < 0.3 * np.abs(found).max()


def test_sway_that_follows_the_pose_is_predicted():
    time = np.arange(120) / 25
    angle = 0.1 * np.sin(2.2 * time)
    poses = np.tile(np.eye(4), (120, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.stack([0 * angle, angle, 0 * angle], 1)).as_matrix()
    poses[:, 2, 3] = 0.9
    pattern = np.random.default_rng(0).normal(size=(3, 3, 2))
    shifts = 0.01 * angle[:, None, None, None] * pattern
    predictor = fit_sway_predictor(poses, shifts, np.arange(96))
    guess = predict_sway(predictor, poses)
    assert guess.shape == (120, 3, 3, 2) and guess.dtype == np.float32
    assert np.abs(guess[96:] - shifts[96:]).max() < 0.2 * np.abs(shifts).max()
    assert float(predictor.error) < 0.2 * np.sqrt((shifts**2).mean())
    still = predict_sway(fit_sway_predictor(poses, shifts, np.array([], int)), poses)
    assert not still.any()
    # What follows the pose can be taken away, in part or whole.
    own = 0.0003 * np.random.default_rng(1).normal(size=shifts.shape)
    both, ids = shifts + own, np.arange(96)
    whole, half, none = (less_of_pose(poses, both, ids, kept) for kept in (1.0, 0.5, 0.0))
    assert whole is both and none.dtype == np.float32
    np.testing.assert_allclose(half, 0.5 * (both + none), atol=1e-7)
    assert np.abs(none - own).mean() < 0.3 * np.abs(shifts).mean()
