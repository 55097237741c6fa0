"""Reading order where no straight cut parts the columns: warped scans, narrow gutters, mosaics.

Lines that follow each other become blocks, and blocks are put in order by what must come before
what: what is above in the same column, and what is left unless something between spans both.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.structure.atoms import Atom
from deepocr.types import Box

T = TypeVar("T")

SIDE_SHRINK = 0.25
"""Of a line's height: found boxes are this much wider than their text on either side."""

WORD_GAP = 1.5
"""Of a line's height: pieces of a line stand closer together than this."""

MASTHEAD, MASTHEAD_GAP = 3.0, 4.0
"""Letters so many times as high as the page's lines may stand so many heights apart."""

NEAR = 4.5
"""Heights of a line above and below a gap in which columns would show another."""


def graph_order(atoms: Sequence[Atom[T]], line_px: float) -> list[list[Atom[T]]]:
    """Blocks in reading order, each from top to bottom."""
    blocks = [
        [atom for row in block for atom in row.item]
        for block in _link(_rows(atoms, line_px), line_px)
    ]
    order = _sort([_bounds(block) for block in blocks])
    return [
        sorted(blocks[i], key=lambda atom: (atom.box_px[1] + atom.box_px[3], atom.box_px[0]))
        for i in order
    ]


def _rows(atoms: Sequence[Atom[T]], line_px: float) -> list[Atom[list[Atom[T]]]]:
    """Lines that were found in pieces, put together; all other atoms alone."""
    rows: list[Atom[list[Atom[T]]]] = [Atom(a.box_px, [a], is_line=a.is_line) for a in atoms]
    place = {id(atom): index for index, atom in enumerate(atoms)}
    for left, right in _gaps(atoms, line_px):
        if _is_gutter(left, right, atoms, line_px):
            continue
        first, second = place[id(left)], place[id(right)]
        if first != second:
            together = [*rows[first].item, *rows[second].item]
            rows[first] = Atom(_bounds(together), together)
            for atom in rows[second].item:
                place[id(atom)] = first
    return [row for index, row in enumerate(rows) if place[id(row.item[0])] == index]


def _gaps(atoms: Sequence[Atom[T]], line_px: float) -> list[tuple[Atom[T], Atom[T]]]:
    """Lines and what stands right beside them, level and alike in height."""
    found = []
    lines = sorted((atom for atom in atoms if atom.is_line), key=lambda atom: atom.box_px[0])
    for index, left in enumerate(lines):
        x1, y1, x2, y2 = left.box_px
        height = y2 - y1
        level = [
            other
            for other in lines[index + 1 :]
            if min(y2, other.box_px[3]) - max(y1, other.box_px[1]) > 0.5 * height
            and other.box_px[0] > x1 + 0.5 * (x2 - x1)
        ]
        if not level:
            continue
        right = level[0]
        alike = 0.65 < (right.box_px[3] - right.box_px[1]) / height < 1.5
        most = WORD_GAP if height < MASTHEAD * line_px else MASTHEAD_GAP
        if alike and right.box_px[0] - x2 < most * height:
            found.append((left, right))
    return found


def _is_gutter(left: Atom[T], right: Atom[T], atoms: Sequence[Atom[T]], line_px: float) -> bool:
    """More lines above and below the gap end or begin there than reach over it."""
    start, end = left.box_px[2], right.box_px[0]
    parted = across = 0
    for atom in atoms:
        x1, y1, x2, y2 = atom.box_px
        away = max(y1 - left.box_px[3], left.box_px[1] - y2)
        if atom is left or atom is right or not 0 < away + line_px < NEAR * line_px:
            continue
        if x1 < start - line_px and x2 > end + line_px:
            across += 1
        elif abs(x2 - start) < line_px or abs(x1 - end) < line_px:
            parted += 1
    return parted > across


def _link(atoms: Sequence[Atom[T]], line_px: float) -> list[list[Atom[T]]]:
    """Lines joined to those right below them."""
    ordered = sorted(atoms, key=lambda atom: atom.box_px[1])
    parent = list(range(len(ordered)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    below: list[list[int]] = [[] for _ in ordered]
    above: list[list[int]] = [[] for _ in ordered]
    for i, upper in enumerate(ordered):
        if not upper.is_line:
            continue
        for j in range(i + 1, len(ordered)):
            lower = ordered[j]
            if lower.box_px[1] > upper.box_px[3] + line_px:
                break
            if lower.is_line and _follows(upper.box_px, lower.box_px):
                below[i].append(j)
                above[j].append(i)
    for i, children in enumerate(below):
        for j in children:
            if not _spans(ordered[i].box_px, [ordered[k].box_px for k in children]) and not _spans(
                ordered[j].box_px, [ordered[k].box_px for k in above[j]]
            ):
                parent[root(i)] = root(j)
    groups: dict[int, list[Atom[T]]] = {}
    for i, atom in enumerate(ordered):
        groups.setdefault(root(i), []).append(atom)
    return list(groups.values())


def _follows(upper: Box, lower: Box) -> bool:
    """Is `lower` the next line below, of the same column and size?"""
    heights = upper[3] - upper[1], lower[3] - lower[1]
    small, large = min(heights), max(heights)
    gap_px = lower[1] - upper[3]
    if small < 0.7 * large or not -0.6 * small < gap_px < 0.9 * small:
        return False
    common = min(upper[2], lower[2]) - max(upper[0], lower[0])
    return common >= 0.6 * min(upper[2] - upper[0], lower[2] - lower[0])


def _spans(box: Box, others: Sequence[Box]) -> bool:
    """Do two of the others stand side by side along this line, both large?"""
    large = sorted(other for other in others if other[2] - other[0] > 0.3 * (box[2] - box[0]))
    return any(b[0] > a[2] - 0.1 * (a[2] - a[0]) for a, b in pairwise(large))


def _bounds(block: Sequence[Atom[T]]) -> Box:
    boxes = [atom.box_px for atom in block]
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def _sort(boxes: Sequence[Box]) -> list[int]:
    """Indices such that what must be read before comes before."""
    array = np.array(boxes, np.float64).reshape(-1, 4)
    before = _precedence(array)
    # from the top left; among several that may come next, the one highest up
    start = sorted(range(len(boxes)), key=lambda i: (boxes[i][1], boxes[i][0]))
    done: list[int] = []
    state = dict.fromkeys(range(len(boxes)), 0)
    for first in start:
        stack = [first]
        while stack:
            i = stack[-1]
            if state[i] == 0:
                state[i] = 1
                waiting = [j for j in start if before[j, i] and state[j] == 0]
                stack.extend(reversed(waiting))
            else:
                stack.pop()
                if state[i] == 1:
                    state[i] = 2
                    done.append(i)
    return done


def _precedence(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """[i, j]: must i be read before j?"""
    x1, y1, x2, y2 = boxes.T
    common = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    narrow = np.minimum((x2 - x1)[:, None], x2 - x1)
    same_column = common > 0.2 * narrow
    middle = (y1 + y2) / 2
    above = middle[:, None] < middle
    left = ((x1 + x2) / 2)[:, None] < (x1 + x2) / 2
    before: npt.NDArray[np.bool_] = same_column & above
    for i, j in zip(*np.nonzero(~same_column & left), strict=True):
        low, high = min(y1[i], y1[j]), max(y2[i], y2[j])
        between = (middle > low) & (middle < high) & same_column[i] & same_column[j]
        # only what ends one of the two and begins the other parts them
        parts = between & (
            ((y1 >= middle[i]) & (y2 <= middle[j])) | ((y1 >= middle[j]) & (y2 <= middle[i]))
        )
        before[i, j] = not parts.any()
    np.fill_diagonal(before, False)
    return before
