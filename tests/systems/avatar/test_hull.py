"""Where the head may be: silhouettes and the shell around the mesh, against what they mean."""

import numpy as np

from jaxhead.captures import hull
from jaxhead.captures.hull import occupancy_prior, shell_prior, solid_cells, torso_below

BOX = np.array([[-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]])
K = np.array([[64.0, 0, 32], [0, 64, 32], [0, 0, 1]])
FRONT = np.eye(4)
FRONT[2, 3] = 0.4
R = 20


def cells_of(points, box, resolution):
    place = (points - box[0]) / (box[1] - box[0]) * resolution
    return tuple(np.clip(place.astype(int), 0, resolution - 1).T)


def centres(resolution):
    axis = (np.arange(resolution) + 0.5) / resolution
    return BOX[0] + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1) * (BOX[1] - BOX[0])


def silhouettes(poses, regions, shift=(0.0, 0.0)):
    sway = np.broadcast_to(np.asarray(shift), (len(poses), 3, 3, 2))
    return occupancy_prior(BOX, R, K, poses, regions, (64, 64), sway, BOX[:, :2])


def test_silhouettes_carve():
    everything, nothing = np.ones((64, 64), bool), np.zeros((64, 64), bool)
    left = everything.copy()
    left[:, 32:] = False

    def prior(regions, pose=FRONT):
        return silhouettes(np.stack([pose] * len(regions)), regions)

    assert prior([everything]).all()
    assert not prior([nothing]).any()
    carved = prior([left])
    x = centres(R)[..., 0]
    assert carved[x < 0].all() and not carved[x > 2 * 0.2 / R].any()
    assert np.all(prior([left]) <= prior([everything]))
    behind = FRONT.copy()
    behind[0, 3] = 10.0  # the box is outside this picture, which says nothing about it
    assert prior([nothing], behind).all()


def test_a_cell_is_looked_for_where_it_swayed_to():
    left = np.ones((64, 64), bool)
    left[:, 32:] = False
    poses = FRONT[None]
    x = centres(R)[..., 0]
    # What stands left of -0.05 at rest is left of 0 where all is 0.05 to the right.
    swayed = silhouettes(poses, [left], (0.05, 0.0))
    assert swayed[x < -0.05].all() and not swayed[x > -0.05 + 2 * 0.2 / R].any()


def test_a_frame_in_twenty_may_err():
    everything, nothing = np.ones((64, 64), bool), np.zeros((64, 64), bool)
    poses = np.stack([FRONT] * 40)
    assert silhouettes(poses, [nothing] + [everything] * 39).all()
    assert not silhouettes(poses, [nothing] * 4 + [everything] * 36).any()


def test_the_shell_reaches_as_far_as_its_region():
    axis = np.linspace(-0.1, 0.1, 21)
    x, y = np.meshgrid(axis, axis)
    vertices = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    corner = (np.arange(20)[:, None] * 21 + np.arange(20)).reshape(-1)
    faces = np.concatenate([
        np.stack([corner, corner + 1, corner + 22], -1),
        np.stack([corner, corner + 22, corner + 21], -1),
    ])  # fmt: skip
    names = ("face", "scalp")
    regions = (vertices[:, 0] > 0).astype(np.int32)
    resolution, cell = 40, 0.2 / 40
    prior = shell_prior(BOX, resolution, vertices, faces, regions, names)
    z = centres(resolution)[..., 2]
    skin = np.broadcast_to(np.arange(resolution)[:, None, None] < resolution // 2 - 3, z.shape)
    hair = np.broadcast_to(np.arange(resolution)[:, None, None] > resolution // 2 + 3, z.shape)
    for where, (outside, inside) in ((skin, hull.REACH["face"]), (hair, hull.ELSEWHERE)):
        assert prior[where & (z >= 0) & (z < outside - cell)].all()
        assert not prior[where & (z > outside + 1.5 * cell)].any()
        assert prior[where & (z < 0) & (z > cell - inside)].all()
        assert not prior[where & (z < -inside - 1.5 * cell)].any()


def test_the_shell_of_posed_frames_holds_what_the_template_s_does_not():
    axis = np.linspace(-0.05, 0.05, 9)
    x, y = np.meshgrid(axis, axis)
    flat = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).reshape(-1)
    faces = np.concatenate([
        np.stack([corner, corner + 1, corner + 10], -1),
        np.stack([corner, corner + 10, corner + 9], -1),
    ])  # fmt: skip
    regions, names = np.zeros(len(flat), int), ("face",)
    posed = np.stack([flat, flat + [0, 0, 0.06], flat + [0, 0, 0.001]])
    still = shell_prior(BOX, R, flat, faces, regions, names)
    shell = hull.posed_shell(BOX, R, flat, posed, faces, regions, names)
    moved = shell_prior(BOX, R, posed[1], faces, regions, names)
    assert np.all(shell >= still | moved) and not (still & moved).any()
    assert not shell[:, :, 0].any()


def test_solid_is_what_the_shell_encloses():
    shell = np.zeros((12, 12, 12), bool)
    shell[2:10, 2:10, 2:10] = True
    shell[4:8, 4:8, 4:8] = False
    inside = np.zeros_like(shell)
    inside[4:8, 4:8, 4:8] = True
    np.testing.assert_array_equal(solid_cells(shell), inside)
    shell[5, 5, 8:] = False  # a way out: what was inside may be seen
    assert not solid_cells(shell).any()
    assert not solid_cells(np.zeros_like(shell)).any() and not solid_cells(~inside[:3]).any()


def test_the_prior_of_a_capture_holds_its_mesh_and_only_shrinks_with_the_shell(small):
    prior = small.inputs["occupancy"]
    head = small.capture.head
    assert prior.shape == (small.config.sampling.occupancy_resolution,) * 3
    skin = [head.region_names.index(name) for name in ("face", "lips", "eyes")]
    points = np.asarray(head.template)[np.isin(head.regions, skin)]
    assert prior[cells_of(points, small.inputs["box"], len(prior))].mean() > 0.98
    assert 0.02 < prior.mean() < 0.7


def test_what_follows_the_expression_is_the_face_and_fades_from_it(small):
    head = small.head
    regions, names = np.asarray(head.regions), head.region_names
    template = np.asarray(head.template)

    def follows(points, moved=hull.MOVED["face"]):
        faces = np.asarray(head.faces)
        return hull.skin_volume(points, template, faces, regions, names, moved)[..., 2]

    def of(*chosen):
        return template[np.isin(regions, [names.index(name) for name in chosen])]

    assert follows(of("lips")).min() > 0.3 and follows(of("lips")).mean() > 0.9
    back = template[template[:, 2] < np.quantile(template[:, 2], 0.05)]
    assert follows(back).max() == 0
    tip = template[np.argmax(template[:, 2])]
    away = follows(tip + np.array([[0, 0, 0.001], [0, 0, 0.035], [0, 0, 0.06]]))
    assert away[0] == 1 and 0.3 < away[1] < 0.7 and away[2] == 0
    # INSTA's region is the mouth alone.
    assert follows(of("eyes"), hull.MOVED["lips"]).max() == 0
    assert follows(of("lips"), hull.MOVED["lips"]).mean() > 0.5


def test_a_torso_goes_on_under_what_surely_is_the_head_just_above_it():
    masks = np.zeros((100, 40, 3), np.uint8)
    masks[20:60, 10:30, 1] = 255
    masks[60:, 5:35, 2] = 255
    masks[58:60, 10:12, 1:] = [120, 135]  # a soft edge
    below = torso_below(masks)
    added = below > masks[..., 2]
    rows, columns = np.nonzero(added)
    assert rows.min() == 54 and rows.max() == 59 and below[added].min() == 255
    assert columns.min() == 10 and columns.max() == 29
    # A soft edge counts as the torso and stays what it is.
    assert (below[58:60, 10:12] == 135).all() and added[54:58, 12:].sum() == 2 * 18
    np.testing.assert_array_equal(below[60:], masks[60:, :, 2])
    masks[..., 1] = 0
    np.testing.assert_array_equal(torso_below(masks), masks[..., 2])
