"""Are these lines a table, though neither rules nor the layout model show one?"""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import bounds, cell_pieces, find_rows, is_number
from deepocr.engines.ppocr.tables.gutters import find_gutters

MIN_ROWS = 3
MAX_CELL_CHARS = 34

_MARK = re.compile(r"^(?:[•·▪◦●○■□◆▶➢➤✓‣∙–—-]|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)]|\[\d{1,3}\])$")
_LEADERS = re.compile(r"(?:\.\s?){4,}")


def is_tabular(lines: Sequence[TextLine], line_px: float) -> bool:
    """Rows of short pieces in columns, rather than columns of running text or a list."""
    pieces = [piece for line in lines for piece in cell_pieces(line)]
    rows = find_rows(pieces)
    if len(rows) < MIN_ROWS:
        return False
    gutters = find_gutters(pieces, line_px)
    if not gutters:
        return False
    edges = [float("-inf"), *gutters, float("inf")]
    columns = [
        [piece for piece in pieces if left <= piece.center_px[0] < right]
        for left, right in pairwise(edges)
    ]
    if all(_MARK.match(piece.text) for piece in columns[0]) or _are_line_numbers(columns):
        return False
    if sum(bool(_LEADERS.search(piece.text)) for piece in pieces) > 0.3 * len(rows):
        return False
    several = sum(len(row) > 1 for row in rows)
    if several < max(MIN_ROWS, 0.5 * len(rows)):
        return False
    prose = sum(is_prose(column) for column in columns)
    typical = median(len(piece.text) for piece in pieces)
    return prose <= (len(columns) - 2) / 2 and typical <= MAX_CELL_CHARS


def _are_line_numbers(columns: Sequence[Sequence[TextLine]]) -> bool:
    """Numbers that count the lines of a text."""
    texts = [piece.text for piece in sorted(columns[0], key=lambda piece: piece.center_px[1])]
    if not all(text.isdigit() for text in texts):
        return False
    counted = all(int(b) - int(a) == 1 for a, b in pairwise(texts))
    return counted and not any(is_number(piece.text) for piece in columns[-1])


def holds_prose(lines: Sequence[TextLine], xs: Sequence[float]) -> bool:
    """Are most of the columns between these edges running text?"""
    columns = [
        [line for line in lines if left <= line.center_px[0] < right]
        for left, right in pairwise(xs)
    ]
    return len(columns) > 1 and sum(map(is_prose, columns)) > 0.5 * len(columns)


def is_prose(column: Sequence[TextLine]) -> bool:
    """Lines of running text: most are as wide as the column."""
    if len(column) < 4:
        return False
    width = bounds(column)[2] - bounds(column)[0]
    fill = median(line.width_px for line in column) / max(1, width)
    return fill > 0.8 and median(len(line.text) for line in column) > 18
