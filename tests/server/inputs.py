"""Good and bad files, as the data URLs a client sends."""

import base64
import io
import struct
import zlib

import pymupdf
from PIL import Image


def data_url(content: bytes, mime: str = "application/octet-stream") -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def picture(size: tuple[int, int] = (400, 300), file_format: str = "PNG") -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, "white").save(sink, file_format)
    return sink.getvalue()


def pdf(num_pages: int = 3, password: str = "") -> bytes:
    document = pymupdf.open()
    for number in range(1, num_pages + 1):
        page = document.new_page()
        page.insert_text((72, 100), f"This is page number {number}.", fontsize=24)
    if not password:
        content: bytes = document.tobytes()
        return content
    encrypted: bytes = document.tobytes(
        encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw=password, user_pw=password
    )
    return encrypted


def pdf_without_pages() -> bytes:
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
        b"trailer<</Root 1 0 R/Size 3>>\n%%EOF\n"
    )


def huge_png(side: int) -> bytes:
    """A PNG whose header promises side x side pixels; a few bytes long."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )
