"""Flags that the benchmarks share, parsed as the verbs of the command line are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from jaxhead.app.flags import Arguments, HelpRequest, UsageError, Verb, help_text, parse
from jaxhead.app.main import complain, prepare_process
from jaxhead.files.errors import ConfigurationError, InputError
from jaxhead.systems.avatar.config import AvatarConfig


def capture_flags(values: flags.FlagValues) -> None:
    """`--capture`, `--preset`, `--set` and `--json`."""
    flags.DEFINE_string("capture", None, "a capture (default: a small one)", flag_values=values)
    setting_flags(values)


def setting_flags(values: flags.FlagValues) -> None:
    """`--preset`, `--set` and `--json`."""
    flags.DEFINE_string("preset", "default", "of the avatar", flag_values=values)
    flags.DEFINE_multi_string("set", [], "as in jaxhead train", flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def multi_override(preset: str, overrides: Sequence[str]) -> AvatarConfig:
    """The configuration that `--preset` and `--set` ask for."""
    from jaxhead.app.train import configuration
    from jaxhead.systems.avatar import verbs

    return configuration(verbs, None, preset=preset, overrides=overrides)


def run_module(
    name: str,
    doc: str | None,
    define: Callable[[flags.FlagValues], None],
    run: Callable[[Arguments], int],
    *,
    positionals: tuple[str, ...] = (),
    argv: Sequence[str] | None = None,
) -> int:
    """Parses the command line of a module and runs it; returns the exit code.

    Args:
      name: of the module.
      doc: its docstring, whose first line and indented lines become the help.
      define: adds its flags.
      run: does the work.
      positionals: see `Verb`.
      argv: arguments, by default those of the process.
    """
    lines: list[Any] = (doc or name).splitlines()
    verb = Verb(
        name,
        lines[0],
        " ".join([*positionals, "[flags]"]),
        tuple(line.strip() for line in lines if line.startswith("    ")),
        name,
        define,
        positionals,
        program="python -m",
    )
    try:
        arguments = parse(verb, sys.argv[1:] if argv is None else argv)
        if argv is None:
            prepare_process()
        from jaxhead.app.devices import prepare_jax

        prepare_jax()
        return run(arguments)
    except HelpRequest:
        print(help_text(verb))
        return 0
    except (UsageError, ConfigurationError) as error:
        complain(str(error))
        return 2
    except InputError as error:
        complain(str(error))
        return 1
