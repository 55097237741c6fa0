"""Raw text, verbatim, and the line between pages."""

from collections.abc import Iterable

from deepocr.render.failures import failure_comment
from deepocr.types import PageResult

PAGE_SPLIT = "<--- Page Split --->"
"""The page separator: a line of its own after each page of a PDF or TIFF."""


def render_raw(result: PageResult) -> str:
    """The engine's output including tags. A failed page is a comment with the reason."""
    return result.raw if result.status != "failed" else failure_comment(result)


def join_pages(texts: Iterable[str]) -> str:
    """Each page's text followed by a line with PAGE_SPLIT; an empty page has its line as well."""
    return "".join(f"{text.rstrip()}\n\n{PAGE_SPLIT}\n\n".lstrip("\n") for text in texts)
