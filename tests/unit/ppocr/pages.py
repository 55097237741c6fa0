"""Lines and pictures for the tests of page structure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from deepocr.engines.ppocr.recognition.lines import TextLine

HEIGHT_PX = 20
CHAR_PX = 9


def line(
    x: int,
    y: int,
    text: str,
    width: int | None = None,
    height: int = HEIGHT_PX,
    confidence: float = 0.99,
) -> TextLine:
    """A level line with evenly spaced characters, its upper left corner at (x, y)."""
    width = round(len(text) * CHAR_PX * height / HEIGHT_PX) if width is None else width
    box = (x, y, x + width, y + height)
    step = width / max(1, len(text))
    return TextLine(
        text=text,
        box_px=box,
        quad_px=((x, y), (box[2], y), (box[2], box[3]), (x, box[3])),
        confidence=confidence,
        char_x_px=tuple(x + (number + 0.5) * step for number in range(len(text))),
    )


def prose(x: int, y: int, words: Sequence[str], width: int = 400) -> list[TextLine]:
    """A paragraph: a full line for each of `words`, the last one short."""
    lines = [line(x, y + 26 * n, text, width=width) for n, text in enumerate(words[:-1])]
    return [*lines, line(x, y + 26 * (len(words) - 1), words[-1], width=width // 3)]


def white(width: int = 1000, height: int = 1400) -> npt.NDArray[np.uint8]:
    """An empty page, BGR."""
    return np.full((height, width, 3), 255, np.uint8)


def picture_of(texts: Sequence[tuple[int, int, int, str]], size: tuple[int, int]) -> Image.Image:
    """A page with (x, y, height, text) drawn on it."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x, y, height, text in texts:
        draw.text((x, y), text, fill="black", font=ImageFont.load_default(height))
    return image
