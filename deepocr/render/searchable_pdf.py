"""Searchable PDFs: the pages as they were, with text that is found but not seen."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from deepocr.documents import DocumentProcesses
from deepocr.files import PART_SUFFIX
from deepocr.render.placed_text import PlacedText

OWN_TEXT_IS_GOOD = 0.8
"""A page whose own words agree with the reading this well keeps them and gets no second layer."""

WRITE_S = 900.0
"""For one PDF."""


@dataclass(frozen=True)
class SearchablePage:
    """A page by its number in the source, from 1; it stays as it is without `lines`, whose corners
    are pixels of the page drawn with `size_px`."""

    number: int
    size_px: tuple[int, int] = (0, 0)
    lines: Sequence[PlacedText] = ()


def keeps_own_text(agreement: float | None) -> bool:
    """Whether the PDF's own words say what was read."""
    return agreement is not None and agreement >= OWN_TEXT_IS_GOOD


def write_searchable_pdf(
    processes: DocumentProcesses,
    source: Path,
    pages: Iterable[SearchablePage],
    target: Path,
    password: str = "",
) -> None:
    """`pages` of the PDF `source`, in this order, into `target`. Blocking.

    Raises UnreadableDocument, PageTooCostly, and OSError where the file cannot be written.
    """
    with NamedTemporaryFile(
        "w", dir=target.parent, prefix=".text-", suffix=PART_SUFFIX, encoding="utf-8"
    ) as file:
        for page in pages:
            lines = [(line.text, line.corners) for line in page.lines]
            entry = {"number": page.number, "size_px": page.size_px, "lines": lines}
            file.write(json.dumps(entry) + "\n")
        file.flush()
        arguments = [str(path) for path in (source.absolute(), file.name, target.absolute())]
        processes.call(
            "deepocr.render.text_layer.add_text_layer", *arguments, password, timeout_s=WRITE_S
        )
