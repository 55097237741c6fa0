"""Files made on the spot, for the tests of documents."""

import io
import struct
import zlib
from typing import Any

import pymupdf
from PIL import Image, ImageDraw

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """White, with a red square at the top left and a blue one at the top right."""
    picture = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 15, 15), fill=RED)
    draw.rectangle((size[0] - 16, 0, size[0] - 1, 15), fill=BLUE)
    return picture


def save(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, file_format, **options)
    return sink.getvalue()


def noise(size: tuple[int, int] = (200, 200)) -> Image.Image:
    """Compresses badly, so that a cut file lacks pixels."""
    return Image.effect_noise(size, 80).convert("RGB")


def png(width: int, height: int, rows: bytes = b"\0" * 100, depth: int = 8) -> bytes:
    """An RGB PNG of unfiltered rows; without them only its header promises the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def pdf_bytes(num_pages: int = 1, rotate: int = 0, **options: Any) -> bytes:
    """Pages of 200 x 100 points with "page N" and a red square at the top left."""
    pdf = pymupdf.open()
    for number in range(1, num_pages + 1):
        page = pdf.new_page(width=200, height=100)
        page.draw_rect((0, 0, 20, 20), color=None, fill=(1, 0, 0))
        page.insert_text((60, 50), f"page {number}", fontsize=20)
        page.set_rotation(rotate)
    content: bytes = pdf.tobytes(**options)
    return content


def pdf_with(media_box: str = "[0 0 200 100]", kids: str = "[3 0 R]", count: int = 1) -> bytes:
    """A PDF written by hand, without a cross-reference table: MuPDF rebuilds it."""
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        + f"2 0 obj<</Type/Pages/Kids{kids}/Count {count}>>endobj\n".encode()
        + f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox{media_box}>>endobj\n".encode()
        + b"trailer<</Root 1 0 R/Size 4>>\n%%EOF\n"
    )
