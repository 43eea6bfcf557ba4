"""A small head with FLAME's joints: an ellipsoid with a nose, identity, expression and lids."""

import functools

import numpy as np

from jaxhead.captures.fitting.marks import Marks, skull_joint
from jaxhead.captures.fitting.posing import Body, body_of
from jaxhead.heads.model import HeadModel, Skeleton

ROWS, COLUMNS, MARKS = 13, 20, 60
PARENTS = (-1, 0, 1, 1, 1)


@functools.cache
def small_head(*, joints: bool = True, seed: int = 0) -> HeadModel:
    """The head: 260 vertices, 4 identity and 5 expression components, 60 landmarks in front."""
    rng = np.random.default_rng(seed)
    height = np.linspace(-1.2, 1.2, ROWS)[:, None]
    angle = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)[None]
    ring = np.cos(height) * np.ones_like(angle)
    points = np.stack(
        [
            0.075 * ring * np.sin(angle),
            0.11 * np.sin(height) + 0 * angle,
            0.09 * ring * np.cos(angle),
        ],
        -1,
    ).reshape(-1, 3)
    nose = np.exp(-((points[:, 0] / 0.02) ** 2) - ((points[:, 1] / 0.03) ** 2)) * (points[:, 2] > 0)
    points[:, 2] += 0.02 * nose
    index = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    a, b = index[:-1], np.roll(index[:-1], -1, 1)
    c, d = index[1:], np.roll(index[1:], -1, 1)
    faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3),
                            np.stack([a, d, c], -1).reshape(-1, 3)])
    front = np.flatnonzero(points[faces].mean(1)[:, 2] > 0.02)
    chosen = rng.permutation(front)[:MARKS]
    weights = rng.dirichlet(np.ones(3), MARKS)
    return HeadModel(
        template=points.astype(np.float32),
        faces=faces.astype(np.int32),
        identity_basis=waves(rng, points, 4, 0.004),
        expression_basis=waves(rng, points, 5, 0.003) * (points[:, 2:] > 0).astype(np.float32),
        uv=np.zeros((len(points), 2), np.float32),
        regions=np.zeros(len(points), np.int32),
        landmark_faces=chosen.astype(np.int32),
        landmark_weights=weights.astype(np.float32),
        skeleton=skeleton(points, rng) if joints else None,
        name="small",
    )


def waves(rng, points, count, size):
    """(count, V, 3) smooth displacements."""
    frequency = rng.normal(size=(count, 3, 3)) * 15
    phase = rng.uniform(0, 6, size=(count, 1, 3))
    return (size * np.sin(np.einsum("vi,cij->cvj", points, frequency) + phase)).astype(np.float32)


def skeleton(points, rng) -> Skeleton:
    """FLAME's five joints; everything above the neck hangs on the second."""
    neck = 1 / (1 + np.exp((points[:, 1] + 0.085) / 0.01))
    jaw = 1 / (1 + np.exp((points[:, 1] + 0.02) / 0.006)) * (points[:, 2] > 0.03) * (1 - neck)
    eyes = [
        (np.linalg.norm(points - [side * 0.03, 0.045, 0.07], axis=1) < 0.016) * 1.0
        for side in (1, -1)
    ]
    rest = 1 - neck - jaw - sum(eyes)
    places = [(0, -0.12, 0), (0, -0.09, -0.01), (0, -0.02, 0.02), (0.03, 0.04, 0.05),
              (-0.03, 0.04, 0.05)]
    regressor = np.stack([_near(points, place) for place in places])
    return Skeleton(
        joint_regressor=regressor.astype(np.float32),
        weights=np.stack([neck, rest, jaw, *eyes], 1).astype(np.float32),
        pose_basis=(0.002 * rng.normal(size=(36, len(points), 3))).astype(np.float32),
        parents=PARENTS,
    )


def _near(points, place):
    """Weights (V,) that sum to one and make `place` of the points."""
    distance = np.linalg.norm(points - place, axis=1)
    chosen = np.argsort(distance)[:40]
    design = np.concatenate([points[chosen].T, np.ones((1, 40))])
    weights = np.zeros(len(points))
    weights[chosen] = np.linalg.lstsq(design, np.array([*place, 1.0]), rcond=None)[0]
    return weights


@functools.cache
def small_body(*, joints: bool = True) -> Body:
    """All vertices, with two lids."""
    head = small_head(joints=joints)
    lids = waves(np.random.default_rng(9), np.asarray(head.template), 2, 0.003)
    return body_of(head, lids, skull=skull_joint(head))


def small_marks(head: HeadModel | None = None) -> Marks:
    """The head's landmarks as MediaPipe's first 60."""
    head = head or small_head()
    corners = np.asarray(head.faces)[np.asarray(head.landmark_faces)]
    return Marks(
        corners=corners[None],
        weights=np.asarray(head.landmark_weights)[None],
        observed=np.arange(MARKS, dtype=np.int32),
        trust=np.ones(MARKS, np.float32),
    )
