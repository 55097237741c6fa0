"""The page with its regions drawn on it."""

from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

from deepocr.types import Box, Region

COLORS = {
    "title": (200, 30, 30),
    "sub_title": (215, 95, 0),
    "text": (30, 90, 200),
    "image": (20, 140, 60),
    "image_caption": (90, 150, 40),
    "table": (130, 40, 170),
    "table_caption": (190, 70, 160),
    "equation": (0, 130, 140),
}
OTHER_COLOR = (100, 100, 100)
"""For labels outside the table: the set is open."""

MAX_LABEL_CHARS = 40
FILL_ALPHA = 28


def draw_overlay(image: Image.Image, regions: Iterable[Region]) -> Image.Image:
    """A copy of an RGB page with every region's boxes, lines, number and label.

    Numbers count the regions that have boxes, in reading order from 1. Boxes beyond the page are
    cut at its edge.
    """
    page = image.convert("RGB")
    if page is image:
        page = image.copy()
    # "RGBA" mixes translucent colors into the RGB picture itself: no second layer in memory
    draw = ImageDraw.Draw(page, "RGBA")
    unit_px = max(1, round(min(page.size) / 600))
    font = ImageFont.load_default(size=max(9, 11 * unit_px))
    labels: list[tuple[Box, str, tuple[int, int, int]]] = []
    number = 0
    for region in regions:
        if not region.boxes_px:
            continue
        number += 1
        color = COLORS.get(region.label, OTHER_COLOR)
        for line in region.lines:
            draw.polygon(line.quad_px, outline=(*color, 140), width=unit_px)
        for box in region.boxes_px:
            inside = _inside(box, page.size)
            draw.rectangle(inside, fill=(*color, FILL_ALPHA), outline=color, width=2 * unit_px)
            labels.append((inside, f"{number} {_short(region.label)}", color))
    # after all boxes, so that no box covers a label
    for box, text, color in labels:
        _draw_label(draw, box, text, color, font)
    return page


def _draw_label(
    draw: ImageDraw.ImageDraw,
    box: Box,
    text: str,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """White on the region's color, above its corner; inside where there is no room above."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = round(right - left) + 6, round(bottom - top) + 6
    x = box[0]
    y = box[1] - height if box[1] >= height else box[1]
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + 3 - left, y + 3 - top), text, fill="white", font=font)


def _inside(box: Box, size_px: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = (min(max(value, 0), size_px[axis % 2] - 1) for axis, value in enumerate(box))
    return x1, y1, x2, y2


def _short(label: str) -> str:
    one_line = " ".join(label.split())
    if len(one_line) <= MAX_LABEL_CHARS:
        return one_line
    return one_line[: MAX_LABEL_CHARS - 3] + "..."
