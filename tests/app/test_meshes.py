"""Mesh files, read back by an independent reader."""

import numpy as np
import pytest

from jaxhead.app.meshes import check_format, write_mesh
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
    assert lines[3] == "v 0 0 1.25" and lines[4] == "f 1 3 2"


def test_glb_without_trimesh_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(InputError, match=r"jaxhead\[mesh\]"):
        check_format("glb")
    check_format("ply")


def test_another_suffix(tmp_path):
    with pytest.raises(InputError, match=".stl"):
        write_mesh(tmp_path / "head.stl", VERTICES, FACES)
