"""Which lines of a table go on in the next: cells of several lines without rules between them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import bounds, find_rows, is_number
from deepocr.engines.ppocr.tables.heads import column_of

Cells = Mapping[int, TextLine]
"""The last piece of a row in each of its columns."""

MIN_WRAPPED = 4.0
"""Heights of a line: single words that fill a narrower column are cells of their own."""

MIN_FULL = 0.4
"""Share of the lines between two rules that stand in several columns where these are rows, some of
them with cells of several lines."""

TIGHT = 1.15
"""Times the least distance between rows: lines of one cell are no further apart."""


def row_edges(
    rows: Sequence[Sequence[TextLine]], xs: Sequence[float], rules: Sequence[float] = ()
) -> list[float]:
    """Heights at which rows end; a row that goes on in the next line is kept together."""
    if len(rows) < 2:
        return []
    boxes = [bounds(row) for row in rows]
    middles = [(box[1] + box[3]) / 2 for box in boxes]
    pitches = [b - a for a, b in pairwise(middles)]
    tightest = sorted(pitches)[len(pitches) // 10]
    loose = sum(pitch > 1.3 * tightest for pitch in pitches) >= 2
    cells: list[Cells] = [{column_of(xs, line): line for line in row} for row in rows]
    widths = column_widths(rows, xs)
    edges = []
    above = cells[0]
    for index in range(1, len(rows)):
        top, bottom = middles[index - 1], middles[index]
        ruled = [rule for rule in rules if top < rule < bottom]
        tight = pitches[index - 1] < TIGHT * tightest
        if not ruled and tight and _goes_on(above, cells[index], widths, loose):
            above = {**above, **cells[index]}
        else:
            edges.append(ruled[0] if ruled else (boxes[index - 1][3] + boxes[index][1]) / 2)
            above = cells[index]
    return edges


def holds_rows(lines: Sequence[TextLine], xs: Sequence[float]) -> bool:
    """Between two rules: rows of several cells, rather than cells of several lines."""
    rows = find_rows(lines)
    full = sum(len({column_of(xs, line) for line in row}) > 1 for row in rows)
    return len(rows) >= 3 and full >= MIN_FULL * len(rows)


def holds_numbers(lines: Sequence[TextLine], xs: Sequence[float]) -> bool:
    """Rows with the first cell filled and a number in the same column of each."""
    rows = [{column_of(xs, line): line for line in row} for row in find_rows(lines)]
    shared = set.intersection(*(set(row) for row in rows)) if len(rows) > 1 else set()
    return 0 in shared and any(
        all(is_number(row[column].text) for row in rows) for column in shared - {0}
    )


def ends_early(lines: Sequence[TextLine], xs: Sequence[float], widths: Mapping[int, int]) -> bool:
    """Lines above each other in a column are numbers, or the next word had room on them.

    Single words above each other may be either.
    """
    cells = [{column_of(xs, line): line for line in row} for row in find_rows(lines)]
    early, full = 0, 0
    for above, below in pairwise(cells):
        for column in above.keys() & below.keys():
            texts = above[column].text, below[column].text
            if all(map(is_number, texts)):
                early += 1
            elif any(" " in text for text in texts):
                is_full = _is_full(above[column], below[column], widths[column])
                full, early = full + is_full, early + (not is_full)
    return early >= 2 and early > 2 * full


def _goes_on(above: Cells, below: Cells, widths: Mapping[int, int], loose: bool) -> bool:
    shared = above.keys() & below.keys()
    if not shared or any(
        is_number(cells[column].text) for column in shared for cells in (above, below)
    ):
        return False
    alone = loose or (len(below) == 1 and len(above) > 2)
    if alone and below.keys() < above.keys() and 0 not in below:
        return True
    if not all(_is_full(above[column], below[column], widths[column]) for column in shared):
        return False
    # where rows are no further apart than lines, empty cells and words must tell
    return loose or (
        len(below) < len(widths) and any(below[column].text[:1].islower() for column in shared)
    )


def _is_full(above: TextLine, below: TextLine, width_px: int) -> bool:
    """Would the first word of the line below not have fitted in the line above?"""
    if " " not in above.text and width_px < MIN_WRAPPED * above.height_px:
        return False
    word_px = (len(below.text.split()[0]) + 1) * below.width_px / len(below.text)
    return above.width_px + word_px > width_px - 0.5 * above.height_px


def column_widths(rows: Sequence[Sequence[TextLine]], xs: Sequence[float]) -> dict[int, int]:
    """Width of the widest piece of each column that stays within it."""
    widths: dict[int, int] = {}
    for row in rows:
        for line in row:
            column = column_of(xs, line)
            widths.setdefault(column, 0)
            if xs[column] - 2 <= line.box_px[0] and line.box_px[2] <= xs[column + 1] + 2:
                widths[column] = max(widths[column], line.width_px)
    return widths
