"""What INSTA's losses take of a capture's parsed pictures: the mouth, and where depth counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.files.errors import InputError

MOUTH = ("mouth", "upper_lip", "lower_lip")
"""Classes whose colour counts more (INSTA's ids 140, 130, 120)."""
DEPTHLESS = ("background", "hat", "hair", "cloth")
"""Classes that stand off the mesh (INSTA's ids up to 90)."""


def where_classes(
    capture: Capture, names: tuple[str, ...], wanted_by: str
) -> Callable[[int], np.ndarray]:
    """A function: frame -> (H, W) bool, the pixels of the named classes.

    Args:
      capture: a capture with the layer "parsing".
      names: of "parsing_classes"; those that the capture does not know are left out.
      wanted_by: the option that needs them, for the error.

    Raises:
      InputError: the capture holds no classes, or none of these.
    """
    classes = capture.info.get("parsing_classes")
    if "parsing" not in capture.layers() or not isinstance(classes, dict):
        raise InputError(f"{capture.path}: has no layer parsing, which {wanted_by} reads")
    ids = [int(number) for number, name in classes.items() if name in names]
    if not ids:
        raise InputError(
            f"{capture.path}: parsing_classes names none of {', '.join(names)}, which {wanted_by} "
            "reads"
        )
    return lambda frame: np.isin(capture.layer("parsing", frame), ids)
