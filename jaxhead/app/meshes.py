"""Posed meshes as files: PLY and OBJ by our own hand, GLB through trimesh (the extra [mesh])."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError

FORMATS = ("ply", "obj", "glb")


def write_mesh(path: pathlib.Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Writes one triangle mesh with smooth normals; the suffix chooses binary PLY, OBJ or GLB.

    Args:
        path: a file inside a folder that appears only when it is complete.
        vertices: (V,3) float, metres, head space (y up, +z out of the face).
        faces: (F,3) int, counter-clockwise seen from outside.

    Raises:
        InputError: another suffix, or GLB without trimesh.
    """
    writers = {".ply": _ply, ".obj": _obj, ".glb": _glb}
    if path.suffix not in writers:
        raise InputError(f"{path}: suffix {path.suffix!r}, expected one of {', '.join(writers)}")
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces)
    path.write_bytes(writers[path.suffix](vertices, smooth_normals(vertices, faces), faces))


def smooth_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,3) float32 unit normals, area-weighted over the faces at a vertex; (0,0,1) for no face.

    Args:
        vertices: (V,3) metres.
        faces: (F,3) int.
    """
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    areas = np.cross(b - a, c - a)
    total = np.zeros(vertices.shape)
    for k in range(3):
        np.add.at(total, faces[:, k], areas)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    # Viewers want unit length of every normal.
    normals = np.where(length > 1e-20, total / np.maximum(length, 1e-20), (0.0, 0.0, 1.0))
    return normals.astype(np.float32)


def check_format(name: str) -> None:
    """Raises InputError where the format needs a library that is not installed."""
    if name != "glb":
        return
    try:
        import trimesh  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"GLB needs trimesh ({error}): pip install 'jaxhead[mesh]', or use ply or obj"
        ) from None


def _ply(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property float nx\nproperty float ny\nproperty float nz\n"
        f"element face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("ids", "<i4", (3,))])
    rows["count"], rows["ids"] = 3, faces
    points = np.concatenate([vertices, normals], axis=1).astype("<f4")
    return header.encode("ascii") + points.tobytes() + rows.tobytes()


def _obj(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> bytes:
    lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices.tolist()]
    lines += [f"vn {x:.5g} {y:.5g} {z:.5g}" for x, y, z in normals.tolist()]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


def _glb(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> bytes:
    check_format("glb")
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, vertex_normals=normals, process=False)
    glb: Any = mesh.export(file_type="glb", include_normals=True)
    return bytes(glb)
