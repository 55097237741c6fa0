"""Bytes or a path to a Document; the kind is told by the content."""

from pathlib import Path

from deepocr.documents.document import Document, Limits
from deepocr.documents.pictures import PictureDocument
from deepocr.errors import DocumentTooLarge, UnknownFormat, UnreadableDocument
from deepocr.types import Dpi

READABLE = "PNG, JPEG, WebP, BMP, GIF, TIFF or PDF"

# (offset, signature, Pillow's name of the format)
_PICTURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),  # BigTIFF
    (0, b"MM\x00+", "TIFF"),
    (0, b"BM", "BMP"),
)

# formats that people send and that are not read, so that the error can name them
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a video or another ISO media file"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"<", "HTML, SVG or XML text"),
)

# the PDF header may stand anywhere in the first kilobyte
_HEAD_BYTES = 1024


def open_document(
    source: bytes | Path,
    limits: Limits,
    dpi: Dpi = 144,
    password: str = "",
    with_words: bool = False,
    max_side_px: int | None = None,
    decode: bool = True,
) -> Document:
    """A picture, TIFF or PDF, opened in this process. Blocking.

    For untrusted files use DocumentProcesses: such a file may draw for hours or take all memory.

    `limits` are the Settings or a DocumentLimits. PDF pages are drawn at `dpi` (`auto` is in
    `resolution.py`), pictures keep their pixels; with `max_side_px` a page whose longer side is
    longer comes smaller. `with_words` adds the words of a PDF's own text layer to its pages.

    A picture is decoded here, unless `decode` is False, so that a damaged one is refused at once;
    pages of a PDF or of a TIFF with several are decoded when asked for. Raises UnreadableDocument,
    DocumentTooLarge (before decoding) or PasswordNeeded.
    """
    head = _read_head(source, limits)
    picture_format = _match(head, _PICTURES)
    if picture_format:
        return PictureDocument(source, picture_format, limits, max_side_px, decode)
    if b"%PDF-" in head:
        # only here: processes that draw nothing must not load MuPDF
        from deepocr.documents.pdf import PdfDocument

        return PdfDocument(source, limits, dpi, password, with_words, max_side_px)
    known = _match(head, _OTHERS)
    if known:
        raise UnknownFormat(f"the file is {known}; send {READABLE}")
    raise UnknownFormat(
        f"the file is no picture or PDF, it begins with {head[:12]!r}; send {READABLE}"
    )


def _read_head(source: bytes | Path, limits: Limits) -> bytes:
    """The first kilobyte, after the size has been checked."""
    if isinstance(source, Path):
        try:
            num_bytes = source.stat().st_size
            with source.open("rb") as file:
                head = file.read(_HEAD_BYTES)
        except OSError as error:
            raise UnreadableDocument(
                f"{source.name!r} cannot be opened: {error.strerror}; check the path"
            ) from error
    else:
        num_bytes = len(source)
        head = source[:_HEAD_BYTES]
    if num_bytes == 0:
        raise UnreadableDocument(
            f"the file is empty (0 bytes); send {READABLE} (invalid base64 in a data URL also "
            "arrives as an empty file)"
        )
    if num_bytes > limits.max_bytes:
        raise DocumentTooLarge(
            f"the file has {num_bytes:,} bytes; at most {limits.max_bytes:,} are read: "
            "split it or raise DEEPOCR_MAX_BYTES"
        )
    return head


def _match(head: bytes, table: tuple[tuple[int, bytes, str], ...]) -> str | None:
    for offset, signature, name in table:
        if head[offset : offset + len(signature)] == signature:
            return name
    return None
