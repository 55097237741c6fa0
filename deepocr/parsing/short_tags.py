"""Unlimited-OCR's tags: `<|det|>label [x1, y1, x2, y2]<|/det|>`, with one box and no `<|ref|>`."""

import re

SHORT_TAG = (
    r"<\|det\|>(?P<short_label>[^<\[\]\n]{1,200}+)(?P<short_box>\[[\d,\s]*+\])\s*+<\|/det\|>"
)
"""A part of the parser's pattern. It never backtracks, so junk takes linear time."""

_CUT = re.compile(r"<\|det\|>[^<\[\n]{0,200}+(?:\[[\d,\s]*+(?:\]\s*+(?:<\|?/?[det]*+\|?)?)?)?\Z")


def cut_short_tag(raw: str) -> re.Match[str] | None:
    """The tag that is cut off by the end of the text, if there is one."""
    start = raw.rfind("<|det|>")
    return _CUT.match(raw, start) if start >= 0 else None
