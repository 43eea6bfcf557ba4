"""The reader of the landmark model's mesh on files made here, good and damaged."""

import struct
import zipfile

import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.heads.canonical_face import canonical_face

MEMBER = "geometry_pipeline_metadata_landmarks.binarypb"


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _message(field, body):
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _metadata(vertices, faces, basis):
    mesh = b"\x08\x00\x10\x00"
    mesh += b"".join(b"\x1d" + struct.pack("<f", x) for x in np.ravel(vertices))
    mesh += b"".join(b"\x20" + _varint(int(i)) for i in np.ravel(faces))
    entries = [b"\x08" + _varint(i) + b"\x15" + struct.pack("<f", w) for i, w in basis]
    return _message(1, mesh) + b"".join(_message(2, e) for e in entries) + b"\x18\x01"


@pytest.fixture
def metadata():
    random = np.random.default_rng(0)
    vertices = random.uniform(0, 5, (468, 5)).astype(np.float32)
    faces = random.integers(0, 468, (30, 3))
    return vertices, faces, _metadata(vertices, faces, [(4, 0.25), (467, 0.5)])


def _task(folder, data, name=MEMBER):
    path = folder / "made.task"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, data)
    return path


def test_mesh_and_pose_basis_are_read_back(tmp_path, metadata):
    vertices, faces, data = metadata
    face = canonical_face(_task(tmp_path, data))
    np.testing.assert_allclose(face.vertices, vertices[:, :3] / 100, rtol=1e-6)
    np.testing.assert_array_equal(face.uv, vertices[:, 3:])
    np.testing.assert_array_equal(face.faces, faces)
    assert face.procrustes_index.tolist() == [4, 467]
    assert face.procrustes_weights.tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: b"",
        lambda data: b"\xff" * 40,
        lambda data: data.replace(b"\x1d", b"\x1b", 1),
        lambda data: b"\x0a\xff\xff\xff\xff\x7f" + data,
        lambda data: data + b"\0" * (2 << 20),
    ],
)
def test_damage_is_an_input_error_that_names_the_file(tmp_path, metadata, damage):
    path = _task(tmp_path, damage(metadata[2]))
    with pytest.raises(InputError, match="made.task"):
        canonical_face(path)


def test_random_damage_never_raises_anything_else(tmp_path, metadata):
    random = np.random.default_rng(1)
    for _ in range(60):
        data = np.frombuffer(metadata[2], np.uint8).copy()
        data[random.integers(0, len(data), 3)] = random.integers(0, 256, 3)
        try:
            canonical_face(_task(tmp_path, data.tobytes()))
        except InputError:
            pass


def test_files_that_are_no_landmark_model(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        canonical_face(tmp_path / "absent.task")
    (tmp_path / "text.task").write_text("not a zip")
    with pytest.raises(InputError, match="text.task"):
        canonical_face(tmp_path / "text.task")
    with pytest.raises(InputError, match="holds no"):
        canonical_face(_task(tmp_path, b"", "other"))


def test_the_published_model(assets):
    face = canonical_face(assets / "face_landmarker.task")
    assert face.faces.shape == (898, 3) and len(face.procrustes_index) == 33
    np.testing.assert_allclose(np.abs(face.vertices[:, 0]).max(), 0.077431, atol=1e-5)
    np.testing.assert_allclose(face.vertices[4], [0, -0.004632, 0.075866], atol=1e-5)
