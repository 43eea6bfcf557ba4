"""The head's and the torso's passes with their gradients against the published code."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens

from jaxhead.networks.torch_layers import from_published, to_published
from jaxhead.systems.adnerf import checkpoint
from jaxhead.systems.adnerf import nerf_model as model
from jaxhead.systems.adnerf import nerf_stages as stages
from jaxhead.systems.adnerf.nerf_config import (
    NerfConfig,
    NerfFieldConfig,
    NerfSamplingConfig,
)
from jaxhead.systems.adnerf.rays import camera_rays, pose_code
from jaxhead.training.system import Variables

HEAD = {"audio": "network_audnet.", "attention": "network_audattnet.",
        "coarse": "network_fn.", "fine": "network_fine."}  # fmt: skip
TORSO = {"coarse": "torso.network_fn.", "fine": "torso.network_fine."}


def config_of(golden) -> tuple[NerfConfig, int]:
    """The sizes that the weights have, and the width of their audio features."""
    c = golden.config
    sampling = NerfSamplingConfig(
        coarse=c["N_samples"], fine=c["N_importance"], jitter=c["perturb"] > 0, chunk=8
    )
    field = NerfFieldConfig(pose_code="published", precision="highest")

    def content(names):
        return {
            checkpoint.NETWORKS[part]: {
                name.removeprefix(prefix): value
                for name, value in golden.weights.items() if name.startswith(prefix)
            }
            for part, prefix in names.items()
        }  # fmt: skip

    body = content(TORSO) if any(name.startswith("torso.") for name in golden.weights) else None
    base = NerfConfig(field=field, sampling=sampling)
    config, features = checkpoint.sizes(content(HEAD), base, golden.name, body)
    assert (config.field.depth, config.field.width) == (c["D"], c["netwidth"])
    return config, features


def loaded(golden, shapes, names):
    found = {
        part: from_published(golden.weights, shapes[part], prefix=prefix)
        for part, prefix in names.items()
    }
    return jax.tree.map(jnp.asarray, found)


def scene(golden):
    c, given = golden.config, golden.inputs
    pixels = np.asarray(given["coords"])
    plate = np.zeros((c["H"], c["W"], 3), np.float32)
    plate[pixels[:, 0], pixels[:, 1]] = 255 * given["bc_rgb"]
    frozen = {
        "camera": jnp.array([c["focal"], c["cx"], c["cy"]]),
        "bounds": jnp.array([c["near"], c["far"]]),
        "background": plate,
        "torso_camera_to_world": given.get("c2w_torso", given["c2w"]),
    }
    batch = {
        "pixels": pixels, "target": given["target"], "audio": given["auds_win"],
        "camera_to_world": given["c2w"],
    }  # fmt: skip
    return jax.tree.map(jnp.asarray, (frozen, batch))


def norms(golden, gradients, names):
    state = {}
    for part, prefix in names.items():
        state |= to_published(gradients[part], prefix=prefix)
    keys = sorted(k for k in golden.manifest["keys"] if k in state)
    assert len(keys) == len(golden.outputs["grad_norm"])
    return np.array([np.linalg.norm(state[key].astype(np.float64)) for key in keys])


def shapes_of(config, features):
    return jax.eval_shape(lambda k: model.init_head(k, config, 16, features), jax.random.key(0))


def test_the_head_is_the_published_one(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="head: AudioNet"):
        config, features = config_of(golden)
        params = loaded(golden, shapes_of(config, features), HEAD)
        frozen, batch = scene(golden)
        given = jax.tree.map(lambda x: x[None], batch)
        loss = functools.partial(
            stages.head_loss, frozen=frozen, batch=given, config=config, attention=True
        )
        (total, _), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        golden.compare("loss", total)
        golden.compare("grad_norm", norms(golden, slopes, HEAD))
        seen = jax.jit(functools.partial(head_outputs, config=config))(params, frozen, batch)
        for name in seen:
            golden.compare(name, seen[name])


def head_outputs(params, frozen, batch, config):
    code = model.audio_code(params, batch["audio"], config, attention=True)
    origins, directions = camera_rays(
        frozen["camera"], batch["camera_to_world"], batch["pixels"]
    )
    rays = model.Rays(origins, directions, frozen["bounds"])
    coarse, fine, _, _ = model.render_rays(params, code, rays, config)
    shown = model.shown_layers(params, code, rays, config)
    behind = frozen["background"][batch["pixels"][:, 0], batch["pixels"][:, 1]] / 255
    marched = shown.foreground + shown.left[:, None] * behind
    return {
        "aud": code, "rgb0": coarse.over(behind), "last_weight": fine.last_weight,
        "acc_map": fine.weights.sum(-1), "rgb_map": marched,
    }  # fmt: skip


def test_the_torso_over_the_head_is_the_published_one(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="torso stage"):
        config, features = config_of(golden)
        head = loaded(golden, shapes_of(config, features), HEAD)
        shapes = jax.eval_shape(lambda k, c=config: model.init_torso(k, c), jax.random.key(0))
        torso = loaded(golden, shapes, TORSO)
        frozen, batch = scene(golden)
        golden.compare("code", pose_code(batch["camera_to_world"]))
        given = jax.tree.map(lambda x: x[None], batch)
        loss = functools.partial(
            stages.torso_loss, head=head, frozen=frozen, batch=given, config=config
        )
        (total, _), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(torso)
        golden.compare("loss", total)
        golden.compare("grad_norm", norms(golden, slopes, TORSO))


@pytest.mark.long
@pytest.mark.parametrize("smoothing", [1.0])
def test_a_frame_is_its_rays(smoothing):
    config = NerfConfig(
        field=NerfFieldConfig(depth=3, width=8, skip=1),
        sampling=NerfSamplingConfig(coarse=4, fine=4, chunk=2),
    )
    random = np.random.default_rng(0)

    def filled(shapes):
        return jax.tree.map(lambda x: np.float32(0.4 * random.normal(size=x.shape)), shapes)

    head = filled(jax.eval_shape(lambda k: model.init_head(k, config, 16, 5), jax.random.key(0)))
    torso = filled(jax.eval_shape(lambda k: model.init_torso(k, config), jax.random.key(0)))
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = 0.7
    request = {
        "audio": np.float32(random.normal(size=(8, 16, 5))), "camera_to_world": pose,
        "torso_camera_to_world": pose, "camera": np.float32([9, 2.5, 2]),
        "bounds": np.float32([0.5, 1.1]), "background": np.float32(random.random((5, 6, 3))),
    }  # fmt: skip
    variables = Variables(
        params={"head": head, "torso": torso}, state={"smoothing": jnp.float32(smoothing)}
    )

    @jax.jit
    def both(variables, request):
        frame = model.render_frame(variables, request, (5, 6), config)
        code = model.audio_code(head, request["audio"], config, attention=smoothing > 0)
        pixels = jnp.stack(jnp.meshgrid(jnp.arange(5), jnp.arange(6), indexing="ij"), -1)
        rays = camera_rays(request["camera"], pose, pixels.reshape(-1, 2))
        rays = model.Rays(*rays, request["bounds"])
        back = model.render_rays(head, code, rays, config)[1]
        signal = model.torso_code(code, pose, config)
        front = model.render_rays(torso, signal, rays, config)[1]
        rgb = front.over(back.over(request["background"].reshape(-1, 3)))
        return frame, rgb, 1 - front.last_weight * back.last_weight

    frame, rgb, alpha = both(variables, request)
    np.testing.assert_allclose(frame["rgb"].reshape(-1, 3), rgb, atol=1e-5)
    np.testing.assert_allclose(frame["alpha"].reshape(-1), alpha, atol=1e-5)
    for dtype, digits in (("float16", 2e-3), ("bfloat16", 2e-2)):
        half = dataclasses.replace(
            config, field=dataclasses.replace(config.field, picture_dtype=dtype)
        )
        seen = model.render_frame(variables, request, (5, 6), half)
        assert seen["rgb"].dtype == jnp.float32
        error = np.abs(seen["rgb"].reshape(-1, 3) - rgb).max()
        assert 0 < error < digits, (dtype, error)


def test_how_many_rays_go_together_is_as_set_or_as_suits():
    def together(chunk):
        config = NerfConfig(sampling=NerfSamplingConfig(chunk=chunk))
        return model.rays_together(config), model.rays_together(config, pictures=True)

    assert together(0) == (16, 64) and together(5) == (5, 20)
