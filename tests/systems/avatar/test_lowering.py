"""Step and pictures lower for a TPU on a CPU. Lowering only: no TPU compiler takes part."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax import export
from systems.avatar.tiny_clip import tiny_prior

from jaxhead.systems.avatar.data import make_feed
from jaxhead.systems.avatar.depth_maps import DepthMaps
from jaxhead.systems.avatar.model import init_head
from jaxhead.systems.avatar.predict import predict
from jaxhead.systems.avatar.surface import GeometryCache, frame_geometry
from jaxhead.training.configuration import override
from jaxhead.training.lowering import export_step

VARIANTS = {
    "default": {},
    "exact": {"nearest": "bvh"},
    "unmapped": {"mapping": "none"},
    "dense": {"encoding": "dense"},
    "triplane": {"encoding": "triplane"},
}  # fmt: skip
TRIED = [
    pytest.param(name, marks=pytest.mark.long if name == "triplane" else ())
    for name in sorted(VARIANTS)
]


def _with(config, changes):
    surface = {k: v for k, v in changes.items() if k == "nearest"}
    field = {k: v for k, v in changes.items() if k != "nearest"}
    return dataclasses.replace(
        config, field=dataclasses.replace(config.field, **field),
        surface=dataclasses.replace(config.surface, **surface),
    )  # fmt: skip


@pytest.mark.parametrize("variant", TRIED)
def test_the_step_lowers_for_tpus(small, variant):
    config = _with(small.config, VARIANTS[variant])
    if variant != "default":  # one level is enough to see that a variant lowers
        config = override(config, ["field.levels=1", "torso.levels=1"])
    geometry = GeometryCache(small.inputs["vertices"], small.inputs["train"][:1], small.frozen,
                             config=config)  # fmt: skip
    try:
        feed = make_feed(small.capture, small.spec, small.inputs, geometry, config)
        stage = small.stage(feed, config)
        made = export_step(stage, devices=jax.local_devices()[:2])
    finally:
        geometry.close()
    assert made["step"].platforms == ("tpu",)
    assert "all_reduce" in made["step"].mlir_module()


@pytest.mark.long
def test_the_step_with_all_priors_lowers_for_tpus(small):
    config = override(small.config, [
        "loss.semantic=0.1", "loss.depth_ordinal=0.1", "loss.depth_smoothness=0.1",
        "prior.pairs=4", "prior.size=16", "field.direction_encoding=frequency", "field.levels=1",
    ])  # fmt: skip
    geometry = GeometryCache(small.inputs["vertices"], small.inputs["train"][:1], small.frozen,
                             config=config)  # fmt: skip
    try:
        feed = make_feed(small.capture, small.spec, small.inputs, geometry, config,
                         DepthMaps(small.capture, config))
        stage = small.stage(feed, config, tiny_prior())
        made = export_step(stage, devices=jax.local_devices()[:2])
    finally:
        geometry.close()
    assert made["step"].platforms == ("tpu",)
    text = made["step"].mlir_module()
    # The picture that CLIP sees is rendered in the step, where it is due.
    assert "stablehlo.case" in text or "stablehlo.if" in text


@pytest.mark.parametrize("variant", TRIED)
def test_pictures_lower_for_a_tpu(small, variables, variant):
    config = _with(small.config, VARIANTS[variant])
    params = dict(variables.params["avatar"])
    if "encoding" in VARIANTS[variant]:
        params["head"] = init_head(jax.random.key(0), config.field, small.spec.components)
    frozen = dict(small.frozen)
    vertices = jnp.asarray(small.inputs["vertices"][0])
    torso_condition = jnp.zeros(6)
    height, width = 32, 32
    request = {
        "K": frozen["K"], "head_to_camera": jnp.eye(4), "camera_from_own": jnp.eye(4),
        "condition": jnp.zeros(small.spec.components),
        "sway": jnp.zeros((2, 2, 2)), "torso_motion": jnp.zeros((2, 3)),
        "torso_condition": torso_condition,
        "background": jnp.zeros((height, width, 3)),
    }  # fmt: skip

    def picture(params, state, frozen, vertices, request):
        request = request | {"geometry": frame_geometry(vertices, frozen, config=config)}
        return predict(params, state, frozen, request, size=(height, width), config=config)

    made = export.export(jax.jit(picture), platforms=["tpu"])(
        params, variables.state, frozen, vertices, request
    )
    assert made.platforms == ("tpu",) and made.out_avals
