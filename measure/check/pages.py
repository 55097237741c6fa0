"""Pages whose text is known, with what both witnesses see of them.

The text is the reference beside a labeled sample, else the PDF's own text layer without its running
heads, put together as an engine writes it: paragraphs joined, tables as HTML.
"""

import asyncio
import hashlib
import pickle
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from deepocr.check.furniture import in_margin
from deepocr.check.witness import SeenLine, Witness, layer_witness, reader_witness
from deepocr.check.words import Piece, formulas, letters_of
from deepocr.documents import Document, DocumentLimits, open_document
from deepocr.engines.base import Engine
from deepocr.pipeline import read_page
from deepocr.types import Box, Job, Page, PageResult

LEAST_LETTERS = 150
"""A page with fewer is no page of text."""

COLUMN_LINES, COLUMN_LETTERS = 5, 22
"""Lines that a column has at least, and letters of those."""


@dataclass(frozen=True)
class Block:
    """A paragraph's lines or a table's rows, as the page has them; `boxes_px` are the lines', where
    they are known."""

    lines: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    boxes_px: tuple[Box, ...] = ()

    @property
    def text(self) -> str:
        """As an engine writes it."""
        if self.rows:
            rows = ("".join(f"<td>{cell}</td>" for cell in row) for row in self.rows)
            return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
        joined = ""
        for line in self.lines:
            hyphen = re.search(r"[a-z]-$", joined) and re.match(r"[a-z]", line)
            joined = joined[:-1] + line if hyphen else f"{joined} {line}".strip()
        return _with_formulas(joined)


def _with_formulas(text: str) -> str:
    """Formulas in the marks that engines write."""
    written = []
    every = text.split()
    signs = formulas([Piece(word, letters_of(word), 0) for word in every])
    for formula, group in groupby(range(len(every)), lambda index: bool(signs[index])):
        words = " ".join(every[index] for index in group)
        written.append(f"\\({words}\\)" if formula else words)
    return " ".join(written)


@dataclass(frozen=True)
class KnownPage:
    """A page, its text, the same with places, and its witnesses."""

    name: str
    number: int
    size_px: tuple[int, int]
    blocks: tuple[Block, ...]
    placed: tuple[Block, ...]
    witnesses: tuple[Witness, ...]

    @property
    def held_out(self) -> bool:
        """Thresholds are set on the other pages."""
        digest = hashlib.sha256(f"{self.name}:{self.number}".encode()).digest()
        return digest[0] % 2 == 1

    @property
    def gutter_px(self) -> int | None:
        """Where two columns of text meet; None for a page that has one."""
        boxes = [
            box
            for block in self.placed
            for line, box in zip(block.lines, block.boxes_px, strict=False)
            if len(line) >= COLUMN_LETTERS
        ]
        for share in range(25, 76, 2):
            x = self.size_px[0] * share // 100
            left = sum(box[2] <= x for box in boxes)
            right = sum(box[0] >= x for box in boxes)
            if min(left, right) >= COLUMN_LINES and left + right >= 0.75 * len(boxes):
                return x
        return None


async def known_pages(
    engine: Engine | None, files: Sequence[Path], cache: Path | None, max_pages: int
) -> list[KnownPage]:
    """All pages with enough text of the PDFs, at most `max_pages` of each."""
    found: list[KnownPage] = []
    for file in files:
        with open_document(file, DocumentLimits(), with_words=True) as document:
            numbers = range(1, min(max_pages, document.num_pages) + 1)
            seen = [await _see(engine, document, file, number, cache) for number in numbers]
        heads = _running_heads([page for page, _ in seen])
        reference = file.with_suffix(".txt")
        for page, result in seen:
            layer = layer_witness(page)
            placed = tuple(_blocks(layer.lines, heads))
            blocks = placed
            if reference.exists():
                lines = reference.read_text("utf-8").splitlines()
                blocks = tuple(Block((line,)) for line in lines if line.strip())
            if sum(len(block.text) for block in blocks) < LEAST_LETTERS:
                continue
            witnesses = [layer] if result is None else [layer, reader_witness(result)]
            name = f"{file.parent.name}/{file.stem}"
            found.append(
                KnownPage(name, page.number, page.size_px, blocks, placed, tuple(witnesses))
            )
    return found


async def _see(
    engine: Engine | None, document: Document, file: Path, number: int, cache: Path | None
) -> tuple[Page, PageResult | None]:
    page = await asyncio.to_thread(document.page, number)
    if engine is None:
        return page, None
    kept = cache / f"{file.parent.name}__{file.stem}__{number}.pickle" if cache else None
    if kept and kept.exists():
        # written by this command, on this machine
        return page, pickle.loads(kept.read_bytes())  # noqa: S301
    result = await read_page(engine, page, Job())
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(result))
    return page, result


def _running_heads(pages: Sequence[Page]) -> frozenset[str]:
    """Lines that are the first or the last of three pages, numbers aside."""
    counts = Counter[str]()
    for page in pages:
        counts.update({_key(line.text) for line in _edge_lines(layer_witness(page).lines)})
    return frozenset(key for key, count in counts.items() if count >= 3)


def _key(text: str) -> str:
    return re.sub(r"\d+|\b[ivxlc]{1,6}\b", "0", text).casefold()


def _edge_lines(lines: Sequence[SeenLine]) -> list[SeenLine]:
    """The outermost row at the top and at the foot."""
    if not lines:
        return []
    top = min(line.box_px[3] for line in lines)
    foot = max(line.box_px[1] for line in lines)
    return [line for line in lines if line.box_px[1] < top or line.box_px[3] > foot]


def _blocks(lines: Sequence[SeenLine], heads: frozenset[str]) -> Iterator[Block]:
    """Lines one below the other are a paragraph, rows of three cells and more a table."""
    edge = [
        line for line in _edge_lines(lines) if _key(line.text) in heads or line.text.isdecimal()
    ]
    kept = [line for line in lines if line not in edge and not in_margin(line, lines)]
    rows = [list(row) for row in _rows(kept)]
    for table, group in groupby(rows, lambda row: len(row) >= 3):
        part = list(group)
        if table and len(part) >= 3:
            yield Block((), tuple(tuple(line.text for line in row) for row in part))
        else:
            yield from _paragraphs([line for row in part for line in row])


def _rows(lines: Sequence[SeenLine]) -> Iterator[list[SeenLine]]:
    row: list[SeenLine] = []
    for line in lines:
        if row and (
            abs(line.box_px[1] - row[-1].box_px[1]) > 0.4 * line.height_px
            or line.box_px[0] < row[-1].box_px[2]
        ):
            yield row
            row = []
        row.append(line)
    if row:
        yield row


def _paragraphs(lines: Sequence[SeenLine]) -> Iterator[Block]:
    paragraph: list[SeenLine] = []
    for line in lines:
        if paragraph and not _goes_on(paragraph[-1], line):
            yield _block(paragraph)
            paragraph = []
        paragraph.append(line)
    if paragraph:
        yield _block(paragraph)


def _goes_on(line: SeenLine, after: SeenLine) -> bool:
    step = after.box_px[1] - line.box_px[1]
    indent = after.box_px[0] - line.box_px[0]
    return 0 <= step < 1.6 * line.height_px and abs(indent) < 3 * line.height_px


def _block(lines: Sequence[SeenLine]) -> Block:
    return Block(tuple(line.text for line in lines), boxes_px=tuple(line.box_px for line in lines))


def sentences(pages: Sequence[KnownPage]) -> list[str]:
    """Sentences of all pages, for inventing."""
    found = []
    for page in pages:
        for block in page.blocks:
            if not block.rows:
                found += re.findall(r"[A-Z][a-z]+ [^.?!\d]{30,160}\.", block.text)
    return found


def neighbors(pages: Sequence[KnownPage]) -> dict[str, KnownPage]:
    """For each page another one: the next of its document, or of the next document."""
    turned = [*pages[1:], pages[0]]
    return {f"{one.name}:{one.number}": two for one, two in zip(pages, turned, strict=True)}


def describe(pages: Sequence[KnownPage]) -> str:
    """How many pages of which document."""
    counts = Counter(page.name for page in pages)
    return ", ".join(f"{name} {count}" for name, count in counts.items())
