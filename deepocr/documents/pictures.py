"""Pictures and multi-page TIFFs through Pillow."""

import io
import logging
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

from PIL import ExifTags, Image

from deepocr.documents.document import Document, DocumentKind, Limits, check_size
from deepocr.errors import DocumentTooLarge, UnreadableDocument
from deepocr.types import Page

logger = logging.getLogger(__name__)

# Pillow's own limit is one global for the whole process and cannot be told apart by document;
# check_size stands before every decode here.
Image.MAX_IMAGE_PIXELS = None

# what Pillow's decoders raise on damaged input
_DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)

# what undoes each EXIF orientation (EXIF 2.3, tag 274)
_UPRIGHT: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_GRAY_16_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_PLAIN_MODES = ("1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")


class PictureDocument(Document):
    """One page, or for a TIFF one page a frame.

    An animated GIF, WebP or PNG gives its first frame: an animation is no document.
    """

    def __init__(
        self,
        source: bytes | Path,
        picture_format: str,
        limits: Limits,
        max_side_px: int | None,
        decode: bool,
    ) -> None:
        self._source = source
        self._format = picture_format
        self._max_side_px = max_side_px
        self._lock = threading.Lock()
        # frames share one file position, so every use of _image holds _lock
        self._image = _open_image(source, picture_format)
        self._decoded: Page | None = None
        try:
            kind: DocumentKind = "tiff" if picture_format == "TIFF" else "picture"
            check_size("the picture", *self._image.size, limits)
            num_pages = _count_frames(self._image, limits) if kind == "tiff" else 1
            super().__init__(kind, num_pages, limits)
            if num_pages == 1 and decode:
                self._decoded = self._decode(1)
        except BaseException:
            self._image.close()
            raise

    def page(self, number: int, dpi: float | None = None) -> Page:
        self.check_number(number)
        with self._lock:
            # handed out once and not kept: decoding it again is better than holding the memory
            page, self._decoded = self._decoded or self._decode(number), None
        return page if dpi is not None else _shrink(page, self._max_side_px)

    def size_px(self, number: int) -> tuple[int, int]:
        self.check_number(number)
        with self._lock:
            self._seek(number)
            width_px, height_px = self._image.size
            sideways = 5 <= _orientation(self._image) <= 8
        size_px = (height_px, width_px) if sideways else (width_px, height_px)
        return _within(size_px, self._max_side_px)

    def close(self) -> None:
        with self._lock:
            self._image.close()
            self._decoded = None

    def _seek(self, number: int) -> None:
        """The frame's header. Raises UnreadableDocument."""
        if self.kind != "tiff":
            return
        try:
            self._image.seek(number - 1)
        except _DECODE_ERRORS as error:
            raise self._damaged(number, error) from error

    def _decode(self, number: int) -> Page:
        self._seek(number)
        # a frame's size is known after seek and before its pixels are decoded
        check_size(self._what(number), *self._image.size, self.limits)
        try:
            self._image.load()
            page = Page(number, to_upright_rgb(self._image), _dpi_of(self._image))
        except _DECODE_ERRORS as error:
            raise self._damaged(number, error) from error
        if self.num_pages == 1:
            self._image.close()  # keeping its pixels would be a second copy
            self._image = _open_image(self._source, self._format)
        return page

    def _what(self, number: int) -> str:
        return "the picture" if self.num_pages == 1 else f"page {number}"

    def _damaged(self, number: int, error: Exception) -> UnreadableDocument:
        return UnreadableDocument(
            f"{self._what(number)} is damaged or of a kind that cannot be decoded "
            f"({self._format}: {error}); save it again, as PNG for example"
        )


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Any decoded picture as a new upright RGB picture: EXIF orientation applied, alpha over white,
    16 bits scaled to 8. Raises ValueError for 32-bit and floating point pixels, which have no
    white of their own."""
    turn = _UPRIGHT.get(_orientation(image))
    upright = image.transpose(turn) if turn is not None else image
    if upright.mode in _GRAY_16_MODES:
        # 65535 / 257 = 255 exactly; convert("L") alone would clip all above 255 to white
        wide = upright.convert("I")
        return wide.point(lambda value: value * (1 / 257) + 0.5).convert("L").convert("RGB")
    if upright.mode not in _PLAIN_MODES:
        raise ValueError(f"pixels of mode {upright.mode!r} are not read")
    if upright.has_transparency_data:
        # no copy of what is RGBA already: a page at the limit would take 720 MB more
        rgba = upright if upright.mode == "RGBA" else upright.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    return upright.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where the file has none or its EXIF block is broken: many
    cameras write such blocks, and the pixels beside them are good."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS as error:
        logger.warning("EXIF ignored, the picture is taken as upright: %s", error)
        return 1
    return value if isinstance(value, int) else 1


def _shrink(page: Page, max_side_px: int | None) -> Page:
    size_px = _within(page.size_px, max_side_px)
    if size_px == page.size_px:
        return page
    factor = max(size_px) / max(page.size_px)
    image = page.image.resize(size_px, Image.Resampling.LANCZOS)
    return Page(page.number, image, page.dpi * factor if page.dpi else None)


def _within(size_px: tuple[int, int], max_side_px: int | None) -> tuple[int, int]:
    if max_side_px is None or max(size_px) <= max_side_px:
        return size_px
    factor = max_side_px / max(size_px)
    return max(1, round(size_px[0] * factor)), max(1, round(size_px[1] * factor))


def _open_image(source: bytes | Path, picture_format: str) -> Image.Image:
    """Headers only. `formats` keeps Pillow from trying any other of its decoders."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        return Image.open(file, formats=[picture_format])
    except _DECODE_ERRORS as error:
        raise UnreadableDocument(
            f"the file begins like {picture_format} but is damaged or something else; "
            "save it again, as PNG for example"
        ) from error


def _count_frames(image: Image.Image, limits: Limits) -> int:
    """Counts the frames, at most `max_pages` of them, and seeks back to the first."""
    count = 1
    try:
        while count <= limits.max_pages:
            image.seek(count)
            count += 1
    except EOFError:
        image.seek(0)
        return count
    except _DECODE_ERRORS as error:
        raise UnreadableDocument(
            f"the TIFF's directory is damaged after page {count} ({error}); save it again"
        ) from error
    raise DocumentTooLarge(
        f"the TIFF has more than {limits.max_pages} pages; split it or raise DEEPOCR_MAX_PAGES"
    )


def _dpi_of(image: Image.Image) -> float | None:
    """The resolution that the file states, if it is plausible."""
    stated = image.info.get("dpi")
    if not isinstance(stated, tuple) or not stated:
        return None
    try:
        dpi = float(stated[0])
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return dpi if 36 <= dpi <= 2400 else None
