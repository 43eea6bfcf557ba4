"""Flags of one verb: absl flags that live in the verb's own FlagValues, in any order with files.

absl's own parser stops at the first positional argument or, in GNU mode, takes a file called
"-clip.mp4" for a flag; the splitting into flags and positionals is therefore done here, and absl
parses and checks the values.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Callable, Sequence

from absl import flags


class UsageError(Exception):
    """The command line is not understood: one line, exit code 2."""


class HelpRequest(Exception):
    """The user asked for the verb's help."""


@dataclasses.dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    name: what the user types.
    summary: one line for `jaxhead --help`.
    usage: the positional arguments and the required flags, as shown in the help.
    examples: whole command lines.
    module: import path of the module whose `run(arguments)` does the work.
    define: adds the verb's flags to a FlagValues.
    positionals: names of the positional arguments; the last may end in "..." for one or more, and
        may stand in brackets where there may be none.
    program: what stands before the name on the command line.
    """

    name: str
    summary: str
    usage: str
    examples: tuple[str, ...]
    module: str
    define: Callable[[flags.FlagValues], None]
    positionals: tuple[str, ...]
    program: str = "jaxhead"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the user gave: positional arguments in order, and the parsed flags as attributes."""

    positionals: tuple[str, ...]
    flags: flags.FlagValues


class ViewParser(flags.ArgumentParser):
    """Parses "YAW,PITCH" in degrees into two floats."""

    syntactic_help = "two numbers with a comma: degrees of yaw and pitch"

    def parse(self, argument: str | tuple[float, float]) -> tuple[float, float]:
        """Returns (yaw, pitch) in degrees, within ±180 and ±90."""
        if isinstance(argument, tuple):
            return argument
        try:
            yaw, pitch = (float(part) for part in argument.split(","))
        except ValueError:
            raise ValueError("expected YAW,PITCH in degrees, for example -20,5") from None
        if not (math.isfinite(yaw) and math.isfinite(pitch)) or abs(yaw) > 180 or abs(pitch) > 90:
            raise ValueError("expected a yaw within ±180 and a pitch within ±90 degrees")
        return yaw, pitch

    def flag_type(self) -> str:
        """Returns the name of the type for the help."""
        return "yaw,pitch"


class OptionalParser(flags.ArgumentParser):
    """Parses a flag that may stand without a value: alone it means `bare`.

    The next argument is taken for its value only where it looks like one.

    Args:
        bare: what the flag alone means.
        pattern: a regular expression for the whole of a value.
        kind: name of the value for the help.
    """

    def __init__(self, bare: str, pattern: str, kind: str):
        super().__init__()
        self.bare, self._pattern, self._kind = bare, re.compile(pattern), kind

    def matches(self, token: str) -> bool:
        """Returns whether an argument looks like a value."""
        return self._pattern.fullmatch(token) is not None

    def parse(self, argument: str) -> str:
        """Returns the value as it is."""
        if not self.matches(argument):
            raise ValueError(f"expected {self._kind}")
        return argument

    def flag_type(self) -> str:
        """Returns the name of the type for the help."""
        return f"[{self._kind}]"


def define_view(name: str, help_text: str, values: flags.FlagValues) -> None:
    """Defines a flag whose value is YAW,PITCH."""
    flags.DEFINE(ViewParser(), name, None, help_text, flag_values=values)


def parse(verb: Verb, argv: Sequence[str]) -> Arguments:
    """Returns the parsed arguments of a verb.

    Args:
        verb: the verb.
        argv: what follows the verb's name on the command line.

    Raises:
        UsageError: an unknown flag, a bad value, too few or too many positionals.
        HelpRequest: --help stands where no value is expected.
    """
    values = flags.FlagValues()
    verb.define(values)
    given, positionals = split(values, argv)
    try:
        values(["jaxhead", *given])
    except flags.Error as error:
        raise UsageError(_flag_message(error)) from None
    for name in _names(values):
        value = values[name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{_shown(name)} {value}: expected a finite number")
    _count_positionals(verb, positionals)
    return Arguments(tuple(positionals), values)


def split(values: flags.FlagValues, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits arguments into flags, each as "--name=value", and positional arguments.

    A flag that takes a value takes the next argument whatever it looks like, so "-20,5" and
    "-clip.mp4" are values. "--" makes the rest positional, and so is an argument that starts with
    a dash, is no flag, and names something that exists.
    """
    given, positionals = [], []
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        if token == "--":
            positionals.extend(rest)
            break
        if not token.startswith("-") or token == "-":
            positionals.append(token)
            continue
        if token in ("--help", "-h", "-help"):
            raise HelpRequest
        name, equals, value = token.lstrip("-").partition("=")
        flag, text = _find(values, name)
        if flag is None:
            if os.path.lexists(token):
                positionals.append(token)
                continue
            raise UsageError(_unknown(values, token, name))
        if flag.boolean:
            if equals and text == "false":
                raise UsageError(f"--{name} takes no value")
            given.append(f"--{flag.name}={value if equals else text}")
        elif equals:
            given.append(f"--{flag.name}={value}")
        elif isinstance(flag.parser, OptionalParser):
            given.append(f"--{flag.name}={_optional(flag.parser, rest)}")
        elif rest:
            given.append(f"--{flag.name}={rest.pop(0)}")
        else:
            raise UsageError(f"--{name} needs a value")
    return given, positionals


def help_text(verb: Verb) -> str:
    """Returns the help of one verb: usage, examples, flags with defaults."""
    values = flags.FlagValues()
    verb.define(values)
    lines = [verb.summary, "", f"usage: {verb.program} {verb.name} {verb.usage}", "", "examples:"]
    lines += [f"  {example}" for example in verb.examples]
    lines += ["", "flags (in any order):"]
    for name in sorted(_names(values)):
        lines += _flag_lines(values[name])
    return "\n".join(lines)


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns " (did you mean X?)" for the known name most like `name`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def _optional(parser: OptionalParser, rest: list[str]) -> str:
    return rest.pop(0) if rest and parser.matches(rest[0]) else parser.bare


def _find(values: flags.FlagValues, name: str) -> tuple[flags.Flag | None, str]:
    name = name.replace("-", "_")
    known = _names(values)
    if name in known:
        return values[name], "true"
    if name.startswith("no") and name[2:].lstrip("_") in known:
        flag = values[name[2:].lstrip("_")]
        if flag.boolean:
            return flag, "false"
    return None, ""


def _names(values: flags.FlagValues) -> list[str]:
    return [name for name in values if name not in ("flagfile", "undefok")]


def _unknown(values: flags.FlagValues, token: str, name: str) -> str:
    known = [_shown(known_name) for known_name in _names(values)]
    return f"unknown flag {token.partition('=')[0]}{nearest('--' + name, known)}"


def _shown(name: str) -> str:
    return "--" + name.replace("_", "-")


def _flag_message(error: flags.Error) -> str:
    """absl's message with the name as the user types it."""
    text = " ".join(str(error).split())
    text = re.sub(r"^flag --(\w+)=", lambda match: f"{_shown(match[1])} ", text)
    return re.sub(r"^Flag --(\w+)", lambda match: _shown(match[1]), text)


def _count_positionals(verb: Verb, given: Sequence[str]) -> None:
    wanted = [name for name in verb.positionals if not name.startswith("[")]
    more = bool(verb.positionals) and verb.positionals[-1].strip("[]").endswith("...")
    if len(given) < len(wanted):
        missing = wanted[len(given)].removesuffix("...")
        raise UsageError(f"{missing} is missing")
    if len(given) > len(verb.positionals) and not more:
        raise UsageError(f"unexpected argument {given[len(wanted)]!r}")
    for place, value in enumerate(given):
        if not value:
            name = verb.positionals[min(place, len(verb.positionals) - 1)]
            raise UsageError(f"{name.strip('[].')} is empty")


def _flag_lines(flag: flags.Flag) -> list[str]:
    if flag.boolean:
        head = f"  {_shown(flag.name)}"
    else:
        kind = flag.flag_type().removeprefix("multi ")
        accepted = getattr(flag.parser, "enum_values", None)
        head = f"  {_shown(flag.name)} {'|'.join(accepted) if accepted else kind.upper()}"
    default = "" if flag.default in (None, False, []) else f" (default {flag.default})"
    # absl adds the accepted values before, and a line on repeating after, our own sentence.
    text = re.sub(r"^<[^>]*>: |;?\s+repeat this option.*$", "", flag.help, flags=re.DOTALL)
    return [head, f"      {text}{default}"]
