"""Markdown without tags; figures are links, tables and formulas are as they were written."""

from collections.abc import Callable, Iterator

from deepocr.render.failures import failure_comment
from deepocr.types import Box, PageResult, Region

FigureLink = Callable[[int, Region], str]
"""Maps a figure's number on its page, from 1, and its region to the link's target."""

FIGURE_LABELS = frozenset({"image", "figure", "chart", "picture"})

HEADINGS = {"title": "# ", "sub_title": "## "}
"""Put before headings that were written without a `#` of their own."""

FURNITURE_LABELS = frozenset({"header", "footer", "page_number", "aside", "watermark"})
"""Labels of page furniture, which is not part of the text: kept in JSON, left out of Markdown."""

TEXT_LABELS = frozenset(
    {
        *FIGURE_LABELS,
        *HEADINGS,
        "text",
        "table",
        "equation",
        "formula",
        "image_caption",
        "figure_caption",
        "table_caption",
        "table_footnote",
        *FURNITURE_LABELS,
        "footnote",
        "list",
        "code",
    }
)
"""Labels that name a kind of region. Any other label is itself the text that was read or found."""

LOCATE = "Locate Object by Reference"
BOXES = "OCR with Boxes"


def render_markdown(
    result: PageResult, figure_link: FigureLink | None = None, *, task: str = ""
) -> str:
    """One page as Markdown, ending without a newline.

    A figure becomes `![...](link)`, or without `figure_link` a comment with its pixel box. Text is
    passed through as the engine wrote it: escapes, HTML tables and formulas stay, so whoever shows
    it as HTML must clean it. For the Boxes `task` a label without text is a line that was read,
    even when the line says "table"; otherwise page furniture is left out. For the Locate `task`
    each find is a list item with its pixel boxes. A failed page is a comment with the reason.
    """
    if result.status == "failed":
        return failure_comment(result)
    if task == LOCATE:
        return _render_found(result)
    blocks: list[str] = []
    num_figures = 0
    for region in caption_first(result.regions):
        if region.label in FURNITURE_LABELS and region.boxes_px and task != BOXES:
            continue
        if is_figure(region) and not (task == BOXES and not region.text):
            num_figures += 1
            blocks.append(_render_figure(result.number, num_figures, region, figure_link))
        text = _render_text(region, task)
        if text:
            blocks.append(text)
    return "\n\n".join(blocks)


def figures_of(result: PageResult) -> tuple[Region, ...]:
    """The figures in the order in which render_markdown numbers them."""
    regions = caption_first(result.regions)
    return tuple(region for region in regions if is_figure(region))


def is_figure(region: Region) -> bool:
    """Whether the region is a picture that can be cut out of the page."""
    return region.label in FIGURE_LABELS and bool(region.boxes_px)


def caption_first(regions: tuple[Region, ...]) -> Iterator[Region]:
    """The regions, with a table's caption before the table if it is above it: the model always
    writes the table first."""
    waiting: Region | None = None
    for region in regions:
        if waiting is not None:
            above = region.label == "table_caption" and _top(region) < _top(waiting)
            if above:
                yield region
                yield waiting
                waiting = None
                continue
            yield waiting
            waiting = None
        if region.label == "table" and region.boxes_px:
            waiting = region
        else:
            yield region
    if waiting is not None:
        yield waiting


def _top(region: Region) -> float:
    return min((box[1] for box in region.boxes_px), default=float("inf"))


def _render_figure(page: int, number: int, region: Region, figure_link: FigureLink | None) -> str:
    name = f"{region.label} {number} of page {page}"
    if figure_link is None:
        return f"<!-- {name}: {', '.join(map(_box_text, region.boxes_px))} -->"
    # in angle brackets a target may have spaces; ">" or a line break would end it
    target = figure_link(number, region).replace(">", "%3E").replace("\n", "%0A")
    if any(character in target for character in " ()<"):
        target = f"<{target.replace('<', '%3C')}>"
    return f"![{name}]({target})"


def text_of(region: Region, task: str) -> str:
    """The text that was read: the region's text, or its label if that is what was read or found."""
    text = region.text.strip()
    if not text and (task == BOXES or region.label not in TEXT_LABELS):
        return region.label
    return text


def _render_text(region: Region, task: str) -> str:
    text = text_of(region, task)
    if region.label in HEADINGS and region.text.strip() and not text.startswith("#"):
        # a Markdown heading must be one line
        return HEADINGS[region.label] + " ".join(text.split())
    return text


def _render_found(result: PageResult) -> str:
    items = []
    for region in result.regions:
        if region.boxes_px:
            boxes = "; ".join(map(_box_text, region.boxes_px))
            items.append(f"- {' '.join(region.label.split())}: {boxes}")
        if region.text.strip():
            items.append(region.text.strip())
    return "\n".join(items)


def _box_text(box_px: Box) -> str:
    return "({}, {}, {}, {})".format(*box_px)
