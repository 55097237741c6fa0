"""The output formats of the predictor: name to renderer of a whole document."""

from collections.abc import Callable, Mapping

from deepocr.errors import InvalidInput
from deepocr.render.json import render_json
from deepocr.render.markdown import render_markdown
from deepocr.render.raw import join_pages
from deepocr.types import DocumentResult, PageResult


def failure_comment(page: PageResult) -> str:
    """What stands in the place of a page that could not be read."""
    reason = " ".join((page.error or "unknown reason").split()).replace("--", "- -")
    return f"<!-- page {page.number} failed: {reason} -->"


def _in_text(render: Callable[[PageResult], str]) -> Callable[[DocumentResult, bool], str]:
    def render_pages(result: DocumentResult, paged: bool) -> str:
        texts = [
            failure_comment(page) if page.status == "failed" else render(page)
            for page in result.pages
        ]
        return join_pages(texts) if paged else "\n\n".join(texts)

    return render_pages


FORMATS: Mapping[str, Callable[[DocumentResult, bool], str]] = {
    "Raw": _in_text(lambda page: page.raw),
    "Markdown": _in_text(render_markdown),
    "JSON": lambda result, _paged: render_json(result),
}


def render_document(result: DocumentResult, output_format: str, *, paged: bool) -> str:
    """One string in the format asked for; `paged` puts a page separator after each page.

    Raises InvalidInput for an unknown format.
    """
    if output_format not in FORMATS:
        raise InvalidInput(
            f"unknown output_format {output_format!r}; choose one of: {', '.join(FORMATS)}"
        )
    return FORMATS[output_format](result, paged)
