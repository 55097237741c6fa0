"""Chunks for retrieval, as JSON Lines: pieces of text with their places.

A chunk is on one page. Paragraphs under one heading are combined up to MAX_CHARS; a table or a
figure is a chunk of its own, with its caption. Text is plain: every word of it is within the
chunk's boxes.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from deepocr.parsing.cells import read_cells
from deepocr.parsing.text import encodable
from deepocr.render.failures import render_or_tell
from deepocr.render.form_document import FormDocument
from deepocr.render.markdown import (
    FIGURE_LABELS,
    FURNITURE_LABELS,
    HEADINGS,
    caption_first,
    text_of,
)
from deepocr.render.placed_text import plain_text
from deepocr.types import Box, PageResult, Region

MAX_CHARS = 1500
"""Most characters of a chunk's text. Longer paragraphs are split after a sentence, tables between
rows."""

Kind = Literal["text", "table", "figure"]

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("table", "table_caption", "table_footnote"), "table"),
    **dict.fromkeys((*FIGURE_LABELS, "image_caption", "figure_caption"), "figure"),
}
_ENDS = (("\n\n",), ("\n",), (". ", "! ", "? ", "。", "！", "？"), (" ",))
_ROW_ENDS = (("\n",), (" ",))
"""Where a long text is split: at marks of the first kind that it has."""


@dataclass
class Chunk:
    """A chunk under construction. `seen` counts its headings, captions and other regions."""

    kind: Kind = "text"
    headings: tuple[str, ...] = ()
    parts: list[str] = field(default_factory=list)
    boxes_px: list[Box] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    num_chars: int = 0
    num_judged: int = 0
    sureness: float = 0.0
    html: str = ""

    def add(self, region: Region, text: str, role: str) -> None:
        self.seen[role] += 1
        self.parts.append(text)
        self.num_chars += len(text)
        self.boxes_px += region.boxes_px
        if region.confidence is not None and math.isfinite(region.confidence):
            self.num_judged += len(text)
            self.sureness += region.confidence * len(text)
        if region.label == "table":
            self.html = region.text.strip()


def chunk_lines(document: FormDocument) -> Iterator[str]:
    """Yields one JSON object per line, with `id`, `text` and `metadata`."""
    headings: list[tuple[int, str]] = []
    for page in document.pages():

        def render(result: PageResult, task: str = page.task) -> list[dict[str, Any]]:
            return list(_of_page(result, task, headings))

        for number, chunk in enumerate(render_or_tell(render, page.result, "chunks"), start=1):
            chunk["id"] = f"{page.result.number}-{number}"
            chunk["metadata"] = {"source": encodable(document.name), **chunk["metadata"]}
            yield json.dumps(chunk, ensure_ascii=False, allow_nan=False) + "\n"


def _of_page(
    result: PageResult, task: str, headings: list[tuple[int, str]]
) -> Iterator[dict[str, Any]]:
    where = {"page": result.number, "page_size_px": result.size_px}
    if result.status == "failed":
        error = encodable(result.error or "")
        yield {"id": "", "text": "", "metadata": {**where, "kind": "failed", "error": error}}
        return
    for chunk in _chunks(result.regions, task, headings):
        sure = round(chunk.sureness / chunk.num_judged, 4) if chunk.num_judged else None
        metadata = {
            **where,
            "kind": chunk.kind,
            "headings": list(chunk.headings),
            "boxes_px": chunk.boxes_px,
            "confidence": sure,
        }
        texts = list(split("\n\n".join(filter(None, chunk.parts)), chunk.kind))
        if chunk.html and len(texts) == 1:
            metadata["html"] = encodable(chunk.html)
        for text in texts:
            yield {"id": "", "text": encodable(text), "metadata": metadata}


def _chunks(
    regions: Iterable[Region], task: str, headings: list[tuple[int, str]]
) -> Iterator[Chunk]:
    """The page's chunks. `headings` are those in force at its beginning, and are updated to its
    end."""
    chunk = Chunk()
    for region in caption_first(tuple(regions)):
        if region.label in FURNITURE_LABELS and region.boxes_px:
            continue
        text = _plain(region, task)
        level = _heading_level(region, text)
        role = "heading" if level else region.label.rpartition("_")[2]
        kind = _KINDS.get(region.label, "text")
        if chunk.seen and not _goes_on(chunk, kind, role, len(text)):
            yield chunk
            chunk = Chunk()
        chunk.kind = kind
        if level:
            headings[:] = [known for known in headings if known[0] < level]
            headings.append((level, encodable(" ".join(text.split()))))
        chunk.headings = tuple(heading for _, heading in headings)
        chunk.add(region, text, role)
    yield chunk


def _goes_on(chunk: Chunk, kind: Kind, role: str, num_chars: int) -> bool:
    """Whether a region still belongs to the chunk before it."""
    if kind != chunk.kind:
        return False
    if kind == "text":
        only_headings = chunk.seen.keys() == {"heading"}
        if role == "heading" or only_headings:
            return only_headings
        return chunk.num_chars + num_chars <= MAX_CHARS
    # one table or figure with one caption, above or below it, and its notes
    return role == "footnote" or not (
        chunk.seen["caption"] if role == "caption" else chunk.seen.total() - chunk.seen["caption"]
    )


def _heading_level(region: Region, text: str) -> int:
    """The level of a heading, 1 for a title; 0 if the region is not a heading."""
    if region.label not in HEADINGS or not text:
        return 0
    written = region.text.lstrip()
    marks = len(written) - len(written.lstrip("#"))
    return marks or len(HEADINGS[region.label].strip())


def _plain(region: Region, task: str) -> str:
    if region.label == "table":
        cells = read_cells(region.text)
        if cells.rows:
            rows = (" | ".join(" ".join(cell.text.split()) for cell in row) for row in cells.rows)
            return "\n".join(filter(None, (cells.outside, *rows)))
    lines = (" ".join(line.split()) for line in plain_text(text_of(region, task)).split("\n"))
    return "\n".join(lines).strip()


def split(text: str, kind: Kind = "text") -> Iterator[str]:
    """The text in pieces of at most MAX_CHARS, in linear time."""
    ends = _ROW_ENDS if kind == "table" else _ENDS
    start = 0
    while len(text) - start > MAX_CHARS:
        stop = start + MAX_CHARS
        cuts = (max(text.rfind(mark, start, stop) + len(mark) for mark in marks) for marks in ends)
        cut = next((cut for cut in cuts if cut > start + MAX_CHARS // 4), stop)
        yield text[start:cut].strip()
        start = cut
    if text[start:].strip():
        yield text[start:].strip()
