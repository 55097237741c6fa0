"""The places of a page's words, line by line."""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from deepocr.types import Box, Region

Point = tuple[float, float]
Corners = tuple[Point, Point, Point, Point]
"""Corners of a line of text, clockwise from the upper corner at its beginning."""

_TAG = re.compile(r"<[^<>]{1,300}>")
_CELL_END = re.compile(r"</t[dh]\s*>", re.IGNORECASE)
_ROW_END = re.compile(r"</(?:tr|caption|p|h[1-6]|li)\s*>|<br\s*/?>", re.IGNORECASE)
_MARKDOWN = re.compile(r"^\s{0,3}(?:#{1,6}\s+|[*+-]\s+)|\*\*|\\[()\[\]]", re.MULTILINE)


@dataclass(frozen=True)
class PlacedText:
    """A line of text and its corners, in pixels of some picture of the page."""

    text: str
    corners: Corners


def plain_text(text: str) -> str:
    """The text without Markdown and HTML. Spaces separate table cells, line breaks the rows."""
    spaced = _ROW_END.sub("\n", _CELL_END.sub(" ", text))
    return html.unescape(_MARKDOWN.sub("", _TAG.sub("", spaced)))


def place_lines(region: Region, ink: Image.Image, size_px: tuple[int, int]) -> list[PlacedText]:
    """A region's text, line by line, with its place on the page of `size_px`.

    An engine's own lines are taken as they are. Otherwise the words are distributed over the rows
    of ink found in the region's boxes, in proportion to the rows' lengths. `ink` is the page at any
    scale, mode L, 255 where there is ink.
    """
    if region.lines:
        return [PlacedText(line.text, line.quad_px) for line in region.lines if line.text.strip()]
    words = plain_text(region.text).split()
    if not words or not region.boxes_px:
        return []
    rows = [row for box in region.boxes_px for row in _rows(box, ink, size_px)]
    return [
        PlacedText(" ".join(part), ((x1, y1), (x2, y1), (x2, y2), (x1, y2)))
        for part, (x1, y1, x2, y2) in zip(_share_out(words, rows), rows, strict=True)
        if part
    ]


def _share_out(words: Sequence[str], rows: Sequence[Box]) -> list[list[str]]:
    """Distribute words over rows in order; each row gets a share of the text like its share of the
    rows' total width."""
    widths = [x2 - x1 for x1, _, x2, _ in rows]
    total_width = sum(widths)
    total_chars = sum(len(word) + 1 for word in words)
    parts: list[list[str]] = [[] for _ in rows]
    row, row_end, done = 0, widths[0] / total_width, 0.0
    for word in words:
        middle = (done + len(word) / 2) / total_chars
        while middle > row_end and row < len(rows) - 1:
            row += 1
            row_end += widths[row] / total_width
        parts[row].append(word)
        done += len(word) + 1
    return parts


def _rows(box: Box, ink: Image.Image, size_px: tuple[int, int]) -> list[Box]:
    """The rows of ink in a box, from top to bottom; the box itself if no rows are found."""
    scale_x, scale_y = ink.width / size_px[0], ink.height / size_px[1]
    left, top = int(box[0] * scale_x), int(box[1] * scale_y)
    right, bottom = math.ceil(box[2] * scale_x), math.ceil(box[3] * scale_y)
    if right - left < 2 or bottom - top < 2:
        return [_at_least_a_pixel(box)]
    part = ink.crop((left, top, right, bottom))
    profile = part.convert("F").resize((1, part.height), Image.Resampling.BOX).tobytes()
    rows = []
    start: int | None = None
    for y, value in enumerate((*memoryview(profile).cast("f"), 0.0)):
        if value > 0.5:
            start = y if start is None else start
        elif start is not None:
            extent = part.crop((0, start, part.width, y)).getbbox()
            # an accent or a dot alone is not a row
            if y - start >= 4 and extent is not None:
                rows.append(
                    (
                        round((left + extent[0]) / scale_x),
                        round((top + start) / scale_y),
                        round((left + extent[2]) / scale_x),
                        round((top + y) / scale_y),
                    )
                )
            start = None
    return [_at_least_a_pixel(row) for row in rows or [box]]


def _at_least_a_pixel(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
