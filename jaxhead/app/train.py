"""`jaxhead train`: a capture becomes a run, several become a run each, or what is there goes on."""

from __future__ import annotations

import pathlib
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from jaxhead.app.cluster import cluster_of, joined
from jaxhead.app.flags import Arguments, UsageError, nearest
from jaxhead.files.errors import ConfigurationError, InputError


def run(arguments: Arguments) -> int:
    """Trains as the flags say; returns the exit code."""
    flags = arguments.flags
    name, *captures = arguments.positionals
    if not flags.out:
        raise UsageError("--out is missing")
    if flags.steps is not None and flags.minutes is not None:
        raise UsageError("--steps and --minutes contradict each other: give one")
    out = pathlib.Path(flags.out)
    _check_system(name)
    if len(captures) > 1 or _holds_runs(out):
        return _run_many(arguments, name, captures, out)
    former = _former_run(out, name)
    if former is None and not captures:
        raise UsageError("CAPTURE is missing")
    if flags.replay and (former is None or flags.steps or flags.minutes):
        raise UsageError("--replay is for a run that exists and has its length")
    with joined(cluster_of(flags), flags.devices):
        return _train(arguments, name, captures, out, former)


def _train(
    arguments: Arguments, name: str, captures: Sequence[str], out: pathlib.Path, former: Any
) -> int:
    from jaxhead.systems import registry
    from jaxhead.training.progress import Progress

    flags = arguments.flags
    system = registry.load(name)
    config = configuration(system, former, preset=flags.preset, overrides=flags.set)
    _check_captures(captures)
    options: dict[str, Any] = {"replay": True} if flags.replay else {}
    options |= _assets(flags)
    result = system.train(
        [pathlib.Path(capture) for capture in captures],
        out,
        config=config,
        seed=flags.seed if flags.seed is not None else former.seed if former else 0,
        steps=flags.steps,
        minutes=flags.minutes,
        devices=flags.devices,
        progress=Progress(),
        **options,
    )
    if flags.replay:
        print(result.text())
        return 0
    return finish(result, out)


def _run_many(
    arguments: Arguments, name: str, captures: Sequence[str], out: pathlib.Path
) -> int:
    """Trains a run per capture, or goes on with all the runs of a folder; returns the exit code."""
    from jaxhead.training.runs import is_run, runs_in

    flags = arguments.flags
    if flags.replay:
        raise UsageError("--replay is for one run: --out FOLDER/NAME")
    if is_run(out):
        raise InputError(f"{out}: is a run, expected a folder for the runs of several captures")
    runs = [out / pathlib.Path(c).absolute().name for c in captures] or runs_in(out)
    formers = [former for run in runs if (former := _former_run(run, name)) is not None]
    with joined(cluster_of(flags), flags.devices):
        from jaxhead.systems import registry
        from jaxhead.training.progress import Progress

        config = configuration(
            registry.load(name), formers[0] if formers else None,
            preset=flags.preset, overrides=flags.set,
        )  # fmt: skip
        _check_captures(captures)
        results = registry.load_many(name).train(
            [pathlib.Path(capture) for capture in captures], out, config=config, seed=flags.seed,
            steps=flags.steps, minutes=flags.minutes, devices=flags.devices, progress=Progress(),
            **_assets(flags),
        )  # fmt: skip
        return max(finish(result, out / result.run.path.name) for result in results)


def _assets(flags: Any) -> dict[str, Any]:
    """What `train` of a system is given of the folder of weights: nothing where there is none."""
    return {} if flags.assets is None else {"assets": pathlib.Path(flags.assets)}


def _holds_runs(out: pathlib.Path) -> bool:
    from jaxhead.training.runs import is_run, runs_in

    return not is_run(out) and bool(runs_in(out))


def _check_captures(captures: Sequence[str]) -> None:
    for capture in captures:
        if not pathlib.Path(capture).is_dir():
            raise InputError(f"{capture}: no such capture folder; `jaxhead capture` makes one")


def configuration(
    system: ModuleType, former: Any, *, preset: str | None, overrides: Sequence[str]
) -> Any:
    """Returns the configuration that the flags ask for.

    It starts from the named preset, else from that of the run that goes on, else from the default.

    Args:
        system: a system's module.
        former: the run (`training.runs.Run`) that goes on, or None.
        preset: name of a preset, or None.
        overrides: "a.b=value", in order.

    Raises:
        ConfigurationError: an unknown preset or setting, a value of a wrong type or out of range.
    """
    from jaxhead.training.configuration import override

    presets = system.presets
    if preset is not None and preset not in presets:
        hint = nearest(preset, list(presets)) or f", expected one of {', '.join(presets)}"
        raise ConfigurationError(f"--preset {preset}: no such preset{hint}")
    config = presets[preset or "default"]()
    if former is not None and preset is None:
        config = former.config_as(type(config))
    return override(config, overrides)


def finish(result: Any, out: pathlib.Path) -> int:
    """Says how a training ended; returns the exit code: 0, or 128 + the signal that stopped it.

    Args:
        result: `training.loop.TrainResult`.
        out: the run folder.
    """
    if result.interrupted:
        print(
            f"jaxhead: {result.interrupted}: saved {out} at step {result.step} of {result.steps}; "
            "the same command goes on from there",
            file=sys.stderr,
        )
        return 128 + signal.Signals[result.interrupted].value
    print(f"{out}: trained {result.steps} steps")
    return 0


def _check_system(name: str) -> None:
    from jaxhead.systems import registry

    if name not in registry.SYSTEMS:
        known = list(registry.SYSTEMS)
        hint = nearest(name, known) or f", expected one of {', '.join(known)}"
        raise UsageError(f"unknown system {name}{hint}")


def _former_run(out: pathlib.Path, system: str) -> Any:
    """The run that goes on, or None; anything else that is in the way is refused."""
    from jaxhead.training.runs import is_run, load_run

    if not is_run(out):
        return None
    run = load_run(out)
    if run.system != system:
        raise InputError(f"{out}: is a run of the system {run.system}, not of {system}")
    return run
