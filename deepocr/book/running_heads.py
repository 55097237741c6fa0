"""Running heads, which are repeated at the top or foot of many pages, and page numbers."""

import re
from collections import Counter
from collections.abc import Iterator

from deepocr.parsing.page_numbers import is_page_number
from deepocr.render.markdown import HEADINGS
from deepocr.types import PageResult, Region

RUNNING_LABELS = frozenset(
    {"header", "footer", "page_header", "page_footer", "page_number", "header_image"}
)
"""Labels that mark a region as a running head."""

EDGE = 0.1
"""Share of the page's height, at the top and at the foot, where running heads stand."""

MAX_CHARS = 120
LEAST_PAGES = 3
"""Least number of pages on which a line, unless a page number, must appear to be a running head."""


class RunningHeads:
    """Finds running heads. It must `see` every page before it can `find` them."""

    def __init__(self) -> None:
        self._pages_with: Counter[str] = Counter()

    def see(self, page: PageResult) -> None:
        """Count the lines at the edges of an upright page."""
        self._pages_with.update({key for _, key in _edge_lines(page)})

    def find(self, page: PageResult) -> tuple[int, ...]:
        """The regions, counted from 0, that are running heads or page numbers."""
        found = {
            index for index, region in enumerate(page.regions) if region.label in RUNNING_LABELS
        }
        for index, key in _edge_lines(page):
            text = page.regions[index].text.strip()
            if self._pages_with[key] >= LEAST_PAGES or is_page_number(text):
                found.add(index)
        return tuple(sorted(found))


def _edge_lines(page: PageResult) -> Iterator[tuple[int, str]]:
    """Short regions at the page's edges: their index, and their edge and text with all numbers made
    equal."""
    height_px = page.size_px[1]
    for index, region in enumerate(page.regions):
        if region.label in HEADINGS:
            # chapters that begin on new pages have similar titles at the same place
            continue
        edge = _edge(region, height_px)
        text = " ".join(region.text.split()).strip("#* ")
        if edge and text and len(text) <= MAX_CHARS:
            yield index, f"{edge}:{re.sub(r'[0-9]+', '0', text).casefold()}"


def _edge(region: Region, height_px: int) -> str | None:
    if not region.boxes_px or not height_px:
        return None
    if max(box[3] for box in region.boxes_px) <= EDGE * height_px:
        return "top"
    if min(box[1] for box in region.boxes_px) >= (1 - EDGE) * height_px:
        return "foot"
    return None
