"""Tables in Markdown texts, as grids of cells."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

Place = tuple[int, int]
"""Row and column, from 0."""


@dataclass
class CellGrid:
    """What stands at each place; a cell that spans several stands at all of them."""

    cells: dict[Place, str] = field(default_factory=dict)
    owners: dict[Place, Place] = field(default_factory=dict)
    headings: set[Place] = field(default_factory=set)

    @property
    def num_rows(self) -> int:
        return 1 + max((row for row, _ in self.cells), default=-1)

    @property
    def num_columns(self) -> int:
        return 1 + max((column for _, column in self.cells), default=-1)

    def put(self, row: int, text: str, rows: int, columns: int, heading: bool) -> None:
        """The next cell of a row, after those that reach into it from above."""
        column = 0
        while (row, column) in self.cells:
            column += 1
        for r in range(row, row + rows):
            for c in range(column, column + columns):
                self.cells[r, c] = text
                self.owners[r, c] = (row, column)
                if heading:
                    self.headings.add((r, c))

    def neighbors(self, place: Place, down: int, right: int) -> set[str]:
        """Texts of the cells next to all sides of the cell at `place`, in one direction."""
        return {self.cells[other] for other in self._beside(self.owners[place], down, right)}

    def headings_of(self, place: Place, down: int, right: int) -> set[str]:
        """Texts of the heading cells all the way in one direction; of the last cells if none heads.

        The way leads from a cell that spans several columns or rows on to all cells beside it.
        """
        start = self.owners[place]
        heads: set[Place] = set()
        last: set[Place] = set()
        seen, waiting = {start}, [start]
        while waiting:
            cell = waiting.pop()
            beside = self._beside(cell, down, right)
            if cell != start and cell in self.headings:
                heads.add(cell)
            if cell != start and not beside:
                last.add(cell)
            waiting += beside - seen
            seen |= beside
        return {self.cells[other] for other in heads or last}

    def _beside(self, owner: Place, down: int, right: int) -> set[Place]:
        """The cells next to this one; over a place where a row has no cell, the one behind it."""
        found = set()
        for r, c in self._extent(owner):
            r, c = r + down, c + right
            while 0 <= r < self.num_rows and 0 <= c < self.num_columns:
                other = self.owners.get((r, c), owner)
                if other != owner:
                    found.add(other)
                    break
                r, c = r + down, c + right
        return found

    def _extent(self, place: Place) -> list[Place]:
        return [other for other, first in self.owners.items() if first == place]


def find_tables(markdown: str) -> list[CellGrid]:
    """The HTML and the Markdown tables of a text."""
    parser = _TableParser()
    parser.feed(markdown)
    parser.close()
    return [*parser.tables, *_pipe_tables(markdown)]


class _TableParser(HTMLParser):
    """Tables inside tables are read as text of their cell."""

    MAX_SPAN = 200

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[CellGrid] = []
        self._depth = 0
        self._row = -1
        self._cell: list[str] | None = None
        self._spans = (1, 1)
        self._heading = False
        self._in_head = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._depth += 1
            if self._depth == 1:
                self.tables.append(CellGrid())
                self._row = -1
        elif self._depth == 1 and tag == "thead":
            self._in_head = True
        elif self._depth == 1 and tag == "tr":
            self._end_cell()
            self._row += 1
        elif self._depth == 1 and tag in ("td", "th"):
            self._end_cell()
            values = dict(attrs)
            self._cell = []
            self._spans = (self._span(values.get("rowspan")), self._span(values.get("colspan")))
            self._heading = tag == "th" or self._in_head
        elif tag == "br" and self._cell is not None:
            self._cell.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self._depth:
            if self._depth == 1:
                self._end_cell()
            self._depth -= 1
        elif self._depth == 1 and tag in ("td", "th", "tr"):
            self._end_cell()
        elif tag == "thead":
            self._in_head = False

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def _end_cell(self) -> None:
        if self._cell is not None:
            text = " ".join("".join(self._cell).split())
            rows, columns = self._spans
            self.tables[-1].put(max(0, self._row), text, rows, columns, self._heading)
            self._cell = None

    def _span(self, value: str | None) -> int:
        return min(self.MAX_SPAN, max(1, int(value))) if value and value.isdigit() else 1


_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")


def _pipe_tables(markdown: str) -> list[CellGrid]:
    """Tables of `|` with a rule of dashes below their first row."""
    tables = []
    lines = markdown.splitlines()
    for index, line in enumerate(lines):
        if index == 0 or "|" not in lines[index - 1] or not _RULE.match(line):
            continue
        table = CellGrid()
        rows = [lines[index - 1]]
        for below in lines[index + 1 :]:
            if "|" not in below:
                break
            rows.append(below)
        for number, row in enumerate(rows):
            for cell in row.strip().strip("|").split("|"):
                table.put(number, cell.strip(), 1, 1, heading=number == 0)
        tables.append(table)
    return tables
