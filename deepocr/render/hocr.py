"""hOCR 1.2: HTML with the place of each piece of text (https://kba.github.io/hocr-spec/1.2/).

Regions are areas with the engine's label in `data-label`. Lines and words are included, with their
boxes, only if the engine knows them.
"""

import html
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from deepocr import __version__
from deepocr.parsing.text import in_xml
from deepocr.render.failures import failure_comment, render_or_tell
from deepocr.render.form_document import FormDocument
from deepocr.render.markdown import FIGURE_LABELS
from deepocr.render.places import (
    angle_deg,
    around,
    one_by_one,
    plain_lines,
    quad_box,
    word_boxes,
    written_lines,
)
from deepocr.types import Box, Line, PageResult, Region

AREA = "ocr_carea"
CLASSES = {
    **dict.fromkeys(FIGURE_LABELS, "ocr_image"),
    "table": "ocr_table",
    "header": "ocr_header",
    "footer": "ocr_footer",
    "page_number": "ocr_pageno",
}
"""Classes by label; any other label gets AREA."""

_CAPABILITIES = sorted(
    {"ocr_page", AREA, "ocr_par", "ocr_line", "ocrx_word", "ocrp_wconf", *CLASSES.values()}
)


def hocr_pieces(document: FormDocument) -> Iterator[str]:
    """The document as XHTML, page by page."""
    title = html.escape(in_xml(document.title)) or "document"
    system = html.escape(in_xml(f"deepocr {__version__}, {document.engine}"))
    yield f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<title>{title}</title>
<meta name="ocr-system" content="{system}"/>
<meta name="ocr-capabilities" content="{" ".join(_CAPABILITIES)}"/>
<meta name="ocr-number-of-pages" content="{document.num_pages}"/>
</head>
<body>
"""
    for page in document.pages():
        render = partial(_page, name=document.name, task=page.task)
        yield render_or_tell(render, page.result, "hOCR")
    yield "</body>\n</html>\n"


def _page(result: PageResult, name: str, task: str) -> str:
    number, (width, height) = result.number, result.size_px
    # a property's value is plain ASCII in quotes, and ";" separates properties
    image = "".join(c if c.isascii() and c.isprintable() and c not in "\"';" else "_" for c in name)
    title = f"bbox 0 0 {width} {height}; ppageno {number - 1}"
    title += f'; image "{image}"' if image else ""
    parts = [f'<div class="ocr_page" id="page_{number}" title="{html.escape(title)}">\n']
    if result.status == "failed":
        # first, as a character less between two hyphens would join them
        told = replace(result, error=in_xml(result.error or ""))
        parts.append(f"{failure_comment(told)}\n")
    for index, region in enumerate(one_by_one(result.regions), start=1):
        parts.append(_region(region, f"{number}_{index}", task))
    return "".join((*parts, "</div>\n"))


def _region(region: Region, place: str, task: str) -> str:
    box = around(region.boxes_px)
    paragraph = _paragraph(region, box, place, task)
    if box is None:
        return paragraph  # an area must have a box
    kind = CLASSES.get(region.label, AREA)
    label = html.escape(in_xml(" ".join(region.label.split())))
    return (
        f'<div class="{kind}" id="block_{place}" title="{_bbox(box)}" data-label="{label}">\n'
        f"{paragraph}</div>\n"
    )


def _paragraph(region: Region, box: Box | None, place: str, task: str) -> str:
    lines = written_lines(region)
    if lines:
        shown = [_line(line, f"{place}_{n}") for n, line in enumerate(lines, start=1)]
    else:
        shown = ["<br/>\n".join(map(html.escape, plain_lines(region, task)))]
    if not any(shown):
        return ""
    title = f' title="{_bbox(box)}"' if box else ""
    return f'<p class="ocr_par" id="par_{place}"{title}>\n' + "\n".join(shown) + "\n</p>\n"


def _line(line: Line, place: str) -> str:
    angle = angle_deg(line.quad_px)
    title = f"{_bbox(quad_box(line.quad_px))}; x_wconf {100 * line.confidence:.0f}"
    title += f"; textangle {angle}" if angle else ""
    words = " ".join(
        f'<span class="ocrx_word" id="word_{place}_{n}" title="{_bbox(box)}">{text}</span>'
        if box
        else text
        for n, (word, box) in enumerate(word_boxes(line), start=1)
        if (text := html.escape(in_xml(word)))
    )
    return f'<span class="ocr_line" id="line_{place}" title="{title}">{words}</span>'


def _bbox(box: Box) -> str:
    return "bbox {} {} {} {}".format(*box)
