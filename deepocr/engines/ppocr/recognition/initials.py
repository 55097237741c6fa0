"""Large first letters that the detector does not take for a line.

Their place is told by the text: two or more lines begin further right than those below them, and
in the corner that they leave there is one large piece of ink.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from deepocr.engines.ppocr.recognition.ink import ink_of
from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.models import Picture
from deepocr.engines.ppocr.recognition.pieces import overlap
from deepocr.types import Box

MIN_HEIGHT = 1.4
"""Of a line's height: a letter in the corner is at least as high."""

MIN_INDENT, MAX_INDENT = 0.8, 8.0
SAME_EDGE = 0.5
"""Of a line's height: by how much lines begin further right, and what counts as the same edge."""

PITCH = 2.0
"""Heights of a line: the next one of a paragraph is no further below."""

MARGIN = 0.2
"""Of a line's height, left white around the letter."""


def find_initials(picture: Picture, lines: Sequence[TextLine]) -> list[Box]:
    """Where large first letters stand that are in no line."""
    found: list[Box] = []
    # from the top: the second line beside a letter has a corner too
    for first in sorted(lines, key=lambda line: line.center_px[1]):
        corner = _corner(first, lines)
        box = _letter(picture, corner, first.height_px) if corner else None
        if box is not None and not any(overlap(box, other) for other in found):
            found.append(box)
    return found


def _corner(first: TextLine, lines: Sequence[TextLine]) -> Box | None:
    """What a line and those right below it leave free on their left, above one that does not."""
    height, left = first.height_px, first.box_px[0]
    last = first
    while True:
        below = [line for line in lines if _is_next(last, line)]
        if len(below) != 1:
            return None
        (line,) = below
        indent = left - line.box_px[0]
        if MIN_INDENT * height < indent < MAX_INDENT * height and last is not first:
            break
        if abs(indent) > SAME_EDGE * height:
            return None
        last = line
    box = line.box_px[0], first.box_px[1] - height, left, line.box_px[1]
    inside = [
        line
        for line in lines
        if box[0] < line.center_px[0] < box[2] and first.box_px[1] < line.center_px[1] < box[3]
    ]
    return None if inside else box


def _is_next(upper: TextLine, lower: TextLine) -> bool:
    """The line right below, which may begin further left."""
    down = lower.center_px[1] - upper.center_px[1]
    common = min(upper.box_px[2], lower.box_px[2]) - max(upper.box_px[0], lower.box_px[0])
    return 0.5 * upper.height_px < down < PITCH * upper.height_px and common > 0


def _letter(picture: Picture, corner: Box, line_px: int) -> Box | None:
    """The bounds of the highest piece of ink in the corner, if it is a letter's."""
    left, top = max(0, corner[0] - line_px // 2), max(0, corner[1])
    part = picture[top : corner[3], left : corner[2]]
    if part.size == 0:
        return None
    ink = ink_of(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY))
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    if len(stats) < 2:
        return None
    x, y, width, height, _ = (int(value) for value in stats[1 + np.argmax(stats[1:, 3])])
    whole = x > 0 and y > 0 and x + width < part.shape[1]
    if not whole or height < MIN_HEIGHT * line_px or width > 1.5 * height:
        return None
    margin = round(MARGIN * line_px)
    return (
        left + x - margin,
        top + y - margin,
        left + x + width + margin,
        top + y + height + margin,
    )
