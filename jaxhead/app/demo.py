"""`python -m jaxhead.app.demo`: the whole way from a video (or a synthetic head) to an avatar.

Every step is a command that a user could type. A step whose output exists is done: outputs appear
only when they are complete, so an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments, HelpRequest, UsageError, Verb, help_text, parse
from jaxhead.app.main import complain, main, prepare_process
from jaxhead.files.errors import InputError

_SETTINGS = "demo.json"


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("out", "demo", "the folder for everything", flag_values=values)
    flags.DEFINE_string("video", None, "a video of a head (default: synthetic)", flag_values=values)
    flags.DEFINE_integer(
        "size", 128, "side of the frames", lower_bound=64, upper_bound=2048, flag_values=values
    )
    flags.DEFINE_float(
        "minutes", 3.0, "of training", lower_bound=0.01, upper_bound=1e6, flag_values=values
    )
    flags.DEFINE_integer("frames", 250, "of the synthetic head", lower_bound=10, flag_values=values)
    flags.DEFINE_integer("devices", None, "see jaxhead train", lower_bound=1, flag_values=values)


VERB = Verb(
    "jaxhead.app.demo",
    "capture or synthesize, train, render and evaluate in one go",
    "[flags]",
    (
        "python -m jaxhead.app.demo --out demo",
        "python -m jaxhead.app.demo --out me --video me.mp4 --minutes 10",
    ),
    __name__,
    _define,
    (),
    program="python -m",
)


def run(argv: Sequence[str]) -> int:
    """Runs the demo, or what is left of it; returns the exit code.

    Args:
        argv: the arguments without the program's name.
    """
    try:
        arguments = parse(VERB, argv)
        _begin(pathlib.Path(arguments.flags.out), _settings(arguments))
    except HelpRequest:
        print(help_text(VERB))
        return 0
    except (UsageError, InputError) as error:
        complain(str(error))
        return 2 if isinstance(error, UsageError) else 1
    if arguments.flags.devices is not None:
        # Before the first step starts a backend with the default number.
        prepare_jax(arguments.flags.devices)
    out = arguments.flags.out
    for output, command in steps(arguments):
        if output is not None and os.path.exists(os.path.join(out, output)):
            print(f"{os.path.join(out, output)}: done already", flush=True)
            continue
        print(f"$ jaxhead {shlex.join(command)}", flush=True)
        code = main(command)
        if code:
            return code
    print(f"\nside by side (left: true held-out frames): {os.path.join(out, 'heldout.mp4')}")
    print(f"the head from other sides:                 {os.path.join(out, 'orbit.mp4')}")
    print(f"scores and pictures:                       {os.path.join(out, 'scores')}")
    return 0


def steps(arguments: Arguments) -> list[tuple[str | None, list[str]]]:
    """Returns (name of the output in the demo's folder, command); None where a step resumes."""
    values = arguments.flags

    def at(name: str) -> str:
        return os.path.join(values.out, name)

    devices = [] if values.devices is None else ["--devices", str(values.devices)]
    if values.video is None:
        size = ["--size", str(values.size), "--frames", str(values.frames)]
        first = ["synthesize", "--out", at("capture"), *size]
    else:
        first = ["capture", "--out", at("capture"), "--size", str(values.size), "--", values.video]
    length = [] if _length_is_fixed(at("run")) else ["--minutes", f"{values.minutes:g}"]
    run_folder, orbit = at("run"), ["--orbit", "25", "--split", "all", "--frames", "100"]
    return [
        ("capture", first),
        (None, ["train", "avatar", at("capture"), "--out", run_folder, *length, *devices]),
        (
            "heldout.mp4",
            ["render", run_folder, "--out", at("heldout.mp4"), "--side-by-side", *devices],
        ),
        (
            "orbit.mp4",
            ["render", run_folder, "--out", at("orbit.mp4"), *orbit, *devices],
        ),
        ("scores", ["evaluate", run_folder, "--out", at("scores"), *devices]),
    ]


def _length_is_fixed(run_folder: str) -> bool:
    from jaxhead.training.runs import is_run, load_run

    return is_run(run_folder) and bool(load_run(run_folder).steps)


def _settings(arguments: Arguments) -> dict:
    values = arguments.flags
    video = None if values.video is None else os.path.abspath(values.video)
    return {
        "video": video,
        "size": values.size,
        "minutes": values.minutes,
        "frames": values.frames,
    }


def _begin(out: pathlib.Path, settings: dict) -> None:
    """Makes the demo's folder, or checks that it is that of the same demo."""
    from jaxhead.files.atomic import clean_leftovers, write_json

    note = out / _SETTINGS
    if settings["video"] is not None and not os.path.isfile(settings["video"]):
        raise InputError(f"{settings['video']}: no such video")
    if note.is_file():
        try:
            former = json.loads(note.read_bytes())
        except ValueError:
            raise InputError(f"{note}: damaged, expected JSON; choose another --out") from None
        if former != settings:
            raise InputError(f"{out}: holds a demo with other settings; choose another --out")
        clean_leftovers(out)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already and is no demo, expected a new name")
    write_json(note, settings)


if __name__ == "__main__":
    prepare_process()
    sys.exit(run(sys.argv[1:]))
