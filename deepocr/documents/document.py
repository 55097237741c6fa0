"""The interface of every kind of document, and its limits."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from deepocr.documents.ranges import parse_page_range
from deepocr.errors import DocumentTooLarge, UnreadableDocument
from deepocr.types import Page

DocumentKind = Literal["pdf", "picture", "tiff"]

MIN_SIDE_PX = 8
"""No letter can be read in less."""


class Limits(Protocol):
    """Upper limits of a document. Settings and DocumentLimits both satisfy this protocol."""

    @property
    def max_pixels(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def max_pages(self) -> int: ...


@dataclass(frozen=True)
class DocumentLimits:
    """`max_pixels` holds for one page and for one picture inside a PDF, `max_pages` for what one
    request may read."""

    max_pixels: int = 180_000_000
    max_bytes: int = 1 << 30
    max_pages: int = 5000


class Document(ABC):
    """Pages that are decoded when they are asked for. Close it, or use it in a `with`."""

    def __init__(self, kind: DocumentKind, num_pages: int, limits: Limits) -> None:
        self.kind: DocumentKind = kind
        self.num_pages = num_pages
        self.limits = limits

    @abstractmethod
    def page(self, number: int, dpi: float | None = None) -> Page:
        """Page `number`, counted from 1: upright and RGB. Blocking, and safe from any thread.

        `dpi` draws a PDF page at another resolution than the document was opened with and without
        its `max_side_px`, for figures; a picture comes in its own full resolution then. Raises
        UnreadableDocument for a damaged page, DocumentTooLarge for one with too many pixels,
        IndexError for a page that is not there.
        """

    @abstractmethod
    def size_px(self, number: int) -> tuple[int, int]:
        """Width and height that `page(number)` will have, without drawing it, so that memory can be
        planned.

        Raises UnreadableDocument and IndexError.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the file; a second call does nothing. No page can be read afterward."""

    def select(self, pages: str) -> tuple[int, ...]:
        """The page numbers of a range such as `1-3,7`; "" is all.

        Raises PageRangeError, and DocumentTooLarge for more than `max_pages`.
        """
        numbers = parse_page_range(pages, self.num_pages)
        if len(numbers) > self.limits.max_pages:
            raise DocumentTooLarge(
                f"{len(numbers)} pages are asked for; at most {self.limits.max_pages} are read at "
                "once: give a smaller page range or raise DEEPOCR_MAX_PAGES"
            )
        return numbers

    def check_number(self, number: int) -> None:
        """Raises IndexError: the caller did not check the range."""
        if not 1 <= number <= self.num_pages:
            raise IndexError(f"page {number} of a document of {self.num_pages}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def check_size(what: str, width_px: int, height_px: int, limits: Limits) -> None:
    """Called before decoding. Raises DocumentTooLarge, or UnreadableDocument when too small."""
    if width_px * height_px > limits.max_pixels:
        raise DocumentTooLarge(
            f"{what} has {width_px} x {height_px} pixels; at most {limits.max_pixels:,} pixels "
            "are read: make it smaller or raise DEEPOCR_MAX_PIXELS"
        )
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise UnreadableDocument(
            f"{what} has {width_px} x {height_px} pixels; each side needs at least {MIN_SIDE_PX}: "
            "draw or scan it larger"
        )
