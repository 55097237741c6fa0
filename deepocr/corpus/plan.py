"""Divides documents into parts: the pages that one worker reads together and writes into one file.

The division depends only on the listing and the page counts, which are saved before any page is
read. So every attempt, on any machine, reads the same pages into the same file.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepocr.documents import parse_page_range
from deepocr.errors import PageRangeError


@dataclass(frozen=True)
class OpenedDocument:
    """A document of the listing with its number of pages, or the reason why it cannot be read."""

    document_id: int
    document: str
    pages: str = ""
    num_pages: int = 0
    error: str | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PageRange:
    """Pages of one document, in order."""

    document: OpenedDocument
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """Pages of one or more documents. `number` counts from 0 within the shard."""

    shard: int
    number: int
    pieces: tuple[PageRange, ...]

    @property
    def num_pages(self) -> int:
        return sum(len(piece.numbers) for piece in self.pieces)


def choose_pages(
    document_id: int, pages: str, num_pages: int, *, one_at_random: bool
) -> tuple[int, ...]:
    """The page numbers to read of a document. Raises PageRangeError."""
    numbers = parse_page_range(pages, num_pages)
    if not numbers:
        raise PageRangeError("the document has no pages; check the file")
    return (random.Random(document_id).choice(numbers),) if one_at_random else numbers


def cut_parts(
    shard: int, documents: Sequence[OpenedDocument], part_pages: int, *, one_at_random: bool
) -> list[Part]:
    """All pages of a shard in parts of `part_pages` pages; the last part may have fewer."""
    parts: list[list[PageRange]] = [[]]
    room = part_pages
    for document in documents:
        if document.error is not None:
            continue
        numbers = choose_pages(
            document.document_id, document.pages, document.num_pages, one_at_random=one_at_random
        )
        while numbers:
            if not room:
                parts.append([])
                room = part_pages
            taken, numbers = numbers[:room], numbers[room:]
            parts[-1].append(PageRange(document, taken))
            room -= len(taken)
    return [Part(shard, number, tuple(pieces)) for number, pieces in enumerate(parts) if pieces]
