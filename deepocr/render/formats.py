"""The output formats of the predictor: name to renderer of a whole document."""

from collections.abc import Callable, Mapping
from functools import partial

from deepocr.errors import InvalidInput
from deepocr.parsing.text import encodable
from deepocr.render.failures import render_or_tell
from deepocr.render.json import render_json
from deepocr.render.markdown import render_markdown
from deepocr.render.raw import join_pages, render_raw
from deepocr.types import DocumentResult, PageResult


def _in_text(
    name: str, document: DocumentResult, paged: bool, render: Callable[[PageResult], str]
) -> str:
    texts = [
        render_or_tell(lambda page: encodable(render(page)), page, name) for page in document.pages
    ]
    return join_pages(texts) if paged else "\n\n".join(texts)


FORMATS: Mapping[str, Callable[[DocumentResult, bool], str]] = {
    "Raw": lambda document, paged: _in_text("Raw", document, paged, render_raw),
    "Markdown": lambda document, paged: _in_text(
        "Markdown", document, paged, partial(render_markdown, task=document.job.task)
    ),
    "JSON": lambda document, _paged: render_json(document),
}


def render_document(result: DocumentResult, output_format: str, *, paged: bool) -> str:
    """One string in the format asked for; `paged` puts a page separator after each page.

    A page whose text cannot be rendered is a failed one in its place. Raises InvalidInput for an
    unknown format.
    """
    if output_format not in FORMATS:
        raise InvalidInput(
            f"unknown output_format {output_format!r}; choose one of: {', '.join(FORMATS)}"
        )
    return FORMATS[output_format](result, paged)
