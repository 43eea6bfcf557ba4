"""CLIP's image encoder against its goldens, in both families of names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import compare, known_goldens
from PIL import Image
from quick_compile import compiled

from jaxhead.files.errors import InputError
from jaxhead.networks import clip

TINY = clip.ClipConfig(
    width=16, layers=1, heads=2, hidden=32, projection=8, image_size=16, patch=8
)


def channels_last(pixels):
    return np.transpose(pixels, (0, 2, 3, 1))


def config_of(golden):
    """What no shape tells comes from the golden's config where it says so."""
    vision = golden.config.get("vision_config", {})
    return clip.config_from_state_dict(
        golden.weights, heads=vision.get("num_attention_heads"),
        activation=vision.get("hidden_act", "quick_gelu"),
    )  # fmt: skip


def encoded(golden):
    """The config, what is found with all tokens, and the code alone."""
    config, variables = clip.from_state_dict(golden.weights, config_of(golden))
    encoder = clip.ClipImageEncoder(config, precision="highest")
    pixels = channels_last(golden.inputs["pixels"])

    def both(variables, pixels):
        whole = encoder.apply(variables, pixels, hidden=True)
        return whole, encoder.apply(variables, pixels)

    return config, *compiled(both, variables, pixels)(variables, pixels)


def test_goldens(goldens):
    for golden in known_goldens(goldens, system="CLIP", module="image encoder"):
        config, found, alone = encoded(golden)
        golden.compare("embedding", found.code)
        golden.compare("embedding", alone.code)
        assert alone.hidden == ()
        vision = golden.config.get("vision_config")
        if vision is not None:
            assert config.layers == vision["num_hidden_layers"]
            assert config.image_size == vision["image_size"]
        if "tokens" in golden.outputs:
            golden.compare("embedded", found.hidden[0])
            golden.compare("block0", found.hidden[1])
            golden.compare("tokens", found.hidden[-1])
            unit = found.code / jnp.linalg.norm(found.code, axis=-1, keepdims=True)
            golden.compare("unit_embedding", unit)


def openai_names(state):
    """A Hugging Face state dict under OpenAI's names, as the golden's config spells them."""
    renamed = {
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T,
    }
    for leaf in ("weight", "bias"):
        renamed[f"visual.ln_pre.{leaf}"] = state[f"vision_model.pre_layrnorm.{leaf}"]
        renamed[f"visual.ln_post.{leaf}"] = state[f"vision_model.post_layernorm.{leaf}"]
        for number in range(3):
            old = f"vision_model.encoder.layers.{number}."
            new = f"visual.transformer.resblocks.{number}."
            renamed[f"{new}attn.in_proj_{leaf}"] = np.concatenate(
                [state[f"{old}self_attn.{n}_proj.{leaf}"] for n in "qkv"]
            )
            for ours, theirs in (
                ("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
            ):  # fmt: skip
                renamed[f"{new}{ours}.{leaf}"] = state[f"{old}{theirs}.{leaf}"]
    return renamed


def test_both_families_of_names_give_the_same_parameters(goldens):
    (golden,) = known_goldens(goldens, module="CLIPVisionModelWithProjection")
    config = config_of(golden)
    _, ours = clip.from_state_dict(golden.weights, config)
    _, theirs = clip.from_state_dict(openai_names(golden.weights), config)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_half_precision_weights_become_single(goldens):
    (golden,) = known_goldens(goldens, module="CLIPVisionModelWithProjection")
    half = {name: value.astype(np.float16) for name, value in golden.weights.items()}
    _, variables = clip.from_state_dict(half, config_of(golden))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # The image encoders' counts: 87.8, 86.2, 304.0 and 304.3 million.
        (clip.VIT_B_32, 87_849_216), (clip.VIT_B_16, 86_192_640),
        (clip.VIT_L_14, 303_966_208), (clip.VIT_L_14_336, 304_293_888),
    ],
)  # fmt: skip
def test_published_sizes_construct(config, parameters):
    pixels = jax.ShapeDtypeStruct((2, config.image_size, config.image_size, 3), jnp.float32)
    encoder = clip.ClipImageEncoder(config)
    variables = jax.eval_shape(encoder.init, jax.random.key(0), pixels)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters
    found = jax.eval_shape(lambda *x: encoder.apply(*x, hidden=True), variables, pixels)
    assert found.code.shape == (2, config.projection)
    assert found.hidden[-1].shape == (2, 1 + (config.image_size // config.patch) ** 2, config.width)


def changed(golden, **new):
    state = dict(golden.weights)
    for name, value in new.items():
        name = name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual_projection__weight": None}, "lacks visual_projection.weight"),
        ({"vision_model__post_layernorm__bias": None}, "lacks vision_model.post_layernorm.bias"),
        ({"other__weight": np.zeros(3)}, "other.weight is not a name"),
        ({"vision_model__pre_layrnorm__bias": np.zeros(47)}, r"\(47,\), expected \(48,\)"),
        ({"vision_model__pre_layrnorm__bias": np.zeros(48, int)}, "holds int64"),
    ],
)
def test_other_state_dicts_are_refused_by_name(goldens, change, message):
    (golden,) = known_goldens(goldens, module="CLIPVisionModelWithProjection")
    with pytest.raises(InputError, match=message):
        state = changed(golden, **change)
        heads = clip.config_from_state_dict(state, heads=4, source="f.pt")
        clip.from_state_dict(state, heads, source="f.pt")


def test_a_resnet_is_refused():
    with pytest.raises(InputError, match=r"f\.pt: a ResNet"):
        clip.from_state_dict({"visual.attnpool.positional_embedding": np.zeros(1)}, source="f.pt")


@pytest.mark.parametrize("shape", [(40, 64), (64, 40), (300, 201), (49, 48), (64, 64)])
def test_pictures_are_prepared_as_pillow_does(shape):
    image = np.random.RandomState(0).random_sample((*shape, 3)).astype(np.float32)
    size, (height, width) = 48, shape
    new = (size * height // min(shape), size * width // min(shape))
    planes = [
        np.asarray(Image.fromarray(image[..., c]).resize(new[::-1], Image.Resampling.BICUBIC))
        for c in range(3)
    ]
    top, left = (round((n - size) / 2) for n in new)
    expected = np.stack(planes, -1)[top : top + size, left : left + size]
    expected = (expected - np.float32(clip.MEAN)) / np.float32(clip.DEVIATION)
    compare("preprocess", clip.preprocess(jnp.asarray(image), size), expected, tolerance=1e-5)


def test_it_runs_under_jit_vmap_and_grad():
    encoder = clip.ClipImageEncoder(TINY, precision="highest")
    again = clip.ClipImageEncoder(TINY, precision="highest", remat=True)
    key = jax.random.key(0)
    images = jax.random.uniform(key, (2, 20, 24, 3))
    shapes = jax.eval_shape(encoder.init, key, jnp.zeros((1, 16, 16, 3)))
    random = np.random.RandomState(0)
    variables = jax.tree.map(lambda x: random.standard_normal(x.shape).astype("f") / 4, shapes)

    def code(image, network=encoder):
        return network.apply(variables, clip.preprocess(image[None], 16)).code[0]

    def everything(images):
        gradients = [
            jax.grad(lambda image, n=network: code(image, n)[0])(images[0])
            for network in (encoder, again)
        ]
        batch = encoder.apply(variables, clip.preprocess(images, 16)).code
        return batch, jax.vmap(code)(images), *gradients

    everything = compiled(everything, images)
    batch, mapped, gradient, remat = everything(images)
    np.testing.assert_allclose(mapped, batch, atol=1e-5)
    np.testing.assert_allclose(remat, gradient, atol=1e-5)
    step, direction = 1e-2, jax.random.normal(key, gradient.shape)
    moved = jnp.stack([images[0] + step * direction, images[0] - step * direction])
    plus, minus = everything(moved)[0][:, 0]
    numeric = (plus - minus) / (2 * step)
    np.testing.assert_allclose(jnp.sum(gradient * direction), numeric, rtol=2e-2, atol=1e-4)
