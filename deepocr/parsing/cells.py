"""The cells of tables in HTML."""

import html
import re
from dataclasses import dataclass, field

from deepocr.parsing.markup import nest, split_tags

TABLE = re.compile(r"(<table\b.*?(?:</table\s*>|\Z))", re.DOTALL)
"""A table in a text, even without its end. For splitting the text."""

_SPAN = re.compile(r"(col|row)span\s*=\s*[\"']?(\d{1,4})\b", re.ASCII)
MAX_SPAN = 100


@dataclass
class Cell:
    """A table cell: its plain text, and how many columns and rows it covers."""

    text: str
    columns: int = 1
    rows: int = 1


@dataclass(frozen=True)
class Cells:
    """The rows of all tables in order, and the text outside of cells: captions, and text in
    between."""

    rows: list[list[Cell]] = field(default_factory=list)
    outside: str = ""


def read_cells(text: str) -> Cells:
    """The cells in a piece of HTML, row by row; no text is lost."""
    rows: list[list[Cell]] = []
    outside: list[str] = []
    cell: Cell | None = None
    for piece in nest(split_tags(text)):
        if isinstance(piece, str):
            if cell is None:
                outside.append(piece)
            else:
                cell.text += piece
        elif piece.name in ("td", "th"):
            cell = None
            if not piece.is_end:
                spans = dict(_SPAN.findall(piece.attributes.lower()))
                cell = Cell("", _span(spans.get("col")), _span(spans.get("row")))
                rows = rows or [[]]
                rows[-1].append(cell)
        elif piece.name == "tr" and not piece.is_end:
            rows.append([])
        elif piece.name == "br" and cell is not None:
            cell.text += "\n"
        else:
            outside.append("\n" if piece.is_end else "")
    for row in rows:
        for cell in row:
            cell.text = html.unescape(cell.text).strip()
    lines = (" ".join(line.split()) for line in html.unescape("".join(outside)).split("\n"))
    return Cells(rows, "\n".join(line for line in lines if line))


def _span(value: str | None) -> int:
    return min(max(int(value or 1), 1), MAX_SPAN)
