"""Unlimited-OCR's tags: `<|det|>label [x1, y1, x2, y2]<|/det|>`, with one box and no `<|ref|>`."""

import re

SHORT_TAG = (
    r"<\|det\|>(?P<short_label>[^<\[\]\n]{1,200}+)(?P<short_box>\[[\d,\s]*+\])\s*+<\|/det\|>"
)
"""For the parser's own pattern. Nothing in it goes back, so junk costs one look at each letter."""

_CUT = re.compile(r"<\|det\|>[^<\[\n]{0,200}+(?:\[[\d,\s]*+(?:\]\s*+(?:<\|?/?[det]*+\|?)?)?)?\Z")


def cut_short_tag(raw: str) -> re.Match[str] | None:
    """A tag that the text's end cuts off, if one is."""
    start = raw.rfind("<|det|>")
    return _CUT.match(raw, start) if start >= 0 else None
