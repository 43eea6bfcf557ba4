"""Posed meshes as files: PLY and OBJ by our own hand, GLB through trimesh (the extra [mesh])."""

from __future__ import annotations

import pathlib

import numpy as np

from jaxhead.files.errors import InputError

FORMATS = ("ply", "obj", "glb")


def write_mesh(path: pathlib.Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Writes one triangle mesh; the suffix chooses binary PLY, OBJ or GLB.

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
    path.write_bytes(writers[path.suffix](np.asarray(vertices, np.float32), np.asarray(faces)))


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


def _ply(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("ids", "<i4", (3,))])
    rows["count"], rows["ids"] = 3, faces
    return header.encode("ascii") + vertices.astype("<f4").tobytes() + rows.tobytes()


def _obj(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


def _glb(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    check_format("glb")
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    return bytes(mesh.export(file_type="glb"))
