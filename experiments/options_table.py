"""The tables of options in docs/avatar.md and docs/adnerf.md, made from the configurations.

    python -m experiments.options_table

Rewrites what stands between the two markers of each document.
"""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import re
import sys
from typing import Any

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments
from jaxhead.files.atomic import write_text
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.avatar.config import AvatarConfig

DOCS = pathlib.Path(__file__).parent.parent / "docs"
DOCUMENTS = {DOCS / "avatar.md": AvatarConfig, DOCS / "adnerf.md": AdnerfConfig}
MARKERS = ("<!-- options: python -m experiments.options_table -->", "<!-- end of options -->")


def table(kind: type) -> str:
    """Markdown: name for `--set`, default, accepted values, meaning, of a configuration's class."""
    head = ["| `--set` | default | accepted | |", "|---|---|---|---|"]
    return "\n".join(head + _lines(kind(), ""))


def _lines(config: Any, at: str) -> list[str]:
    says, lines = comments(type(config)), []
    for field in dataclasses.fields(config):
        default = getattr(config, field.name)
        if dataclasses.is_dataclass(default):
            lines += _lines(default, f"{at}{field.name}.")
        else:
            lines.append(_line(f"{at}{field.name}", field, default, says))
    return lines


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


def rewritten(text: str, kind: type) -> str:
    """A document's text with the table of now."""
    before, rest = text.split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    return f"{before}{MARKERS[0]}\n{table(kind)}\n{MARKERS[1]}{after}"


def run(arguments: Arguments) -> int:
    """Rewrites the documents."""
    del arguments
    for document, kind in DOCUMENTS.items():
        write_text(document, rewritten(document.read_text(encoding="utf-8"), kind))
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.options_table", __doc__, lambda values: None, run))
