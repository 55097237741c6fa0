"""Places of text, for forms that include them: only boxes from the engine, no estimates."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from deepocr.parsing.text import in_xml
from deepocr.render.markdown import text_of
from deepocr.render.placed_text import plain_text
from deepocr.types import Box, Line, Quad, Region

LEVEL_DEG = 2.0
"""Lines with a smaller angle in degrees count as level: corners are rounded to whole pixels, which
matters in short lines."""


def around(boxes: Iterable[Box]) -> Box | None:
    """The box around all boxes; None without boxes."""
    corners = list(zip(*boxes, strict=True))
    if not corners:
        return None
    lefts, tops, rights, bottoms = corners
    return min(lefts), min(tops), max(rights), max(bottoms)


def quad_box(quad: Quad) -> Box:
    """The upright box around a line."""
    xs, ys = zip(*quad, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def word_boxes(line: Line) -> list[tuple[str, Box | None]]:
    """The line's words, with upright boxes if the engine knows them."""
    words = line.text.split()
    if len(line.word_spans) != len(words):
        return [(word, None) for word in words]
    return [
        (word, quad_box(_part(line.quad_px, *span)))
        for word, span in zip(words, line.word_spans, strict=True)
    ]


def _part(quad: Quad, start: float, end: float) -> Quad:
    """The part of a line between two positions, given as shares of its length."""
    a, b, c, d = quad

    def between(first: tuple[int, int], last: tuple[int, int], share: float) -> tuple[int, int]:
        x, y = (round(p + share * (q - p)) for p, q in zip(first, last, strict=True))
        return x, y

    return between(a, b, start), between(a, b, end), between(d, c, end), between(d, c, start)


def angle_deg(quad: Quad) -> float:
    """The angle of the line in degrees counterclockwise; 0 for a level line."""
    (x1, y1), (x2, y2) = quad[0], quad[1]
    angle = math.degrees(math.atan2(y1 - y2, x2 - x1))
    return 0.0 if abs(angle) < LEVEL_DEG else round(angle, 1)


def one_by_one(regions: Iterable[Region]) -> Iterator[Region]:
    """The regions; one without text that was found in several places is repeated for each place."""
    for region in regions:
        if region.text.strip() or region.lines or len(region.boxes_px) < 2:
            yield region
        else:
            yield from (replace(region, boxes_px=(box,)) for box in region.boxes_px)


def written_lines(region: Region) -> list[Line]:
    """The engine's lines that have text to write."""
    return [line for line in region.lines if in_xml(line.text).strip()]


def plain_lines(region: Region, task: str) -> list[str]:
    """The region's text without marks, for a region without lines of its own."""
    text = in_xml(plain_text(text_of(region, task)))
    return [line for line in (" ".join(line.split()) for line in text.split("\n")) if line]
