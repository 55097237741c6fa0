"""Tables that neither rules nor the layout model show: rows of short pieces, aligned."""

import itertools
from collections.abc import Sequence
from statistics import median

from deepocr.engines.ppocr.lines import TextLine
from deepocr.engines.ppocr.tables import (
    Table,
    aligned_table,
    bounds,
    find_gutters,
    find_rows,
    split_wide_gaps,
)

MIN_ROWS = 3
MAX_CELL_CHARS = 34


def find_tables(lines: Sequence[TextLine], line_px: float) -> list[Table]:
    """Tables among the lines of a page, found as runs of rows with several short pieces."""
    found = []
    for run in _runs(lines, line_px):
        if _is_tabular(run, line_px):
            table = aligned_table(run, line_px)
            if table is not None:
                found.append(table)
    return found


def _runs(lines: Sequence[TextLine], line_px: float) -> list[list[TextLine]]:
    """Rows that follow each other and have three pieces or more; one row between may have fewer."""
    runs: list[list[list[TextLine]]] = []
    gap_rows: list[list[TextLine]] = []
    for row in find_rows(lines):
        pieces = sum(len(split_wide_gaps(line)) for line in row)
        if pieces >= 3:
            near = runs and bounds(row)[1] - bounds(runs[-1][-1])[3] < 3.5 * line_px
            if near and len(gap_rows) <= 1:
                runs[-1].extend([*gap_rows, row])
            else:
                runs.append([row])
            gap_rows = []
        else:
            gap_rows.append(row)
    return [[line for row in run for line in row] for run in runs if len(run) >= MIN_ROWS]


def _is_tabular(lines: Sequence[TextLine], line_px: float) -> bool:
    """Short pieces in columns, rather than columns of running text."""
    gutters = find_gutters(lines, line_px)
    if len(gutters) < 2:
        return False
    edges = [float("-inf"), *gutters, float("inf")]
    prose = 0
    for left, right in itertools.pairwise(edges):
        column = [line for line in lines if left <= line.center_px[0] < right]
        if not column:
            continue
        width = bounds(column)[2] - bounds(column)[0]
        fill = median(line.width_px for line in column) / max(1, width)
        length = median(len(line.text) for line in column)
        prose += fill > 0.8 and length > 18 and len(column) >= 4
    typical = median(len(line.text) for line in lines)
    return prose <= len(gutters) / 2 and typical <= MAX_CELL_CHARS
