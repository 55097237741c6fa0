"""PDFs through MuPDF, drawn page by page."""

import logging
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymupdf
from PIL import Image

from deepocr.documents.document import Document, Limits, check_size
from deepocr.documents.resolution import POINTS_PER_INCH, auto_zoom
from deepocr.errors import DocumentTooLarge, PasswordNeeded, UnreadableDocument
from deepocr.parsing.text import encodable
from deepocr.types import Dpi, Page, Word

log = logging.getLogger(__name__)

# MuPDF is not thread-safe, not even across documents
_MUPDF = threading.Lock()

# MuPDF would print to stdout; its messages are logged in _log_warnings
pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)

# FileDataError and EmptyFileError are RuntimeErrors, as MuPDF's own exceptions are Exceptions
_MUPDF_ERRORS = (RuntimeError, ValueError, pymupdf.mupdf.FzErrorBase)


_NO_MEMORY = re.compile(r"(?:m|c|re)alloc(?:_no_throw)? \(.*failed")

MAX_WORDS = 50_000
"""Most words of a text layer; a page with more has none that can be used."""


class PdfDocument(Document):
    """Pages honor /Rotate and the crop box."""

    def __init__(
        self,
        source: bytes | Path,
        limits: Limits,
        dpi: Dpi,
        password: str,
        with_words: bool,
        max_side_px: int | None,
    ) -> None:
        self._dpi = dpi
        self._with_words = with_words
        self._max_side_px = max_side_px
        with _MUPDF:
            self._pdf = _open_pdf(source, password)
            super().__init__("pdf", self._pdf.page_count, limits)

    def page(self, number: int, dpi: float | None = None) -> Page:
        with self._errors_of(number):
            return self._draw(number, dpi)

    def size_px(self, number: int) -> tuple[int, int]:
        with self._errors_of(number):
            page = self._load(number)
            return _size_px(page, self._zoom_for(page, None))

    def close(self) -> None:
        with _MUPDF:
            if not self._pdf.is_closed:
                self._pdf.close()

    @contextmanager
    def _errors_of(self, number: int) -> Iterator[None]:
        """Takes MuPDF for this thread alone and maps its errors to ours."""
        self.check_number(number)
        with _MUPDF:
            if self._pdf.is_closed:
                raise UnreadableDocument(f"page {number}: the PDF has been closed; open it again")
            try:
                yield
            except _MUPDF_ERRORS as error:
                _check_memory(error)
                raise UnreadableDocument(
                    f"page {number} of the PDF is damaged ({_said(error)}); save the PDF again"
                ) from error
            finally:
                _log_warnings(number)
                # fonts and pictures of past pages; without this memory grows up to 256 MB
                pymupdf.TOOLS.store_shrink(100)

    def _load(self, number: int) -> pymupdf.Page:
        self._check_page(number)
        return self._pdf.load_page(number - 1)

    def _draw(self, number: int, dpi: float | None) -> Page:
        page = self._load(number)
        zoom = self._zoom_for(page, dpi)
        check_size(f"page {number}", *_size_px(page, zoom), self.limits)
        self._check_pictures(number)
        pixmap = page.get_pixmap(
            matrix=pymupdf.Matrix(zoom, zoom), colorspace=pymupdf.csRGB, alpha=False
        )
        size_px = (pixmap.width, pixmap.height)
        image = Image.frombytes("RGB", size_px, pixmap.samples_mv)
        words = _words(page, zoom, size_px) if self._with_words else ()
        return Page(number, image, zoom * POINTS_PER_INCH, words)

    def _zoom_for(self, page: pymupdf.Page, dpi: float | None) -> float:
        """Pixels a point."""
        sides = (page.rect.width, page.rect.height)
        if not all(math.isfinite(side) and side > 0 for side in sides):
            raise ValueError(f"its size is {sides[0]} x {sides[1]} points")
        if dpi is not None:
            return dpi / POINTS_PER_INCH
        if self._dpi == "auto":
            zoom = auto_zoom(*sides, self._pictures(page), self.limits.max_pixels)
        else:
            zoom = self._dpi / POINTS_PER_INCH
        if self._max_side_px is not None:
            zoom = min(zoom, self._max_side_px / max(sides))
        return zoom

    def _pictures(self, page: pymupdf.Page) -> list[tuple[float, float]]:
        """Pixels a point and area in square points of each picture on the page."""
        # without pictures the page's contents need not be searched
        if not self._pdf.get_page_images(page.number):
            return []
        found = []
        for picture in page.get_image_info():
            a, b, c, d, *_ = picture["transform"]
            area_pt2 = abs(a * d - b * c)
            if area_pt2 > 0:
                pixels = picture["width"] * picture["height"]
                found.append((math.sqrt(pixels / area_pt2), area_pt2))
        return found

    def _check_page(self, number: int) -> None:
        """MuPDF draws a blank letter page when the page object is lost: refuse instead of inventing
        one."""
        xref = self._pdf.page_xref(number - 1)
        if not self._pdf.xref_object(xref).startswith("<<"):
            raise ValueError("the page is missing from the file")

    def _check_pictures(self, number: int) -> None:
        """MuPDF decodes a picture whole, however small it is drawn: refuse bombs before that."""
        for entry in self._pdf.get_page_images(number - 1):
            width_px, height_px = entry[2], entry[3]
            if width_px * height_px > self.limits.max_pixels:
                raise DocumentTooLarge(
                    f"page {number} holds a picture of {width_px} x {height_px} pixels; at most "
                    f"{self.limits.max_pixels:,} are read: make it smaller or raise "
                    "DEEPOCR_MAX_PIXELS"
                )


def _open_pdf(source: bytes | Path, password: str) -> pymupdf.Document:
    try:
        # filetype keeps MuPDF from trying its other formats
        if isinstance(source, Path):
            pdf = pymupdf.open(str(source), filetype="pdf")
        else:
            pdf = pymupdf.open(stream=source, filetype="pdf")
        if pdf.needs_pass and not pdf.authenticate(password):
            pdf.close()
            if password:
                raise PasswordNeeded("the password does not open this PDF; check it")
            raise PasswordNeeded("the PDF is encrypted; give its password")
        num_pages = pdf.page_count
    except _MUPDF_ERRORS as error:
        _check_memory(error)
        raise UnreadableDocument(
            f"the PDF is damaged beyond repair ({_said(error)}); save or download it again"
        ) from error
    if num_pages < 1:
        pdf.close()
        raise UnreadableDocument("the PDF has no pages (0); save or download it again")
    if pdf.is_repaired:
        log.warning("the PDF was damaged and has been repaired; pages found: %d", num_pages)
    return pdf


def _size_px(page: pymupdf.Page, zoom: float) -> tuple[int, int]:
    width_px, height_px = (math.ceil(side * zoom) for side in page.rect.br)
    return width_px, height_px


def _said(error: Exception) -> str:
    """What MuPDF says, without paths and its own codes."""
    said = re.sub(r"^code=\d+: ", "", re.sub(r"file '.*'", "the file", str(error)))
    return encodable(said)


def _check_memory(error: Exception) -> None:
    """Raises MemoryError if that is what MuPDF's message means."""
    if _NO_MEMORY.search(str(error)):
        raise MemoryError from error


def _words(page: pymupdf.Page, zoom: float, size_px: tuple[int, int]) -> tuple[Word, ...]:
    """The text layer's words on the drawn page; those outside of it are left out."""
    # get_text speaks of the page before /Rotate
    matrix = page.rotation_matrix * pymupdf.Matrix(zoom, zoom)
    drawn = pymupdf.IRect(0, 0, *size_px)
    found = page.get_text("words")
    if len(found) > MAX_WORDS:
        log.warning("a text layer of %d words is ignored", len(found))
        return ()
    words = []
    for x1, y1, x2, y2, text, *_ in found:
        box = (pymupdf.Rect(x1, y1, x2, y2) * matrix).round() & drawn
        if not box.is_empty:
            words.append(Word(text, (box.x0, box.y0, box.x1, box.y1)))
    return tuple(words)


def _log_warnings(number: int) -> None:
    warnings = pymupdf.TOOLS.mupdf_warnings()
    if warnings:
        # MuPDF repeats bytes of the file that are no text
        told = encodable(warnings.replace("\n", "; ")[:500])
        log.warning("page %d of the PDF: %s", number, told)
