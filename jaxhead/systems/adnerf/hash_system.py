"""The fast variant as data for the trainer: variables, loss, occupancy refresh, one stage."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.hull import UNSURE
from jaxhead.geometry import draws
from jaxhead.geometry.fusion import materialised
from jaxhead.geometry.volume import lookup
from jaxhead.losses.huber import huber
from jaxhead.losses.placement import surface_terms
from jaxhead.networks.hash_field import head_field
from jaxhead.networks.torso_field import torso_field
from jaxhead.rendering import occupancy
from jaxhead.rendering.rays import LENGTH_UNITS, batch_rays, cell_kinds, to_cube
from jaxhead.rendering.torso import layered_rays, torso_points
from jaxhead.systems.adnerf import hash_model as model
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.hash_config import HashConfig
from jaxhead.systems.adnerf.hash_rays import Frames, render_head
from jaxhead.systems.adnerf.inputs import AdnerfSpec
from jaxhead.training.optimizers import OptimizerConfig, adam, grouped
from jaxhead.training.system import Feed, Stage, System, Update, Variables

PLAYER = "adnerf"


def init(
    key: jax.Array, spec: AdnerfSpec, frozen: dict[str, Any], config: AdnerfConfig
) -> Variables:
    """Variables of an untrained run."""
    params = model.init(
        key, config.hash, width=spec.width, window=config.audio.window, rest=spec.rest
    )
    grid = occupancy.OccupancyGrid(
        thickness=frozen["occupancy"].astype(jnp.float32),
        low=frozen["box"][0], high=frozen["box"][1],
    )  # fmt: skip
    return Variables(params={PLAYER: params}, state={"occupancy": grid}, frozen=frozen)


def render_rays(
    params: Any, batch: dict[str, Any], state: Any, frozen: dict[str, Any],
    *, size: tuple[int, int], config: HashConfig,
) -> dict[str, Any]:
    """What the fields give along a batch of rays of b frames, R each, the first h through the head.

    Returns:
      {"rgb" (b, R, 3), "person" (b, R), "head" (b, h), "torso" (b, R)} over the batch's background,
      and "samples".
    """
    frames, count = batch["pixels"].shape[:2]
    heads = config.sampling.head_rays
    rays = batch_rays(
        frozen["K"], batch["head_to_camera"], batch["pixels"][:, :heads],
        config.field.direction_noise * batch["turn"],
    )
    head, samples = render_head(
        params["head"],
        rays,
        Frames(batch["condition"], batch["sway"]),
        cell_kinds(state["occupancy"], frozen["solid"]), frozen,
        jax.random.wrap_key_data(batch["jitter"]), config=config,
    )
    reference = torso_points(batch["pixels"], batch["torso_motion"], size)
    torso, torso_alpha = torso_field(
        params["torso"], reference.reshape(-1, 2),
        jnp.repeat(batch["torso_condition"], count, axis=0),
        config=config.torso,
    )
    shown = layered_rays(head, torso, torso_alpha, batch["back"], heads=heads)
    return shown | {"samples": samples}


def loss(
    variables: Variables, batch: dict[str, Any], *, spec: AdnerfSpec, config: HashConfig
):
    """Huber on colours, masks on opacities, where density belongs, and the measured mouth."""
    batch = dict(batch["rays"])
    frozen, params = variables.frozen, variables.params[PLAYER]
    batch |= _with_noise(batch, config)
    spoken = model.speech_numbers(params["speech"], batch["windows"], config=config.speech)
    batch["condition"] = jnp.concatenate([
        spoken + config.speech.code_noise * batch["spoken_noise"], batch["rest"],
        batch["pose"] if config.field.pose else batch["pose"][:, :0],
    ], -1)  # fmt: skip
    heads, masks = config.sampling.head_rays, batch["masks"]
    pixels = jnp.floor(batch["pixels"]).astype(jnp.int32)
    plate = frozen["background"][pixels[..., 1], pixels[..., 0]].astype(jnp.float32) / 255
    person = masks[..., :1]
    # Where a mask says neither yes nor no (flying hair, soft edges) only the colour judges.
    sure = jnp.abs(masks[..., :3] - 0.5) > 0.5 - UNSURE
    used = (batch["random_used"] & sure[..., 0])[..., None]
    batch["back"] = jnp.where(used, batch["random"], plate)
    target = jnp.where(
        used, person * batch["rgb"] + (1 - person) * batch["random"], batch["rgb"]
    )
    out = render_rays(
        params, batch, variables.state, frozen, size=spec.size, config=config
    )
    # A torso ray that fell into the head's region has no head to show: it does not count.
    far = 1.0 - masks[..., 3] * (jnp.arange(masks.shape[1]) >= heads)
    weights, shape = config.loss, surface_terms(out["samples"], frozen)
    terms = {
        "color": jnp.mean(far[..., None] * huber(out["rgb"], target, delta=weights.delta)),
        "head_mask": jnp.mean(sure[:, :heads, 1] * jnp.abs(out["head"] - masks[:, :heads, 1])),
        "person_mask": jnp.mean(far * sure[..., 0] * jnp.abs(out["person"] - masks[..., 0])),
        # Behind the head nobody sees the torso: without a price it explains the hair's edge.
        "idle": jnp.mean((1 - masks[..., 2]) * out["torso"]),
        "speech": _mouth_error(spoken, batch["mouth"], frozen["mouth_scale"]),
        **shape._asdict(),
    }
    decay = sum(
        jnp.sum(table**2) for part in ("head", "torso") for table in params[part]["tables"]
    )
    total = (
        weights.color * terms["color"] / weights.delta
        + weights.opacity * (terms["head_mask"] + terms["person_mask"])
        + weights.surface * shape.surface + weights.distortion * shape.spread
        + weights.hidden * shape.hidden + weights.idle * terms["idle"]
        + weights.speech * terms["speech"] + 0.5 * weights.table_decay * decay
    )  # fmt: skip
    return total, (terms, variables.state)


def _mouth_error(spoken: jax.Array, measured: jax.Array, scale: jax.Array) -> jax.Array:
    """() mean squared error of the numbers that are measured; those that move more count more."""
    count = measured.shape[-1]
    if not count:
        return jnp.zeros(())
    return jnp.mean((spoken[:, :count] - measured) ** 2 * (scale / jnp.max(scale)))


def _with_noise(batch: dict[str, Any], config: HashConfig) -> dict[str, jax.Array]:
    """Conditions of the batch's frames, blurred so that the fields interpolate between them.

    Speech is blurred before its network, feature by feature and as a whole (another loudness), so
    that twenty seconds of it are not learned by heart.
    """
    speech = config.speech

    def one(data, windows, rest, pose, torso):
        a, b, c, d, e, f, g = jax.random.split(jax.random.wrap_key_data(data), 7)
        windows = windows + speech.feature_noise * draws.normal(a, windows.shape)
        windows = windows + speech.loudness_noise * jax.random.normal(b, ())
        blur = jnp.concatenate([
            jnp.full(6, config.torso.motion_noise), jnp.full(6, config.field.pose_noise)
        ])
        return {
            "windows": windows,
            "spoken_noise": jax.random.normal(c, (speech.dims,)),
            "rest": rest + speech.rest_noise * jax.random.normal(d, rest.shape),
            "pose": pose + config.field.pose_noise * jax.random.normal(e, pose.shape),
            "torso_condition": torso + blur * jax.random.normal(f, torso.shape),
            "turn": jax.random.normal(g, (3,)),
        }

    # Stored: a network that reads a frame's numbers once per sample would draw them as often.
    return materialised(jax.vmap(one)(
        batch["noise"], batch["windows"], batch["rest"], batch["pose"], batch["torso_condition"]
    ))  # fmt: skip


def optimiser(config: HashConfig):
    """Adam for tables, networks and the speech network, each with its rate."""
    shared = dict(final=config.optimiser.final_share, hold=config.optimiser.hold)
    return grouped(
        lambda path: "tables" if "tables" in path else path[0] if path[0] == "speech" else "rest",
        {
            "tables": adam(OptimizerConfig(rate=config.optimiser.table_rate, **shared)),
            "rest": adam(OptimizerConfig(rate=config.optimiser.learning_rate, **shared)),
            "speech": adam(OptimizerConfig(
                rate=config.speech.learning_rate, weight_decay=config.speech.weight_decay, **shared
            )),
        },
    )  # fmt: skip


def refresh(
    variables: Variables, key: jax.Array, *, conditions: int, config: HashConfig
) -> dict[str, Any]:
    """The occupancy state after a look at some cells; those outside the silhouettes stay empty.

    From `key` and `variables` alone, so that all devices see the same: the look is at a head with a
    random condition.
    """
    frozen, params = variables.frozen, variables.params[PLAYER]["head"]
    grid, box = variables.state["occupancy"], frozen["box"]
    side = jnp.max(box[1] - box[0])
    look, face = jax.random.split(key)
    condition = jax.random.normal(face, (1, conditions))

    def thickness(points):
        skin = lookup(frozen["skin"], points, frozen["surface_box"])
        _, sigma, _ = head_field(
            params,
            jnp.clip(to_cube(points, box), 0.0, 1.0),
            jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), points.shape),
            model.condition_by_place(condition, skin[:, 2:], config=config),
            config=config.field,
        )
        return sigma * LENGTH_UNITS / grid.thickness.shape[0]

    del side
    looked = occupancy.update(grid, thickness, look, cells=grid.thickness.size // 8)
    return {"occupancy": looked._replace(thickness=looked.thickness * frozen["occupancy"])}


def build(
    config: AdnerfConfig, spec: AdnerfSpec, frozen: dict[str, np.ndarray], feed: Feed | None
) -> tuple[Stage, ...]:
    """The recipe: one stage.

    Args:
      config: the run's; spec: what depends on the capture; frozen: arrays of the run.
      feed: of `hash_feed.make_feed`, None where nothing is trained (rendering).
    """
    arrays = {name: jnp.asarray(value) for name, value in frozen.items()}
    own = config.hash

    def update(variables, outputs, batch, key, step):
        del outputs, key, step
        return loss(variables, batch, spec=spec, config=own)

    system = System(
        init=lambda key: init(key, spec, arrays, config),
        updates=(Update(PLAYER, update),),
        refresh=lambda variables, batch, key, step: refresh(
            variables, key, conditions=model.conditions(own, spec.rest), config=own
        ),
        refresh_every=own.sampling.refresh_every,
    )
    return (
        Stage(
            name="hash",
            system=system,
            feeds={"rays": feed} if feed is not None else {},
            optimizers={PLAYER: optimiser(own)},
            steps=own.steps,
            ema={PLAYER: own.optimiser.ema},
        ),
    )
