"""What notebooks show."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _native
from ._errors import FaceError, ParameterError
from ._images import ColorOrder, ImageLike, load
from ._native import Image
from ._stages import parts_of

__all__ = ["draw"]

#: Height of small pictures in HTML, in pixels.
_HEIGHT = 128


def draw(image: ImageLike, faces: Any, *, color: ColorOrder = "rgb") -> Any:
    """Draws faces into a copy of a photo.

    Parameters
    ----------
    image
        The photo.
    faces
        What ``analyze`` or ``detect`` has found; or what ``Gallery.identify`` has found out, which is drawn with names.

    Returns
    -------
    PIL.Image.Image
        Needs Pillow (``pip install pillow``). Without it: ``analysis.draw()`` gives a ``facecore.Image``.

    Examples
    --------
    >>> faces = fc.Pipeline().analyze(photo)
    >>> fc.draw(photo, faces).size == faces.size
    True
    """
    try:
        from PIL import Image as PilImage
    except ImportError:
        raise ImportError("facecore.draw gives a PIL image, which needs Pillow: pip install pillow") from None
    drawn = drawn_with(load(image, color), list(faces))
    return PilImage.fromarray(np.asarray(drawn))


def drawn_with(picture: Image, faces: list[Any]) -> Image:
    """The picture with boxes, and with names where they are known."""
    if faces and all(hasattr(face, "candidates") for face in faces):
        named = [_named(found) for found in faces if found.face is not None]
        return _native.draw_names(picture, named)
    return _native.draw_detections(picture, [parts_of(face) for face in faces])


def _named(found: Any) -> tuple[list[float], str, bool]:
    best = found.best_match
    label = f"{best.name} {best.similarity:.2f}" if best is not None else "nobody"
    return ([float(value) for value in found.face.box], label, best is not None)


def cut_out(picture: Image, box: Any) -> Image:
    """A face with a quarter of its size around it."""
    x, y, width, height = (float(value) for value in box)
    margin = 0.25 * max(width, height)
    left, top = max(0, int(x - margin)), max(0, int(y - margin))
    right = min(picture.width, int(np.ceil(x + width + margin)))
    bottom = min(picture.height, int(np.ceil(y + height + margin)))
    if right <= left or bottom <= top:
        raise ParameterError("the face lies outside of the photo")
    return Image.from_array(np.ascontiguousarray(picture.to_array()[top:bottom, left:right]), False)


def png_of(picture: Callable[[], Image]) -> bytes | None:
    """A picture for a notebook; None where the photo is not at hand, and the text is shown."""
    try:
        return picture().to_png()
    except (FaceError, OSError):
        return None


def img(picture: Callable[[], Image], height: int = _HEIGHT) -> str:
    content = png_of(picture)
    if content is None:
        return ""
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" style="height: {height}px; display: inline">'


def table(head: list[str], rows: list[list[str]]) -> str:
    """An HTML table; the cells are HTML already."""
    cells = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def verification_html(answer: Any, faces: tuple[Any, Any]) -> str:
    verdict = "the same person" if answer.match else "different people"
    color = "#0a7d33" if answer.match else "#b3261e"
    rate = f"false-accept rate {answer.far:g}, {html.escape(answer.measured_on)}" if answer.far == answer.far else ""
    pictures = " ".join(img(face.picture) for face in faces if hasattr(face, "picture"))
    return (
        f'<div>{pictures}<p><b style="color: {color}">{verdict}</b>: similarity {answer.similarity:.4f}, '
        f"threshold {answer.threshold:.4f}</p><p><small>{rate}</small></p></div>"
    )
