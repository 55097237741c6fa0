"""What is saved about a page until the whole book is read.

A record has no timings: everything in it follows from the page, the engine and the settings, so
that an interrupted and resumed run writes the same bytes as an uninterrupted one. Timings go to
`timings.jsonl`.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter

from deepocr.types import Box, FinishReason, PageResult, PageStatus, Verdict


@dataclass(frozen=True)
class Attempt:
    """One reading of a page. `turned` is by how many degrees clockwise the page was turned before
    it; `agreement` is how far its words and the PDF's own are the same, 0 to 1; `verdict` is that
    of the check, if there was one."""

    task: str
    preset: str
    turned: int
    status: PageStatus
    finish_reason: FinishReason
    characters: int
    output_tokens: int
    confidence: float | None = None
    agreement: float | None = None
    error: str | None = None
    kept: bool = False
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Figure:
    """A picture cut out of the page; `file` is relative to the document's folder and `region`
    counts from 0 in the page's regions."""

    file: str
    region: int
    box_px: Box
    size_px: tuple[int, int]


@dataclass(frozen=True)
class PageRecord:
    """A finished page. `result` has its boxes on the page as the document shows it, even if the
    page was turned for reading."""

    result: PageResult
    turned: int = 0
    ink: float | None = None
    note: str | None = None
    attempts: tuple[Attempt, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def number(self) -> int:
        return self.result.number

    @property
    def status(self) -> PageStatus:
        return self.result.status


RECORD: TypeAdapter[PageRecord] = TypeAdapter(PageRecord)
"""Converts records to JSON and back."""
