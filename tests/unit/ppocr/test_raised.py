"""Raised digits, on drawn lines."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFont

from deepocr.engines.ppocr.recognition.raised import mark_raised

Pieces = list[tuple[str, bool]]


def drawn(pieces: Pieces) -> tuple[npt.NDArray[np.uint8], str, tuple[float, ...]]:
    """A line whose pieces are raised or not, its text and the places of its characters."""
    image = Image.new("RGB", (700, 48), "white")
    draw = ImageDraw.Draw(image)
    x = 8.0
    centers: list[float] = []
    for text, raised in pieces:
        font = ImageFont.load_default(18 if raised else 30)
        for character in text:
            draw.text((x, 4 if raised else 6), character, fill="black", font=font)
            width = font.getlength(character)
            centers.append((x + width / 2) / 700)
            x += width + 1
    return np.asarray(image)[:, :, ::-1].copy(), "".join(t for t, _ in pieces), tuple(centers)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([("License", False), ("1", True), (" and more", False)], "License¹ and more"),
        ([("3", True), ("Yet another note", False)], "³Yet another note"),
        ([("3", True), ("Yet another note", False), ("4", True)], "³Yet another note⁴"),
        ([("about 10", False), ("12", True), (" atoms", False)], "about 10¹² atoms"),
        ([("in 2015 or V1.20 of it", False)], "in 2015 or V1.20 of it"),
        ([("1999", False), ("4", True)], "19994"),
    ],
)
def test_digits_that_stand_raised_are_marked(pieces: Pieces, text: str) -> None:
    assert mark_raised(*drawn(pieces)) == text


def test_white_letters_on_black_have_raised_digits_too() -> None:
    crop, text, places = drawn([("License", False), ("1", True), (" and more", False)])
    assert mark_raised(255 - crop, text, places) == "License¹ and more"
