"""Page furniture: running heads and feet, page numbers, what stands sideways in the margin.

It is labeled, kept in the regions and left out of Markdown. Evidence is where a row stands, the
white below or above it, what it says, and the layout model.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.models import Picture
from deepocr.engines.ppocr.recognition.pieces import bounds, find_rows, overlap, split_wide_gaps
from deepocr.engines.ppocr.structure.layout_model import Seen
from deepocr.engines.ppocr.structure.margins import margin_numbers
from deepocr.engines.ppocr.tables.rulings import Rulings
from deepocr.parsing.page_numbers import is_page_number

LABELS = frozenset({"header", "footer", "page_number", "aside", "watermark"})

ZONE = 0.16
"""Share of the page's height, at the top and at the bottom, in which furniture is looked for."""

MAX_ROWS = 8
"""Rows looked at on either side."""

TITLE, LARGE = 1.12, 1.25
"""Of the usual line's height: rows higher than this are titles at the top, and large print at the
bottom; to be furniture they need more evidence."""

LIKE_TITLE = 0.85
"""Score of the model for letters of a title's size to be furniture."""

SAME_PX = 2
"""Boxes around letters of one size differ in height by as much."""

HUGE = 2.0
"""Of the usual line's height: beyond letters like these, a masthead's, nothing is furniture."""

FAR = 5.0
"""Heights of a line between the text and a running foot, on a page with little text."""

MAX_PIECES, TABS_GAP = 3, 2.0
"""A row of more pieces, so many heights of a line away from the text, is a row of tabs."""

BESIDE = 1.5
"""Heights of a line: what stands further to the side is not below or above."""

MAX_HEAD_CHARS = 90
"""A longer piece is no running head."""


SLANT_DEG = 12.0
FAINT = 0.45
"""Of the usual contrast between ink and paper."""

_HEAD_AND_NUMBER = re.compile(r"^(?:\d{1,4}\s*[|•·]\s*\D.{0,70}|.{0,70}\D\s*[|•·]\s*\d{1,4})$")
_NOTICE = re.compile(
    r"""https?://|www\.|\bdoi\b|\bISSN\b|\bISBN\b|©|\(c\)\s*\d{4}|copyright|all\srights\sreserved
    |^\d{1,2}/\d{1,2}/\d{2,4},?\s+\d{1,2}:\d\d|\bpage\s+\d+\s+of\s+\d+
    |\bvol(?:\.|ume)\s*\d+|^\s*arxiv:|\bdownloaded\s+(?:from|by|on)\b
    |\bauthorized\slicensed\suse\b""",
    re.IGNORECASE | re.VERBOSE,
)
_NOTE_MARK = re.compile(r"^\s*(?:[*†‡§¶#⁰¹²³⁴-⁹]|\[?\d{1,3}\]?[\s.)]?\s*[^\W\d])")


@dataclass(frozen=True)
class _Side:
    """The top or the bottom of a page: rows from its edge inward."""

    label: str
    rows: Sequence[Sequence[TextLine]]
    rest: Sequence[TextLine]


def find_furniture(
    picture: Picture,
    lines: Sequence[TextLine],
    seen: Sequence[Seen],
    rulings: Rulings,
    body_px: float,
) -> Mapping[int, str]:
    """Index of the line -> its label, for the lines that are furniture."""
    height, width = picture.shape[:2]
    index = {id(line): i for i, line in enumerate(lines)}
    labels = {
        i: "aside"
        for i, line in enumerate(lines)
        if line.vertical and not 0.1 * width < line.center_px[0] < 0.9 * width
    }
    labels.update(_watermarks(picture, lines, body_px))
    labels.update(dict.fromkeys(margin_numbers(lines, width, body_px), "aside"))
    rows = find_rows([line for i, line in enumerate(lines) if i not in labels])
    for side in _sides(rows, height):
        judge = _Judge(side, seen, rulings, body_px, height)
        for row in judge.furniture():
            for line in row:
                number = is_page_number(line.text)
                labels[index[id(line)]] = "page_number" if number else side.label
    return labels


def _watermarks(picture: Picture, lines: Sequence[TextLine], body_px: float) -> dict[int, str]:
    """Large or slanting letters that are much fainter than the text."""
    odd = [
        i
        for i, line in enumerate(lines)
        if line.height_px > 1.7 * body_px or _slant(line) > SLANT_DEG
    ]
    usual = [_contrast(picture, line) for line in lines[:: max(1, len(lines) // 24)]]
    if not odd or len(lines) - len(odd) < 3:
        return {}
    faint = FAINT * float(np.median(usual))
    return {i: "watermark" for i in odd if _contrast(picture, lines[i]) < faint}


def _contrast(picture: Picture, line: TextLine) -> float:
    x1, y1, x2, y2 = (max(0, value) for value in line.box_px)
    part = picture[y1:y2, x1:x2]
    if part.size == 0:
        return 255.0
    low, high = np.percentile(part.min(axis=2), (4, 96))
    return float(high - low)


def _slant(line: TextLine) -> float:
    """Degrees between the line and the nearest edge of the page."""
    (x1, y1), (x2, y2), *_ = line.quad_px
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1)) % 90
    return min(angle, 90 - angle)


def _sides(rows: Sequence[Sequence[TextLine]], height: int) -> list[_Side]:
    top = [row for row in rows if bounds(row)[3] < ZONE * height][:MAX_ROWS]
    bottom = [row for row in rows if bounds(row)[1] > (1 - ZONE) * height][-MAX_ROWS:]
    flat = [line for row in rows for line in row]
    return [_Side("header", top, flat), _Side("footer", list(reversed(bottom)), flat)]


@dataclass(frozen=True)
class _Judge:
    side: _Side
    seen: Sequence[Seen]
    rulings: Rulings
    body_px: float
    height_px: int

    def furniture(self) -> list[Sequence[TextLine]]:
        """Rows from the edge of the page up to the last one that is furniture.

        What stands between the edge and a row that surely is furniture is furniture too.
        """
        rows = self.side.rows
        last = -1
        for number, row in enumerate(rows):
            below_title = any(self._is_large(other) for other in rows[last + 1 : number])
            if self._is_furniture(row, first=number == last + 1, below_title=below_title):
                last = number
            elif self._size(row) > HUGE:
                break
        chosen = list(rows[: last + 1])
        left = len(self.side.rest) - sum(map(len, chosen))
        if left < 2:
            return [row for row in chosen if all(is_page_number(line.text) for line in row)]
        return chosen

    def _is_furniture(self, row: Sequence[TextLine], first: bool, below_title: bool) -> bool:
        gap = self._gap(row)
        # a page number stands alone or at the end of a running head; one within several numbers
        # is a row of a table
        pieces = [piece for line in row for piece in split_wide_gaps(line)]
        numbers = sum(is_page_number(piece.text) for piece in pieces)
        if len(row) == 1 and _HEAD_AND_NUMBER.match(row[0].text):
            numbers, pieces = 1, list(row)
        if numbers == 1 and len(pieces) <= 3 and gap > 0.3:
            return first or self._is_page_of(row)
        if first and len(pieces) > MAX_PIECES and gap > TABS_GAP and self._is_full_page():
            return True
        if self._is_large(row):
            least = LIKE_TITLE if self._size(row) > LARGE else 0.75
            return self._looks_so(row, least) and gap > 0.8 and self._is_full_page()
        if self._looks_so(row, 0.55) and gap > 0.25 and not below_title:
            return True
        if gap > 0.4 and any(_NOTICE.search(line.text) for line in row) and first:
            return True
        near_edge = first or bounds(row)[3] < 0.1 * self.height_px
        if near_edge and gap > 0.2 and self._is_full_page() and self._is_ruled_off(row):
            return True
        return first and (self._stands_off(row, gap) or self._is_spread(row, gap))

    def _is_large(self, row: Sequence[TextLine]) -> bool:
        """As large as a title, which stands at the top of pages."""
        larger = TITLE if self.side.label == "header" else LARGE
        return self._size(row) > max(larger, 1 + SAME_PX / self.body_px)

    def _size(self, row: Sequence[TextLine]) -> float:
        return max(line.height_px for line in row) / self.body_px

    def _is_full_page(self) -> bool:
        """A page of text, rather than a slide or a cover."""
        return len(self.side.rest) > 15

    def _is_page_of(self, row: Sequence[TextLine]) -> bool:
        """Not any number, but one that says it is the page's."""
        return all(re.search("page|页", line.text, re.IGNORECASE) for line in row)

    def _gap(self, row: Sequence[TextLine]) -> float:
        """White toward the middle of the page, in heights of a line; a page's number may stand
        beside the text's last line, with nothing above it."""
        left, top, right, bottom = bounds(row)
        reach = BESIDE * self.body_px
        near = [
            line.box_px
            for line in self.side.rest
            if line.box_px[0] < right + reach and line.box_px[2] > left - reach
        ]
        if self.side.label == "header":
            beyond = [box[1] - bottom for box in near if box[1] >= bottom - 2]
        else:
            beyond = [top - box[3] for box in near if box[3] <= top + 2]
        return min(beyond, default=self.height_px) / self.body_px

    def _looks_so(self, row: Sequence[TextLine], least: float) -> bool:
        """The layout model sees furniture in most of the row."""
        width = sum(line.width_px for line in row)
        marked = sum(line.width_px for line in row if self._seen_so(line, least))
        return marked >= 0.4 * width

    def _seen_so(self, line: TextLine, least: float) -> bool:
        """Seen as furniture, and as nothing else with more certainty."""
        scores = {True: 0.0, False: 0.0}
        for region in self.seen:
            if overlap(line.box_px, region.box_px) > 0.5:
                kind = region.label in ("header", "footer")
                scores[kind] = max(scores[kind], region.score)
        return scores[True] >= max(least, scores[False])

    def _is_ruled_off(self, row: Sequence[TextLine]) -> bool:
        """A long rule parts the row from the page."""
        if self._is_in_table(row):
            return False
        box, page = bounds(row), bounds(self.side.rest)
        head = self.side.label == "header"
        for rule in self.rulings.horizontal:
            away = rule.at - box[3] if head else box[1] - rule.at
            long = rule.end - rule.start > 0.7 * (page[2] - page[0])
            if long and -0.3 * self.body_px < away < 2 * self.body_px:
                return head or not _NOTE_MARK.match(row[0].text)
        return False

    def _is_in_table(self, row: Sequence[TextLine]) -> bool:
        """The layout model sees a table here."""
        return any(
            region.label == "table" and overlap(bounds(row), region.box_px) > 0.5
            for region in self.seen
        )

    def _is_spread(self, row: Sequence[TextLine], gap: float) -> bool:
        """Short pieces at both edges of the text and white between them, unlike its columns."""
        pieces = sorted(
            (piece for line in row for piece in split_wide_gaps(line)),
            key=lambda piece: piece.box_px[0],
        )
        left, _, right, _ = bounds(self.side.rest)
        at_edges = (
            pieces[0].box_px[0] < left + 2 * self.body_px
            and pieces[-1].box_px[2] > right - 2 * self.body_px
        )
        widest = max((b.box_px[0] - a.box_px[2] for a, b in pairwise(pieces)), default=0)
        if not at_edges or widest < 0.25 * (right - left) or gap < 0.4:
            return False
        starts = [line.box_px[0] for line in self.side.rest if line not in row]
        in_column = sum(abs(x - pieces[-1].box_px[0]) < self.body_px for x in starts)
        return (self._is_full_page() or gap > FAR) and in_column < 2

    def _stands_off(self, row: Sequence[TextLine], gap: float) -> bool:
        """A short row of small letters, well apart from a page full of text."""
        small = max(line.height_px for line in row) <= 1.08 * self.body_px
        text = " ".join(line.text for line in row)
        longest = max(len(piece.text) for line in row for piece in split_wide_gaps(line))
        sentence = text.rstrip().endswith((".", ":", ",", ";")) or longest > MAX_HEAD_CHARS
        note = self.side.label == "footer" and _NOTE_MARK.match(text)
        near = bounds(row)[3] < 0.1 * self.height_px or bounds(row)[1] > 0.92 * self.height_px
        return bool(
            small and self._is_full_page() and near and gap > 1.3 and not sentence and not note
        )
