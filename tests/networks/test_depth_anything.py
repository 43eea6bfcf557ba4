"""Depth Anything V2 against its goldens, in both families of names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import compare, known_goldens
from quick_compile import compiled

from jaxhead.files.errors import InputError
from jaxhead.networks import depth_anything
from jaxhead.networks.depth_anything import DepthAnything
from jaxhead.networks.resample import cubic_weights, linear_weights, resample


def test_goldens(goldens):
    for golden in known_goldens(goldens, system="Depth Anything", module="whole network"):
        config, variables = depth_anything.from_state_dict(golden.weights)
        assert list(config.taps) == golden.config["taps"]
        assert config.heads == golden.config["heads"]
        network = DepthAnything(config, precision="highest")
        for name, pixels in golden.inputs.items():
            pixels = np.transpose(pixels, (0, 2, 3, 1))
            found = compiled(network.apply, variables, pixels)(variables, pixels)
            golden.compare(name, found)


def test_newer_names_of_hugging_face_give_the_same_parameters(goldens):
    (golden,) = known_goldens(goldens, system="Depth Anything", module="Hugging Face")
    renamed = {}
    for name, value in golden.weights.items():
        for part in ("query", "key", "value"):
            name = name.replace(f"attention.attention.{part}", f"attention.{part[0]}_proj")
        renamed[name.replace("attention.output.dense", "attention.o_proj")] = value
    assert set(renamed) != set(golden.weights)
    _, old = depth_anything.from_state_dict(golden.weights)
    _, new = depth_anything.from_state_dict(renamed)
    jax.tree.map(np.testing.assert_array_equal, old, new)


@pytest.mark.parametrize(
    ("config", "published"),
    [(depth_anything.SMALL, 24.8), (depth_anything.BASE, 97.5), (depth_anything.LARGE, 335.3)],
)
def test_published_sizes_construct(config, published):
    pixels = jax.ShapeDtypeStruct((1, 518, 700, 3), jnp.float32)
    network = DepthAnything(config)
    variables = jax.eval_shape(network.init, jax.random.key(0), pixels)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    # The files also hold what is never used: a mask token and one residual unit.
    count += config.width + 2 * (9 * config.features**2 + config.features)
    assert round(count / 1e6, 1) == published
    assert jax.eval_shape(network.apply, variables, pixels).shape == (1, 518, 700)
    if config == depth_anything.SMALL:
        assert count == 24_785_089


def test_names_are_refused_one_by_one(goldens):
    (golden,) = known_goldens(goldens, system="Depth Anything", module="Hugging Face")
    state = dict(golden.weights)
    del state["head.conv3.bias"]
    with pytest.raises(InputError, match=r"f: lacks depth_head.scratch.output_conv2.2.bias"):
        depth_anything.from_state_dict(state, source="f")
    with pytest.raises(InputError, match="f: other is not a name"):
        depth_anything.from_state_dict({**golden.weights, "other": np.zeros(2)}, source="f")
    with pytest.raises(InputError, match="f: lacks pretrained.pos_embed"):
        depth_anything.from_state_dict({"some": np.zeros(2)}, source="f")


def test_sides_that_are_no_multiple_of_the_patch_are_refused():
    with pytest.raises(ValueError, match="a side of 515 pixels"):
        jax.eval_shape(
            DepthAnything().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 515, 518, 3), float)
        )


def test_pictures_are_prepared_as_opencv_does():
    cv2 = pytest.importorskip("cv2")
    image = np.random.RandomState(0).random_sample((90, 130, 3)).astype(np.float32)
    # Shorter side to 70: 101.1 becomes 98, the nearest multiple of 14 that is at least 70.
    expected = cv2.resize(image, (98, 70), interpolation=cv2.INTER_CUBIC)
    mean, deviation = np.float32(depth_anything.MEAN), np.float32(depth_anything.DEVIATION)
    found = depth_anything.preprocess(jnp.asarray(image), 70)
    compare("preprocess", found, (expected - mean) / deviation, tolerance=1e-5)


@pytest.mark.parametrize(("count", "wanted"), [(1, 1), (1, 4), (5, 1), (5, 5), (7, 4), (4, 9)])
def test_weights_sum_to_one_and_keep_lines(count, wanted):
    for weights in (linear_weights(count, wanted), cubic_weights(count, wanted)):
        assert weights.shape == (wanted, count)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    line = linear_weights(count, wanted) @ np.arange(count)
    np.testing.assert_allclose(line, np.linspace(0, count - 1, wanted), atol=1e-6)
    image = np.random.RandomState(1).random_sample((2, count, count, 3)).astype(np.float32)
    if count == wanted:
        same = resample(image, cubic_weights(count, count), linear_weights(count, count))
        np.testing.assert_allclose(same, image, atol=1e-6)
