"""Splits the text of pages that were read together.

Unlimited-OCR writes `<PAGE>` before the text of each.
"""

import re
from collections.abc import Iterable, Sequence

from deepocr.types import TextDelta

_MARK = re.compile(r"\s*<PAGE>\s*")


def split_at_marks(deltas: Sequence[TextDelta]) -> list[list[TextDelta]]:
    """The text of each page, without the marks. Text before the first mark is a page too. A delta
    that spans a mark is split between both pages."""
    text = "".join(delta.text for delta in deltas)
    spans, start = [], 0
    for mark in _MARK.finditer(text):
        if start or mark.start():
            spans.append((start, mark.start()))
        start = mark.end()
    return [list(_cut(deltas, *span)) for span in (*spans, (start, len(text)))]


def _cut(deltas: Iterable[TextDelta], start: int, end: int) -> Iterable[TextDelta]:
    at = 0
    for delta in deltas:
        piece = delta.text[max(0, start - at) : max(0, end - at)]
        at += len(delta.text)
        if piece:
            yield TextDelta(piece, delta.probabilities)
