"""Depth terms: right order costs less, only known pairs count, neighbours are neighbours."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxhead.files.errors import InputError
from jaxhead.geometry.cameras import project
from jaxhead.networks import depth_anything
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.depth_maps import DEEPEST, DepthMaps, estimator, normalised
from jaxhead.systems.avatar.depths import (
    head_shares,
    ordinal_term,
    rendered_depth,
    smoothness_term,
    with_neighbours,
)
from jaxhead.systems.avatar.rays import Samples

CONFIG = AvatarConfig()


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def test_the_depth_of_a_wall_is_along_the_axis_and_thin_rays_have_none():
    K = jnp.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    pixels = jnp.array([[[50.0, 50.0], [150.0, 50.0], [50.0, 50.0]]])
    t = jnp.tile(jnp.array([0.5, 0.7]), (3, 1))
    weights = jnp.array([[0.0, 1.0], [0.0, 0.8], [0.1, 0.2]])
    filler = jnp.zeros((3, 2, 3))
    samples = Samples(t, t, t, weights, filler, filler)
    depth, known = rendered_depth(samples, K, pixels)
    np.testing.assert_allclose(depth[0, :2], [70, 70 / np.sqrt(2)], rtol=1e-6)
    assert known.tolist() == [[True, True, False]]

    def total(weights):
        return jnp.sum(rendered_depth(samples._replace(weights=weights), K, pixels)[0])

    assert np.isfinite(jax.grad(total)(jnp.zeros_like(weights))).all()


def test_the_right_order_costs_less_and_pulls_apart_what_is_wrong():
    reference = jnp.linspace(1, DEEPEST, 20)[None].astype(jnp.uint16)
    known = jnp.ones((1, 20), bool)

    @jax.jit
    def term(depth, known, reference):
        return ordinal_term(depth, known, reference, keys(1), CONFIG)

    right = jnp.linspace(50.0, 60.0, 20)[None]
    assert term(right, known, reference) < term(right[:, ::-1], known, reference)
    slope = jax.grad(term)(jnp.full((1, 20), 55.0), known, reference)[0]
    assert slope[0] > 0 > slope[-1]
    # What is known nowhere costs nothing, and an unknown ray is not moved.
    assert term(right, known, jnp.zeros_like(reference)) == 0
    assert term(right, jnp.zeros_like(known), reference) == 0
    slope = jax.grad(term)(right[:, ::-1], known, reference.at[0, 3].set(0))[0]
    assert slope[3] == 0 and np.any(slope != 0)


def test_ties_pull_together():
    reference = jnp.full((1, 4), 1000, jnp.uint16)
    depth = jnp.array([[50.0, 50.0, 50.0, 52.0]])
    known = jnp.ones((1, 4), bool)
    slope = jax.grad(lambda d: ordinal_term(d, known, reference, keys(1), CONFIG))(depth)[0]
    assert slope[3] > 0


def test_neighbours_follow_their_pixels_in_threes():
    pixels = jnp.array([[3, 4], [31, 0], [7, 23], [1, 1], [1, 1], [1, 1], [1, 1], [9, 9]])
    found = np.asarray(with_neighbours(pixels, (32, 24)))
    assert found.shape == pixels.shape
    np.testing.assert_array_equal(found[:2], [[3, 4], [30, 0]])
    np.testing.assert_array_equal(found[2:4] - found[:2], [[1, 0], [1, 0]])
    np.testing.assert_array_equal(found[4:6] - found[:2], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(found[6:], pixels[6:])


def test_smoothness_is_over_neighbours_and_looks_away_at_edges():
    depth = jnp.array([[9.0, 50.0, 51.0, 53.0, 9.0]])
    known, grey = jnp.ones((1, 5), bool), jnp.zeros((1, 5, 3))
    np.testing.assert_allclose(smoothness_term(depth, known, grey, 1, 1), 1 + 3)
    edge = grey.at[0, 2].set(1.0)
    np.testing.assert_allclose(smoothness_term(depth, known, edge, 1, 1), np.exp(-1) + 3)
    unknown = known.at[0, 3].set(False)
    np.testing.assert_allclose(smoothness_term(depth, unknown, grey, 1, 1), 1)


def test_shares_of_the_head_rays_add_up():
    for rays in (1, 2, 16, 128):
        sampling = dataclasses.replace(CONFIG.sampling, head_rays=rays)
        shares = head_shares(dataclasses.replace(CONFIG, sampling=sampling))
        assert sum(shares) == rays and min(shares) >= 0


def test_maps_span_their_range_and_forget_scale():
    depth = np.array([[1.0, 2.0], [3.0, 9.0]])
    known = np.array([[True, True], [True, False]])
    found = normalised(depth, known)
    assert found.dtype == np.uint16 and found.tolist() == [[1, 32768], [DEEPEST, 0]]
    np.testing.assert_array_equal(normalised(5 * depth - 2, known), found)
    assert not normalised(depth, np.zeros_like(known)).any()
    assert set(np.unique(normalised(np.ones((2, 2)), known))) == {0, 1}


def with_source(config, **prior):
    """Both terms wanted, from these sources."""
    loss = dataclasses.replace(config.loss, depth=0.1, depth_ordinal=0.01)
    prior = dataclasses.replace(config.prior, **prior)
    return dataclasses.replace(config, prior=prior, loss=loss)


def test_the_mesh_gives_depth_out_of_the_box(small):
    frame = int(small.inputs["train"][0])
    found = DepthMaps(small.capture, with_source(small.config, depth="mesh")).get(frame)
    head = small.capture.masks(frame)[..., 1] > 127
    assert found.shape == small.spec.size and np.all(found[~head] == 0)
    known = found > 0
    assert known.sum() > 0.5 * head.sum() and found.max() == DEEPEST
    # The face bulges towards the camera.
    y, x = np.nonzero(known)
    middle = found[int(y.mean()), int(x.mean())]
    assert 0 < middle < np.median(found[known])


def test_skin_has_depth_where_the_mesh_has_and_hair_and_neck_have_none(small):
    def of(source):
        prior = dataclasses.replace(CONFIG.prior, distance=source)
        loss = dataclasses.replace(CONFIG.loss, depth=0.1)
        config = dataclasses.replace(CONFIG, prior=prior, loss=loss)
        return DepthMaps(small.capture, config).metric(0)

    mesh, skin = of("mesh"), of("skin")
    used = skin > 0
    assert 0.2 < used.sum() / (mesh > 0).sum() < 0.8
    np.testing.assert_array_equal(skin[used], mesh[used])
    assert (small.capture.masks(0)[used, 1] > 127).all()
    pixels, _ = project(
        small.capture.vertices[0], small.capture.K, small.capture.head_to_camera[0]
    )
    names, regions = small.head.region_names, np.asarray(small.head.regions)
    chin = np.asarray(pixels)[regions == names.index("face"), 1].max()
    assert not skin[int(np.ceil(chin)) + 1 :].any() and mesh[int(np.ceil(chin)) + 1 :].any()


def test_a_folder_of_maps_is_read_either_way_round_and_refused_by_file(small, tmp_path):
    frame, name = int(small.inputs["train"][0]), small.capture.path.name
    config = with_source(small.config, depth="folder")
    with pytest.raises(InputError, match="needs --assets"):
        DepthMaps(small.capture, config)
    with pytest.raises(InputError, match=f"depth/{name}: no such folder"):
        DepthMaps(small.capture, config, tmp_path)
    folder = tmp_path / "depth" / name
    folder.mkdir(parents=True)
    size = small.spec.size
    ramp = np.arange(1, 1 + size[0] * size[1], dtype=np.uint16).reshape(size)
    Image.fromarray(ramp).save(folder / f"{frame:06d}.png")
    found = DepthMaps(small.capture, config, tmp_path).get(frame)
    known = found > 0
    assert np.all(np.diff(found[known].astype(int)) >= 0)
    inverse = with_source(small.config, depth="folder", inverse=True)
    turned = DepthMaps(small.capture, inverse, tmp_path).get(frame)
    assert np.all(np.abs(turned[known].astype(int) + found[known] - DEEPEST - 1) <= 1)
    Image.fromarray(ramp[:-1]).save(folder / f"{frame:06d}.png")
    with pytest.raises(InputError, match=f"{frame:06d}.png: shape"):
        DepthMaps(small.capture, config, tmp_path).get(frame)
    with pytest.raises(InputError, match="000001.png"):
        DepthMaps(small.capture, config, tmp_path).get(1)


def test_what_a_capture_or_the_assets_lack_is_refused(small, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXHEAD_ASSETS", str(tmp_path))
    with pytest.raises(InputError, match="has no layer depth, which prior.depth"):
        DepthMaps(small.capture, with_source(small.config, depth="capture"))
    with pytest.raises(InputError, match="has no layer depth, which prior.distance"):
        DepthMaps(small.capture, with_source(small.config, distance="capture"))
    with pytest.raises(InputError, match="Depth Anything V2 Small .* was not found"):
        DepthMaps(small.capture, with_source(small.config, depth="depth anything"), tmp_path)


def test_an_estimate_has_the_pictures_size():
    config = depth_anything.DepthAnythingConfig(
        width=64, heads=1, hidden=64, layers=4, taps=(0, 1, 2, 3), grid=2,
        channels=(4, 4, 4, 4), features=4, last=4,
    )  # fmt: skip
    network = depth_anything.DepthAnything(config)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    picture = jax.ShapeDtypeStruct((20, 33, 3), jnp.float32)
    assert jax.eval_shape(estimator(config, variables, 28), picture).shape == (20, 33)
