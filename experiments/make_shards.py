"""Clips of captures in shards, for training on a corpus that is larger than memory.

    python -m experiments.make_shards captures --out shards --frames 16
    python -m experiments.make_shards talk other --out shards --frames 64 --stride 32 --no-masks

What is named is a capture, or a folder of captures as `jaxhead capture FOLDER` makes one.
"""

from __future__ import annotations

import pathlib
import sys

from absl import flags

from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.outputs import refuse_existing
from jaxhead.captures.shards import SPLITS, write_shards
from jaxhead.files.errors import InputError


def capture_folders(names: tuple[str, ...]) -> list[pathlib.Path]:
    """Returns the captures that are named or lie in what is named, in order.

    Raises:
      InputError: one of them is or holds none.
    """
    found = []
    for name in names:
        folder = pathlib.Path(name)
        inside = sorted(path.parent for path in folder.glob("[!.]*/capture.json"))
        own = [folder] if (folder / "capture.json").is_file() else inside
        if not own:
            raise InputError(f"{name}: neither a capture nor a folder of captures")
        found += own
    return found


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("out", None, "the folder of shards to make", flag_values=values)
    for name, default, text in (
        ("frames", 16, "of a clip"),
        ("stride", None, "frames from a clip to the next (default: those of a clip)"),
        ("shard_megabytes", 256, "a file that has grown beyond is followed by a next one"),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)
    flags.DEFINE_enum("split", "train", list(SPLITS), "which frames", flag_values=values)
    flags.DEFINE_float("margin", 0.5, "seconds of sound around a clip", flag_values=values)
    flags.DEFINE_bool("masks", True, "store the masks too", flag_values=values)


def _run(arguments: Arguments) -> int:
    values = arguments.flags
    if not values.out:
        raise UsageError("--out is missing")
    refuse_existing(values.out)
    made = write_shards(
        capture_folders(arguments.positionals),
        values.out,
        frames=values.frames,
        stride=values.stride,
        split=values.split,
        margin=values.margin,
        masks=values.masks,
        shard_bytes=values.shard_megabytes << 20,
        progress=lambda done, total: print(f"{done}/{total} captures", file=sys.stderr),
    )
    print(f"{values.out}: {len(made)} clips of {len(made.captures)} captures")
    return 0


if __name__ == "__main__":
    from experiments.benchmarks.flags import run_module

    sys.exit(
        run_module("experiments.make_shards", __doc__, _define, _run, positionals=("CAPTURE...",))
    )
