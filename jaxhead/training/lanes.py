"""Several subjects of one recipe on the devices: their arrays put together, their steps dispatched.

A lane is what one dispatch runs: some subjects side by side on each device, and no device waits for
another. Lanes share one compiled program and take turns.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxhead.training.devices import Device, split
from jaxhead.training.dispatch import build_many, build_many_validate, root_data
from jaxhead.training.state import TrainState
from jaxhead.training.system import Stage

Tree = Any


def lane_shape(subjects: int, devices: int, *, together: int, platform: str) -> tuple[int, int]:
    """(devices that are used, subjects side by side on each of them) of a lane.

    Subjects that do not divide leave places of the last lane empty, never a lane too many.

    Args:
      subjects, devices: how many there are.
      together: `LoopConfig.together`.
      platform: of the devices, as JAX names it.
    """
    most = together or (1 if platform == "cpu" else subjects)
    width = min(most, -(-subjects // devices))
    return min(devices, -(-subjects // width)), width


def common_shape(leaves: Sequence[Any]) -> tuple[int, ...]:
    """The smallest shape that all arrays fit into.

    Raises:
      ValueError: another number of axes or another dtype.
    """
    kinds = {(np.ndim(x), str(np.result_type(x))) for x in leaves}
    if len(kinds) > 1:
        raise ValueError(f"arrays of several subjects are (axes, dtype) {sorted(kinds)}")
    return tuple(max(sizes) for sizes in zip(*(np.shape(x) for x in leaves)))


def filled(leaves: Sequence[Any], shape: Sequence[int]) -> np.ndarray:
    """The arrays with a leading axis; those that are smaller than `shape` end in zeros."""
    arrays = [np.asarray(leaf) for leaf in leaves]
    first = arrays[0]
    if all(x.shape == tuple(shape) for x in arrays):
        return np.stack(arrays)
    made = np.zeros((len(arrays), *shape), first.dtype)
    for place, array in enumerate(arrays):
        made[(place, *map(slice, array.shape))] = array
    return made


class Lanes:
    """State, arrays and compiled functions of several subjects that train the same stage.

    Args:
      stage: the recipe of any of them.
      devices: those that are used; width: subjects side by side on each of them.
      length: most steps of one dispatch.
      seeds: of the subjects' runs.
      states, frozen: of the subjects, host arrays; states of one shape, frozen arrays as `filled`
        takes them.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        devices: Sequence[Device],
        width: int,
        length: int,
        seeds: Sequence[int],
        states: Sequence[TrainState],
        frozen: Sequence[Tree],
    ):
        self._devices, self._width, self._length = list(devices), width, length
        self._count, size = len(states), len(devices) * width
        self._lanes = [
            list(range(first, min(first + size, self._count)))
            for first in range(0, self._count, size)
        ]
        self._step = build_many(stage, devices=devices, width=width, steps_per_dispatch=length)
        self._validate = None
        if stage.system.validate is not None and "validate" in stage.feeds:
            self._validate = build_many_validate(stage, devices=devices, width=width)
        self._roots = self._everywhere([root_data(stage, seed) for seed in seeds])
        self._frozen = self._everywhere(frozen)
        self._arrays: list[dict[str, Tree]] = [{} for _ in self._lanes]
        self._held: dict[tuple[int, str], list[Any]] = {}
        self.place(states)

    @property
    def validates(self) -> bool:
        """Whether the stage has something to validate with."""
        return self._validate is not None

    def _placed(self, members: Sequence[int], leaves: Sequence[Any]) -> jax.Array:
        """One leaf of a lane's members, (devices, width, ...), as large as the largest subject's.

        Empty places repeat the last member. `leaves` are those of all subjects: all lanes must get
        one shape, or each would be compiled for itself.
        """
        places = [*members, *[members[-1]] * (len(self._devices) * self._width - len(members))]
        made = filled([leaves[i] for i in places], common_shape(leaves))
        made = made.reshape(len(self._devices), self._width, *made.shape[1:])
        return split(made, self._devices)

    def _everywhere(self, trees: Sequence[Tree]) -> list[Tree]:
        """One tree per subject as one per lane, on the devices."""
        return [
            jax.tree.map(lambda *x: self._placed(members, x), *trees)  # noqa: B023
            for members in self._lanes
        ]

    def place(self, states: Sequence[TrainState]) -> None:
        """Begin (again) at the states; also forgets that a step was not finite."""
        self._states = self._everywhere(states)
        self._stopped = self._everywhere([np.zeros((), np.bool_)] * self._count)

    def bring(self, arrays: Sequence[Mapping[str, Tree]]) -> None:
        """Copy to the devices what of the feeds' arrays, one mapping per subject, is not there yet.
        """
        for lane, members in enumerate(self._lanes):
            for name in arrays[0]:
                trees = [of_subject[name] for of_subject in arrays]
                leaves = list(zip(*(jax.tree.leaves(tree) for tree in trees)))
                former = self._held.get((lane, name), [None] * len(leaves))
                there = jax.tree.leaves(self._arrays[lane].get(name)) or former
                fresh = [
                    old if held is not None and all(held[i] is new[i] for i in members)
                    else self._placed(members, new)
                    for new, held, old in zip(leaves, former, there)
                ]
                self._held[lane, name] = leaves
                self._arrays[lane][name] = jax.tree.unflatten(jax.tree.structure(trees[0]), fresh)

    def compile(self, rows: Sequence[Tree]) -> None:
        """Compile, by dispatches of no steps; `rows` as in `dispatch`."""
        for lane in range(len(self._lanes)):
            self._run(lane, rows, [0] * self._count, [1] * self._count)
        self.wait()

    def dispatch(
        self, rows: Sequence[Tree], counts: Sequence[int], totals: Sequence[int]
    ) -> list[Any]:
        """Enqueue steps of the subjects whose count is not 0; those stand at one step.

        Args:
          rows: {feed: host rows} of every subject, as `Feeding.rows` gives them.
          counts: steps to run, one number for all that run; totals: steps of each one's stage.

        Returns:
          What `metrics` reads, still on the way.
        """
        return [
            self._run(lane, rows, counts, totals) if any(counts[i] for i in members) else None
            for lane, members in enumerate(self._lanes)
        ]

    def _run(
        self, lane: int, rows: Sequence[Tree], counts: Sequence[int], totals: Sequence[int]
    ) -> Tree:
        members, shape = self._lanes[lane], (len(self._devices), self._width)
        # Empty places run no step: only real members have a count.
        empty = [0] * (len(self._devices) * self._width - len(members))
        self._states[lane], self._stopped[lane], metrics = self._step(
            self._states[lane], self._stopped[lane], self._frozen[lane], self._arrays[lane],
            jax.tree.map(lambda *x: self._placed(members, x), *rows),
            np.array([*(counts[i] for i in members), *empty], np.int32).reshape(shape),
            np.array([*(totals[i] for i in members), *empty], np.int32).reshape(shape),
            self._roots[lane],
        )
        return metrics

    def metrics(self, dispatched: list[Any]) -> list[dict[str, np.ndarray] | None]:
        """{name: (length,) values, "stopped": ()} of every subject, None where it did not run.

        Waits for the devices.
        """
        found: list[dict[str, np.ndarray] | None] = []
        for members, metrics in zip(self._lanes, dispatched):
            if metrics is None:
                found += [None] * len(members)
                continue
            flat = self._flat(metrics)
            found += [{k: v[place] for k, v in flat.items()} for place in range(len(members))]
        return found

    def _flat(self, tree: Tree) -> Tree:
        """Host arrays with one axis over the places of a lane."""
        places = len(self._devices) * self._width
        return jax.tree.map(lambda x: x.reshape(places, *x.shape[2:]), jax.device_get(tree))

    def wait(self) -> None:
        """Return when everything that was enqueued has run."""
        jax.block_until_ready(self._states)

    def states(self) -> list[TrainState]:
        """The states of all subjects as NumPy arrays of their own; waits for the devices."""

        def of(tree: Tree, place: int) -> TrainState:
            return jax.tree.map(lambda x: np.array(x[place], copy=True), tree)

        made = []
        for members, state in zip(self._lanes, self._states):
            flat = self._flat(state)
            made += [of(flat, place) for place in range(len(members))]
        return made

    def step_time(self, rows: Sequence[Tree], seconds: float) -> float:
        """Seconds for a step of every subject: the median in about `seconds`; changes the states.
        """
        everyone = [1] * self._count

        def timed() -> float:
            start = time.monotonic()
            self.dispatch(rows, [self._length] * self._count, [1000] * self._count)
            self.wait()
            return (time.monotonic() - start) / self._length

        self.dispatch(rows, everyone, [1000] * self._count)
        self.wait()
        times = [timed()]
        times += [timed() for _ in range(int(seconds / max(times[0] * self._length, 1e-6)))]
        return sorted(times)[len(times) // 2]

    def validate(self, rows: Sequence[Tree]) -> list[dict[str, float]]:
        """The metrics of `System.validate` of every subject on its one batch."""
        assert self._validate is not None
        found = []
        for lane, members in enumerate(self._lanes):
            metrics = self._flat(self._validate(
                self._states[lane], self._frozen[lane], self._arrays[lane]["validate"],
                jax.tree.map(lambda *x: self._placed(members, x), *rows),  # noqa: B023
                self._roots[lane],
            ))  # fmt: skip
            found += [
                {k: float(v[place]) for k, v in metrics.items()} for place in range(len(members))
            ]
        return found
