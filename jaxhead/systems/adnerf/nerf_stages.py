"""The published recipe as stages: head, head with attention, torso.

    build(config, windows, frozen, feeds) -> (Stage "head", Stage "attention"[, Stage "torso"])

config: `NerfConfig`. windows: (T, F), rows and features of an audio window. frozen:
`nerf_feed.frozen_arrays(inputs, config)`. feeds: `nerf_feed.make_feeds(capture, inputs, windows of
all frames (N, T, F), config, seed=...)`, None where nothing is trained. The variables of any stage
render with `nerf_model.render_frame(variables, request, size, config)`, with the frozen arrays in
the request; the last stage's hold everything. `last_stage` says which stage a run has come to.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxhead.systems.adnerf import nerf_model as model
from jaxhead.systems.adnerf.nerf_config import NerfConfig
from jaxhead.systems.adnerf.nerf_errors import in_ray_chunks, squared_errors
from jaxhead.systems.adnerf.nerf_model import HEAD, TORSO, Rays
from jaxhead.systems.adnerf.rays import camera_rays
from jaxhead.training.checkpoints import steps_in
from jaxhead.training.restoring import checkpoint_folder
from jaxhead.training.system import Carry, Feed, Stage, System, Update, Variables

ATTENTION = "attention"


class AdamState(NamedTuple):
    """Adam's moments of one part of the parameters, as PyTorch counts them.

    Attributes:
        count: () int32 updates that were applied.
        mean, square: like the part's parameters.
    """

    count: jax.Array | np.ndarray
    mean: Any
    square: Any


def rate_at(count: jax.Array, config: NerfConfig, *, offset: Any = 0) -> jax.Array:
    """The learning rate of the update after `count` ones.

    The published loop lowers the rate after an update by the number of the step, from 0: the first
    two updates have the full rate.
    """
    done = jnp.maximum(count.astype(jnp.float32) - 1 + offset, 0.0)
    optimiser = config.optimiser
    decay = jnp.log(jnp.float32(optimiser.decay)) * (done / optimiser.decay_steps)
    return optimiser.learning_rate * jnp.exp(decay)


def part_adams(
    rates: Mapping[str, Callable[[jax.Array], jax.Array] | None],
) -> optax.GradientTransformation:
    """Adam (betas 0.9, 0.999, epsilon 1e-8) with counts and rates per top-level part of the params.

    Args:
        rates: {part: updates so far -> rate}, or None for a part that does not learn yet and whose
            count does not move.
    """

    def init(params):
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        return {k: AdamState(jnp.zeros((), jnp.int32), zeros(params[k]), zeros(params[k]))
                for k in rates}  # fmt: skip

    def one(name, gradient, state):
        rate = rates[name]
        if rate is None:
            return jax.tree.map(jnp.zeros_like, gradient), state
        count = state.count + 1
        mean = optax.tree_utils.tree_update_moment(gradient, state.mean, 0.9, 1)
        square = optax.tree_utils.tree_update_moment(gradient, state.square, 0.999, 2)
        exact = count.astype(jnp.float32)
        first, second = 1 - 0.9**exact, 1 - 0.999**exact
        scale = -rate(state.count) / first

        def change(m, v):
            return scale * m / (jnp.sqrt(v / second) + 1e-8)

        return jax.tree.map(change, mean, square), AdamState(count, mean, square)

    def update(updates, state, params=None):
        del params
        found = {name: one(name, updates[name], state[name]) for name in rates}
        return {k: v[0] for k, v in found.items()}, {k: v[1] for k, v in found.items()}

    return optax.GradientTransformation(init, update)


def head_optimiser(config: NerfConfig, *, attention: bool):
    """The three Adams of the head; that of the attention begins with its stage.

    Returns a function of the stage's length: where a run is shorter than published the attention
    still begins at the rate that the others have come to.
    """

    def build(total):
        common = functools.partial(rate_at, config=config)
        before = config.smooth_from / max(config.head_steps - config.smooth_from, 1)
        offset = jnp.asarray(total, jnp.float32) * before

        def smoother(count):
            factor = config.optimiser.attention_factor
            return factor * rate_at(count, config, offset=offset)

        rates = {"audio": common, "coarse": common, "fine": common}
        return part_adams(rates | {"attention": smoother if attention else None})

    return build


def head_loss(
    params: Mapping[str, Any], frozen: Mapping[str, Any], batch: Mapping[str, Any],
    config: NerfConfig, *, attention: bool,
):
    """Mean squared error of the coarse and the fine pass over the frames of a batch."""

    def one(given):
        code = model.audio_code(params, given["audio"], config, attention=attention)
        rays = _rays(given["camera_to_world"], given, frozen)
        behind = _background(frozen, given)
        return squared_errors(
            params, code, rays, (behind, behind), given["target"], config, key=_key(given)
        )

    return _total(*_over_frames(one, batch))


def torso_loss(
    torso: Mapping[str, Any], head: Mapping[str, Any], frozen: Mapping[str, Any],
    batch: Mapping[str, Any], config: NerfConfig,
):
    """Likewise of the torso over the head's render, which takes the place of the background."""

    def one(given):
        key = _key(given)
        shown, drawn = (None, None) if key is None else jax.random.split(key)
        code = model.audio_code(head, given["audio"], config, attention=True)
        behind = _background(frozen, given)

        def head_pass(part):
            rays = Rays(part["origins"], part["directions"], frozen["bounds"])
            coarse, fine, _, _ = model.render_rays(head, code, rays, config, key=part["key"])
            return coarse.over(part["behind"]), fine.over(part["behind"])

        rays = _rays(given["camera_to_world"], given, frozen)
        seen = in_ray_chunks(
            head_pass, {"origins": rays.origins, "directions": rays.directions, "behind": behind},
            model.rays_together(config), key=shown,
        )
        signal = model.torso_code(code, given["camera_to_world"], config)
        still = _rays(frozen["torso_camera_to_world"], given, frozen)
        signal, seen = jax.lax.stop_gradient((signal, seen))
        return squared_errors(
            torso, signal, still, seen, given["target"], config, key=drawn
        )

    return _total(*_over_frames(one, batch))


def _total(coarse: jax.Array, fine: jax.Array):
    psnr = -10 / jnp.log(10.0) * jnp.log(jnp.maximum(fine, 1e-12))
    return coarse + fine, {"coarse": coarse, "fine": fine, "psnr": psnr}


def _over_frames(function: Callable[..., Any], batch: Mapping[str, Any]) -> Any:
    """Means over the frames of a batch, one after the other."""
    if batch["target"].shape[0] == 1:
        return function(jax.tree.map(lambda x: x[0], batch))
    return jax.tree.map(jnp.mean, jax.lax.map(function, batch))


def _rays(camera_to_world, given, frozen) -> Rays:
    rays = camera_rays(frozen["camera"], camera_to_world, given["pixels"])
    return Rays(*rays, frozen["bounds"])


def _background(frozen, given) -> jax.Array:
    rows, columns = given["pixels"][:, 0], given["pixels"][:, 1]
    return frozen["background"][rows, columns].astype(jnp.float32) / 255


def _key(given):
    return jax.random.wrap_key_data(given["jitter"]) if "jitter" in given else None


def _smoothing(on: bool) -> dict[str, jax.Array]:
    """State of a stage: whether its audio codes are smoothed, for who renders."""
    return {"smoothing": jnp.float32(on)}


def build(
    config: NerfConfig, windows: tuple[int, int], frozen: Mapping[str, np.ndarray],
    feeds: Mapping[str, Feed] | None,
) -> tuple[Stage, ...]:
    """The recipe.

    Args:
        config: of the run.
        windows: (T, F), rows and features of an audio window.
        frozen: `nerf_feed.frozen_arrays`.
        feeds: `nerf_feed.make_feeds`, None where nothing is trained.
    """
    arrays = {name: jnp.asarray(value) for name, value in frozen.items()}
    rows, width = windows
    head_feed = {"rays": feeds["head"]} if feeds else {}

    def head_init(attention: bool):
        def init(key):
            head = model.init_head(key, config, rows, width)
            return Variables(params={HEAD: head}, state=_smoothing(attention), frozen=arrays)

        return init

    def torso_init(key):
        keys = jax.random.split(key)
        params = {HEAD: model.init_head(keys[0], config, rows, width),
                  TORSO: model.init_torso(keys[1], config)}  # fmt: skip
        return Variables(params=params, state=_smoothing(True), frozen=arrays)

    def head_update(attention: bool):
        def loss(variables, outputs, batch, key, step):
            del outputs, key, step
            total, terms = head_loss(
                variables.params[HEAD], variables.frozen, batch["rays"], config,
                attention=attention,
            )
            return total, (terms, variables.state)

        return (Update(HEAD, loss),)

    def torso_update(variables, outputs, batch, key, step):
        del outputs, key, step
        params = variables.params
        total, terms = torso_loss(
            params[TORSO], params[HEAD], variables.frozen, batch["rays"], config
        )
        return total, (terms, variables.state)

    stages = (
        Stage(
            name=HEAD, system=System(init=head_init(False), updates=head_update(False)),
            feeds=head_feed, optimizers={HEAD: head_optimiser(config, attention=False)},
            steps=config.smooth_from,
        ),
        Stage(
            name=ATTENTION, system=System(init=head_init(True), updates=head_update(True)),
            feeds=head_feed, optimizers={HEAD: head_optimiser(config, attention=True)},
            steps=max(config.head_steps - config.smooth_from, 1),
            initialise_from={HEAD: Carry(HEAD, optimizer=True)},
        ),
    )  # fmt: skip
    if not config.torso_steps:
        return stages
    rate = functools.partial(rate_at, config=config)
    torso = Stage(
        name=TORSO,
        system=System(init=torso_init, updates=(Update(TORSO, torso_update),)),
        feeds={"rays": feeds["torso"]} if feeds else {},
        optimizers={TORSO: part_adams({"coarse": rate, "fine": rate})},
        steps=config.torso_steps,
        initialise_from={HEAD: Carry(ATTENTION)},
    )
    return (*stages, torso)


def last_stage(run: str | pathlib.Path, stages: tuple[Stage, ...]) -> Stage:
    """The last stage of a run that has a checkpoint, the first where there is none."""
    found = [stage for stage in stages if steps_in(checkpoint_folder(run, stage.name))]
    return found[-1] if found else stages[0]
