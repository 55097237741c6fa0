"""The page with its regions drawn on it."""

from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

from deepocr.parsing.text import encodable
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
"""Color of any other label: models may write labels that are not in the table."""

NEIGHBORS = 100
"""Number of previous labels that a label must not cover: in reading order these are nearby."""

MAX_TINTED_PAGES = 20
"""Total area of tinted boxes, in areas of the page; beyond it boxes are only outlined."""

MAX_LABEL_CHARS = 40
PAPER_SHADES = 96
"""Number of the lightest of 256 shades that count as blank paper."""

FILL_ALPHA = 28


def draw_overlay(image: Image.Image, regions: Iterable[Region]) -> Image.Image:
    """A copy of an RGB page with every region's boxes, lines, number and label.

    Regions with boxes are numbered in reading order from 1. Boxes are cut at the page's edge.
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
    tint_left = MAX_TINTED_PAGES * page.width * page.height
    for region in regions:
        if not region.boxes_px:
            continue
        number += 1
        color = COLORS.get(region.label, OTHER_COLOR)
        for line in region.lines:
            draw.polygon(line.quad_px, outline=(*color, 140), width=unit_px)
        for box in region.boxes_px:
            inside = _inside(box, page.size)
            tint_left -= (inside[2] - inside[0]) * (inside[3] - inside[1])
            fill = (*color, FILL_ALPHA) if tint_left > 0 else None
            draw.rectangle(inside, fill=fill, outline=color, width=2 * unit_px)
            labels.append((inside, f"{number} {_short(region.label)}", color))
    # after all boxes, so that no box covers a label
    taken: list[Box] = []
    gray = image.convert("L")
    for box, text, color in labels:
        taken.append(_draw_label(draw, _Paper(gray, taken[-NEIGHBORS:]), box, text, color, font))
    return page


def _draw_label(
    draw: ImageDraw.ImageDraw,
    paper: "_Paper",
    box: Box,
    text: str,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> Box:
    """Draw a label in white on the region's color, beside the box where it covers least. If the
    whole label would cover something everywhere, the number alone may be drawn. Returns its place.
    """
    places = []
    for shown in (text, text.split()[0]):
        left, top, right, bottom = draw.textbbox((0, 0), shown, font=font)
        size = round(right - left) + 6, round(bottom - top) + 6
        place = min(_places(box, size, paper.size_px), key=paper.cost)
        places.append((paper.cost(place), place, shown, (3 - left, 3 - top)))
        if not places[0][0]:
            break
    _, place, shown, (dx, dy) = min(places, key=lambda found: found[0])
    draw.rectangle(place, fill=color)
    draw.text((place[0] + dx, place[1] + dy), shown, fill="white", font=font)
    return place


def _places(box: Box, size: tuple[int, int], page_px: tuple[int, int]) -> list[Box]:
    """Possible places of a label of `size` on the page, in order of preference."""
    width, height = size
    x1, y1, x2, y2 = box
    corners = (
        *((x1 - width, y1), (x1, y1 - height), (x2, y1), (x2 - width, y1 - height)),
        *((x1 - width, y2 - height), (x1, y2), (x2, y2 - height), (x2 - width, y2), (x1, y1)),
    )
    on_page = [
        (max(0, min(x, page_px[0] - width)), max(0, min(y, page_px[1] - height)))
        for x, y in corners
    ]
    return [(x, y, x + width, y + height) for x, y in on_page]


class _Paper:
    """What is already on the page: its ink, and labels."""

    def __init__(self, gray: Image.Image, taken: list[Box]) -> None:
        self._gray = gray
        self._taken = taken
        self.size_px = gray.size

    def cost(self, place: Box) -> float:
        """Share of the place that is not blank paper, plus 1 for each label that it covers."""
        x1, y1, x2, y2 = place
        shades = self._gray.crop(place).histogram()
        paper = sum(shades[-PAPER_SHADES:])
        covered = sum(
            x1 < right and left < x2 and y1 < bottom and top < y2
            for left, top, right, bottom in self._taken
        )
        return 1 - paper / max(1, sum(shades)) + covered


def _inside(box: Box, size_px: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = (min(max(value, 0), size_px[axis % 2] - 1) for axis, value in enumerate(box))
    return x1, y1, x2, y2


def _short(label: str) -> str:
    one_line = " ".join(encodable(label).split())
    if len(one_line) <= MAX_LABEL_CHARS:
        return one_line
    return one_line[: MAX_LABEL_CHARS - 3] + "..."
