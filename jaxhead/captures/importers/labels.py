"""Regions and landmarks of a mesh sequence, by a statistical model of the same vertices."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile
from jaxhead.heads.loading import load_head
from jaxhead.heads.model import HeadModel, embedded_points, head_landmarks


def labelled(head: HeadModel, spec: str) -> tuple[HeadModel, str]:
    """The head with a model's regions, texture coordinates and landmarks, and what to tell.

    Args:
      head: of a mesh sequence.
      spec: "kind:path" of a model with the same vertices in the same order; its faces may differ,
        as INSTA's do from FLAME's: a landmark whose triangle is not there goes to the vertex next
        to it.

    Raises:
      InputError: the model cannot be read or has other vertices.
    """
    model = load_head(spec)
    found, wanted = len(model.template), len(head.template)
    if found != wanted:
        raise InputError(f"{spec}: {found} vertices, the meshes have {wanted}")
    index, weights, exact = _on_faces(model, np.asarray(head.faces), np.asarray(head.template))
    told = f"regions and {len(index)} landmarks by {spec}"
    if exact < len(index):
        told += f", {len(index) - exact} of them at the nearest vertex, their triangles are missing"
    named = head.replace(  # pyright: ignore[reportAttributeAccessIssue]
        regions=np.asarray(model.regions), region_names=model.region_names,
        uv=np.asarray(model.uv), landmark_faces=index, landmark_weights=weights,
    )  # fmt: skip
    return named, told


def projected_landmarks(
    head: HeadModel, vertices: RowFile, K: np.ndarray, poses: np.ndarray
) -> np.ndarray:
    """(N, L, 2) pixels of a head's landmarks on meshes (N, V, 3) seen at poses (N, 4, 4)."""
    pixels = np.zeros((len(poses), len(head.landmark_faces), 2))
    if not pixels.shape[1]:
        return pixels
    for index, pose in enumerate(poses):
        points = np.asarray(head_landmarks(head, vertices[index]))
        camera = points @ pose[:3, :3].T + pose[:3, 3]
        place = camera[:, :2] / np.maximum(camera[:, 2:], 1e-6)
        pixels[index] = place * K[[0, 1], [0, 1]] + K[:2, 2]
    return pixels


def _on_faces(
    model: HeadModel, faces: np.ndarray, template: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """The model's landmarks on other faces: (L,) int32, (L, 3) float32, and how many are exact."""
    count = len(model.landmark_faces)
    index, weights = np.zeros(count, np.int32), np.zeros((count, 3), np.float32)
    if not count:
        return index, weights, 0
    place = {frozenset(face): row for row, face in enumerate(faces.tolist())}
    points = np.asarray(
        embedded_points(template, model.faces, model.landmark_faces, model.landmark_weights)
    )
    used = np.unique(faces)
    _, nearest = cKDTree(template[used]).query(points)
    exact = 0
    for k, face in enumerate(np.asarray(model.faces)[np.asarray(model.landmark_faces)].tolist()):
        row = place.get(frozenset(face))
        if row is None:
            vertex = used[nearest[k]]
            index[k] = np.flatnonzero((faces == vertex).any(1))[0]
            weights[k] = faces[index[k]] == vertex
            continue
        exact += 1
        index[k] = row
        own = dict(zip(face, np.asarray(model.landmark_weights)[k].tolist()))
        weights[k] = [own[vertex] for vertex in faces[row].tolist()]
    return index, weights, exact
