"""The white strips between a table's columns, from where its pieces of text stand."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import find_rows

Span = tuple[float, float]

SHRINK = 0.12
"""Of a line's height: found boxes reach beyond their letters by this on either side."""

MIN_WIDTH = 0.2
"""Of a line's height."""

MAX_CROSSED = 0.15
"""Share of the rows whose pieces may reach over a strip, of those that have pieces beside it."""

MAX_SPACES = 0.45
"""The same share, those with a space between words there counted too."""


def find_gutters(lines: Sequence[TextLine], line_px: float) -> list[float]:
    """Where to cut between columns, from left to right.

    A strip is white in most of the rows that have pieces on both sides of it. What spans several
    columns, such as a heading over them, does not count.
    """
    rows = find_rows(lines)
    if len(rows) < 2:
        return []
    left = min(line.box_px[0] for line in lines)
    width = max(line.box_px[2] for line in lines) - left
    all_rows = rows
    rows = _without_spanning(_without_titles(rows))
    covered = np.zeros((len(rows), width + 1), np.int32)
    inked = np.zeros((len(rows), width + 1), np.int32)
    between = np.zeros((len(rows), width + 1), np.int32)
    for number, row in enumerate(rows):
        for line in row:
            first, last = _core(line)
            covered[number, round(first) - left : round(last) - left] = 1
            for start, end in _words(line, first, last):
                inked[number, max(0, round(start) - left) : round(end) - left] = 1
        first, last = _core(row[0])[0], _core(row[-1])[1]
        between[number, round(first) - left : round(last) - left] = 1
    beside = between.sum(axis=0)
    # a line found over two columns has a space between them
    mostly_white = covered.sum(axis=0) <= MAX_SPACES * beside
    is_open = (inked.sum(axis=0) <= MAX_CROSSED * beside) & mostly_white & (beside > 0)
    # headings do not tell where columns are, but are not to be cut if it can be helped
    reached = np.zeros(width + 1, np.int32)
    for line in (line for row in all_rows for line in row):
        first, last = _core(line)
        reached[round(first) - left : round(last) - left] += 1
    gutters: list[float] = []
    for start, end in _runs(is_open):
        strip = (start + left, end + left)
        for first, last in _around_columns(strip, rows):
            middle = _emptiest(reached[round(first) - left : round(last) - left]) + first
            if last - first >= MIN_WIDTH * line_px:
                gutters.append(middle)
    gutters = [x for x in gutters if _parts_columns(x, gutters, rows)]
    return _with_filled_columns(gutters, rows)


def _parts_columns(x: float, gutters: Sequence[float], rows: Sequence[Sequence[TextLine]]) -> bool:
    """No fewer lines end before the next gutters on either side than reach over this one."""
    cores = [_core(line) for row in rows for line in row]
    over = sum(first < x < last for first, last in cores)
    low = max((other for other in gutters if other < x), default=float("-inf"))
    high = min((other for other in gutters if other > x), default=float("inf"))
    before = sum(low < first and last < x for first, last in cores)
    after = sum(x < first and last < high for first, last in cores)
    return min(before, after) >= over


def _core(line: TextLine) -> Span:
    """From left to right, without the margin that found boxes have around their characters."""
    x1, y1, x2, y2 = line.box_px
    margin = min(SHRINK * (y2 - y1), 0.3 * (x2 - x1))
    left, right = x1 + margin, x2 - margin
    if line.char_x_px:
        beside_px = max(0.35 * (y2 - y1), (x2 - x1) / len(line.char_x_px))
        left = max(left, line.char_x_px[0] - beside_px)
        right = min(right, line.char_x_px[-1] + beside_px)
    return left, right


def _words(line: TextLine, left: float, right: float) -> list[Span]:
    """From where to where the words of a line reach that itself reaches from left to right."""
    x = line.char_x_px
    if len(x) != len(line.text):
        return [(left, right)]
    step_px = line.width_px / max(1, len(x))
    spaces = [at for at in range(1, len(x) - 1) if line.text[at].isspace()]
    starts = [left, *(x[at + 1] - 0.5 * step_px for at in spaces)]
    ends = [*(x[at - 1] + 0.5 * step_px for at in spaces), right]
    return list(zip(starts, ends, strict=True))


def _without_titles(rows: list[list[TextLine]]) -> list[list[TextLine]]:
    """Rows without those at the top that have fewer pieces than most: headings over columns."""
    usual = median(len(row) for row in rows)
    first = next(number for number, row in enumerate(rows) if len(row) >= usual)
    return rows[first:] if len(rows) - first > 2 else rows


def _without_spanning(rows: Sequence[Sequence[TextLine]]) -> list[list[TextLine]]:
    """Rows without the pieces that have several columns above or below them."""
    lines = [line for row in rows for line in row]
    row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    left, right = np.array([_core(line) for line in lines]).T
    kept: list[list[TextLine]] = [[] for _ in rows]
    for line, own, first, last in zip(lines, row_of, left, right, strict=True):
        common = np.minimum(right, last) - np.maximum(left, first)
        under = common > np.minimum(0.5 * (right - left), 2 * line.height_px)
        counts = np.bincount(row_of[under & (row_of != own)], minlength=len(rows))
        several, single = int((counts > 1).sum()), int((counts == 1).sum())
        if several < max(2, 0.3 * single) and not (several and len(rows) < 4):
            kept[own].append(line)
    kept = [row for row in kept if row]
    return kept or [list(row) for row in rows]


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last of each run of true values."""
    changes = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _around_columns(strip: Span, rows: Sequence[Sequence[TextLine]]) -> list[Span]:
    """The parts of a strip to the sides of columns that are filled in a few rows only."""
    start, end = strip
    inside = [
        core for row in rows for line in row if start <= (core := _core(line))[0] < core[1] <= end
    ]
    groups: list[list[Span]] = []
    for core in sorted(inside):
        if groups and core[0] < max(last for _, last in groups[-1]):
            groups[-1].append(core)
        else:
            groups.append([core])
    parts = []
    for group in groups:
        if len(group) > 1:
            parts.append((start, min(first for first, _ in group)))
            start = max(last for _, last in group)
    return [*parts, (start, end)]


def _emptiest(crossed: npt.NDArray[np.int32]) -> float:
    """The middle of the widest part that the fewest pieces reach into."""
    if not len(crossed):
        return 0.0
    start, end = max(_runs(crossed == crossed.min()), key=lambda run: run[1] - run[0])
    return (start + end) / 2


def _with_filled_columns(gutters: list[float], rows: Sequence[Sequence[TextLine]]) -> list[float]:
    """Only gutters between columns that are filled in two rows."""
    places = [line.center_px[0] for row in rows for line in row]
    kept = sorted(gutters)
    while kept:
        edges = [float("-inf"), *kept, float("inf")]
        filled = [sum(a < place < b for place in places) for a, b in pairwise(edges)]
        poor = [index for index, count in enumerate(filled) if count < 2]
        if not poor:
            break
        kept.pop(max(0, poor[0] - 1))
    return kept
