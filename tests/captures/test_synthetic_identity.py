"""The synthetic person's proportions: natural, different per seed, without folds."""

import numpy as np
import pytest

from jaxhead.captures.synthetic_identity import (
    DEVIATIONS,
    bend,
    bent_head,
    identity_basis,
    proportions,
)
from jaxhead.heads.model import head_vertices
from jaxhead.heads.procedural import procedural_head

EXTREMES = [
    {name: sign * 1.6 * value for name, value in DEVIATIONS.items()} for sign in (-1.0, 1.0)
]


@pytest.fixture(scope="module")
def head():
    return procedural_head()


def test_seed_0_is_the_mean_head_and_others_differ(head):
    np.testing.assert_array_equal(bend(head.template, proportions(0)), head.template)
    shapes = [bend(head.template, proportions(seed)) for seed in (1, 2, 3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        largest = np.linalg.norm(shapes[a] - shapes[b], axis=1).max()
        assert 0.003 < largest < 0.03
    assert proportions(5) == proportions(5)


@pytest.mark.parametrize("person", [*EXTREMES, proportions(4)])
def test_space_is_never_folded(person):
    axes = [np.linspace(*ends, 40) for ends in ((-0.09, 0.09), (-0.2, 0.15), (-0.15, 0.09))]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    step = 1e-5
    columns = [(bend(points + step * e, person) - bend(points, person)) / step for e in np.eye(3)]
    volume = np.linalg.det(np.stack(columns, -1))
    assert volume.min() > 0.4 and volume.max() < 2.0


@pytest.mark.parametrize("person", EXTREMES)
def test_shoulders_stay_and_sides_are_alike(person):
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (200, 3))
    mirror = np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(bend(points * mirror, person), bend(points, person) * mirror)
    low = points * (3.0, 0.3, 1.0) - (0.0, 0.23, 0.1)
    np.testing.assert_allclose(bend(low, person), low, atol=2e-4)


def test_expressions_move_the_same_skin(head):
    person = proportions(3)
    bent = bent_head(head, person)
    assert bent.template.dtype == bent.expression_basis.dtype == np.float32
    scores = np.eye(len(head.expression_names), dtype=np.float32)
    expected = bend(np.asarray(head_vertices(head, None, scores)), person)
    np.testing.assert_allclose(head_vertices(bent, None, scores), expected, atol=1e-5)


def test_the_identity_basis_is_one_deviation_of_each_proportion(head):
    basis = identity_basis(head)
    template = np.asarray(head.template, np.float64)
    assert basis.shape == (len(DEVIATIONS), len(template), 3)
    # Proportions act together nearly as their sum does.
    share = np.random.default_rng(0).uniform(-0.5, 0.5, len(DEVIATIONS))
    person = {name: x * DEVIATIONS[name] for name, x in zip(DEVIATIONS, share)}
    moved = bend(template, person) - template
    linear = np.einsum("i,ivk->vk", share, basis)
    assert np.abs(linear - moved).max() < 0.1 * np.abs(moved).max()
