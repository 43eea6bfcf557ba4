"""Frozen dataclasses as configurations: to JSON and back, overridden by `a.b=value`, checked by
field type.

Fields may carry metadata {"minimum": x, "maximum": x, "choices": (...)} , which every way of
making a configuration here obeys. Supported types: int, float, bool, str, tuples of these (of
fixed or any length), optional and Literal types, and nested frozen dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from jaxhead.files.errors import ConfigurationError

Config = TypeVar("Config")


def number(default: Any, low: float, high: float) -> Any:
    """A numeric field with its default and the range that is accepted."""
    return dataclasses.field(default=default, metadata={"minimum": low, "maximum": high})


def required(low: float, high: float = 1 << 30) -> Any:
    """A numeric field without a default, and the range that is accepted."""
    return dataclasses.field(metadata={"minimum": low, "maximum": high})


def choice(default: str, accepted: tuple[str, ...]) -> Any:
    """A field that takes one of the accepted words."""
    return dataclasses.field(default=default, metadata={"choices": accepted})


def to_document(config: Any) -> dict[str, Any]:
    """The JSON document of a configuration: nested dictionaries, tuples as lists."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return plain(config)


def from_document(kind: type[Config], document: Mapping[str, Any], *, at: str = "") -> Config:
    """A configuration of type `kind` from its JSON document; fields that are not in it keep their
    defaults.

    Raises:
      ConfigurationError: unknown names, wrong types, values out of range.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{at or kind.__name__}: {document!r}, expected a dictionary")
    known = _types(kind)
    values = {}
    for name, value in document.items():
        path = f"{at}.{name}" if at else str(name)
        if name not in known:
            raise _unknown(path, str(name), known)
        values[name] = _from_json(known[name], value, path)
    try:
        config = kind(**values)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{at or kind.__name__}: {error}") from error
    check(config, at=at)
    return config


def override(config: Config, assignments: Iterable[str]) -> Config:
    """The configuration with `a.b=value` assignments applied in order, each parsed by its field's
    type.

    Tuples are written 1,2,3 (or as JSON); None as `none`; bools as true or false.

    Raises:
      ConfigurationError: not an assignment, an unknown name (with the nearest known one), a wrong
        type or a value out of range.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(f"{assignment!r}: expected NAME=VALUE, as in field.levels=12")
        config = _assign(config, name.strip().split("."), text.strip(), "")
    return config


def check(config: Any, *, at: str = "") -> None:
    """ConfigurationError when a field of a configuration, however nested, is out of its declared
    range.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        path = f"{at}.{field.name}" if at else field.name
        if dataclasses.is_dataclass(value):
            check(value, at=path)
        else:
            _in_range(field.metadata, value, path)


def describe(config: Any, *, at: str = "") -> list[str]:
    """Lines `a.b=value`, one per field, that `override` reads back."""
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        path = f"{at}.{field.name}" if at else field.name
        if dataclasses.is_dataclass(value):
            lines += describe(value, at=path)
        else:
            lines.append(f"{path}={_text(value)}")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return json.dumps(_lists(value)) if isinstance(value, tuple) else str(value)


def _lists(value: Any) -> Any:
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def _types(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.init}


def _unknown(path: str, name: str, known: Iterable[str]) -> ConfigurationError:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    start = path[: len(path) - len(name)]
    hint = f"; did you mean {start}{near[0]}?" if near else ""
    return ConfigurationError(f"{path}: no such setting{hint} (there are {', '.join(known)})")


def _assign(config: Config, names: list[str], text: str, at: str) -> Config:
    known = _types(type(config))
    name, rest = names[0], names[1:]
    path = f"{at}.{name}" if at else name
    if name not in known:
        raise _unknown(path, name, known)
    if rest:
        inner = getattr(config, name)
        if not dataclasses.is_dataclass(inner):
            raise ConfigurationError(f"{path}: is a single value and has no {'.'.join(rest)}")
        value = _assign(inner, rest, text, path)
    else:
        value = _parse(known[name], text, path)
    try:
        changed = dataclasses.replace(config, **{name: value})  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    check(changed, at=at)
    return changed


def _wrong(path: str, value: Any, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {value!r}, expected {expected}")


def _name_of(kind: Any) -> str:
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    if kind in names:
        return names[kind]
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    if origin is tuple:
        return "a tuple such as 1,2,3: " + str(kind).removeprefix("typing.")
    if _is_union(kind):
        return " or ".join("none" if k is type(None) else _name_of(k)
                           for k in typing.get_args(kind))
    if dataclasses.is_dataclass(kind):
        return "a group of settings: set " + ", ".join(_types(kind)) + " one by one"  # type: ignore[arg-type]
    return str(kind)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _parse(kind: Any, text: str, path: str) -> Any:
    """A value of type `kind` from what a person typed."""
    if kind is bool:
        words = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
        if text.lower() in words:
            return words[text.lower()]
        raise _wrong(path, text, _name_of(kind))
    if kind is str:
        return text
    if kind in (int, float):
        try:
            return _number(kind, int(text) if kind is int else float(text), path)
        except ValueError:
            raise _wrong(path, text, _name_of(kind)) from None
    if typing.get_origin(kind) is tuple:
        return _parse_tuple(kind, text, path)
    if _is_union(kind):
        return _parse_union(kind, text, path)
    if typing.get_origin(kind) is typing.Literal:
        for choice in typing.get_args(kind):
            if str(choice) == text:
                return choice
    raise _wrong(path, text, _name_of(kind))


def _parse_union(kind: Any, text: str, path: str) -> Any:
    options = typing.get_args(kind)
    if type(None) in options and text.lower() in ("none", "null"):
        return None
    for option in options:
        if option is type(None):
            continue
        try:
            return _parse(option, text, path)
        except ConfigurationError:
            continue
    raise _wrong(path, text, _name_of(kind))


def _parse_tuple(kind: Any, text: str, path: str) -> tuple:
    inner = text.strip()
    if inner.startswith("["):
        try:
            return _from_json(kind, json.loads(inner), path)
        except ValueError:
            raise _wrong(path, text, _name_of(kind)) from None
    parts = [p.strip() for p in inner.strip("()").split(",")]
    parts = [p for p in parts if p]
    kinds = _tuple_kinds(kind, len(parts), text, path)
    return tuple(_parse(k, p, f"{path}[{i}]") for i, (k, p) in enumerate(zip(kinds, parts)))


def _tuple_kinds(kind: Any, count: int, value: Any, path: str) -> list[Any]:
    kinds = list(typing.get_args(kind))
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return [kinds[0]] * count
    if len(kinds) != count:
        raise _wrong(path, value, f"{len(kinds)} values")
    return kinds


def _number(kind: type, value: Any, path: str) -> Any:
    if kind is float and not math.isfinite(value):
        raise _wrong(path, value, "a finite number")
    return kind(value)


def _from_json(kind: Any, value: Any, path: str) -> Any:
    """A value of type `kind` from a JSON value; nothing but integers to floats is converted."""
    if dataclasses.is_dataclass(kind):
        return from_document(kind, value, at=path)  # type: ignore[arg-type]
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(path, value, _name_of(kind))
        kinds = _tuple_kinds(kind, len(value), value, path)
        return tuple(_from_json(k, v, f"{path}[{i}]") for i, (k, v) in enumerate(zip(kinds, value)))
    if _is_union(kind):
        for option in typing.get_args(kind):
            try:
                return None if option is type(None) and value is None else _from_json(
                    option, value, path)
            except ConfigurationError:
                continue
        raise _wrong(path, value, _name_of(kind))
    if typing.get_origin(kind) is typing.Literal and value in typing.get_args(kind):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _number(float, value, path)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise _wrong(path, value, _name_of(kind))


def _in_range(metadata: Mapping[str, Any], value: Any, path: str) -> None:
    for one in value if isinstance(value, tuple) else (value,):
        if one is None:
            continue
        if "choices" in metadata and one not in metadata["choices"]:
            near = difflib.get_close_matches(str(one), [str(c) for c in metadata["choices"]], n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise _wrong(path, one, f"one of {', '.join(map(str, metadata['choices']))}{hint}")
        if "minimum" in metadata and one < metadata["minimum"]:
            raise _wrong(path, one, f"at least {metadata['minimum']}")
        if "maximum" in metadata and one > metadata["maximum"]:
            raise _wrong(path, one, f"at most {metadata['maximum']}")
