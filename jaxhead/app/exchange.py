"""`jaxhead capture --from` and `--export`: captures of other programs' data, and the reverse."""

from __future__ import annotations

import os

from absl.flags import FlagValues

from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import UsageError
from jaxhead.app.outputs import refuse_existing
from jaxhead.app.progress import stages


def wanted(flags: FlagValues) -> bool:
    """Returns whether the flags ask for an import or an export."""
    return flags["from"].value is not None or flags.export is not None


def run(path: str, flags: FlagValues) -> int:
    """Imports or exports as the flags say, tells what was found, and returns the exit code.

    Args:
        path: the subject's folder, or the capture to export.
        flags: of the verb.

    Raises:
        UsageError: flags that exclude each other, or no output.
        InputError: what is read is at fault, or the output exists.
    """
    form = flags["from"].value
    done = f"--from {form}" if form else f"--export {flags.export}"
    if form and flags.export:
        raise UsageError("--from imports and --export exports: give one of them")
    others = ["check", "jobs", "ray", "photometric", "start"]
    others += [] if form else ["size", "fps", "head"]
    if form in ("radnerf", "adnerf", "nerface"):
        others.append("head")
    if form not in ("insta", "metrical-tracker"):
        others.append("held_out")
    for name in others:
        if flags[name].present:
            raise UsageError(f"--{name} has nothing to do with {done}")
    if not flags.out:
        raise UsageError("--out is missing")
    refuse_existing(flags.out)
    prepare_jax()
    with stages() as progress:
        if form:
            notes = _import(form, path, flags, progress)
        else:
            from jaxhead.captures.insta_export import export_insta

            notes = export_insta(path, flags.out, progress=progress)
    print("\n".join(notes))
    print(f"{flags.out}: {'a capture' if form else 'in the layout of INSTA'}")
    return 0


def _import(form: str, path: str, flags: FlagValues, progress) -> list[str]:
    from jaxhead.captures.importers.importing import import_capture

    return import_capture(
        form,
        os.fspath(path),
        flags.out,
        size=flags.size if flags["size"].present else None,
        fps=flags.fps,
        head=flags.head if flags["head"].present else None,
        assets=flags.assets,
        held_out=flags.held_out,
        progress=progress,
    )
