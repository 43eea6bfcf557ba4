"""From head space to canonical space: the volume against the tree, and the cache of volumes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.files.arrays import read_npz
from jaxhead.geometry import frenet
from jaxhead.systems.avatar import surface
from jaxhead.systems.avatar.requests import posed
from jaxhead.systems.avatar.surface import (
    GeometryCache,
    frame_geometry,
    geometry_digest,
    mapping_rules,
    to_canonical,
)


def surface_config(config, **options):
    return dataclasses.replace(config, surface=dataclasses.replace(config.surface, **options))


def near_surface(vertices, faces, distance, count=400):
    """Points (count, 3) up to a distance from random places on a mesh, and unit directions."""
    random = np.random.default_rng(0)
    corners = vertices[faces[random.integers(len(faces), size=count)]]
    points = np.einsum("nk,nkc->nc", random.dirichlet([1, 1, 1], count), corners)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    reach = distance * random.uniform(size=(count, 1))
    return (points + reach * directions).astype(np.float32), directions.astype(np.float32)


def mapped(vertices, points, directions, small, config):
    @jax.jit
    def run(vertices, points, directions, frozen):
        geometry = frame_geometry(vertices, frozen, config=config)[None]
        frame = jnp.zeros(len(points), jnp.int32)
        return to_canonical(points, directions, frame, geometry, frozen, config=config)

    return [np.asarray(x) for x in run(vertices, points, directions, small.frozen)]


@pytest.fixture(scope="module")
def talking(capture):
    """The subject's mesh with an open, smiling mouth and one closed eye."""
    scores = [
        {"jawOpen": 0.8, "mouthSmileLeft": 0.7, "eyeBlinkLeft": 1.0}.get(name, 0.0)
        for name in capture.head.expression_names
    ]
    return posed(capture.head, np.array([scores]))[0]


def test_the_volume_agrees_with_the_exact_tree(small, talking):
    points, directions = near_surface(talking, np.asarray(small.head.faces), 0.01)
    coarse, _ = mapped(talking, points, directions, small, small.config)
    exact, turned = mapped(
        talking, points, directions, small, surface_config(small.config, nearest="bvh")
    )
    moved = np.linalg.norm(exact - points, axis=-1)
    error = np.linalg.norm(coarse - exact, axis=-1)
    # Voxels of 16 mm here, of 7 mm by default; the jaw moves by 22 mm.
    assert moved.max() > 0.02 and np.mean(error) < 0.2 * np.mean(moved)
    assert np.median(error) < 2e-4 and np.quantile(error, 0.9) < 2e-3
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), 1, atol=1e-4)


@pytest.mark.parametrize("nearest", ["volume", "bvh"])
def test_the_neutral_mesh_moves_nothing(small, nearest):
    template = np.asarray(small.head.template)
    points, directions = near_surface(template, np.asarray(small.head.faces), 0.02)
    config = surface_config(small.config, nearest=nearest)
    still, seen = mapped(template, points, directions, small, config)
    np.testing.assert_allclose(still, points, atol=2e-5)
    np.testing.assert_allclose(seen, directions, atol=1e-4)


@pytest.mark.long
def test_vertices_come_back_to_the_template(small, talking):
    template = np.asarray(small.head.template)
    _, directions = near_surface(template, np.asarray(small.head.faces), 0.0, len(template))
    config = surface_config(small.config, nearest="bvh")
    back, _ = mapped(talking, talking, directions, small, config)
    error = np.linalg.norm(back - template, axis=-1)
    # A vertex belongs to several triangles, of which the mapping blends three neighbours.
    assert np.median(error) < 1e-4 < 0.02 < np.linalg.norm(talking - template, axis=-1).max()
    assert np.quantile(error, 0.95) < 2.5e-3


def test_insta_averages_at_the_face_and_scales_around_the_eyes(small):
    names = ("face", "lips", "eyes", "ears", "scalp")
    faces = np.array([[0, 0, 0], [0, 2, 2], [2, 2, 4], [0, 1, 2], [4, 4, 4], [0, 0, 3]])
    rules = mapping_rules(faces, np.arange(5), names)
    program, scaled, nearest = (frenet.RULES[n] for n in ("program", "scaled", "nearest"))
    np.testing.assert_array_equal(rules, [program, program, scaled, nearest, nearest, nearest])
    assert set(np.unique(small.inputs["rules"])) == {0, 1, 2}


def test_no_mapping_is_the_identity(small, talking):
    points, directions = near_surface(talking, np.asarray(small.head.faces), 0.01)
    config = dataclasses.replace(
        small.config, field=dataclasses.replace(small.config.field, mapping="none")
    )
    still, seen = mapped(talking, points, directions, small, config)
    np.testing.assert_array_equal(still, points)
    np.testing.assert_array_equal(seen, directions)


@pytest.fixture(scope="module")
def built(small, tmp_path_factory):
    """A cache whose thread has ended, and its file."""
    file = tmp_path_factory.mktemp("cache") / "geometry.npz"
    made = cache(small, file)
    made.get(int(small.capture.train[-1]))
    made._thread.join()
    return made, file


def cache(small, file=None, digest="d", kind=GeometryCache, config=None, order=None):
    order = small.capture.train if order is None else order
    return kind(
        small.capture.vertices, order, small.frozen, config=config or small.config, file=file,
        digest=digest,
    )  # fmt: skip


class Recording(GeometryCache):
    """A cache that does not build, and tells what it would have built."""

    def _make(self, frame):
        made = self.__dict__.setdefault("made", [])
        made.append(frame)
        return np.full(self.shape, frame, self.dtype)


def test_a_file_gives_back_what_was_built(small, built):
    first, file = built
    assert sorted(read_npz(file)["frames"]) == sorted(small.capture.train[:8])  # the pool's size
    again = cache(small, file, kind=Recording)
    for frame in small.capture.train[:8]:
        value = again.get(int(frame))
        np.testing.assert_array_equal(value, first.get(int(frame)))
        assert value.shape == first.shape and value.dtype == first.dtype
    again.close()
    assert "made" not in again.__dict__


def test_another_digest_or_damage_builds_anew(small, built, tmp_path):
    _, file = built
    whole = file.read_bytes()
    random = np.random.default_rng(0)
    kept = [int(frame) for frame in small.capture.train[:8]]
    for case in range(4):
        copy = tmp_path / f"{case}.npz"
        data, digest = bytearray(whole), "d"
        if case == 0:
            digest = "other"
        elif case == 1:
            data = data[: len(data) // 2]
        elif case == 2:
            data = bytearray(b"nothing")
        else:
            for place in random.integers(len(data), size=200):
                data[place] ^= 0xFF
        copy.write_bytes(data)
        again = cache(small, copy, digest, kind=Recording)
        assert all(np.all(again.get(frame) == frame) for frame in kept)
        again._thread.join()
        assert again.made == kept
        final = cache(small, copy, digest, kind=Recording)  # what was wrong has been replaced
        assert np.all(final.get(kept[0]) == kept[0]) and "made" not in final.__dict__
        final.close()


def test_frames_beyond_the_pool_are_built_when_asked_for_and_not_kept(small):
    made = cache(small, kind=Recording)
    made._thread.join()
    late = int(small.capture.train[-1])
    assert late not in made.made
    assert np.all(made.get(late) == late) and np.all(made.get(late) == late)
    assert made.made.count(late) == 2
    assert made.made[:8] == [int(frame) for frame in small.capture.train[:8]]


def test_an_error_of_the_thread_reaches_who_waits(small):
    class Failing(GeometryCache):
        def _make(self, frame):
            raise MemoryError("full")

    failing = cache(small, kind=Failing)
    with pytest.raises(MemoryError, match="full"):
        failing.get(int(small.capture.train[3]))
    failing.close()


def test_closing_ends_the_thread_early(small):
    class Slow(Recording):
        def _make(self, frame):
            self._stop = True
            return super()._make(frame)

    slow = cache(small, kind=Slow)
    slow.close()
    assert len(slow.made) == 1 and not slow._thread.is_alive()
    late = int(small.capture.train[3])
    assert late not in slow.made and np.all(slow.get(late) == late)  # nobody waits for ever


def test_the_digest_names_all_that_geometry_is_made_from(small):
    config, spec = small.config, small.spec
    field = dataclasses.replace(config.field, beta=5.0)
    digests = {
        geometry_digest("a", config, spec),
        geometry_digest("b", config, spec),
        geometry_digest("a", surface_config(config, nearest="bvh"), spec),
        geometry_digest("a", dataclasses.replace(config, field=field), spec),
        geometry_digest("a", config, dataclasses.replace(spec, shape=(4, 4, 4))),
    }
    assert len(digests) == 5
    assert geometry_digest("a", config, spec) in digests
    assert surface.geometry_digest("a", surface_config(config, pool=3), spec) in digests
