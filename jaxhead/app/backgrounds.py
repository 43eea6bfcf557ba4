"""What the user may give as a background: a picture, a colour or nothing at all."""

from __future__ import annotations

import difflib
import os

from jaxhead.files.errors import InputError
from jaxhead.files.images import image_size
from jaxhead.rendering.requests import Background


def parse_background(text: str | None) -> Background:
    """Returns the background that a word of the command line names.

    Args:
        text: None (the capture's plate), "transparent", the path of a picture that exists, a
            colour's CSS name, or #rgb / #rrggbb. A file wins over a colour of the same name.

    Raises:
        InputError: it is none of these, or the picture cannot be read.
    """
    from PIL import ImageColor

    if text is None:
        return Background()
    if text == "transparent":
        return Background(kind="transparent")
    if os.path.lexists(text):
        image_size(text)
        return Background(kind="image", path=text)
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        known = [*ImageColor.colormap, "transparent"]
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"background {text!r}: no such picture, expected an image file, a colour's name, "
            f"#rrggbb or transparent{hint}"
        ) from None
    return Background(kind="colour", colour=(red / 255.0, green / 255.0, blue / 255.0))
