"""Documents of our own making: pages with known words and figures at known places."""

import io
from collections.abc import Sequence
from pathlib import Path

import pymupdf
from PIL import Image, ImageDraw, ImageFont

WORDS = (
    "The keeper of the light wrote down the weather every morning and every night, and in the "
    "thirty years that he lived upon the rock he never once forgot to trim the lamp before the "
    "fog rolled in from beyond the long gray bar. "
) * 8


def text_page(text: str = WORDS, size_px: tuple[int, int] = (1190, 1684)) -> Image.Image:
    """An A4 page at 144 dpi with lines of text."""
    image = Image.new("RGB", size_px, "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=26)
    y, line = 120, ""
    for word in [*text.split(), ""]:
        longer = f"{line} {word}".strip()
        if word and draw.textlength(longer, font=font) < size_px[0] - 240:
            line = longer
            continue
        draw.text((120, y), line, fill="black", font=font)
        y, line = y + 40, word
        if y > size_px[1] - 160:
            break
    return image


def pictures_to_pdf(path: Path, pictures: Sequence[Image.Image], dpi: float = 144) -> Path:
    """A scanned book: each page one picture, no text layer."""
    with pymupdf.open() as pdf:
        for picture in pictures:
            file = io.BytesIO()
            picture.save(file, "PNG")
            page = pdf.new_page(width=picture.width * 72 / dpi, height=picture.height * 72 / dpi)
            page.insert_image(page.rect, stream=file.getvalue())
        pdf.save(path)
    return path


def numbered_pdf(path: Path, num_pages: int, lines: int = 3) -> Path:
    """Small pages that say their number, as text."""
    with pymupdf.open() as pdf:
        for number in range(1, num_pages + 1):
            page = pdf.new_page(width=300, height=200)
            for line in range(lines):
                page.insert_text((30, 40 + 16 * line), f"page {number} line {line} of the book")
        pdf.save(path)
    return path


def tag(label: str, box: tuple[int, int, int, int], text: str = "") -> str:
    """As the model writes it; the box from 0 to 999."""
    x1, y1, x2, y2 = box
    return f"<|ref|>{label}<|/ref|><|det|>[[{x1}, {y1}, {x2}, {y2}]]<|/det|>\n{text}\n\n"
