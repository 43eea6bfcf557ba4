"""One stage of several subjects together: dispatch, log, sample, validate, save, stop."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxhead.training.devices import Device, layout_words
from jaxhead.training.driving import LoopConfig, TrainResult
from jaxhead.training.interrupts import Interrupts
from jaxhead.training.lanes import Lanes, lane_shape
from jaxhead.training.members import Member, require_alike
from jaxhead.training.progress import Progress, duration
from jaxhead.training.session import LONGEST_DISPATCH
from jaxhead.training.state import TrainState


class _Round(NamedTuple):
    """A dispatch under way: who takes part, from which step, how many, what it measures."""

    active: list[Member]
    start: int
    count: int
    dispatched: Any


class ManySession:
    """One stage of the training of several subjects.

    All subjects that stand at the lowest step move together; those that are ahead (the training was
    killed between two of their saves, or one was added later) wait until the others are there.

    Args:
      members: the subjects.
      loop: how to drive it.
      devices: local devices.
      progress, interrupts: shared by all stages.
    """

    def __init__(
        self,
        members: Sequence[Member],
        loop: LoopConfig,
        devices: Sequence[Device],
        progress: Progress,
        interrupts: Interrupts,
    ):
        self.everyone, self.members = list(members), [m for m in members if not m.finished]
        self.stage = members[0].stage
        self.loop, self.devices = loop, list(devices)
        self.progress, self.interrupts = progress, interrupts
        self.pending: collections.deque[_Round] = collections.deque()
        self.limit = loop.steps_per_dispatch
        self.excluded = 0.0

    def run_stage(self) -> list[TrainResult]:
        """Train the stage to its end, or until a signal comes; one result per member."""
        started = time.monotonic()
        compiled = seconds = 0.0
        for member in self.everyone:
            if member.finished:
                self.progress.say(f"{member.name}: {self.stage.name}: finished, at step "
                                  f"{member.step} of {member.total}")  # fmt: skip
        try:
            if self.members:
                self._prepare()
                compiled = self._compile(started)
                self._measure()
                for member in self.members:
                    member.state = None
                    member.open_revisions()
                    member.open_outputs()
                seconds = self._loop()
        finally:
            for member in self.members:
                member.close()
        signal = self.interrupts.name
        return [member.result(signal, compiled, seconds) for member in self.everyone]

    def _prepare(self) -> None:
        require_alike(self.members)
        used, self.width = lane_shape(
            len(self.members), len(self.devices),
            together=self.loop.together, platform=self.devices[0].platform,
        )  # fmt: skip
        self.devices = self.devices[:used]
        layout = {"devices": 1, "processes": 1}
        if self.width > 1:
            layout["together"] = self.width
        for member in self.members:
            member.announce(layout)
            member.open_feeds(self.loop.steps_per_dispatch)
        self.lanes = Lanes(
            self.stage, devices=self.devices, width=self.width,
            length=self.loop.steps_per_dispatch, seeds=[m.run.seed for m in self.members],
            states=self._host_states(), frozen=[m.frozen for m in self.members],
        )  # fmt: skip

    def _host_states(self) -> list[TrainState]:
        """Where the members begin; they hold it until the training does."""
        states = [member.state for member in self.members if member.state is not None]
        assert len(states) == len(self.members)
        return states

    def _spare_rows(self) -> list[Any]:
        return [member.spare_rows for member in self.members]

    def _compile(self, started: float) -> float:
        """Compile; returns the seconds since the stage began."""
        self.lanes.bring([member.feeding.arrays for member in self.members])
        self.lanes.compile(self._spare_rows())
        seconds = time.monotonic() - started
        layout = layout_words({"devices": len(self.devices), "processes": 1})
        self.progress.say(
            f"{self.stage.name}: {len(self.members)} subjects, {self.width} at a time on each of "
            f"{layout}, ready after {seconds:.1f} s of loading and compiling"
        )
        return seconds

    def _measure(self) -> None:
        """Lengths from minutes: those of the wall clock in which all subjects are trained."""
        open_ended = [member for member in self.members if member.total is None]
        if not open_ended:
            return
        weight = self.stage.steps / sum(s.steps for s in open_ended[0].subject.stages)
        budget = 60.0 * min(member.run.minutes or 0.0 for member in open_ended) * weight
        per_step = self.lanes.step_time(self._spare_rows(), min(3.0, 0.05 * budget))
        steps = max(max(m.step for m in open_ended) + 1, int(budget / per_step))
        for member in open_ended:
            member.fix_length(steps)
        self.lanes.place(self._host_states())
        self.progress.say(
            f"{self.stage.name}: {1e3 * per_step:.1f} ms per step of all, so {duration(budget)} "
            f"are {steps} steps, from now on the length of these runs"
        )

    def _loop(self) -> float:
        started = self.last_save = self.last_fetch = self.last_log = time.monotonic()
        self.logged_step = min(member.step for member in self.members)
        self.last_total = max(member.total or 0 for member in self.members)
        self.progress.start(
            f"{len(self.members)} x {self.stage.name}", self.logged_step, self.last_total
        )
        self._revise()
        while self.interrupts.name is None:
            active = self._active()
            if not active:
                break
            self._dispatch(active)
            self._fetch(self.loop.ahead)
            for member in self.members:
                member.writer.check()
            self._revise()
            self._between(active)
        self._fetch(0)
        seconds = time.monotonic() - started - self.excluded
        if self.interrupts.name:
            steps = ", ".join(str(s) for s in sorted({m.step for m in self.members}))
            self.progress.say(f"{self.interrupts.name}: saving step {steps}")
        self._save({})
        for member in self.members:
            member.writer.wait()
        self._sample([member for member in self.members if member.finished])
        return seconds

    def _active(self) -> list[Member]:
        """Who moves next: the unfinished at the lowest step."""
        left = [member for member in self.members if not member.finished]
        low = min((member.step for member in left), default=0)
        return [member for member in left if member.step == low]

    def _dispatch(self, active: list[Member]) -> None:
        start, count = active[0].step, self._count(active)
        counts = [count if member in active else 0 for member in self.members]
        rows = self._spare_rows()
        for place, member in enumerate(self.members):
            if member in active:
                member.feeding.refresh(start)
                rows[place] = member.feeding.rows(count)
        self.lanes.bring([member.feeding.arrays for member in self.members])
        totals = [member.total or 1 for member in self.members]
        self.pending.append(
            _Round(active, start, count, self.lanes.dispatch(rows, counts, totals))
        )
        for member in active:
            member.step += count

    def _count(self, active: list[Member]) -> int:
        """Steps of the next dispatch: up to the next thing that the host has to do."""
        step, loop = active[0].step, self.loop
        periods = [loop.sample_every, loop.save_every_steps, loop.validate_every]
        periods += [p for member in active for p in member.feeding.periods()]
        ends = [(step // p + 1) * p for p in periods if p]
        ends += [member.total for member in active if member.total is not None]
        ends += [end for member in active for end in member.revising.ends()]
        ends += [m.step for m in self.members if m.step > step and not m.finished]
        return min(self.limit, min(ends) - step)

    def _fetch(self, leave: int) -> None:
        """Wait until at most `leave` dispatches are under way; log what the others measured."""
        while len(self.pending) > leave:
            active, start, count, dispatched = self.pending.popleft()
            found = zip(map(id, self.members), self.lanes.metrics(dispatched))
            measured = {member: row for member, row in found if row is not None}
            values = [measured[id(member)] for member in active]
            stopped = [bool(row.pop("stopped")) for row in values]
            if any(stopped):
                self._stop(active, start, values, stopped)
            logged = False
            for member, row in zip(active, values):
                logged = member.record(start, count, row) or logged
            self._pace(active, start + count, count, logged)

    def _pace(self, active: list[Member], step: int, count: int, logged: bool) -> None:
        """Times for the logs and the person, and a bound on the length of dispatches."""
        now = time.monotonic()
        per_step = (now - self.last_fetch) / count
        self.last_fetch = now
        if per_step * self.limit > LONGEST_DISPATCH:
            self.limit = max(1, int(LONGEST_DISPATCH / per_step))
        elapsed = max(now - self.last_log, 1e-9)
        rate = (step - self.logged_step) / elapsed
        if logged and step > self.logged_step:
            for member in active:
                member.log.times(
                    step, {"seconds": round(elapsed, 4), "steps_per_second": round(rate, 3)}
                )
            self.last_log, self.logged_step = now, step
        loss = float(np.mean([member.loss for member in active]))
        self.progress.update(step, self.last_total, rate, loss)

    def _stop(self, active: list[Member], start: int, values, stopped: list[bool]) -> None:
        """Raise for the first subject whose step was not finite."""
        states = dict(zip(map(id, self.members), self.lanes.states()))
        for member in self.members:
            member.log.flush()
            member.writer.wait()
        errors = [
            member.stop(start, int(states[id(member)].step) + 1, row)
            for member, row, bad in zip(active, values, stopped) if bad
        ]
        raise errors[0]

    def _revise(self) -> None:
        """Measure anew what is due now; cut short by a signal, the next start does it."""
        if self.interrupts.name or not any(m.revising.due(m.step) for m in self.members):
            return
        self._fetch(0)
        now = time.monotonic()
        for member, state in zip(self.members, self.lanes.states()):
            if member.revising.due(member.step) and not self.interrupts.name:
                member.revise(state, lambda: self.interrupts.name)
        self._exclude(now)

    def _exclude(self, since: float) -> None:
        """What was done since then is no time of stepping."""
        spent = time.monotonic() - since
        self.excluded += spent
        self.last_log += spent
        self.last_fetch += spent

    def _between(self, active: list[Member]) -> None:
        """Sample, validate and save where it is time to."""
        loop, step = self.loop, active[0].step
        sample = loop.sample_every and step % loop.sample_every == 0
        score = loop.validate_every and step % loop.validate_every == 0 and self.lanes.validates
        save = loop.save_every_steps and step % loop.save_every_steps == 0
        every = loop.save_every_seconds
        late = every > 0 and time.monotonic() - self.last_save >= every
        if not (sample or score or save or late):
            return
        self._fetch(0)
        now = time.monotonic()
        if score or save or late:
            self._save(self._validate(active) if score else {})
        if sample:
            self._sample([member for member in active if not member.finished])
        self._exclude(now)

    def _validate(self, active: list[Member]) -> dict[int, float]:
        """Log the validations' metrics; returns {id of a member: its score}."""
        rows = [member.feeding.validation_rows() for member in self.members]
        scores = {}
        for member, values in zip(self.members, self.lanes.validate(rows)):
            if member not in active:
                continue
            member.log.metrics(member.step, {f"validate/{k}": v for k, v in values.items()})
            score = values.get("score", math.nan)
            if math.isfinite(score):
                scores[id(member)] = score
        return scores

    def _sample(self, members: list[Member]) -> None:
        if not any(member.subject.on_sample for member in members):
            return
        for member, state in zip(self.members, self.lanes.states()):
            if member in members:
                member.sample(state)

    def _save(self, scores: dict[int, float]) -> None:
        for member, state in zip(self.members, self.lanes.states()):
            member.save(state, scores.get(id(member)))
        self.last_save = time.monotonic()
