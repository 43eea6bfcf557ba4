"""Meshes on disk: order kept, both kinds of PLY, damage in one line."""

import numpy as np
import pytest
from files.making import mutated

from jaxhead.files.errors import InputError
from jaxhead.files.mesh_files import read_mesh, write_obj

VERTICES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
FACES = np.array([[4, 1, 0], [2, 3, 4], [0, 1, 3]], np.int32)


def write_ply(path, kind, *, vertices=VERTICES, faces=FACES):
    header = (
        f"ply\nformat {kind} 1.0\ncomment made by hand\nelement vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    if kind == "ascii":
        rows = [" ".join(f"{v:.9g}" for v in row) + " 7" for row in vertices.tolist()]
        rows += ["3 " + " ".join(map(str, row)) for row in faces.tolist()]
        path.write_text(header + "\n".join(rows) + "\n")
        return path
    order = "<" if "little" in kind else ">"
    points = np.zeros(len(vertices), [("p", order + "f4", (3,)), ("red", "u1")])
    points["p"] = vertices
    corners = np.zeros(len(faces), [("n", "u1"), ("ids", order + "i4", (3,))])
    corners["n"], corners["ids"] = 3, faces
    path.write_bytes(header.encode() + points.tobytes() + corners.tobytes())
    return path


def test_obj_round_trip_is_exact(tmp_path):
    write_obj(tmp_path / "a.obj", VERTICES, FACES)
    mesh = read_mesh(tmp_path / "a.obj")
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.faces, FACES)


def test_obj_with_more_than_is_wanted(tmp_path):
    text = "# x\nv 1 2 3 0.5 0.5 0.5\nv 0 0 1\nvt 0 0\nvn 0 0 1\nv 0 1 0\nf 1/1/1 2//1 -1\n"
    (tmp_path / "a.obj").write_text(text.replace("\n", "\r\n"))
    mesh = read_mesh(tmp_path / "a.obj")
    np.testing.assert_array_equal(mesh.vertices, [[1, 2, 3], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2]])


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(tmp_path, kind):
    mesh = read_mesh(write_ply(tmp_path / "a.ply", kind))
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.faces, FACES)


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("a.obj", "v 1 2 3\nf 1 2 3 4\n", "4 corners"),
        ("a.obj", "v 1 2 3\nf 1 2 3\n", "vertex 2 of 1"),
        ("a.obj", "v 1 2 3\nf 0 1 1\n", "vertex 0"),
        ("a.obj", "v 1 2\n", "damaged"),
        ("a.obj", "v 1 2 x\n", "damaged"),
        ("a.obj", "v 1 2 nan\n", "not finite"),
        ("a.obj", "v 1 2 1e300\n", "not finite"),
        ("a.obj", "", "no vertices"),
        ("a.obj", "v 1 2 3\nf 1 1 99999999999999999999\n", "damaged"),
        ("a.ply", "ply\nformat ascii 1.0\n", "header"),
        ("a.ply", "ply\nformat odd 1.0\nend_header\n", "'odd'"),
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 9\nend_header\n", "cut off"),
        ("a.ply", "ply\nformat ascii 1.0\nelement edge 9\nend_header\n", "edge"),
        ("a.stl", "solid", "suffix"),
    ],
)
def test_what_is_no_mesh_is_one_line(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        read_mesh(tmp_path / name)
    assert name in str(caught.value)


def test_a_huge_count_takes_no_memory(tmp_path):
    path = write_ply(tmp_path / "a.ply", "binary_little_endian")
    path.write_bytes(path.read_bytes().replace(b"vertex 5", b"vertex 999999999999"))
    with pytest.raises(InputError, match="cut off"):
        read_mesh(path)


@pytest.mark.filterwarnings("error")
def test_mutations_end_in_a_mesh_or_in_one_line(tmp_path):
    write_obj(tmp_path / "a.obj", VERTICES, FACES)
    sources = [tmp_path / "a.obj"]
    for kind in ("ascii", "binary_little_endian"):
        sources.append(write_ply(tmp_path / f"{kind}.ply", kind))
    refused = 0
    for seed in range(450):
        source = sources[seed % len(sources)]
        path = tmp_path / f"mutated{source.suffix}"
        path.write_bytes(mutated(source.read_bytes(), seed))
        try:
            mesh = read_mesh(path)
            assert np.isfinite(mesh.vertices).all()
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert 0 < refused < 450
