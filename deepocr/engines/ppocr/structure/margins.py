"""Numbers that stand beside the text, not in it: of its lines, of a chapter on the page's edge."""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import bounds

MIN_TEXT = 8.0
"""Heights of a line: what is wider is the page's text."""

MARGIN = 0.12
"""Of the page's width, on either side."""

NEAR, MAX_HEAD_LINES = 8.0, 3
"""A running head beside the text is no further from its page's number, in heights of a line."""


def margin_numbers(lines: Sequence[TextLine], width: int, body_px: float) -> list[int]:
    """Indices of the numbers that count lines, and of a chapter's number on a tab."""
    numbers = [i for i, line in enumerate(lines) if re.fullmatch(r"\d{1,4}", line.text.strip())]
    text = [line for i, line in enumerate(lines) if i not in set(numbers)]
    columns: list[list[int]] = []
    for i in sorted(numbers, key=lambda i: lines[i].center_px[0]):
        if columns and lines[i].box_px[0] - lines[columns[-1][-1]].box_px[0] < body_px:
            columns[-1].append(i)
        else:
            columns.append([i])
    found: list[int] = []
    for column in columns:
        column.sort(key=lambda i: lines[i].center_px[1])
        left, _, right, _ = bounds([lines[i] for i in column])
        beyond = {
            (line.box_px[0] >= right) - (line.box_px[2] <= left)
            for line in text
            if line.width_px > MIN_TEXT * body_px
        }
        alone = len(column) == 1 and not MARGIN < (left + right) / 2 / width < 1 - MARGIN
        if beyond in ({1}, {-1}) and (alone or _count_lines([lines[i] for i in column], text)):
            found += column
            if alone:
                found += _head_beside(lines[column[0]], lines, min(beyond), body_px)
    return found


def _head_beside(
    number: TextLine, lines: Sequence[TextLine], side: int, body_px: float
) -> list[int]:
    """A running head of a few short lines in the margin above the page's number."""
    edges = [
        line.box_px[0] if side > 0 else line.box_px[2]
        for line in lines
        if line.width_px > MIN_TEXT * body_px
    ]
    edge = min(edges) if side > 0 else max(edges)
    head = [
        i
        for i, line in enumerate(lines)
        if line is not number
        and (line.box_px[2] <= edge if side > 0 else line.box_px[0] >= edge)
        and abs(line.center_px[1] - number.center_px[1]) < NEAR * body_px
    ]
    return head if len(head) <= MAX_HEAD_LINES else []


def _count_lines(numbers: Sequence[TextLine], text: Sequence[TextLine]) -> bool:
    """Do small numbers, or every fifth or tenth, count the lines of running text beside them?"""
    values = [int(number.text) for number in numbers]
    steps = [after - before for before, after in pairwise(values)]
    if len(steps) < 3:
        return False
    step = round(median(steps))
    beside = [
        line
        for number in numbers
        for line in text
        if line.box_px[1] < number.center_px[1] < line.box_px[3]
    ]
    if step < 1 or sum(one == step for one in steps) < 0.7 * len(steps) or not beside:
        return False
    left, _, right, _ = bounds(text)
    runs_on = median(line.width_px for line in beside) > 0.5 * (right - left)
    smaller = median(n.height_px for n in numbers) < 0.9 * median(b.height_px for b in beside)
    return runs_on and (smaller or step >= 5)
