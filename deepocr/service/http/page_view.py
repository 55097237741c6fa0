"""One page of a task for the web page. Runs in a helper process: what a model wrote is hostile,
and making HTML of it may take long."""

import html
import json

from deepocr.render.html import ShownPage, picture_html, text_html
from deepocr.render.json import page_to_dict
from deepocr.render.markdown import render_markdown
from deepocr.service.state.files import TaskFiles
from deepocr.types import PageResult


def page_json(files: TaskFiles, task_id: str, number: int, task: str) -> bytes:
    """The page as in the JSON download, with its Markdown and the two halves of the viewer."""
    page = _page(files, task_id, number)
    shown = ShownPage(page, f"/api/v1/ocr/results/{task_id}/pages/{number}/image", {})
    return _json(page, render_markdown(page, task=task), picture_html(shown), text_html(shown))


def plain_page_json(files: TaskFiles, task_id: str, number: int, reason: str) -> bytes:
    """The fallback when that fails: the engine's text, and the reason."""
    page = _page(files, task_id, number)
    text = (
        f'<article class="page-text" data-page="{number}" id="text-{number}">'
        f'<h2 class="page-head">Page {number}</h2>'
        f'<p class="page-error">The page cannot be shown as it should: {html.escape(reason)}. '
        f"This is its text as it was read.</p><pre>{html.escape(page.raw)}</pre></article>\n"
    )
    return _json(page, page.raw, "", text)


def _page(files: TaskFiles, task_id: str, number: int) -> PageResult:
    page = files.page(task_id, number)
    if page is None:
        raise FileNotFoundError(f"page {number}")
    return page


def _json(page: PageResult, markdown: str, picture: str, text: str) -> bytes:
    more = {"markdown": markdown, "picture_html": picture, "text_html": text}
    return json.dumps({**page_to_dict(page), **more}).encode()
