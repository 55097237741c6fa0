"""Joins paragraphs and tables that continue on the next page."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from deepocr.types import PageResult, Region

_ROW = re.compile(r"<tr\b.*?</tr\s*>", re.IGNORECASE | re.DOTALL)
_CELL = re.compile(r"<t[dh]\b([^>]*)>", re.IGNORECASE)
_COLSPAN = re.compile(r"colspan\s*=\s*[\"']?(\d{1,3})", re.IGNORECASE)
_TABLE_START = re.compile(r"<table\b[^>]*>", re.IGNORECASE)
_TABLE_END = re.compile(r"(?:</tbody\s*>\s*)?</table\s*>\s*$", re.IGNORECASE)
_HEAD = re.compile(r"<thead\b.*?</thead\s*>", re.IGNORECASE | re.DOTALL)
_SECTION = re.compile(r"</?t(?:head|body|foot)\b[^>]*>", re.IGNORECASE)

# a paragraph that ends like this is over; a quotation mark or bracket may follow
_ENDED = re.compile(r"[.!?:;…。！？：；][\"'”’»)\]]*$")


def joined(pages: Iterable[PageResult]) -> Iterator[PageResult]:
    """The pages in order, each paragraph or table whole on the page where it begins. Pages are held
    back only while their last region may still continue."""
    held: list[PageResult] = []
    for page in pages:
        whole = _join(held[0], page) if held else None
        if whole is None:
            yield from held
            held = [page]
            continue
        first, rest = whole
        if rest.regions:
            yield from (first, *held[1:])
            held = [rest]
        else:
            # all of this page moved to the one before, which may continue even further
            held = [first, *held[1:], rest]
    yield from held


def _join(before: PageResult, after: PageResult) -> tuple[PageResult, PageResult] | None:
    """Both pages with the continued part on the first, or None if nothing continues."""
    if not before.regions or not after.regions or "failed" in (before.status, after.status):
        return None
    last, first = before.regions[-1], after.regions[0]
    text = _join_text(last, first)
    if text is None:
        return None
    return (
        replace(before, regions=(*before.regions[:-1], replace(last, text=text))),
        replace(after, regions=after.regions[1:]),
    )


def _join_text(last: Region, first: Region) -> str | None:
    if last.label == first.label == "text":
        return _join_paragraphs(last.text.rstrip(), first.text.lstrip())
    if last.label == first.label == "table":
        return _join_tables(last.text.strip(), first.text.strip())
    return None


def _join_paragraphs(last: str, first: str) -> str | None:
    if not last or not first or _ENDED.search(last):
        return None
    if last.endswith("-") and len(last) > 1 and last[-2].isalpha() and first[0].islower():
        return last[:-1] + first
    # a capital may begin a new paragraph after a heading or list item without a full stop
    return f"{last} {first}" if first[0].islower() else None


def _join_tables(last: str, first: str) -> str | None:
    """One table, or None if the numbers of columns differ. Repeated heading rows (without
    `<thead>`, the first row) are left out."""
    upper, lower = _ROW.findall(last), _ROW.findall(first)
    end = _TABLE_END.search(last)
    if not upper or not lower or not end or not _TABLE_START.match(first):
        return None
    if _columns(upper[0]) != _columns(lower[0]):
        return None
    marked = _HEAD.search(last)
    heads = len(_ROW.findall(marked[0])) if marked else 1
    # a second <thead> or <tbody> cannot be inside the body that continues
    rows = _SECTION.sub("", _TABLE_END.sub("", _TABLE_START.sub("", first, count=1)))
    if upper[:heads] == lower[:heads]:
        for row in lower[:heads]:
            rows = rows.replace(row, "", 1)
    return last[: end.start()] + rows + end[0]


def _columns(row: str) -> int:
    spans = (_COLSPAN.search(attributes) for attributes in _CELL.findall(row))
    return sum(int(span[1]) if span else 1 for span in spans)
