"""Clips boxes to the page, so that later stages can rely on them, whatever an engine or a server
returned."""

from collections.abc import Iterable
from dataclasses import replace

from deepocr.types import Box, Line, Quad, Region

RAW_MAX = 999
"""The model's coordinates run from 0 to this over the upright page."""


def within_page(regions: Iterable[Region], size_px: tuple[int, int]) -> tuple[Region, ...]:
    """The regions with every box and line inside of a page of `size_px` (width, height), in whole
    pixels.

    Whatever reaches beyond the edge is cut there. A box is dropped, in both scales, if it has NaN,
    its corners are in the wrong order, or no part of it is on the page; a line likewise. No region
    is lost: one without a box keeps its label and text.
    """
    return tuple(_within(region, size_px) for region in regions)


def _within(region: Region, size_px: tuple[int, int]) -> Region:
    boxes_px = [cut_box(box, size_px) for box in region.boxes_px]
    boxes_raw = [cut_box(box, (RAW_MAX, RAW_MAX)) for box in region.boxes_raw]
    if len(boxes_raw) == len(boxes_px):
        # the two are one list in two scales
        both = [(px, raw) for px, raw in zip(boxes_px, boxes_raw, strict=True) if px and raw]
        boxes_px, boxes_raw = [px for px, _ in both], [raw for _, raw in both]
    lines = (_cut_line(line, size_px) for line in region.lines)
    return replace(
        region,
        boxes_px=tuple(box for box in boxes_px if box),
        boxes_raw=tuple(box for box in boxes_raw if box),
        lines=tuple(line for line in lines if line),
    )


def box_notes(regions: Iterable[Region]) -> dict[str, str]:
    """Notes about the boxes of a page: how many are empty, if any."""
    boxes = [box for region in regions for box in region.boxes_raw or region.boxes_px]
    empty = sum(x1 == x2 or y1 == y2 for x1, y1, x2, y2 in boxes)
    return {"boxes": f"{empty} of {len(boxes)} without width or height"} if empty else {}


def cut_box(box: Box, size: tuple[int, int]) -> Box | None:
    """The part of a box that lies on the page; None if no part does."""
    x1, y1, x2, y2 = box
    width, height = size
    # written so that NaN fails
    if not (x1 <= x2 and x1 <= width and x2 >= 0 and y1 <= y2 and y1 <= height and y2 >= 0):
        return None
    return _cut(x1, width), _cut(y1, height), _cut(x2, width), _cut(y2, height)


def _cut_line(line: Line, size_px: tuple[int, int]) -> Line | None:
    xs, ys = zip(*line.quad_px, strict=True)
    # NaN, which min and max could miss
    if any(value != value for value in (*xs, *ys)):
        return None
    if cut_box((min(xs), min(ys), max(xs), max(ys)), size_px) is None:
        return None
    a, b, c, d = ((_cut(x, size_px[0]), _cut(y, size_px[1])) for x, y in line.quad_px)
    quad: Quad = (a, b, c, d)
    return replace(line, quad_px=quad)


def _cut(value: float, end: int) -> int:
    return round(min(max(value, 0), end))
