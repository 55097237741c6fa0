"""One HTML page for a document: pictures with regions beside the text, nothing from the network.

Everything a model wrote goes through `to_safe_html` or is escaped, and the page's own policy
forbids it any script but its own, any connection and any frame.
"""

import base64
import hashlib
import html
import io
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import IO

from PIL import Image

from deepocr.documents.turning import turn
from deepocr.errors import reason
from deepocr.render.failures import render_or_tell
from deepocr.render.findings import finding_boxes, finding_list, underlined, verdict_text
from deepocr.render.form_document import FormDocument, FormPage
from deepocr.render.markdown import FIGURE_LABELS, HEADINGS
from deepocr.render.safe_html import to_safe_html
from deepocr.types import PageResult, Region

log = logging.getLogger(__name__)

PICTURE_SIDE_PX = 1400
FIGURE_SIDE_PX = 800
PICTURE_QUALITY = 60

STATUS_TEXTS = {
    "ok": "",
    "retried": "read again",
    "contradicted": "read again, still contradicted",
    "truncated": "cut off at the token limit",
    "repetition": "ran in circles, not whole",
    "blank": "blank",
    "failed": "could not be read",
}


@dataclass(frozen=True)
class ShownPage:
    """A page to show. `picture_src` and the values of `figure_srcs` are data: URLs or other
    addresses for `img`; `figure_srcs` has as keys the index of the region in `result.regions`;
    `title` replaces the page's number above its text."""

    result: PageResult
    picture_src: str | None
    figure_srcs: Mapping[int, str]
    title: str = ""


def viewer_asset(name: str) -> str:
    """The text of `viewer.css` or `viewer.js`."""
    return resources.files("deepocr.render.viewer").joinpath(name).read_text(encoding="utf-8")


def write_html(file: IO[bytes], title: str, num_pages: int, pages: Iterable[ShownPage]) -> None:
    """Write the whole document as one file: first the pictures, page by page, then the texts, which
    are shown beside them. Only the texts are kept in memory."""
    file.write(_head(title, num_pages).encode("utf-8", "replace"))
    texts = []
    file.write(b'<section class="viewer-pictures" aria-label="Pages">\n')
    for page in pages:
        file.write(picture_html(page).encode("utf-8", "replace"))
        # texts are a few kilobytes per page; pictures, which are large, are not kept
        texts.append(text_html(page))
    file.write(b'</section>\n<section class="viewer-texts" aria-label="Text">\n')
    for text in texts:
        file.write(text.encode("utf-8", "replace"))
    script = viewer_asset("viewer.js")
    file.write(f"</section>\n</main>\n<script>{script}</script>\n</body>\n</html>\n".encode())


def write_html_form(document: FormDocument, file: IO[bytes]) -> None:
    """Write the document with its pictures and figures embedded."""
    write_html(file, document.title, document.num_pages, map(_with_pictures, document.pages()))


def _with_pictures(page: FormPage) -> ShownPage:
    """The page with its picture and figures. If these cannot be shown, it says so and has only its
    text."""
    try:
        drawn = page.draw()
        picture = None
        if drawn is not None:
            picture = data_url(turn(drawn, page.turned).image, PICTURE_SIDE_PX)
        figures = {index: _figure(png) for index, png in page.figures().items()}
        return ShownPage(page.result, picture, figures)
    except Exception as error:
        log.warning("page %d is shown without its picture", page.result.number, exc_info=True)
        told = f"its picture cannot be shown: {reason(error)}"
        return ShownPage(replace(page.result, error=page.result.error or told), None, {})


def _figure(png: bytes) -> str:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return data_url(image.convert("RGB"), FIGURE_SIDE_PX)


def data_url(image: Image.Image, side_px: int) -> str:
    """The picture as WebP, its longer side at most `side_px`."""
    small = image.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=PICTURE_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getbuffer()).decode("ascii")


def picture_html(page: ShownPage) -> str:
    """The picture of a page with a rectangle for each box."""
    result = page.result
    width, height = result.size_px
    if page.picture_src is None or not width or not height:
        return ""
    boxes = "".join(
        f'<rect x="{x1}" y="{y1}" width="{max(1, x2 - x1)}" height="{max(1, y2 - y1)}" '
        f'data-region="{result.number}-{index}" tabindex="0">'
        f"<title>{html.escape(region.label[:80])}</title></rect>"
        for index, region in enumerate(result.regions)
        for x1, y1, x2, y2 in region.boxes_px
    )
    boxes += finding_boxes(result)
    return (
        f'<figure class="page-picture" data-page="{result.number}" id="picture-{result.number}">'
        f'<img src="{html.escape(page.picture_src)}" width="{width}" height="{height}" '
        f'alt="Page {result.number}" decoding="async">'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none">{boxes}</svg></figure>\n'
    )


def text_html(page: ShownPage) -> str:
    """The text of a page, region by region."""
    return render_or_tell(lambda result: _text_html(result, page), page.result, "HTML")


def _text_html(result: PageResult, page: ShownPage) -> str:
    status = html.escape(STATUS_TEXTS.get(result.status, result.status))
    parts = [
        f'<article class="page-text" data-page="{result.number}" id="text-{result.number}">'
        f'<h2 class="page-head">{html.escape(page.title) or f"Page {result.number}"} '
        f'<span class="page-status" data-status="{html.escape(result.status)}">{status}</span>'
        f"{verdict_text(result.check)}</h2>"
    ]
    if result.error:
        parts.append(f'<p class="page-error">{html.escape(result.error)}</p>')
    parts.append(finding_list(result))
    for index, region in enumerate(result.regions):
        shown = _region_html(result.number, index, region, page.figure_srcs.get(index))
        parts.append(underlined(shown, result.check, index))
    parts.append("</article>\n")
    return "".join(parts)


def _region_html(page: int, index: int, region: Region, figure_src: str | None) -> str:
    tie = f' data-region="{page}-{index}" tabindex="0"' if region.boxes_px else ""
    label = html.escape(region.label[:80])
    figure = ""
    if figure_src is not None:
        figure = f'<img src="{html.escape(figure_src)}" alt="{label}">'
    elif region.label in FIGURE_LABELS:
        figure = f"<em>[{label}]</em>"
    text = region.text.strip()
    if region.label in HEADINGS and text and not text.startswith("#"):
        text = HEADINGS[region.label] + " ".join(text.split())
    inner = figure + (to_safe_html(text) if text else "")
    return f'<div class="region" data-label="{label}"{tie}>{inner or f"<em>{label}</em>"}</div>'


def _head(title: str, num_pages: int) -> str:
    safe_title = html.escape(title)
    digest = hashlib.sha256(viewer_asset("viewer.js").encode()).digest()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{base64.b64encode(digest).decode()}'"
    )
    return f"""<!DOCTYPE html>
<html lang="und">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe_title}</title>
<style>{viewer_asset("viewer.css")}</style>
</head>
<body class="viewer-page">
<header class="viewer-bar"><h1>{safe_title}</h1>
<label>Page <input type="number" min="1" data-go-to-page> of {num_pages}</label>
<button type="button" data-next-finding>Next finding</button>
<label><input type="checkbox" data-show-regions checked> regions</label></header>
<main class="viewer">
"""
