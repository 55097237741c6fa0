"""Parses the model's tags into regions.

A tag is `<|ref|>label<|/ref|><|det|>[[x1, y1, x2, y2], ...]<|/det|>`, or Unlimited-OCR's (see
`short_tags`); the text up to the next tag belongs to it. Coordinates are whole numbers from 0 to
999. A malformed tag keeps its label and its valid boxes; a tag that is cut off at the end is
dropped. No marker remains in a text. A model's output is data: it is scanned, never evaluated.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from deepocr.parsing.boxes import RAW_MAX
from deepocr.parsing.short_tags import SHORT_TAG, cut_short_tag
from deepocr.parsing.tables import ROWS_AFTER, whole_tables
from deepocr.types import Box, Region, TextDelta

NEARLY_MAX = 1010
"""Coordinates up to this occur on good pages too and mean the edge."""

# Possessive quantifiers never backtrack and nothing reads beyond the next "<|", so junk takes
# linear time. A label may be a reference text, hence its length. Boxes without an end marker end
# with their line.
_TAG = re.compile(
    r"<\|/?ref\|>(?P<label>(?:(?!<\|).){0,2000}+)<\|/ref\|>\s{0,8}+"
    r"(?:<\|det\|>(?:(?P<boxes>(?:(?!<\|).)*+)<\|/det\|>|(?P<open>[\d,:;. \t\[\]{}-]*+)))?+"
    rf"|{SHORT_TAG}",
    re.ASCII | re.DOTALL,
)
_BOX = re.compile(
    r"\[\s*+(\d{1,4}+)\s*+,\s*+(\d{1,4}+)\s*+,\s*+(\d{1,4}+)\s*+,\s*+(\d{1,4}+)\s*+\]", re.ASCII
)
_MARKER = re.compile(r"<\|/?(?:ref|det)\|>")
_CUT_TAG = re.compile(
    r"<\|ref\|>[^<\n]{0,2000}+(?:<\|?/?[ref]*\|?>?\s{0,8}"
    r"(?:<\|?[det]*\|?>?[\s\d\[\],-]*(?:<\|?/?[det]*\|?)?)?)?\Z"
)
_CUT_MARKER = re.compile(r"<\|[/a-z]{0,4}\|?\Z")

Span = tuple[int, int]


@dataclass
class _Part:
    """A region under construction; `text_span` and `tag_span` are ranges of the raw text."""

    label: str
    boxes_raw: tuple[Box, ...]
    tag_span: Span
    text_span: Span
    text: str = field(default="")


def parse_regions(
    raw: str, size_px: tuple[int, int], deltas: Sequence[TextDelta] = ()
) -> tuple[Region, ...]:
    """The regions of one page's raw text, in the order they were written.

    Text outside any tag becomes a region "text" without boxes; a tag without valid boxes becomes a
    region with its label and no boxes. Tables are completed (see `whole_tables`); an empty `table`
    region takes the `<table>` from the table_caption after it. A `<center>` around a whole text is
    removed.
    `size_px` is the upright page's width and height. When `deltas` (whose texts joined are `raw`)
    carry probabilities, a region's confidence is their mean over the region's text, or over its
    tag when it has no text. Time is linear in the length of `raw`.
    """
    parts = _split(raw)
    for part in parts:
        part.text_span = _trim(raw, part.text_span)
        part.text = _MARKER.sub("", raw[slice(*part.text_span)]).strip()
    for part, after in pairwise(parts):
        _move_table(raw, part, after)
    confidence = _Confidence(deltas)
    return tuple(
        Region(
            label=part.label,
            text=whole_tables(_without_center(part.text)),
            boxes_px=tuple(box_to_px(box, size_px) for box in part.boxes_raw),
            boxes_raw=part.boxes_raw,
            confidence=confidence.over(part.text_span if part.text else part.tag_span),
        )
        for part in parts
        if part.text or part.boxes_raw or part.label != "text"
    )


def box_to_px(box_raw: Box, size_px: tuple[int, int]) -> Box:
    """Converts coordinates from 0 to 999 into pixels: x / 999 * width, rounded."""
    width_px, height_px = size_px
    x1, y1, x2, y2 = box_raw
    return (
        round(x1 / RAW_MAX * width_px),
        round(y1 / RAW_MAX * height_px),
        round(x2 / RAW_MAX * width_px),
        round(y2 / RAW_MAX * height_px),
    )


def box_to_raw(box_px: Box, size_px: tuple[int, int]) -> Box:
    """Converts pixels into 0 to 999, for engines that work in pixels; boxes are cut at the page's
    edge."""
    x1, y1, x2, y2 = (
        min(RAW_MAX, max(0, round(value / size_px[axis % 2] * RAW_MAX)))
        for axis, value in enumerate(box_px)
    )
    return x1, y1, x2, y2


def format_tag(label: str, boxes_raw: Iterable[Box]) -> str:
    """The tag as the model writes it. A label cannot contain `<|`, so its bar is removed."""
    boxes = ", ".join(f"[{x1}, {y1}, {x2}, {y2}]" for x1, y1, x2, y2 in boxes_raw)
    return f"<|ref|>{label.replace('<|', '<')}<|/ref|><|det|>[{boxes}]<|/det|>"


def _split(raw: str) -> list[_Part]:
    """One part for the text before the first tag, one for each tag."""
    end = _end(raw)
    parts = [_Part("text", (), (0, 0), (0, end))]
    for match in _TAG.finditer(raw, 0, end):
        before = parts[-1]
        before.text_span = (before.text_span[0], match.start())
        label = (match["label"] or match["short_label"] or "").strip() or "text"
        boxes = _boxes(match["boxes"] or match["open"] or match["short_box"] or "")
        parts.append(_Part(label, boxes, match.span(), (match.end(), end)))
    return parts


def _end(raw: str) -> int:
    """The end of the text, without a tag that was cut off there."""
    start = raw.rfind("<|ref|>")
    cut = _CUT_TAG.match(raw, start) if start >= 0 else None
    cuts = (cut, cut_short_tag(raw), _CUT_MARKER.search(raw, max(0, len(raw) - 8)))
    return min((found.start() for found in cuts if found), default=len(raw))


def _boxes(text: str) -> tuple[Box, ...]:
    """The valid boxes: no number is far beyond the edge, and the corners are in order."""
    boxes = []
    for match in _BOX.finditer(text):
        numbers = [int(number) for number in match.groups()]
        x1, y1, x2, y2 = (min(number, RAW_MAX) for number in numbers)
        if max(numbers) <= NEARLY_MAX and x1 <= x2 and y1 <= y2:
            boxes.append((x1, y1, x2, y2))
    return tuple(boxes)


def _trim(raw: str, span: Span) -> Span:
    """The span without white space at its ends."""
    text = raw[slice(*span)]
    start = span[0] + len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def _move_table(raw: str, table: _Part, caption: _Part) -> None:
    """Move a table's HTML to the table: the model writes it with the caption that follows."""
    if table.label != "table" or table.text or caption.label != "table_caption":
        return
    start = caption.text.find("<table")
    if start < 0:
        return
    close = caption.text.rfind("</table>")
    # a table cut off by the token limit has no end
    end = close + len("</table>") if close > start else len(caption.text)
    if rows := ROWS_AFTER.match(caption.text, end):
        end = rows.end()
    offset = caption.text_span[0]
    table.text_span = (offset + start, offset + end)
    table.text = caption.text[start:end]
    rest = (caption.text[:start].rstrip(), caption.text[end:].lstrip())
    caption.text = "\n\n".join(text for text in rest if text)
    if start:
        caption.text_span = _trim(raw, (offset, offset + start))
    else:
        caption.text_span = _trim(raw, (offset + end, caption.text_span[1]))


def _without_center(text: str) -> str:
    inner = text.removeprefix("<center>").removesuffix("</center>")
    whole = len(text) - len(inner) == len("<center></center>")
    return inner.strip() if whole and "center>" not in inner else text


class _Confidence:
    """Cumulative sums over the deltas, so that any span takes two look-ups."""

    def __init__(self, deltas: Sequence[TextDelta]) -> None:
        self._ends = list(accumulate(len(delta.text) for delta in deltas))
        self._sums = list(accumulate((sum(d.probabilities) for d in deltas), initial=0.0))
        self._counts = list(accumulate((len(d.probabilities) for d in deltas), initial=0))

    def over(self, span: Span) -> float | None:
        """Mean probability of the tokens that overlap the span; None without tokens."""
        # the first delta that ends after the start, and the last that begins before the end
        first = bisect_left(self._ends, span[0] + 1)
        last = min(bisect_left(self._ends, span[1]) + 1, len(self._ends))
        count = self._counts[last] - self._counts[first] if last > first else 0
        return (self._sums[last] - self._sums[first]) / count if count else None
