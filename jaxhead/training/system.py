"""What a recipe is made of: variables, updates, systems, feeds and stages.

A system is data, not a class hierarchy: a bundle of pure functions over `Variables`.
`training/loop.py` runs any tuple of stages; no system ever sees a device, a checkpoint or a log.

Randomness. Every function below gets a typed key that follows from (seed, stage, step, purpose)
alone, hence it is the SAME on every device. What is drawn once per step (a refresh of a grid, a
shared jitter) uses it as it is; what is drawn per example must use `Shard.keys(key)` inside
`Feed.sample` and travel in the batch (or fold the example's global index in). Then no random
number depends on the number of devices.

Reduction. A loss is the mean over the examples of its shard; gradients, losses and metrics are
averaged over the devices, which is the global mean because all shards have one size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.training.pool import FramePool

AXIS_NAME = "batch"
"""Name of the device axis, for the rare loss or refresh that pools over devices itself."""

Tree = Any


class Variables(flax.struct.PyTreeNode):
    """Everything that the functions of a system read.

    Attributes:
      params: {player: pytree of float arrays} learned.
      state: pytree of running statistics, occupancy grids, latched weights; no gradient, saved.
        Plain arrays only (a random key as its key data).
      frozen: pytree of arrays that never train; arguments of the step, the same on every device,
        not saved in checkpoints (`System.init` gives them again).
    """

    params: Mapping[str, Tree]
    state: Tree = flax.struct.field(default_factory=dict)
    frozen: Tree = flax.struct.field(default_factory=dict)


class Shard(flax.struct.PyTreeNode):
    """The part of a feed's global batch that one device makes.

    Attributes:
      offset: () int32, global index of the first example in the step's batch; traced.
      count: examples on this device; static.
      total: examples of the global batch; static.
    """

    offset: jax.Array
    count: int = flax.struct.field(pytree_node=False)
    total: int = flax.struct.field(pytree_node=False)

    def indices(self) -> jax.Array:
        """(count,) int32: the global indices of the examples of this shard, in [0, total)."""
        return self.offset + jnp.arange(self.count, dtype=jnp.int32)

    def keys(self, key: jax.Array) -> jax.Array:
        """(count,) typed keys, one per example, that do not depend on how the batch is split."""
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, self.indices())


@dataclasses.dataclass(frozen=True)
class Update:
    """One optimiser step of one player.

    Attributes:
      player: key of `Variables.params`.
      loss: (variables, outputs, batch, key, step) -> (loss, (metrics, state)); differentiated in
        this player's params, also through `outputs` of `System.forward`. loss () float32; metrics
        {name: () float}; state like `Variables.state` (return `variables.state` when it does not
        change).
      every, start: applied at the n-th step (from 1) when n > start and n % every == 0, so that
        logged steps, which are multiples too, show every player.
    """

    player: str
    loss: Callable[..., Any]
    every: int = 1
    start: int = 0


@dataclasses.dataclass(frozen=True)
class System:
    """A model with its losses.

    Attributes:
      init: key -> Variables. Deterministic: called again when a run is resumed.
      updates: applied in this order within a step; a player without one is frozen.
      predict: (variables, request, key) -> outputs; what rendering calls, `request` is the
        system's own.
      forward: (variables, batch, key, step) -> (outputs, state), optional: what several players
        share, run once per step with the params of the step's beginning; losses differentiate
        through its outputs.
      refresh: (variables, batch, key, step) -> state, optional, no gradient, at the beginning of
        every `refresh_every`-th step (occupancy grids). Floating leaves are averaged and others
        maximised over devices afterwards; a refresh from `key` and `variables` alone is the same
        on every device as it is.
      refresh_every: see above, in steps.
      validate: (variables, batch, key) -> {name: () float}, optional, on the feed named
        "validate"; its "score" (higher is better) decides which checkpoint is the best.
    """

    init: Callable[[jax.Array], Variables]
    updates: tuple[Update, ...]
    predict: Callable[..., Any] | None = None
    forward: Callable[..., Any] | None = None
    refresh: Callable[..., Tree] | None = None
    refresh_every: int = 1
    validate: Callable[..., Mapping[str, jax.Array]] | None = None


@dataclasses.dataclass(frozen=True)
class Feed:
    """Where the batches of a step come from.

    Attributes:
      batch: examples of the global batch, over all devices of all processes.
      sample: (arrays, rows, key, step, shard) -> this device's batch (a pytree), inside the
        compiled step. `key` is the step's (the same on every device), `shard` a `Shard`: draw with
        `shard.keys(key)`.
      arrays: pytree of NumPy arrays that are copied to every device once (frames as uint8).
      start, next: optional stream of host batches. `next(position) -> (rows, position)`: rows a
        pytree of NumPy arrays whose leading axis holds this process's examples of the step;
        position a JSON value that is saved with the checkpoint. `next` must be a pure function of
        the position. Without it `rows` is None.
      refresh: optional host callback (arrays, step) -> arrays of the same shapes and dtypes, called
        at step 0 and every `refresh_every` steps (0: at step 0 only). It gets what it returned
        last, or `arrays` when the run begins or is resumed; what it returns must depend on the
        step alone. It must not write into what it got: leaves that are the same objects as before
        are not copied to the devices again.
      refresh_every: see above, in steps.
      pool: optional, the pool of frames whose arrays are among `arrays` (then a mapping) and whose
        `refresh` and period the above are. On devices only the frames that change are then copied,
        read ahead by a thread (`training/rotation.py`); whoever wants whole arrays calls `refresh`.
    """

    batch: int
    sample: Callable[..., Tree]
    arrays: Tree = dataclasses.field(default_factory=dict)
    start: Any = None
    next: Callable[[Any], tuple[Tree, Any]] | None = None
    refresh: Callable[[Tree, int], Tree] | None = None
    refresh_every: int = 0
    pool: FramePool | None = None


@dataclasses.dataclass(frozen=True)
class Revision:
    """Arrays of a feed that the host measures anew at a few steps, with what is trained so far.

    Attributes:
      feed: name of the feed, whose arrays are a mapping.
      steps: total -> (step, ...), ascending, each in [1, total]: after which steps.
      measure: (variables, arrays, last, say, stopped) -> {name: array} to take the place of the
        feed's arrays of these names, or None where `stopped()` said to end. `variables` are those
        that rendering would use, `arrays` the feed's on the host as they are, `last` whether no
        revision follows, `say` takes lines for a person. Deterministic, like everything else.
    """

    feed: str
    steps: Callable[[int], tuple[int, ...]]
    measure: Callable[..., Mapping[str, Any] | None]


@dataclasses.dataclass(frozen=True)
class Carry:
    """What a stage takes over from the last checkpoint of an earlier stage.

    Attributes:
      stage: name of the earlier stage.
      source: its player (default: the player of the same name).
      optimizer: also the moments of the optimiser.
    """

    stage: str
    source: str | None = None
    optimizer: bool = False


@dataclasses.dataclass(frozen=True)
class Stage:
    """One compiled program and how long it runs.

    Attributes:
      name: folder of its checkpoints and name of its random streams.
      system: what is trained.
      feeds: {name: Feed}; a step's batch is {name: sample}. The feed "validate" serves
        `System.validate` only.
      optimizers: {player: optimiser}: an `optax.GradientTransformation`, or a function `total ->
        transformation` where `total` is a traced () int32, the number of steps of the stage
        (schedules of `training/optimizers.py` take it), so that the length of a run is not part of
        the compiled program.
      steps: default length; in a recipe of several stages also the share of this one when the
        user gives a length for the whole.
      ema: {player: decay}: exponential moving averages of params over the player's updates, which
        rendering uses.
      initialise_from: {player, or "state": Carry}.
      revision: optional, see `Revision`.
    """

    name: str
    system: System
    feeds: Mapping[str, Feed]
    optimizers: Mapping[str, Any]
    steps: int = 1000
    ema: Mapping[str, float] = dataclasses.field(default_factory=dict)
    initialise_from: Mapping[str, Carry] = dataclasses.field(default_factory=dict)
    revision: Revision | None = None
