"""Completes HTML tables as models write them."""

import html
import re

from deepocr.parsing.markup import nest, split_tags

ROWS_AFTER = re.compile(
    r"\s*+(?:^(?=[^\n|]*+\|)(?:[^\n<]|<(?![a-zA-Z/!]))*+(?:\n|\Z))++", re.MULTILINE
)
"""Rows such as `a | b | c` directly after the end of a table."""

_TABLE = re.compile(r"<table\b", re.IGNORECASE)
_END = re.compile(r"</table\s*+>", re.IGNORECASE)
_CUT_TAG = re.compile(r"</?[a-zA-Z]{0,10}(?:\s[^<>]{0,100})?\Z")
_RULE = re.compile(r"[\s|:-]*")


def whole_tables(text: str) -> str:
    """The text with its tables closed and correctly nested, and rows after their ends moved inside.

    A text without such faults is returned unchanged.
    """
    if not _TABLE.search(text):
        return text
    text = _with_rows_after(text)
    pieces = list(split_tags(text))
    nested = list(nest(pieces))
    if nested == pieces:
        return text
    if not _END.search(text):
        nested = list(nest(split_tags(_CUT_TAG.sub("", text))))
    return "".join(map(str, nested))


def _with_rows_after(text: str) -> str:
    parts = []
    done = 0
    for end in _END.finditer(text):
        rows = ROWS_AFTER.match(text, end.end())
        if rows:
            parts += [text[done : end.start()], *map(_row, rows[0].strip().splitlines()), end[0]]
            # the line break after the last row is kept
            done = end.end() + len(rows[0].rstrip("\n"))
    return "".join((*parts, text[done:]))


def _row(line: str) -> str:
    if _RULE.fullmatch(line):
        return ""
    cells = line.strip().strip("|").split("|")
    inner = "".join(f"<td>{html.escape(cell.strip(), quote=False)}</td>" for cell in cells)
    return f"<tr>{inner}</tr>"
