"""Head models of mesh sequences: fitted displacements, regions from the built-in head and votes."""

import numpy as np
import pytest
from captures.importers.folders import FRAMES, SCORES, disc, ellipsoid, meshes, poses
from scipy.spatial.transform import Rotation

from jaxhead.captures.importers.heads import RegionVotes, fitted_head, likely_regions
from jaxhead.files.mesh_files import MeshFile
from jaxhead.files.rows import RowFile
from jaxhead.heads.model import REGIONS
from jaxhead.heads.procedural import procedural_head


@pytest.fixture
def sequence():
    vertices, scores = meshes(12)
    rows = RowFile(None, vertices.shape[1:])
    rows.append(vertices)
    yield MeshFile(*ellipsoid()), rows, scores
    rows.close()


def head_of(sequence, scores, train, **options):
    canonical, rows, _ = sequence
    names = tuple(f"s{k}" for k in range(scores.shape[1]))
    regions = np.zeros(len(canonical.vertices), np.int32)
    return fitted_head(canonical, rows, scores, train, names, regions, name="x", **options)


def test_linear_meshes_are_met_exactly_from_training_frames(sequence):
    canonical, rows, scores = sequence
    head, error = head_of(sequence, scores, np.arange(8))
    assert error < 1e-6 and head.expression_names == ("s0", "s1", "s2")
    made = canonical.vertices + np.einsum("ne,evk->nvk", scores, head.expression_basis)
    np.testing.assert_allclose(made, rows[:], atol=1e-5)
    # Held-out meshes change nothing.
    rows[8:12] = rows[8:12] + 1
    np.testing.assert_array_equal(
        head_of(sequence, scores, np.arange(8))[0].expression_basis, head.expression_basis
    )


def test_known_displacements_are_kept_and_the_rest_fitted(sequence):
    _, _, scores = sequence
    whole = head_of(sequence, scores, np.arange(12))[0].expression_basis
    head, error = head_of(sequence, scores, np.arange(12), known=whole[:1])
    np.testing.assert_array_equal(head.expression_basis[:1], whole[:1])
    np.testing.assert_allclose(head.expression_basis, whole, atol=1e-6)
    assert error < 1e-6


def test_without_scores_and_with_more_scores_than_frames(sequence):
    canonical, rows, _ = sequence
    head, error = head_of(sequence, np.zeros((12, 0)), np.arange(12))
    assert head.expression_basis.shape == (0, *canonical.vertices.shape)
    wanted = np.sqrt(((rows[:] - canonical.vertices) ** 2).sum(-1).mean())
    assert abs(error - wanted) < 1e-6
    many = np.random.default_rng(0).normal(size=(12, 40))
    head, error = head_of(sequence, many, np.arange(12))
    assert np.isfinite(head.expression_basis).all() and error < 1e-4
    dead = np.zeros((12, SCORES))
    assert np.all(head_of(sequence, dead, np.arange(12))[0].expression_basis == 0)


def test_regions_of_a_head_that_is_turned_moved_and_larger():
    own = procedural_head()
    turn = Rotation.from_euler("xyz", [6, 3, 2], degrees=True).as_matrix()
    moved = 1.15 * np.asarray(own.template) @ turn.T + [0.01, 0.03, -0.02]
    regions, human = likely_regions(moved.astype(np.float32))
    assert human
    for name, share in (("face", 0.9), ("lips", 0.8), ("scalp", 0.8), ("neck", 0.8)):
        wanted = np.asarray(own.regions) == REGIONS.index(name)
        assert np.mean(regions[wanted] == REGIONS.index(name)) > share, name


@pytest.mark.parametrize("size", [0.1, 100.0])
def test_what_is_no_head_is_all_scalp(size):
    points = size * np.random.default_rng(0).normal(size=(300, 3))
    regions, human = likely_regions(points.astype(np.float32))
    assert not human and np.all(regions == REGIONS.index("scalp"))


def test_votes_count_only_what_is_seen_from_outside():
    vertices, faces = ellipsoid()
    votes = RegionVotes(faces, len(vertices), {7: "upper_lip", 8: "no such class"})
    K = np.array([[40, 0, 12], [0, 40, 12], [0, 0, 1.0]])
    likely = np.full(len(vertices), REGIONS.index("neck"), np.int32)
    for pose in poses(FRAMES):
        pose = pose.copy()
        pose[:3, 3] = [0, 0, 0.5]
        votes.add(np.where(disc(), 7, 8).astype(np.uint8), vertices, K, pose)
    regions = votes.regions(likely)
    front = (vertices[:, 2] > 0.07) & (np.abs(vertices[:, :2]) < 0.04).all(1)
    assert front.any() and np.all(regions[front] == REGIONS.index("lips"))
    assert np.all(regions[vertices[:, 2] < 0] == REGIONS.index("neck"))
