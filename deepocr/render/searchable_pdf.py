"""Searchable PDFs: the original pages with invisible text that can be searched."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import IO

from deepocr.documents import DocumentProcesses
from deepocr.documents.ink import ink_mask
from deepocr.documents.turning import point_back
from deepocr.errors import EngineUnavailable, reason
from deepocr.files import PART_SUFFIX
from deepocr.parsing.words import agreement
from deepocr.render.form_document import FormDocument, FormPage
from deepocr.render.picture_pdf import PicturePdf
from deepocr.render.placed_text import Corners, PlacedText, place_lines
from deepocr.types import Page

log = logging.getLogger(__name__)

OWN_TEXT_IS_GOOD = 0.8
"""Agreement with the reading from which a page keeps its own words and gets no second text layer.
"""

WRITE_S = 900.0
"""Limit in seconds for writing one PDF."""


@dataclass(frozen=True)
class SearchablePage:
    """A page, by its number in the source from 1. Without `lines` the page is unchanged; their
    corners are pixels of the page drawn with `size_px`. A `note` becomes a sticky note on the page.
    """

    number: int
    size_px: tuple[int, int] = (0, 0)
    lines: Sequence[PlacedText] = ()
    note: str = ""


def write_searchable_form(document: FormDocument, file: IO[bytes]) -> None:
    """Write the PDF that was read, or a PDF of the pictures, with the text. A page whose text could
    not be added gets a note that says why.

    Raises EngineUnavailable if there are only results, and the errors of `write_searchable_pdf`.
    """
    if document.processes is None:
        raise EngineUnavailable(
            "a searchable PDF needs the pages' pictures; there are only results"
        )
    target = Path(file.name)
    # through a file, as a scanned book of pictures may be larger than memory
    with TemporaryDirectory(dir=target.parent, prefix=".pictures-", suffix=PART_SUFFIX) as folder:
        source = document.pdf()
        is_pdf = source is not None
        if source is None:
            source = Path(folder) / "pictures.pdf"
            _write_pictures(document, source)
        pages = (
            _searchable_page(page.result.number if is_pdf else place, page)
            for place, page in enumerate(document.pages(), start=1)
        )
        write_searchable_pdf(document.processes, source, pages, target, document.password)


def _write_pictures(document: FormDocument, path: Path) -> None:
    with path.open("wb") as file:
        pdf = PicturePdf(file)
        for page in document.pages():
            try:
                page.add_to(pdf)
            except Exception:
                log.warning("page %d has no picture", page.result.number, exc_info=True)
                pdf.add_empty()
        pdf.close()


def _searchable_page(number: int, page: FormPage) -> SearchablePage:
    result = page.result
    if result.status == "failed":
        return SearchablePage(number, note=f"This page could not be read: {result.error}")
    try:
        drawn = page.draw() if result.regions else None
        if drawn is None or keeps_own_text(agreement(result, page.own_words())):
            return SearchablePage(number)
        return SearchablePage(number, drawn.size_px, list(_placed_lines(page, drawn)))
    except Exception as error:
        log.warning("page %d gets no text layer", result.number, exc_info=True)
        told = f"The text of this page could not be laid over it: {reason(error)}"
        return SearchablePage(number, note=told)


def _placed_lines(page: FormPage, drawn: Page) -> Iterator[PlacedText]:
    """The lines with their corners on the unturned page. They are located on the upright page and
    then turned back."""
    ink = ink_mask(drawn.image)
    if page.turned:
        # the ink mask is that of the unturned page; turn it as the page was for reading
        ink = ink.rotate(-page.turned, expand=True)
    for region in page.result.regions:
        for line in place_lines(region, ink, page.result.size_px):
            yield PlacedText(line.text, _corners_back(line.corners, page.turned, drawn.size_px))


def _corners_back(corners: Corners, turned: int, size_px: tuple[int, int]) -> Corners:
    if not turned:
        return corners
    a, b, c, d = (point_back((round(x), round(y)), turned, size_px) for x, y in corners)
    return a, b, c, d


def keeps_own_text(agreement: float | None) -> bool:
    """Whether the PDF's own words agree well enough with the reading to be kept."""
    return agreement is not None and agreement >= OWN_TEXT_IS_GOOD


def write_searchable_pdf(
    processes: DocumentProcesses,
    source: Path,
    pages: Iterable[SearchablePage],
    target: Path,
    password: str = "",
) -> None:
    """Write `pages` of the PDF `source`, in this order, into `target`. Blocking.

    Raises UnreadableDocument, PageTooCostly, and OSError if the file cannot be written.
    """
    with NamedTemporaryFile(
        "w", dir=target.parent, prefix=".text-", suffix=PART_SUFFIX, encoding="utf-8"
    ) as file:
        for page in pages:
            lines = [(line.text, line.corners) for line in page.lines]
            entry = {
                "number": page.number, "size_px": page.size_px, "lines": lines, "note": page.note
            }  # fmt: skip
            file.write(json.dumps(entry) + "\n")
        file.flush()
        arguments = [str(path) for path in (source.absolute(), file.name, target.absolute())]
        processes.call(
            "deepocr.render.text_layer.add_text_layer", *arguments, password, timeout_s=WRITE_S
        )
