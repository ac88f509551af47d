"""What counts as a photo."""

from __future__ import annotations

import os
from typing import Any, Literal, Protocol, Union

import numpy as np

from ._errors import ImageError, ParameterError
from ._native import Image, image_limits

__all__ = ["ImageLike", "load"]


class HasArrayInterface(Protocol):
    """A PIL image, for one."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class HasArray(Protocol):
    """A tensor of another library, for one."""

    def __array__(self) -> np.ndarray[Any, Any]: ...


#: A path, the bytes of a file, an array, a PIL image, anything with ``__array_interface__`` or ``__array__``, or an ``Image``.
ImageLike = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, "np.ndarray[Any, Any]", Image, HasArrayInterface, HasArray
]
ColorOrder = Literal["rgb", "bgr"]

_MAX_SIDE, _MAX_PIXELS = image_limits()


def load(image: ImageLike, color: ColorOrder = "rgb") -> Image:
    """Decodes a photo once, for several uses.

    Parameters
    ----------
    image
        - a path (``str`` or ``os.PathLike``) of a JPEG, PNG, WebP, BMP, GIF or TIFF file, turned as its EXIF orientation says;
        - the content of such a file (``bytes``, ``bytearray``, ``memoryview``);
        - an array of shape (height, width), (height, width, 1), (height, width, 3) or (height, width, 4), of dtype ``uint8``
          from 0 to 255 or floating point from 0 to 1, with strides of any kind; an alpha channel is left out;
        - a PIL image, as its pixels lie (its EXIF orientation is not applied, so that boxes fit the pixels);
        - anything with ``__array_interface__`` or ``__array__``; an ``Image``.
    color
        Order of the channels of an array: ``"rgb"``, or ``"bgr"`` for frames of OpenCV. Files and PIL images know theirs.

    Returns
    -------
    Image
        The pixels are copied: what was given is not changed, and may be changed afterwards.

    Raises
    ------
    ImageError
        When it is no picture, or one over 134 megapixels or 32,768 pixels long.
    FileNotFoundError, PermissionError, OSError
        From the file system.
    TypeError
        For something of another kind.

    Examples
    --------
    >>> import numpy as np, facecore as fc
    >>> fc.load(np.zeros((480, 640, 3), np.uint8))
    <Image 640 x 480>
    """
    check_color(color)
    if isinstance(image, Image):
        return image
    if isinstance(image, type):
        raise TypeError(f"the class {image.__name__} is no photo")
    if isinstance(image, (str, os.PathLike)):
        return Image.open(os.fspath(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return Image.decode(bytes(image))
    if hasattr(image, "convert") and hasattr(image, "mode") and hasattr(image, "size"):
        return Image.from_array(_pixels(_of_pil(image)), False)
    if isinstance(image, np.ndarray) or hasattr(image, "__array_interface__") or hasattr(image, "__array__"):
        return Image.from_array(_pixels(np.asarray(image)), color == "bgr")
    raise TypeError(
        f"{type(image).__name__} is no photo: expected a path, bytes of a file, an array, a PIL image or a facecore.Image"
    )


def check_color(color: Any) -> None:
    if color not in ("rgb", "bgr"):
        raise ParameterError(f'color is {color!r}, and must be "rgb" or "bgr"')


def _of_pil(image: Any) -> np.ndarray[Any, Any]:
    if image.mode not in (
        "1",
        "L",
        "LA",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBX",
        "CMYK",
        "YCbCr",
        "HSV",
        "LAB",
        "La",
        "RGBa",
    ):
        raise ImageError(
            f"a PIL image of mode {image.mode!r} has more than 8 bits a channel: bring its values to 0 to 255 yourself, "
            'and convert it to "L" or "RGB"'
        )
    _check_size(image.size[1], image.size[0])
    try:
        return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"PIL cannot read the image: {error}") from error


def _pixels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The array as contiguous bytes. Sizes are checked before anything is copied: an array may claim more than memory has."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = ": channels must come last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(
            f"an array of shape {array.shape} is no picture: expected (height, width), (height, width, 3) or (height, width, 4){hint}"
        )
    _check_size(array.shape[0], array.shape[1])
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"an array of dtype {array.dtype} is no picture: expected uint8 from 0 to 255, or floating point from 0 to 1"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):
        raise ImageError(
            f"an array of floating-point numbers must be from 0 to 1, and this one is from {low:g} to {high:g}: "
            "divide it by 255, or convert it to uint8"
        )
    return np.ascontiguousarray(np.rint(array * array.dtype.type(255)).astype(np.uint8))


def _check_size(height: int, width: int) -> None:
    if height == 0 or width == 0:
        raise ImageError(f"the picture is empty: {width} x {height} pixels")
    if max(height, width) > _MAX_SIDE or height * width > _MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} pixels are over the limit of {_MAX_SIDE} a side and {_MAX_PIXELS} in all: shrink the picture"
        )
