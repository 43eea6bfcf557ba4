"""Edge subdivision against Neural Head Avatars' numbers and its laws."""

import numpy as np
from goldens_reader import known_goldens

from jaxhead.geometry.meshes import edges
from jaxhead.geometry.subdivision import append_middles, subdivide


def test_subdivision_equals_the_published_one(goldens):
    for golden in known_goldens(goldens, system="neural-head", module="edge subdivision"):
        vertices, faces = golden.inputs["v_template"], golden.inputs["faces"]
        split = subdivide(faces, len(vertices))
        np.testing.assert_array_equal(split.edges, golden.outputs["subdivided_edges"])
        both = np.concatenate([faces, split.faces])
        np.testing.assert_array_equal(both, golden.outputs["subdivided_faces"])
        golden.compare("subdivided_vertices", append_middles(vertices, split.edges))


def test_area_orientation_and_edges_are_kept():
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(6, 3))
    faces = np.array([[0, 1, 2], [2, 1, 3], [3, 1, 4], [5, 0, 2]])
    split = subdivide(faces, 6)
    assert split.faces.shape == (16, 3) and len(split.edges) == len(edges(faces))
    finer = append_middles(vertices, split.edges)

    def cross(v, f):
        return np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])

    parts = cross(finer, split.faces).reshape(4, 4, 3)
    np.testing.assert_allclose(parts, np.repeat(cross(vertices, faces)[:, None] / 4, 4, 1))


def test_attributes_along_any_axis():
    split = subdivide(np.array([[0, 1, 2]]), 3)
    basis = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
    finer = append_middles(basis, split.edges, axis=1)
    assert finer.shape == (2, 6, 2) and finer.dtype == np.float32
    np.testing.assert_array_equal(finer[:, 3], (basis[:, 0] + basis[:, 1]) / 2)
