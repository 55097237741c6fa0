"""Mixed columns: the text continues in the next column in the middle of a paragraph."""

from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np

from deepocr.check.alignment import Alignment
from deepocr.check.witness import SeenLine

MIN_LETTERS = 15
"""Least number of letters of a line; shorter ones are cells of a table, which are read across."""


def jumps(alignment: Alignment, lines: Sequence[SeenLine]) -> list[tuple[int, int]]:
    """Pairs of a line and the line beside it with which the text continues, although another line
    follows below the first."""
    return [
        (first, second)
        for (first, block), (second, after) in pairwise(_written_lines(alignment, lines))
        if block == after
        and _beside(lines[first], lines[second])
        and any(is_below(lines[first], line) for line in lines)
    ]


def _written_lines(alignment: Alignment, lines: Sequence[SeenLine]) -> list[tuple[int, int]]:
    """The witness's longer lines in the order of the text, each with the text's block. Sideways
    lines are left out, as their columns are unknown."""
    seen, text = alignment.witness, alignment.text
    places = []
    for line, group in groupby(range(len(seen.pieces)), lambda index: seen.pieces[index].line):
        if lines[line].sideways:
            continue
        words = list(group)
        letters = alignment.to_text[seen.starts[words[0]] : seen.starts[words[-1] + 1]]
        matched = letters[letters >= 0]
        if len(letters) < MIN_LETTERS or len(matched) < 0.6 * len(letters):
            continue
        place = int(np.median(matched))
        piece = text.pieces[int(text.piece_of[place])]
        if not piece.in_table:
            places.append((place, line, piece.line))
    return [(line, block) for _, line, block in sorted(places)]


def _beside(one: SeenLine, other: SeenLine) -> bool:
    ax1, ay1, ax2, ay2 = one.box_px
    bx1, by1, bx2, by2 = other.box_px
    height = min(ay2 - ay1, by2 - by1)
    return (bx1 >= ax2 or ax1 >= bx2) and min(ay2, by2) - max(ay1, by1) > -height


def is_below(one: SeenLine, other: SeenLine) -> bool:
    """Whether the other line is below in the same column, at the distance of lines."""
    ax1, ay1, ax2, ay2 = one.box_px
    bx1, by1, bx2, by2 = other.box_px
    together = min(ax2, bx2) - max(ax1, bx1)
    return 0 < (by1 + by2) / 2 - (ay1 + ay2) / 2 < 2.2 * (ay2 - ay1) and together > 0.5 * min(
        ax2 - ax1, bx2 - bx1
    )
