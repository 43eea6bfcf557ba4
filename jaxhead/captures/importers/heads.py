"""A head model of a mesh sequence: its canonical mesh, displacements fitted to its expressions."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from jaxhead.captures.importers.labels import labelled
from jaxhead.files.mesh_files import MeshFile
from jaxhead.files.rows import RowFile
from jaxhead.heads.model import REGIONS, HeadModel
from jaxhead.heads.procedural import procedural_head
from jaxhead.heads.sequence import MeshSequence
from jaxhead.heads.uv import around_uv

_RIDGE = 1e-6
_LIKE_A_HEAD = 0.02
_STEPS = 12
_VOTES = 3
CLASS_REGIONS = {
    "skin": "face", "left_brow": "face", "right_brow": "face", "nose": "face",
    "left_eye": "eyes", "right_eye": "eyes", "glasses": "eyes",
    "left_ear": "ears", "right_ear": "ears", "earring": "ears",
    "mouth": "lips", "upper_lip": "lips", "lower_lip": "lips",
    "neck": "neck", "necklace": "neck", "hair": "scalp", "hat": "scalp", "head": "scalp",
}  # fmt: skip
"""Region of the surface under a class of a face parsing."""


def fitted_head(
    canonical: MeshFile,
    vertices: RowFile,
    coefficients: np.ndarray,
    train: np.ndarray,
    names: tuple[str, ...],
    regions: np.ndarray,
    *,
    name: str,
    known: np.ndarray | None = None,
) -> tuple[HeadModel, float]:
    """The head model of a mesh sequence, and how far it is from the training meshes.

    Its displacement basis is the ridge regression of the meshes on the coefficients: exact where
    the meshes are linear in them, else (jaws turn) the nearest linear model.

    Args:
      canonical: the neutral mesh, where all coefficients are zero.
      vertices: (N, V, 3) metres.
      coefficients: (N, E); E may be 0, then there is no expression.
      train: ids of the training frames.
      names: of the E coefficients.
      regions: (V,) indices into `REGIONS`.
      name: of the model.
      known: (K, V, 3) displacements of the first K coefficients, which then are not fitted.

    Returns:
      the model; root mean square distance of its meshes from the training frames' in metres.
    """
    template = canonical.vertices
    known = np.zeros((0, *template.shape), np.float32) if known is None else known
    free = coefficients[:, len(known) :].astype(np.float64)
    gram, right = np.zeros((free.shape[1],) * 2), np.zeros((free.shape[1], template.size))
    for ids in _blocks(train):
        rest = vertices[ids] - template
        rest = rest - np.einsum("nk,kvi->nvi", coefficients[ids, : len(known)], known)
        gram += free[ids].T @ free[ids]
        right += free[ids].T @ rest.reshape(len(ids), -1)
    ridge = _RIDGE * max(np.trace(gram) / max(1, len(gram)), 1e-12)
    fitted = np.linalg.solve(gram + ridge * np.eye(len(gram)), right)
    basis = np.concatenate([known, fitted.reshape(-1, *template.shape)]).astype(np.float32)
    total = 0.0
    for ids in _blocks(train):
        made = template + np.einsum("ne,evk->nvk", coefficients[ids], basis)
        total += float(((vertices[ids] - made) ** 2).sum(-1).mean(1).sum())
    model = HeadModel(
        template=template,
        faces=canonical.faces,
        identity_basis=np.zeros((0, *template.shape), np.float32),
        expression_basis=basis,
        uv=around_uv(template),
        regions=regions,
        landmark_faces=np.zeros(0, np.int32),
        landmark_weights=np.zeros((0, 3), np.float32),
        name=name,
        expression_names=names,
    )
    return model, float(np.sqrt(total / max(1, len(train))))


def _blocks(ids: np.ndarray, size: int = 64):
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def likely_regions(template: np.ndarray) -> tuple[np.ndarray, bool]:
    """(V,) int32 indices into `REGIONS`, and whether the mesh looks like a human head.

    The built-in head is laid onto the mesh (nose on nose, then the nearest points by similarity)
    and gives each vertex the region of its nearest point. On anything else every vertex is scalp,
    which leaves a field most room.

    Args:
      template: (V, 3), y up, z out of the face, x to the subject's left.
    """
    own = procedural_head()
    points, target = np.asarray(own.template, np.float64), np.asarray(template, np.float64)
    scale = _nose_to_top(target) / _nose_to_top(points)
    moved = scale * (points - points[points[:, 2].argmax()]) + target[target[:, 2].argmax()]
    tree = cKDTree(target)
    front = points[:, 2] > 0
    for _ in range(_STEPS):
        distance, nearest = tree.query(moved)
        close = front & (distance <= np.quantile(distance[front], 0.8))
        moved = _similar(points[close], target[nearest[close]], points)
    scale = np.ptp(moved[:, 0]) / np.ptp(points[:, 0])
    distance, nearest = cKDTree(moved).query(target)
    to_mesh, _ = tree.query(moved[front])
    apart = max(np.median(to_mesh), np.median(distance))
    if not apart < _LIKE_A_HEAD * scale or not 0.2 < scale < 5:
        return np.full(len(target), REGIONS.index("scalp"), np.int32), False
    # The bag behind the lips would otherwise win the vertices of both.
    regions = np.asarray(own.regions)[nearest]
    regions = np.where(regions == REGIONS.index("mouth"), REGIONS.index("lips"), regions)
    return regions.astype(np.int32), True


def _nose_to_top(points: np.ndarray) -> float:
    return max(points[:, 1].max() - points[points[:, 2].argmax(), 1], 1e-6)


def _similar(source: np.ndarray, target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 3) points under the similarity that best carries source (k, 3) to target (Umeyama)."""
    a, b = source.mean(0), target.mean(0)
    u, s, vt = np.linalg.svd((target - b).T @ (source - a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = (s * signs).sum() / max(((source - a) ** 2).sum(), 1e-12)
    return scale * (points - a) @ rotation.T + b


class RegionVotes:
    """Regions of vertices by the classes under which frames show them.

    Args:
      faces: (F, 3); count: of vertices.
      names: {class in the picture: its name in `CLASS_REGIONS`}.
    """

    def __init__(self, faces: np.ndarray, count: int, names: dict[int, str]):
        self._faces = faces
        self._votes = np.zeros((count, len(REGIONS)), np.int64)
        self._region = np.full(256, -1)
        for number, name in names.items():
            if name in CLASS_REGIONS:
                self._region[number] = REGIONS.index(CLASS_REGIONS[name])

    def add(
        self, parsing: np.ndarray, vertices: np.ndarray, K: np.ndarray, pose: np.ndarray
    ) -> None:
        """One frame: (H, W) uint8 classes, (V, 3) mesh, (3, 3) K, (4, 4) head to camera."""
        camera = vertices @ pose[:3, :3].T + pose[:3, 3]
        pixels = camera[:, :2] / np.maximum(camera[:, 2:], 1e-6) * K[[0, 1], [0, 1]] + K[:2, 2]
        column, row = np.floor(pixels).astype(np.int64).T
        height, width = parsing.shape
        seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        seen &= (camera[:, 2] > 1e-6) & self._facing(camera)
        region = self._region[parsing[row[seen], column[seen]]]
        ids = np.flatnonzero(seen)[region >= 0]
        np.add.at(self._votes, (ids, region[region >= 0]), 1)

    def regions(self, likely: np.ndarray) -> np.ndarray:
        """(V,) int32: what most frames say, or `likely` where hardly any shows the vertex."""
        known = self._votes.sum(1) >= _VOTES
        return np.where(known, self._votes.argmax(1), likely).astype(np.int32)

    def _facing(self, camera: np.ndarray) -> np.ndarray:
        """(V,) bool: vertices whose surface is seen from outside, from more than 30 degrees."""
        a, b, c = (camera[self._faces[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        total = np.zeros_like(camera)
        for k in range(3):
            np.add.at(total, self._faces[:, k], normals)
        size = np.linalg.norm(total, axis=1) * np.linalg.norm(camera, axis=1)
        return -(total * camera).sum(1) > 0.5 * np.maximum(size, 1e-20)


def finished_head(
    sequence: MeshSequence, coefficients: np.ndarray, names: tuple[str, ...], train: np.ndarray,
    votes: RegionVotes | None, *, name: str, labels: str | None,
) -> tuple[HeadModel, RowFile, list[str]]:  # fmt: skip
    """The head model of a mesh sequence, its meshes, and what to tell of both.

    Args: see `fitted_head`; regions and landmarks come from the model that `labels` names
    ("kind:path"), else regions from `votes` where there are any, else from `likely_regions`.
    """
    canonical = MeshFile(sequence.template, sequence.faces)
    regions, human = likely_regions(canonical.vertices)
    how = "from the built-in head laid onto it"
    if not human:
        how = "it does not look like a human head, all of it counts as scalp"
    if votes is not None:
        regions, how = votes.regions(regions), f"from the parsed pictures, elsewhere {how}"
    head, error = fitted_head(
        canonical, sequence.vertices, coefficients, train, names, regions, name=name
    )
    how = f"its regions (face, lips, hair ...): {how}"
    if labels is not None:
        head, how = labelled(head, labels)
    return head, sequence.vertices, [
        f"mesh: {len(canonical.vertices)} vertices, {len(canonical.faces)} faces; {how}",
        f"expression: {coefficients.shape[1]} coefficients; the displacements fitted to them are "
        f"{1000 * error:.2f} mm (root mean square) from the training meshes",
    ]


def flame_names(count: int) -> tuple[str, ...]:
    """Names of FLAME's expression coefficients."""
    return tuple(f"flame_expression_{k:03d}" for k in range(count))
