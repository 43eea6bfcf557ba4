"""`jaxhead convert`: an author's checkpoint becomes a run."""

from __future__ import annotations

import pathlib

from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments, UsageError, nearest
from jaxhead.app.outputs import refuse_existing
from jaxhead.files.errors import InputError


def run(arguments: Arguments) -> int:
    """Converts as the flags say; returns the exit code."""
    from jaxhead.systems import registry

    flags = arguments.flags
    name, *files = arguments.positionals
    known = list(registry.CONVERTERS)
    if name not in known:
        hint = nearest(name, known) or f", expected one of {', '.join(known)}"
        raise UsageError(f"no checkpoints of a system {name} can be converted{hint}")
    for flag in ("out", "capture"):
        if not getattr(flags, flag):
            raise UsageError(f"--{flag} is missing")
    refuse_existing(flags.out)
    if not pathlib.Path(flags.capture).is_dir():
        raise InputError(f"{flags.capture}: no such capture folder; `jaxhead capture` makes one")
    prepare_jax()
    found = registry.load_converter(name).convert(
        [pathlib.Path(file) for file in files], pathlib.Path(flags.out),
        capture=pathlib.Path(flags.capture), seed=flags.seed,
    )  # fmt: skip
    print(f"{flags.out}: a run of {name}: {found}")
    return 0
