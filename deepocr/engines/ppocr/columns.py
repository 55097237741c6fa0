"""Lines that were found as one across several columns, parted again.

Where columns stand close together, the detector takes lines side by side for one. A strip without
ink that runs down through the same place of several lines above each other is no space between
words: the lines are cut there.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.lines import TextLine
from deepocr.engines.ppocr.models import Picture
from deepocr.engines.ppocr.pieces import split_line
from deepocr.types import Box

MIN_LINES = 6
"""Fewer lines above each other may have spaces at one place by chance."""

WINDOW = 10
"""Lines that are looked at together, so that columns may begin and end on the page."""

MIN_SHARE = 0.85
MIN_WIDTH, MAX_WIDTH = 0.35, 4.0
"""Of the height of a line; over a wider strip no line is found as one."""


Strip = tuple[float, float]
"""Left and right edge of a white strip."""


def part_lines(picture: Picture, lines: Sequence[TextLine], line_px: float) -> list[TextLine]:
    """All lines, those cut that reach over a strip between columns."""
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
