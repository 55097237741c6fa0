"""Pages turned by quarters, and boxes turned back with them."""

from dataclasses import replace

from PIL import Image

from deepocr.types import Box, Line, Page, PageResult

TURNS: dict[int, Image.Transpose | None] = {
    0: None,
    90: Image.Transpose.ROTATE_270,  # Pillow turns counterclockwise
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
"""Degrees clockwise to what Pillow calls it."""


def turn(page: Page, degrees: int) -> Page:
    """The page turned clockwise by 0, 90, 180 or 270; its words stay behind."""
    transpose = TURNS[degrees]
    if transpose is None:
        return page
    return replace(page, image=page.image.transpose(transpose), words=())


def turn_back(result: PageResult, degrees: int) -> PageResult:
    """A result read from a page turned clockwise, with its boxes on the page as it lay.

    `raw` and `boxes_raw` stay as the engine wrote them, on the turned page.
    """
    if degrees == 0:
        return result
    width_px, height_px = result.size_px
    size_px = (width_px, height_px) if degrees == 180 else (height_px, width_px)

    def back(box: Box) -> Box:
        return box_back(box, degrees, size_px)

    def line_back(line: Line) -> Line:
        a, b, c, d = (point_back(point, degrees, size_px) for point in line.quad_px)
        return replace(line, quad_px=(a, b, c, d))

    regions = tuple(
        replace(r, boxes_px=tuple(map(back, r.boxes_px)), lines=tuple(map(line_back, r.lines)))
        for r in result.regions
    )
    check = result.check
    if check is not None:
        findings = (replace(f, box_px=f.box_px and back(f.box_px)) for f in check.findings)
        check = replace(check, findings=tuple(findings))
    return replace(result, size_px=size_px, regions=regions, check=check)


def turn_upright(result: PageResult, turned: int) -> PageResult:
    """The undoing of turn_back: boxes as they stood on the page that was turned clockwise."""
    return turn_back(result, (360 - turned) % 360)


def box_back(box: Box, degrees: int, size_px: tuple[int, int]) -> Box:
    """A box on a page turned clockwise, on the page of `size_px` before it was turned."""
    (ax, ay), (bx, by) = (
        point_back(point, degrees, size_px) for point in ((box[0], box[1]), (box[2], box[3]))
    )
    return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


def point_back(point: tuple[int, int], degrees: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """The same for a point."""
    x, y = point
    width_px, height_px = size_px
    match degrees:
        case 90:
            return y, height_px - x
        case 180:
            return width_px - x, height_px - y
        case 270:
            return width_px - y, x
    return point
