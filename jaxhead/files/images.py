"""Pictures: PNG, JPEG and WebP in, PNG and JPEG out; the size is checked before decoding."""

import contextlib
import io
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxhead.files.atomic import new_file
from jaxhead.files.errors import InputError

_FORMATS = ("PNG", "JPEG", "WEBP")
_CHANNELS = {"RGB": 3, "RGBA": 4, "L": 1}


def _open(path: str | os.PathLike, max_pixels: float, data: bytes | None = None) -> Any:
    """A lazily opened picture (header read, nothing decoded) of at most `max_pixels` pixels.

    It is the file `path`, or `data`, which only is called so.
    """
    from PIL import Image

    try:
        if data is None and not Path(path).is_file():
            raise InputError(f"{path}: no such picture, expected a PNG, JPEG or WebP file")
        # Pillow warns of bombs by its own limit; ours decides, before anything is decoded.
        with _silenced(data):
            picture = Image.open(path if data is None else io.BytesIO(data), formats=_FORMATS)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}, expected at most {max_pixels:.0f} pixels") from error
    except Exception as error:  # whatever a parser says of a damaged header
        raise InputError(f"{path}: not a PNG, JPEG or WebP picture ({_reason(error)})") from error
    width, height = picture.size
    if width < 1 or height < 1 or width * height > max_pixels:
        picture.close()
        raise InputError(
            f"{path}: {width} x {height} pixels, expected at most {max_pixels:.0f} in all"
        )
    return picture


@contextlib.contextmanager
def _silenced(data: bytes | None) -> Iterator[None]:
    """A block without warnings, for files; what is in memory is decoded by threads at once, and
    filters of warnings are shared by all of them.
    """
    with contextlib.ExitStack() as stack:
        if data is None:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        yield


def _reason(error: BaseException) -> str:
    return str(error)[:200] or type(error).__name__


def image_size(path: str | os.PathLike, *, max_pixels: float = 64e6) -> tuple[int, int]:
    """The (width, height) in pixels that the header of a picture states, turned as EXIF says.

    Raises:
        InputError: missing, not a picture, or more than `max_pixels`.
    """
    with _open(path, max_pixels) as picture:
        width, height = picture.size
        try:
            orientation = picture.getexif().get(0x0112, 1)
        except Exception as error:
            raise InputError(f"{path}: damaged EXIF block ({_reason(error)})") from error
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def read_image(
    path: str | os.PathLike,
    *,
    mode: Literal["RGB", "RGBA", "L"] = "RGB",
    max_pixels: float = 64e6,
) -> np.ndarray:
    """The pixels of a picture, uint8, turned upright as its EXIF block says.

    Args:
        path: a PNG, JPEG or WebP file; the content decides, not the name.
        mode: "RGB" gives (H, W, 3), "RGBA" (H, W, 4), "L" (H, W) luminance. Transparency is dropped
            for "RGB" and "L", 16-bit pictures are reduced to 8 bits.
        max_pixels: a larger picture is refused from its header, before memory is taken.

    Raises:
        InputError: missing, not a picture, damaged, cut off or too large.
    """
    return _decode(path, None, mode, max_pixels)


def read_layer(path: str | os.PathLike, *, max_pixels: float = 64e6) -> np.ndarray:
    """The numbers of a picture as they are stored: for depth, classes and cut-outs.

    Args:
        path: a PNG, JPEG or WebP file; a palette gives its colours.
        max_pixels: a larger picture is refused from its header, before memory is taken.

    Returns:
        (H, W) uint8 or, of 16-bit grey, uint16; (H, W, 3) or (H, W, 4) uint8.

    Raises:
        InputError: missing, not a picture, damaged, cut off, too large, or of other numbers.
    """
    with _open(path, max_pixels) as picture:
        try:
            if picture.mode in ("P", "PA", "LA", "1"):
                picture = picture.convert("L" if picture.mode == "1" else "RGBA")
            pixels = np.array(picture)
        except MemoryError as error:
            raise InputError(f"{path}: needs more memory than there is") from error
        except Exception as error:  # decoders raise a dozen kinds on damaged data
            raise InputError(f"{path}: damaged or cut off ({_reason(error)})") from error
        mode = picture.mode
    if mode.startswith("I"):
        if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
            raise InputError(f"{path}: values up to {pixels.max()}, expected at most 65535")
        return pixels.astype(np.uint16)
    if mode not in ("L", "RGB", "RGBA"):
        raise InputError(f"{path}: a picture of mode {mode}, expected grey, RGB or RGBA")
    return pixels.astype(np.uint8)


def decode_image(data: bytes, name: str, *, max_pixels: float = 64e6) -> np.ndarray:
    """The pixels (H, W, 3) uint8 of a picture whose file is in memory; as careful as `read_image`.

    Args:
        data: the bytes of a PNG, JPEG or WebP file.
        name: where it came from, for messages.
        max_pixels: a larger picture is refused from its header, before memory is taken.

    Raises:
        InputError: not a picture, damaged, cut off or too large.
    """
    return _decode(name, data, "RGB", max_pixels)


def _decode(
    path: str | os.PathLike, data: bytes | None, mode: str, max_pixels: float
) -> np.ndarray:
    if mode not in _CHANNELS:
        raise ValueError(f"mode is {mode!r}, expected one of {sorted(_CHANNELS)}")
    from PIL import Image, ImageOps

    with _open(path, max_pixels, data) as picture:
        try:
            with _silenced(data):
                upright = ImageOps.exif_transpose(picture)
                if upright.mode.startswith("I"):
                    # Pillow clips 16-bit grey at 255 instead of scaling it.
                    wide = np.asarray(upright).astype(np.int64) >> 8
                    upright = Image.fromarray(np.clip(wide, 0, 255).astype(np.uint8))
                pixels = np.array(upright.convert(mode), dtype=np.uint8)
        except MemoryError as error:
            raise InputError(f"{path}: needs more memory than there is") from error
        except Exception as error:  # decoders raise a dozen kinds on damaged data
            raise InputError(f"{path}: damaged or cut off ({_reason(error)})") from error
    return pixels


def write_image(path: str | os.PathLike, array: np.ndarray, *, compress: int | None = None) -> None:
    """Writes a picture at once (never half), replacing a former one; PNG or JPEG by the suffix.

    Args:
        path: ends in .png, .jpg or .jpeg.
        array: uint8, (H, W), (H, W, 1), (H, W, 3) or, PNG only, (H, W, 4); uint16 (H, W), PNG only.
        compress: zlib level of a PNG, 0 (fast) to 9 (small); None for runs alone, which takes a
            fifth of the time of level 6 and makes frames 3 % larger.

    Raises:
        InputError: another suffix, or the place cannot be written to.
    """
    from PIL import Image

    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{path}: suffix {suffix!r}, expected .png, .jpg or .jpeg")
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    channels = 1 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else 0
    allowed = (1, 3, 4) if suffix == ".png" else (1, 3)
    deep = array.dtype == np.uint16 and suffix == ".png"
    allowed = (1,) if deep else allowed
    if (array.dtype != np.uint8 and not deep) or channels not in allowed or 0 in array.shape:
        raise ValueError(
            f"array is {array.dtype} {array.shape}, expected uint8 (H, W) or (H, W, {allowed})"
        )
    picture = Image.fromarray(np.ascontiguousarray(array))
    # Thousands of frames are written one by one: no wait for the disk after each.
    with new_file(path, overwrite=True, sync=False) as temporary:
        if suffix == ".png":
            how = {"compress_level": compress}
            if compress is None:
                how = {"compress_level": 1, "compress_type": zlib.Z_RLE}
            picture.save(temporary, format="PNG", **how)
        else:
            picture.save(temporary, format="JPEG", quality=95, subsampling=0)
