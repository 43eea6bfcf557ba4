"""The table of options in docs/avatar.md, made from the configuration itself.

    python -m experiments.options_table

Rewrites what stands between the two markers of the document.
"""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import re
import sys

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments
from jaxhead.files.atomic import write_text
from jaxhead.systems.avatar.config import AvatarConfig

DOCUMENT = pathlib.Path(__file__).parent.parent / "docs" / "avatar.md"
MARKERS = ("<!-- options: python -m experiments.options_table -->", "<!-- end of options -->")


def table() -> str:
    """Markdown: name for `--set`, default, accepted values, meaning."""
    lines = ["| `--set` | default | accepted | |", "|---|---|---|---|"]
    for part in dataclasses.fields(AvatarConfig):
        default = part.default
        if dataclasses.is_dataclass(default):
            says = comments(type(default))
            lines += [
                _line(f"{part.name}.{field.name}", field, getattr(default, field.name), says)
                for field in dataclasses.fields(default)
            ]
        else:
            lines.append(_line(part.name, part, default, comments(AvatarConfig)))
    return "\n".join(lines)


def comments(kind: type) -> dict[str, str]:
    """{field: what is said behind it in the source, or about it in the class's docstring}."""
    source = inspect.getsource(kind)
    said = dict(re.findall(r"^    (\w+):.*?#\s*(.+)$", source, re.MULTILINE))
    attributes = re.findall(r"^  (\w+): (.+?)\.$", inspect.getdoc(kind) or "", re.MULTILINE)
    return dict(attributes) | said


def _line(name: str, field: dataclasses.Field, default: object, says: dict[str, str]) -> str:
    known = field.metadata
    accepted = ", ".join(known.get("choices", ()))
    # A limit that nobody meets says nothing.
    if known.get("maximum", 1e5) < 1e5:
        accepted = f"{known['minimum']:g} to {known['maximum']:g}"
    elif "minimum" in known:
        accepted = f"from {known['minimum']:g}"
    elif isinstance(default, bool):
        accepted = "true, false"
    return f"| `{name}` | {default} | {accepted} | {says.get(field.name, '')} |"


def rewritten(text: str) -> str:
    """The document's text with the table of now."""
    before, rest = text.split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    return f"{before}{MARKERS[0]}\n{table()}\n{MARKERS[1]}{after}"


def run(arguments: Arguments) -> int:
    """Rewrites the document."""
    del arguments
    write_text(DOCUMENT, rewritten(DOCUMENT.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.options_table", __doc__, lambda values: None, run))
