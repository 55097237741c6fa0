"""Page furniture, which is printed on a page but which engines need not write: running heads, page
numbers, line numbers, sideways text in the margin, and text inside figures.

Footnotes are not furniture: readers want them.
"""

import math
from collections.abc import Collection, Sequence
from statistics import median

from deepocr.check.witness import SeenLine, line_height
from deepocr.parsing.page_numbers import is_page_number
from deepocr.types import Box

EDGE, OUTERMOST = 0.14, 0.04
"""Shares of the page's height, at the top and at the foot: where running heads stand, and where
only they do."""

MAX_LETTERS = 90
MAX_HEIGHT = 1.25
"""Height relative to the running text's; higher lines are headings."""

WATERMARK = 8
"""Height relative to the running text's; letters above it are a watermark."""

MIN_WHITE = 0.7
"""Least white space between a running head and the text, relative to the height of a line."""

MIN_LINE_NUMBERS = 5

FIGURE_WORDS = 7
"""The lines inside a figure have a median of fewer words; else the "figure" is a page of text."""


def furniture_lines(
    lines: Sequence[SeenLine],
    lost: Collection[int],
    size_px: tuple[int, int],
    figures_px: Sequence[Box],
) -> set[int]:
    """The indexes of those lost lines that no engine has to write."""
    body_px = line_height(lines)
    found = {
        index
        for index in lost
        if in_margin(lines[index], lines)
        or lines[index].height_px > WATERMARK * body_px
        or (
            lines[index].role == "furniture" and _may_be_furniture(lines[index], math.inf, top=True)
        )
    }
    found |= _in_figure(lines, [index for index in lost if lines[index].role == "figure"])
    found |= _inside_figures(lines, lost, figures_px)
    found |= _line_numbers(lines, lost)
    found |= _edge_lines(lines, set(lost), size_px[1], top=True)
    found |= _edge_lines(lines, set(lost), size_px[1], top=False)
    return found


def in_margin(line: SeenLine, lines: Sequence[SeenLine]) -> bool:
    """Whether a line is sideways on a page that is not, or lies within the width of such a line."""
    sideways = [other for other in lines if other.sideways]
    if 2 * len(sideways) >= len(lines):
        return False
    x1, _, x2, _ = line.box_px
    return line.sideways or any(
        other.box_px[0] <= x1 and x2 <= other.box_px[2] for other in sideways
    )


def _inside_figures(
    lines: Sequence[SeenLine], lost: Collection[int], figures_px: Sequence[Box]
) -> set[int]:
    found: set[int] = set()
    for x1, y1, x2, y2 in figures_px:
        inside = [
            index
            for index in lost
            if x1 <= sum(lines[index].box_px[0::2]) / 2 <= x2
            and y1 <= sum(lines[index].box_px[1::2]) / 2 <= y2
        ]
        found |= _in_figure(lines, inside)
    return found


def _in_figure(lines: Sequence[SeenLine], inside: Sequence[int]) -> set[int]:
    """These lines if they look like a figure's labels rather than a page of text, else none."""
    words = [len(lines[index].words) for index in inside]
    return set(inside) if inside and median(words) < FIGURE_WORDS else set()


def _line_numbers(lines: Sequence[SeenLine], lost: Collection[int]) -> set[int]:
    """Rising numbers in a column, which are line numbers beside the text."""
    numbers = sorted(
        (index for index in lost if lines[index].text.isdecimal()),
        key=lambda index: lines[index].box_px[1],
    )
    if len(numbers) < MIN_LINE_NUMBERS:
        return set()
    edge = median(lines[index].box_px[2] for index in numbers)
    column = [i for i in numbers if abs(lines[i].box_px[2] - edge) <= lines[i].height_px]
    values = [int(lines[index].text) for index in column]
    rising = len(column) >= MIN_LINE_NUMBERS and values == sorted(set(values))
    return set(column) if rising else set()


def _edge_lines(
    lines: Sequence[SeenLine], lost: set[int], height_px: int, *, top: bool
) -> set[int]:
    """Short lost rows at the page's edge, separated from the text by white space."""
    body_px = line_height(lines)
    upright = [index for index in range(len(lines)) if not lines[index].sideways]
    rows = _rows(lines, upright, top=top)
    for count in (2, 1):
        edge = [index for row in rows[:count] for index in row]
        # the digits of a page number may well be found elsewhere on the page
        rest = {index for index in edge if not is_page_number(lines[index].text)}
        if len(rows) <= count or not rest <= lost or lost.isdisjoint(edge):
            continue
        near = min(lines[i].box_px[1] for i in edge), max(lines[i].box_px[3] for i in edge)
        after = rows[count]
        if top:
            white = min(lines[i].box_px[1] for i in after) - near[1]
            inward = near[1] / height_px
        else:
            white = near[0] - max(lines[i].box_px[3] for i in after)
            inward = 1 - near[0] / height_px
        fits = all(_may_be_furniture(lines[i], body_px, top=top) for i in edge)
        apart = white >= MIN_WHITE * body_px or inward <= OUTERMOST
        number = all(is_page_number(lines[i].text) for i in edge)
        if inward <= EDGE and (number or (fits and apart)):
            return lost.intersection(edge)
    return set()


def _rows(lines: Sequence[SeenLine], numbers: Sequence[int], *, top: bool) -> list[list[int]]:
    """Rows of lines that are side by side, from the top or from the foot."""
    rows: list[list[int]] = []
    for index in sorted(numbers, key=lambda i: lines[i].box_px[1 if top else 3], reverse=not top):
        _, y1, _, y2 = lines[index].box_px
        middle = (y1 + y2) / 2
        if rows:
            box = lines[rows[-1][0]].box_px
            if box[1] <= middle <= box[3]:
                rows[-1].append(index)
                continue
        rows.append([index])
    return rows


def _may_be_furniture(line: SeenLine, body_px: float, *, top: bool) -> bool:
    text = line.text
    if len(text) > MAX_LETTERS or line.height_px > MAX_HEIGHT * body_px:
        return False
    words = [word.text for word in line.words if word.text[0].isalpha()]
    small = sum(word[0].islower() for word in words)
    sentence = len(words) >= 5 and 2 * small >= len(words)
    # at the foot, a sentence that begins with a mark is a footnote
    marked = not top and not text[0].isalpha()
    return not (sentence and (marked or text.endswith(".")))
