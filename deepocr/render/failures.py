"""Reports a page that failed, or that could not be rendered, in its place."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from deepocr.errors import reason
from deepocr.types import PageResult

log = logging.getLogger(__name__)

Rendered = TypeVar("Rendered")


def failure_comment(result: PageResult) -> str:
    """An HTML comment in a failed page's place, so that no page goes missing silently."""
    # "--" is not allowed inside a comment, and ">" could end it
    reason = " ".join((result.error or "unknown reason").split())
    reason = re.sub("-(?=-)", "- ", reason).replace(">", "&gt;")
    return f"<!-- page {result.number} failed: {reason} -->"


def render_or_tell(
    render: Callable[[PageResult], Rendered], result: PageResult, output: str
) -> Rendered:
    """Render the page. If that raises any error, render a failed page that says so instead.
    `output` is the name of the output that is being written."""
    try:
        return render(result)
    except Exception as error:  # any error is reported in place of the page
        log.warning("page %d cannot be written as %s", result.number, output, exc_info=True)
        why = f"it cannot be written as {output}: {reason(error)}"
        return render(replace(result, status="failed", regions=(), error=why))
