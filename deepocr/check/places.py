"""Finds where in a text its missing words belong."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deepocr.check.alignment import Alignment
from deepocr.check.order import is_below
from deepocr.check.reading import WrittenText
from deepocr.check.witness import SeenLine


@dataclass(frozen=True)
class Place:
    """A place after `offset` characters of the text of region `region`."""

    region: int
    offset: int


class Places:
    """The places of the words of one page's witness in the text."""

    def __init__(
        self, alignment: Alignment, lines: Sequence[SeenLine], reading: WrittenText
    ) -> None:
        self._seen, self._text = alignment.witness, alignment.text
        self._to_text = alignment.to_text
        self._lines = lines
        self._reading = reading
        # by line: the text's word for the first, and for the last, of the line's words that it has
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        for index, piece in enumerate(self._seen.pieces):
            partner = self._partner(index)
            if partner is not None:
                self._first.setdefault(piece.line, partner)
                self._last[piece.line] = partner

    def parts(self, run: range) -> Iterator[range]:
        """Split a run into words that stand together, in lines one below the other."""
        start = run.start
        for index in range(run.start + 1, run.stop):
            lines = [self._lines[self._seen.pieces[i].line] for i in (index - 1, index)]
            if lines[0] is not lines[1] and not is_below(*lines):
                yield range(start, index)
                start = index
        yield range(start, run.stop)

    def of(self, run: range) -> Place | None:
        """Where the witness's words `run` belong; None if nothing around them is in the text.

        They belong between the words before and after them if those are in one paragraph, else
        after the paragraph above, or before the one below.
        """
        first, last = (self._seen.pieces[index].line for index in (run.start, run.stop - 1))
        before, after = self._on_line(run.start, -1), self._on_line(run.stop - 1, 1)
        if before is None:
            before = self._last.get(self._near(first, up=True))
        if after is None:
            after = self._first.get(self._near(last, up=False))
        if before is None:
            return None if after is None else self._before_paragraph(after)
        one = self._text.pieces[before]
        together = after is not None and self._text.pieces[after].line == one.line
        if together and after is not None and before < after:
            return Place(self._reading.region_of_block[one.line], one.end)
        return self._after_paragraph(before)

    def _after_paragraph(self, index: int) -> Place:
        block = self._text.pieces[index].line
        return Place(self._reading.region_of_block[block], self._reading.block_ends[block])

    def _before_paragraph(self, index: int) -> Place:
        piece = self._text.pieces[index]
        region, block = self._reading.region_of_block[piece.line], piece.line - 1
        if piece.in_table or block < 0 or self._reading.region_of_block[block] != region:
            return Place(region, 0)
        return Place(region, self._reading.block_ends[block])

    def _partner(self, index: int) -> int | None:
        letters = self._to_text[self._seen.starts[index] : self._seen.starts[index + 1]]
        matched = letters[letters >= 0]
        if 2 * len(matched) < len(letters):
            return None
        return int(np.bincount(self._text.piece_of[matched]).argmax())

    def _on_line(self, index: int, step: int) -> int | None:
        """The text's word for the nearest word on the same line, in this direction, that it has."""
        line = self._seen.pieces[index].line
        index += step
        while 0 <= index < len(self._seen.pieces) and self._seen.pieces[index].line == line:
            if (partner := self._partner(index)) is not None:
                return partner
            index += step
        return None

    def _near(self, line: int, *, up: bool) -> int:
        """The nearest line above or below in the same column that the text has, or -1."""
        x1, y1, x2, y2 = self._lines[line].box_px
        best, least = -1, math.inf
        for other in self._first:
            ax1, ay1, ax2, ay2 = self._lines[other].box_px
            step = (y1 + y2 - ay1 - ay2) / (2 if up else -2)
            together = min(x2, ax2) - max(x1, ax1)
            if other != line and 0 < step < least and 2 * together > min(x2 - x1, ax2 - ax1):
                best, least = other, step
        return best
