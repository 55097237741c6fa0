"""Pictures of pages and of their figures, which are cut out at full resolution."""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from deepocr.book.records import Figure, PageRecord
from deepocr.book.workspace import page_name
from deepocr.documents import Document
from deepocr.documents.turning import box_back, turn
from deepocr.errors import InvalidInput, reason
from deepocr.render.markdown import figures_of, is_figure
from deepocr.types import Box, Page, PageResult, Region

log = logging.getLogger(__name__)

FIGURE_DPI = 300
"""Resolution in dots per inch at which figures of a PDF are drawn, unless the reading's own is
higher."""


@dataclass(frozen=True)
class CutFigure:
    """A figure and its PNG."""

    figure: Figure
    png: bytes


def upright_picture(document: Document, record: PageRecord) -> Image.Image | None:
    """The page turned upright; None if it cannot be drawn."""
    try:
        return turn(document.page(record.number), record.turned).image
    except InvalidInput:
        return None


def figure_file(page: int, number: int) -> str:
    """Path of figure `number` (from 1) of a page, relative to the document's folder."""
    return f"images/{page_name(page)}_{number}.png"


def figure_places(result: PageResult, record: PageRecord) -> dict[int, Figure]:
    """A page's figures by the index of their region in `result`. They are matched by order, because
    regions before them may have been removed or inserted."""
    places = [index for index, region in enumerate(result.regions) if is_figure(region)]
    order = sorted(record.figures, key=lambda figure: figure.region)
    return dict(zip(places, order, strict=True))


def cut_figures(
    document: Document, page: Page, turned: int, result: PageResult
) -> tuple[CutFigure, ...]:
    """The figures of a page. Blocking.

    `result` has the coordinates of the page turned clockwise by `turned`, and the cut pictures are
    turned like it. Their `box_px` is on the unturned page.
    """
    regions = figures_of(result)
    if not regions:
        return ()
    try:
        large = document.page(page.number, max(FIGURE_DPI, round(page.dpi or 0)))
        return _cut(turn(large, turned).image, regions, page, turned, result)
    except Exception as error:  # noqa: BLE001 - told, and the page is there
        log.warning(
            "figures of page %d are cut at its reading resolution: %s", page.number, reason(error)
        )
        return _cut(turn(page, turned).image, regions, page, turned, result)


def _cut(
    large: Image.Image, regions: Sequence[Region], page: Page, turned: int, result: PageResult
) -> tuple[CutFigure, ...]:
    cut = []
    for number, region in enumerate(regions, start=1):
        box_px = _around(region)
        picture = large.crop(_scaled(box_px, result.size_px, large.size))
        figure = Figure(
            file=figure_file(page.number, number),
            region=next(i for i, other in enumerate(result.regions) if other is region),
            box_px=box_back(box_px, turned, page.size_px),
            size_px=picture.size,
        )
        cut.append(CutFigure(figure, _png(picture)))
    return tuple(cut)


def _around(region: Region) -> Box:
    """The box around all boxes of a region."""
    lefts, tops, rights, bottoms = zip(*region.boxes_px, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _scaled(box_px: Box, size_px: tuple[int, int], large_px: tuple[int, int]) -> Box:
    """The box on the larger picture, within it and at least one pixel wide and high."""
    x1, y1, x2, y2 = (
        min(max(round(value * large_px[axis % 2] / size_px[axis % 2]), 0), large_px[axis % 2])
        for axis, value in enumerate(box_px)
    )
    x1, y1 = min(x1, large_px[0] - 1), min(y1, large_px[1] - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()
