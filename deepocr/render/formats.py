"""The output formats of the predictor: name to renderer of a whole document."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from deepocr.errors import InvalidInput, reason
from deepocr.render.json import render_json
from deepocr.render.markdown import render_markdown
from deepocr.render.raw import join_pages, render_raw
from deepocr.types import DocumentResult, Job, PageResult

log = logging.getLogger(__name__)


def _in_text(render: Callable[[PageResult, Job], str]) -> Callable[[DocumentResult, bool], str]:
    def render_pages(result: DocumentResult, paged: bool) -> str:
        texts = [render(page, result.job) for page in result.pages]
        return join_pages(texts) if paged else "\n\n".join(texts)

    return render_pages


FORMATS: Mapping[str, Callable[[DocumentResult, bool], str]] = {
    "Raw": _in_text(lambda page, _job: render_raw(page)),
    "Markdown": _in_text(lambda page, job: render_markdown(page, task=job.task)),
    "JSON": lambda result, _paged: render_json(result),
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
    render = FORMATS[output_format]
    try:
        return render(result, paged)
    except Exception:  # told page by page below
        log.warning("a page cannot be rendered as %s", output_format, exc_info=True)

    def checked(page: PageResult) -> PageResult:
        try:
            render(replace(result, pages=(page,)), paged)
        except Exception as error:  # noqa: BLE001 - logged above
            why = f"it cannot be written as {output_format}: {reason(error)}"
            return PageResult(page.number, "failed", page.size_px, raw=page.raw, error=why)
        return page

    return render(replace(result, pages=tuple(map(checked, result.pages))), paged)
