"""The avatar as data for the trainer: variables, loss, occupancy refresh and prediction."""

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
from jaxhead.losses.placement import GuessTerms, surface_terms
from jaxhead.rendering import occupancy
from jaxhead.rendering.rays import batch_rays
from jaxhead.rendering.torso import layered_rays, torso_points
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import AvatarConfig, OptimiserConfig
from jaxhead.systems.avatar.density import density_terms
from jaxhead.systems.avatar.depths import depth_terms
from jaxhead.systems.avatar.guess import guessed_places
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.systems.avatar.rays import (
    LENGTH_UNITS,
    Frames,
    cell_kinds,
    encoded_points,
    expression_share,
    render_head,
)
from jaxhead.systems.avatar.semantic import ClipPrior, semantic_term
from jaxhead.training.optimizers import OptimizerConfig, adam, grouped
from jaxhead.training.system import Feed, Revision, Stage, System, Update, Variables

PLAYER = "avatar"
TORSO_CONDITION = 6
GUESS_EVERY = 4
"""Steps between looks at the guess: a second gradient of the tables costs a fifth of a step."""


def init(
    key: jax.Array, spec: AvatarSpec, frozen: dict[str, Any], config: AvatarConfig
) -> Variables:
    """Variables of an untrained avatar."""
    head, torso = jax.random.split(key)
    params = {"head": model.init_head(head, config.field, spec.components)}
    if config.torso.shown:
        params["torso"] = model.init_torso(torso, config.torso, TORSO_CONDITION)
    return Variables(
        params={PLAYER: params},
        state={
            "occupancy": occupancy.OccupancyGrid(
                thickness=frozen["occupancy"].astype(jnp.float32),
                low=frozen["box"][0],
                high=frozen["box"][1],
            )
        },
        frozen=frozen,
    )


def render_rays(
    params: Any, batch: dict[str, Any], state: Any, frozen: dict[str, Any],
    condition: jax.Array, torso_condition: jax.Array, *, spec: AvatarSpec, config: AvatarConfig,
) -> dict[str, Any]:
    """What the fields give along a batch of rays of b frames, R each, the first h through the head.

    Returns:
      {"rgb" (b, R, 3), "person" (b, R), "head" (b, h), "torso" (b, R)} over the batch's background,
      "torso_rgb" (b, R, 3) over nothing, and "samples".
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
        Frames(batch["geometry"], condition, batch["sway"]),
        cell_kinds(state["occupancy"], frozen), frozen,
        jax.random.wrap_key_data(batch["jitter"]), config=config,
    )
    reference = torso_points(batch["pixels"], batch["torso_motion"], spec.size)
    torso, torso_alpha = model.torso_layer(
        params, reference.reshape(-1, 2),
        jnp.repeat(torso_condition, count, axis=0),
        config=config.torso,
    )
    shown = layered_rays(head, torso, torso_alpha, batch["back"], heads=heads)
    return shown | {"samples": samples}


def loss(
    variables: Variables, batch: dict[str, Any], *, spec: AvatarSpec, config: AvatarConfig,
    step: jax.Array | int = 0,
):
    """Huber on colours (patent, stage 7), and the masks' supervision of the opacities."""
    batch = dict(batch["rays"])
    frozen, params = variables.frozen, variables.params[PLAYER]
    condition, torso_condition, batch["turn"] = _with_noise(batch, config)
    heads = config.sampling.head_rays
    masks = batch["masks"]
    pixels = jnp.floor(batch["pixels"]).astype(jnp.int32)
    plate = frozen["background"][pixels[..., 1], pixels[..., 0]].astype(jnp.float32) / 255
    person = masks[..., :1]
    # Where the mask says neither yes nor no the picture is a mixture: another colour behind it
    # would ask for more than the mask knows.
    sure = jnp.abs(person[..., 0] - 0.5) > 0.5 - UNSURE
    used = (batch["random_used"] & sure)[..., None]
    batch["back"] = jnp.where(used, batch["random"], plate)
    target = jnp.where(
        used, person * batch["rgb"] + (1 - person) * batch["random"], batch["rgb"]
    )
    out = render_rays(
        params, batch, variables.state, frozen, condition, torso_condition,
        spec=spec, config=config,
    )
    # A torso ray that fell into the head's region has no head to show: it does not count.
    far = heard = 1.0 - masks[..., 3] * (jnp.arange(masks.shape[1]) >= heads)
    if config.loss.region != 1:
        counts = batch["region"] & (step >= config.loss.region_from)
        far = far * jnp.where(counts, config.loss.region, 1.0)
    color = jnp.mean(far[..., None] * huber(out["rgb"], target, delta=config.loss.delta))
    # Half opaque where the mask is half: else hair's edge learns the colour of what is behind it.
    head = jnp.mean(jnp.abs(out["head"] - masks[:, :heads, 1]))
    cover = jnp.mean(heard * jnp.abs(out["person"] - masks[..., 0]))
    weights = config.loss
    total = weights.color * color / weights.delta + weights.opacity * (head + cover)
    # Behind the head nobody sees the torso: without a price it explains the hair's edge.
    idle = jnp.mean((1 - masks[..., 2]) * out["torso"])
    # Just under the head it goes on all the same: a head that rises would leave a gap.
    under = (jnp.minimum(masks[..., 1], masks[..., 2]) > 1 - UNSURE).astype(jnp.float32)
    colors = jnp.mean(huber(out["torso_rgb"], batch["rgb"], delta=config.loss.delta), -1)
    rim = jnp.mean(under * (colors / weights.delta + 1 - out["torso"]))
    shape = surface_terms(out["samples"], frozen)
    total = total + weights.surface * shape.surface + weights.distortion * shape.spread
    total = total + weights.hidden * shape.hidden + weights.idle * idle
    total = total + weights.rim * rim
    decay = sum(
        jnp.sum(table**2) for field in params.values() for table in jax.tree.leaves(field["tables"])
    )
    total = total + 0.5 * weights.table_decay * decay
    depth = depth_terms(out["samples"], batch, frozen["K"], config)
    depth |= density_terms(out["samples"], variables.state["occupancy"], frozen, config)
    total = sum((getattr(weights, name) * term for name, term in depth.items()), start=total)
    if weights.network_decay > 0:
        kernels = jax.tree.leaves((params["head"]["density"], params["head"]["color"]))
        total += 0.5 * weights.network_decay * sum(jnp.sum(kernel**2) for kernel in kernels)
    if weights.unseen > 0 and len(frozen["unseen_points"]) > 0:
        guess = jax.lax.cond(
            step % GUESS_EVERY == 0,
            lambda head: guessed_places(head, batch["jitter"], condition, frozen, config),
            lambda head: GuessTerms(jnp.float32(0), jnp.float32(0)),
            params["head"],
        )
        share = GUESS_EVERY * weights.unseen
        total += share * (guess.unseen + weights.unseen_color * guess.unseen_color)
        depth |= guess._asdict()
    terms = {
        "color": color, "head_mask": head, "person_mask": cover, "idle": idle, "rim": rim,
        **shape._asdict(), **depth,
    }
    return total, (terms, variables.state)


def _with_noise(batch: dict[str, Any], config: AvatarConfig):
    """Conditions of the batch's frames, blurred so that the fields interpolate between them.

    Returns:
      (b, k) conditions of the head, (b, c) of the torso, (b, 3) standard normal turns of the
      viewing direction: a clip sees a face from few sides, and colours must not hang on which.
    """

    length, poses = batch["condition"].shape[-1], model.pose_numbers(config.field)
    blur = np.full(length, config.field.expression_noise, np.float32)
    blur[length - poses :] = config.field.pose_noise

    def one(data, condition, torso):
        first, second, third = jax.random.split(jax.random.wrap_key_data(data), 3)
        return (
            condition + blur * draws.normal(first, condition.shape),
            torso + config.torso.motion_noise * draws.normal(second, torso.shape),
            draws.normal(third, (3,)),
        )

    # Stored: every sample and harmonic of a ray would draw its frame's noise anew.
    return materialised(jax.vmap(one)(batch["noise"], batch["condition"], batch["torso_condition"]))


def optimiser(config: OptimiserConfig):
    """Adam for tables and networks, each with its rate (INSTA's betas and epsilon)."""
    shared = dict(final=config.final_share, hold=config.hold)
    return grouped(
        lambda path: "tables" if "tables" in path else "networks",
        {
            "tables": adam(OptimizerConfig(rate=config.table_rate, **shared)),
            "networks": adam(OptimizerConfig(rate=config.learning_rate, **shared)),
        },
    )


def refresh(
    variables: Variables, key: jax.Array, *, components: int, config: AvatarConfig,
    step: jax.Array | int = 0,
) -> dict[str, Any]:
    """The occupancy state after a look at some cells; those outside the silhouettes stay empty.

    From `key` and `variables` alone, so that all devices see the same: the look is at the canonical
    head with a random expression, at points as far aside as expressions carry a cell's surface.
    """
    frozen, params = variables.frozen, variables.params[PLAYER]["head"]
    grid, prior, box = variables.state["occupancy"], frozen["occupancy"], frozen["box"]
    side = jnp.max(box[1] - box[0])
    look, aside, face = jax.random.split(key, 3)
    condition = jax.random.normal(face, (1, components))
    if config.field.expression == "coefficients":
        condition = jnp.ones((1, components))  # INSTA's

    def density(points, moved):
        cube = encoded_points(moved, box, config)
        ahead = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), points.shape)
        skin = lookup(frozen["skin"], points, frozen["surface_box"])
        share = expression_share(skin, config)
        seen = model.region_condition(condition, share, config=config.field)
        return model.head_field(params, cube, ahead, seen, config=config.field)[1]

    def thickness(points):
        reach = occupancy.look_up(frozen["reach"], points, box[0], box[1])
        moved = points + reach[:, None] * draws.uniform(aside, points.shape, minval=-1.0)
        if config.sampling.occupancy_rule == "steady":
            sigma = density(points, moved)
        else:
            sigma = occupancy.in_parts(density, points, moved)
        if config.field.density == "cube":
            sigma = sigma * LENGTH_UNITS / side
        return sigma * (config.sampling.step or side / grid.thickness.shape[0])

    if config.sampling.occupancy_rule == "steady":
        looked = occupancy.update(grid, thickness, look, cells=grid.thickness.size // 8)
    else:
        looked = occupancy.update_by_age(grid, thickness, look, step)
    return {"occupancy": looked._replace(thickness=looked.thickness * prior)}


def build(
    config: AvatarConfig, spec: AvatarSpec, frozen: dict[str, np.ndarray], feed: Feed | None,
    clip: ClipPrior | None = None, revision: Revision | None = None,
) -> tuple[Stage, ...]:
    """The recipe: one stage.

    Args:
      config: the run's; spec: what depends on the capture; frozen: arrays of `frozen_arrays`.
      feed: of `data.make_feed`, None where nothing is trained (rendering).
      clip: of `semantic.load_clip`, where `loss.semantic` is above 0 and something is trained.
      revision: of `motion.revision`, where something is trained.
    """
    arrays = {name: jnp.asarray(value) for name, value in frozen.items()}
    if clip is not None:
        arrays["clip"] = jax.tree.map(jnp.asarray, clip.variables)

    def update(variables, outputs, batch, key, step):
        del outputs, key
        total, (terms, state) = loss(variables, batch, spec=spec, config=config, step=step)
        if clip is None:
            return total, (terms, state)
        semantic = semantic_term(
            variables.params[PLAYER], variables.state, variables.frozen, batch["rays"], step,
            size=spec.size, config=config, clip_config=clip.config,
        )
        assert config.loss.semantic is not None
        total = total + config.loss.semantic * semantic
        return total, (terms | {"semantic": semantic}, state)

    system = System(
        init=lambda key: init(key, spec, arrays, config),
        updates=(Update(PLAYER, update),),
        refresh=lambda variables, batch, key, step: refresh(
            variables, key, components=spec.components, config=config, step=step
        ),
        refresh_every=(
            config.sampling.occupancy_every if config.sampling.occupancy_rule == "steady" else 1
        ),
    )
    return (
        Stage(
            name="avatar",
            system=system,
            feeds={"rays": feed} if feed is not None else {},
            optimizers={PLAYER: optimiser(config.optimiser)},
            steps=config.steps,
            ema={PLAYER: config.optimiser.ema},
            revision=revision,
        ),
    )
