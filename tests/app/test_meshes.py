"""Mesh files, read back by an independent reader."""

import numpy as np
import pytest

from jaxhead.app.meshes import check_format, smooth_normals, write_mesh
from jaxhead.files.errors import InputError

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.25]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.int32)


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_trimesh_reads_what_was_written(tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / f"head.{suffix}"
    write_mesh(path, VERTICES, FACES)
    mesh = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose(mesh.vertices, VERTICES, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, FACES)
    assert mesh.volume == pytest.approx(1.25 / 6)


def test_obj_is_text_with_one_based_faces(tmp_path):
    write_mesh(tmp_path / "head.obj", VERTICES, FACES)
    lines = (tmp_path / "head.obj").read_text().splitlines()
    assert lines[3] == "v 0 0 1.25" and lines[8] == "f 1//1 3//3 2//2"


def test_every_format_holds_the_normals(tmp_path):
    normals = smooth_normals(VERTICES, FACES)
    write_mesh(tmp_path / "head.ply", VERTICES, FACES)
    header, _, data = (tmp_path / "head.ply").read_bytes().partition(b"end_header\n")
    points = np.frombuffer(data[: 4 * 24], "<f4").reshape(4, 6)
    assert b"float nx" in header
    np.testing.assert_array_equal(points, np.concatenate([VERTICES, normals], 1))
    write_mesh(tmp_path / "head.obj", VERTICES, FACES)
    lines = [line.split() for line in (tmp_path / "head.obj").read_text().splitlines()]
    stored = [[float(x) for x in line[1:]] for line in lines if line[0] == "vn"]
    np.testing.assert_allclose(stored, normals, atol=1e-4)
    pytest.importorskip("trimesh")
    write_mesh(tmp_path / "head.glb", VERTICES, FACES)
    glb = (tmp_path / "head.glb").read_bytes()
    assert b'"NORMAL"' in glb and normals.astype("<f4").tobytes() in glb


def test_normals_point_outwards_and_have_unit_length():
    normals = smooth_normals(np.concatenate([VERTICES, [[9, 9, 9]]]).astype(np.float32), FACES)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)
    assert (((VERTICES - VERTICES.mean(0)) * normals[:4]).sum(1) > 0).all()


def test_glb_without_trimesh_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(InputError, match=r"jaxhead\[mesh\]"):
        check_format("glb")
    check_format("ply")


def test_another_suffix(tmp_path):
    with pytest.raises(InputError, match=".stl"):
        write_mesh(tmp_path / "head.stl", VERTICES, FACES)
