"""Sequences of meshes: order, units, and topology that must not change."""

import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.files.mesh_files import write_obj
from jaxhead.heads.model import head_vertices
from jaxhead.heads.sequence import mesh_files, read_sequence, sequence_head

FACES = np.array([[0, 1, 2], [2, 1, 3]])


def meshes(folder, count=11):
    points = np.random.default_rng(0).normal(size=(count, 4, 3)).astype(np.float32)
    for number, vertices in enumerate(points):
        write_obj(folder / f"frame_{number}.obj", vertices, FACES)
    return points


def test_meshes_come_in_the_order_of_their_numbers_and_keep_that_of_vertices(tmp_path):
    points = meshes(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    files = mesh_files(tmp_path)
    assert [path.name for path in files[-2:]] == ["frame_9.obj", "frame_10.obj"]
    sequence = read_sequence(files, metres_per_unit=0.01)
    np.testing.assert_allclose(sequence.vertices[0:11], 0.01 * points, rtol=1e-6)
    np.testing.assert_allclose(sequence.template, 0.01 * points[0], rtol=1e-6)
    np.testing.assert_array_equal(sequence.faces, FACES)
    head = sequence_head(sequence)
    np.testing.assert_array_equal(head_vertices(head, None, None), sequence.template)


def test_the_canonical_mesh_may_be_another(tmp_path):
    points = meshes(tmp_path, 2)
    (tmp_path / "c").mkdir()
    write_obj(tmp_path / "c" / "canonical.obj", points[1], FACES)
    sequence = read_sequence(mesh_files(tmp_path), template=tmp_path / "c" / "canonical.obj")
    np.testing.assert_allclose(sequence.template, points[1], rtol=1e-6)
    assert len(sequence.vertices) == 2


@pytest.mark.parametrize(
    "vertices, faces, message",
    [
        (np.zeros((5, 3)), FACES, "has 5 vertices and 2 faces, frame_0.obj has 4 and 2"),
        (np.zeros((4, 3)), FACES[:1], "has 4 vertices and 1 faces"),
        (np.zeros((4, 3)), FACES[::-1], r"face 0 is \[2, 1, 3\], in frame_0.obj it is \[0, 1, 2\]"),
    ],
)
def test_a_mesh_of_another_topology_is_refused_by_its_name(tmp_path, vertices, faces, message):
    meshes(tmp_path, 3)
    write_obj(tmp_path / "frame_1.obj", vertices, faces)
    with pytest.raises(InputError, match=message) as error:
        read_sequence(mesh_files(tmp_path))
    assert str(error.value).startswith(str(tmp_path / "frame_1.obj"))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="holds no .obj"):
        mesh_files(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        mesh_files(tmp_path / "x")
    with pytest.raises(InputError, match="at least one"):
        read_sequence(())
    for name in ("a²3.obj", "a٣.obj", "3.obj", "a.ply"):  # digits that are none to int(), and ties
        (tmp_path / name).write_text("v 0 0 0\n")
    assert len(mesh_files(tmp_path)) == 4
