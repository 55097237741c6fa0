"""Lines that were found as one across several columns, parted again.

Where columns stand close together, the detector takes lines side by side for one. A strip without
ink that runs down through the same place of several lines above each other is no space between
words: the lines are cut there. So is a single line where those above and below it are two.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.models import Picture
from deepocr.engines.ppocr.recognition.pieces import find_rows, split_line
from deepocr.types import Box

MIN_LINES = 6
"""Fewer lines above each other may have spaces at one place by chance."""

WINDOW = 10
"""Lines that are looked at together, so that columns may begin and end on the page."""

MIN_SHARE = 0.85
MIN_WIDTH, MAX_WIDTH = 0.35, 4.0
"""Of the height of a line; over a wider strip no line is found as one."""


NEAR = 4.5
"""Heights of a line above and below it in which its neighbors are looked for."""

MIN_VOTES = 3
"""Neighbors that must end and begin at one place for a single line to be cut there."""

Strip = tuple[float, float]
"""Left and right edge of a white strip."""


def part_lines(picture: Picture, lines: Sequence[TextLine], line_px: float) -> list[TextLine]:
    """All lines, those cut that reach over a strip between columns."""
    parted = _part_like_neighbors(_part_at_strips(picture, lines, line_px), line_px)
    return _move_apart(picture, parted, line_px)


def _move_apart(picture: Picture, lines: Sequence[TextLine], line_px: float) -> list[TextLine]:
    """Lines side by side whose boxes overlap, each as wide as its ink."""
    moved = list(lines)
    order = sorted(range(len(moved)), key=lambda i: moved[i].box_px[1])
    for place, upper in enumerate(order):
        for lower in order[place + 1 :]:
            if moved[lower].box_px[1] > moved[upper].box_px[3]:
                break
            i, j = sorted((upper, lower), key=lambda index: moved[index].box_px[0])
            (left, top, end, bottom), (start, y1, right, y2) = moved[i].box_px, moved[j].box_px
            level = min(bottom, y2) - max(top, y1) > 0.5 * min(bottom - top, y2 - y1)
            if not level or not 0 <= end - start < 2 * line_px or right <= end:
                continue
            first = max(left, round(start - 1.5 * line_px))
            last = round(end + 1.5 * line_px)
            gap = _widest_gap(picture[max(top, y1, 0) : min(bottom, y2), max(first, 0) : last])
            if gap is not None and gap[1] - gap[0] > MIN_WIDTH * line_px:
                moved[i] = replace(moved[i], box_px=(left, top, first + gap[0], bottom))
                moved[j] = replace(moved[j], box_px=(first + gap[1], y1, right, y2))
    return moved


def _widest_gap(part: Picture) -> tuple[int, int] | None:
    """The widest run of columns without ink between two with ink."""
    if part.size == 0:
        return None
    gray = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
    level, _ = cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    inked = np.flatnonzero((gray <= level).any(axis=0))
    if len(inked) < 2:
        return None
    widest = int(np.diff(inked).argmax())
    return int(inked[widest]) + 1, int(inked[widest + 1])


def _part_like_neighbors(lines: Sequence[TextLine], line_px: float) -> list[TextLine]:
    """Cuts a line where most lines around it end, and others begin, between two words."""
    edges = _edges(lines, line_px)
    parted: list[TextLine] = []
    for line in lines:
        x1, _, x2, _ = line.box_px
        if line.width_px < 12 * line_px or line.height_px > 1.6 * line_px or not line.char_x_px:
            parted.append(line)
            continue
        y, reach = line.center_px[1], NEAR * line_px
        near = [x for x, at in edges if abs(at - y) < reach and x1 + reach < x < x2 - reach]
        cuts: list[float] = []
        for x in sorted(near):
            votes = sum(abs(other - x) < 0.8 * line_px for other in near)
            across = sum(
                abs(other.center_px[1] - y) < reach
                and other.box_px[0] + reach < x < other.box_px[2] - reach
                for other in lines
            )
            if votes >= max(MIN_VOTES, across) and (not cuts or x - cuts[-1] > reach):
                cuts.append(_nearest_space(line, x, line_px))
        parted.extend(split_line(line, [x for x in cuts if x > 0]) if cuts else [line])
    return parted


def _edges(lines: Sequence[TextLine], line_px: float) -> list[tuple[float, float]]:
    """Where one line ends and the next begins beside it, as (x, y); neither is short."""
    long = [line for line in lines if line.width_px > 5 * line_px]
    found = []
    for row in find_rows(long):
        for a, b in pairwise(row):
            if -line_px < b.box_px[0] - a.box_px[2] < 3 * line_px:
                found.append(
                    ((a.box_px[2] + b.box_px[0]) / 2, (a.center_px[1] + b.center_px[1]) / 2)
                )
    return found


def _nearest_space(line: TextLine, x: float, line_px: float) -> float:
    """The place of the space next to `x`; 0 where there is none near."""
    spaces = [at for at, one in zip(line.char_x_px, line.text, strict=True) if one.isspace()]
    near = min(spaces, key=lambda at: abs(at - x), default=0.0)
    return near if abs(near - x) < 1.2 * line_px else 0.0


def _part_at_strips(picture: Picture, lines: Sequence[TextLine], line_px: float) -> list[TextLine]:
    # a headline has its words where it likes
    long = [
        line
        for line in lines
        if line.width_px > 20 * line_px and line.height_px < 1.4 * line_px and line.char_x_px
    ]
    if len(long) < MIN_LINES:
        return list(lines)
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    long.sort(key=lambda line: line.center_px[1])
    white = {id(line): _white(gray, line) for line in long}
    strips: dict[int, set[Strip]] = {}
    for start in range(0, len(long) - MIN_LINES + 1, WINDOW // 2):
        window = long[start : start + WINDOW]
        for strip in _strips([white[id(line)] for line in window], line_px):
            first, last = round(strip[0]), round(strip[1])
            for line in window:
                if white[id(line)][first:last].mean() > 0.7:
                    strips.setdefault(id(line), set()).add(strip)
    parted: list[TextLine] = []
    for line in lines:
        parted.extend(_part(line, sorted(strips.get(id(line), ())), line_px))
    return parted


def _part(line: TextLine, strips: Sequence[Strip], line_px: float) -> list[TextLine]:
    apart: list[Strip] = []
    for strip in strips:
        # two windows may see the same strip
        if not apart or strip[0] - apart[-1][1] > line_px:
            apart.append(strip)
    pieces = split_line(line, [(left + right) / 2 for left, right in apart], anywhere=True)
    return [replace(piece, box_px=_beside(piece.box_px, apart)) for piece in pieces]


def _beside(box: Box, strips: Sequence[Strip]) -> Box:
    """The box without its ends that reach into a strip."""
    x1, y1, x2, y2 = box
    for left, right in strips:
        if x1 < left < x2 <= right + 1:
            x2 = round(left)
        if left - 1 <= x1 < right < x2:
            x1 = round(right)
    return x1, y1, x2, y2


def _white(gray: npt.NDArray[np.uint8], line: TextLine) -> npt.NDArray[np.float32]:
    """For each column of the page: 1 white in this line, 0 ink, NaN beside the line."""
    white = np.full(gray.shape[1], np.nan, np.float32)
    x1, y1, x2, y2 = line.box_px
    x1, x2 = max(0, x1), min(gray.shape[1], x2)
    margin = round(0.15 * (y2 - y1))
    part = gray[max(0, y1 + margin) : y2 - margin, x1:x2]
    if part.size:
        level, _ = cv2.threshold(part, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        white[x1:x2] = (part > level).all(axis=0)
    return white


def _strips(white: Sequence[npt.NDArray[np.float32]], line_px: float) -> list[Strip]:
    """The strips that run through most of these lines."""
    rows = np.stack(white)
    spanned = (~np.isnan(rows)).sum(axis=0)
    open_rows = np.nansum(rows, axis=0)
    inner = (spanned >= MIN_LINES) & (open_rows >= MIN_SHARE * spanned)
    changes = np.diff(np.concatenate([[0], inner.astype(np.int8), [0]]))
    found = []
    for start, end in zip(np.flatnonzero(changes == 1), np.flatnonzero(changes == -1), strict=True):
        if MIN_WIDTH * line_px <= end - start <= MAX_WIDTH * line_px:
            found.append((float(start), float(end)))
    return found
