"""Tables as grids of cells, from rulings or from the alignment of lines, and their HTML."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import bounds, find_rows, in_rows, split_lines
from deepocr.engines.ppocr.structure.text import join_lines
from deepocr.engines.ppocr.tables.gutters import find_gutters
from deepocr.engines.ppocr.tables.heads import Span, count_heads
from deepocr.engines.ppocr.tables.rulings import TOUCH_PX, Grid, Rulings, covers
from deepocr.engines.ppocr.tables.tabular import holds_prose
from deepocr.engines.ppocr.tables.wrapped import (
    column_widths,
    ends_early,
    holds_numbers,
    holds_rows,
    row_edges,
)
from deepocr.types import Box


@dataclass(frozen=True)
class GridCell:
    """A cell from (row, column) over `rows` and `columns`."""

    row: int
    column: int
    text: str
    rows: int = 1
    columns: int = 1


@dataclass(frozen=True)
class Table:
    """Cells in the order of their rows, where they stand, the lines in them in that order.

    The first `num_heads` rows are headings.
    """

    cells: tuple[GridCell, ...]
    num_rows: int
    num_columns: int
    box_px: Box
    lines: tuple[TextLine, ...]
    most_lines: int = 0
    num_heads: int = 0


def table_html(table: Table) -> str:
    """`<table>` on one line, as the DeepSeek model writes it."""
    rows: list[list[str]] = [[] for _ in range(table.num_rows)]
    for cell in sorted(table.cells, key=lambda cell: (cell.row, cell.column)):
        spans = f' rowspan="{cell.rows}"' if cell.rows > 1 else ""
        spans += f' colspan="{cell.columns}"' if cell.columns > 1 else ""
        tag = "th" if cell.row < table.num_heads else "td"
        rows[cell.row].append(f"<{tag}{spans}>{html.escape(cell.text, quote=False)}</{tag}>")
    lines = [f"<tr>{''.join(row)}</tr>" for row in rows]
    heads, body = "".join(lines[: table.num_heads]), "".join(lines[table.num_heads :])
    if not heads:
        return f"<table>{body}</table>"
    return f"<table><thead>{heads}</thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True)
class Edges:
    """Where columns and rows end. Those without a ruling are `soft`: text may reach over them.

    `heads` has for each heading row of a table without a grid from where to where its cells reach.
    """

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    soft_xs: frozenset[float] = frozenset()
    soft_ys: frozenset[float] = frozenset()
    heads: tuple[tuple[Span, ...], ...] = ()

    def spanned(self, row: int) -> frozenset[int]:
        """Columns of a heading row that are under a cell over several."""
        found: set[int] = set()
        for left, right in self.heads[row]:
            inside = range(self._column(left), self._column(right) + 1)
            found.update(inside if len(inside) > 1 else ())
        return frozenset(found)

    def without_open_heads(self) -> "Edges":
        """Heading rows that no cell over several columns parts, as one row."""
        heads, ys = list(self.heads), list(self.ys)
        for row in reversed(range(len(heads) - 1)):
            if not self.spanned(row) | self.spanned(row + 1):
                heads[row : row + 2] = [(*heads[row], *heads[row + 1])]
                del ys[row + 1]
        return replace(self, heads=tuple(heads), ys=tuple(ys))

    def _column(self, x: float) -> int:
        return sum(x >= edge for edge in self.xs[1:-1])


def ruled_table(grid: Grid, lines: Sequence[TextLine], line_px: float) -> Table | None:
    """The table that rulings make around these lines; None for a frame, a chart or a page.

    Columns and rows that the rulings leave together are parted by the alignment of their lines.
    """
    grid = _drop_stray_edges(_drop_empty_edges(grid, lines), line_px)
    edges = _with_soft_edges(grid, lines, line_px)
    if (len(edges.xs) - 1) * (len(edges.ys) - 1) < 2 or (
        # no rule parts rows, and those between columns stand between columns of running text
        len(grid.ys) == 2 and holds_prose(lines, grid.xs)
    ):
        return None
    pieces = split_lines(lines, edges.xs[1:-1])
    rows = find_rows(pieces)
    # between rules that are rarer than rows, the first one is below the headings
    rules = grid.ys[1:-1] if edges.soft_ys else ()
    heads = count_heads(rows, edges.xs, rules)
    last = max((line.center_px[1] for row in rows[:heads] for line in row), default=edges.ys[0])
    num_heads = sum(bottom <= last for bottom in edges.ys[1:]) + 1 if heads else 0
    table = fill_cells(edges, grid.rulings, pieces, lines, line_px)
    table = replace(table, num_heads=num_heads)
    return table if is_table(table) else None


def with_outer_cells(grid: Grid, lines: Sequence[TextLine], line_px: float) -> Grid:
    """The grid with the names of its rows and the headings of its columns that stand outside.

    `lines` are those that belong to the table by other evidence.
    """
    left, top, _, bottom = grid.box_px
    beside = [
        line
        for line in lines
        if line.box_px[2] < left + line_px and top < line.center_px[1] < bottom
    ]
    rows = list(pairwise(grid.ys))
    named = sum(any(a < line.center_px[1] < b for line in beside) for a, b in rows)
    if len(rows) > 2 and named >= MIN_NAMED * len(rows):
        left = min(line.box_px[0] for line in beside) - TOUCH_PX
    above = [
        line
        for line in lines
        if line.center_px[1] < top < line.box_px[3] + line_px and line.center_px[0] > left
    ]
    columns = list(pairwise(grid.xs))
    pieces = split_lines(above, grid.xs)
    headed = sum(any(a < piece.center_px[0] < b for piece in pieces) for a, b in columns)
    if headed >= MIN_NAMED * len(columns):
        top = min(line.box_px[1] for line in above) - TOUCH_PX
    return grid.grown(left, top)


MIN_NAMED = 0.8
"""Share of rows with a name beside them, and of columns with a heading above them."""

MAX_LINES_A_CELL = 14
MIN_FILLED = 0.3
LONG_TABLE = 10
"""Rows."""

MAX_HEIGHTS = 2.6
"""Letters of one table differ in height by less."""


def is_table(table: Table) -> bool:
    """Several filled columns; not a page in a frame, not the axes of a chart."""
    texts = [cell for cell in table.cells if cell.text]
    if table.num_columns < 2 or len(texts) < 3:
        return False
    heights = [line.height_px for line in table.lines if not line.vertical]
    if not heights or max(heights) > MAX_HEIGHTS * median(heights):
        return False
    return len(texts) >= MIN_FILLED * len(table.cells) and table.most_lines <= MAX_LINES_A_CELL


def _with_soft_edges(grid: Grid, lines: Sequence[TextLine], line_px: float) -> Edges:
    soft_xs: set[float] = set()
    for left, right in pairwise(grid.xs):
        inside = [line for line in lines if left <= line.center_px[0] < right]
        soft_xs.update(x for x in find_gutters(inside, line_px) if left + 4 < x < right - 4)
    xs = tuple(sorted({*map(float, grid.xs), *soft_xs}))
    soft_ys: set[float] = set()
    height = grid.ys[-1] - grid.ys[0]
    widths = column_widths(find_rows(split_lines(lines, xs[1:-1])), xs)
    for top, bottom in pairwise(grid.ys):
        inside = split_lines([one for one in lines if top <= one.center_px[1] < bottom], xs[1:-1])
        # cells of a table with all its rules may hold several lines; a tall band between few
        # rules holds rows, and so does one whose lines end before their cells are full
        tall = len(grid.ys) <= 4 or bottom - top >= 0.5 * height
        several, rows = holds_rows(inside, xs), find_rows(inside)
        if len(grid.ys) == 2 or (tall and several) or holds_numbers(inside, xs):
            soft_ys.update(row_edges(rows, xs))
        elif several and ends_early(inside, xs, widths):
            soft_ys.update((bounds(a)[3] + bounds(b)[1]) / 2 for a, b in pairwise(rows))
    ys = tuple(sorted({*map(float, grid.ys), *soft_ys}))
    return Edges(xs, ys, frozenset(soft_xs), frozenset(soft_ys))


def fill_cells(
    edges: Edges,
    rulings: Rulings,
    pieces: Sequence[TextLine],
    lines: Sequence[TextLine],
    line_px: float,
) -> Table:
    """The table that edges, rulings and pieces of text make; `pieces` are `lines`, cut at edges."""
    areas = _merge_cells(edges, rulings, pieces, line_px)

    def by_cell(some: Sequence[TextLine]) -> dict[tuple[int, int], list[TextLine]]:
        found: dict[tuple[int, int], list[TextLine]] = {}
        for one in some:
            row = sum(one.center_px[1] >= y for y in edges.ys[1:-1])
            found.setdefault(areas[row, _first_column(edges.xs, one, line_px)], []).append(one)
        return {place: in_rows(inside) for place, inside in sorted(found.items())}

    texts = by_cell(pieces)
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    for (row, column), first in areas.items():
        rows, columns = spans.get(first, (1, 1))
        spans[first] = (max(rows, row - first[0] + 1), max(columns, column - first[1] + 1))
    cells = []
    for place, (rows, columns) in sorted(spans.items()):
        cells.append(GridCell(*place, join_lines(texts.get(place, ())), rows, columns))
    box = (round(edges.xs[0]), round(edges.ys[0]), round(edges.xs[-1]), round(edges.ys[-1]))
    most = max((len(find_rows(inside)) for inside in texts.values()), default=0)
    ordered = tuple(line for inside in by_cell(lines).values() for line in inside)
    return Table(tuple(cells), len(edges.ys) - 1, len(edges.xs) - 1, box, ordered, most_lines=most)


def _are_parted(left: Sequence[TextLine], right: Sequence[TextLine], line_px: float) -> bool:
    """Is there more white between pieces than there is between words?"""
    if not left or not right:
        return False
    return min(p.box_px[0] for p in right) - max(p.box_px[2] for p in left) > line_px


def _first_column(xs: Sequence[float], line: TextLine, line_px: float) -> int:
    """A line within one column is where its middle is, one that spans several where it begins."""
    reach = 0.5 * line_px
    crossed = any(line.box_px[0] + reach < x < line.box_px[2] - reach for x in xs[1:-1])
    at = line.box_px[0] + reach if crossed else line.center_px[0]
    return sum(at >= x for x in xs[1:-1])


def _drop_empty_edges(grid: Grid, lines: Sequence[TextLine]) -> Grid:
    """Without outer rows and columns in which nothing stands, such as double borders."""
    xs, ys = list(grid.xs), list(grid.ys)
    centers = [line.center_px for line in lines]
    while len(ys) > 2 and not any(ys[0] <= y < ys[1] for _, y in centers):
        ys.pop(0)
    while len(ys) > 2 and not any(ys[-2] <= y < ys[-1] for _, y in centers):
        ys.pop()
    boxes = [line.box_px for line in lines]
    while len(xs) > 2 and not any(b[0] < xs[1] - 4 for b in boxes):
        xs.pop(0)
    while len(xs) > 2 and not any(b[2] > xs[-2] + 4 for b in boxes):
        xs.pop()
    return replace(grid, xs=tuple(xs), ys=tuple(ys))


def _drop_stray_edges(grid: Grid, line_px: float) -> Grid:
    """Without columns that end in a row or two of a long table: letters that stand in line."""
    num_rows = len(grid.ys) - 1
    if num_rows < LONG_TABLE:
        return grid
    slack_px = max(8.0, 0.5 * line_px)

    def ruled_rows(x: int) -> int:
        rows = pairwise(grid.ys)
        return sum(covers(grid.rulings.vertical, x, top, end, slack_px) for top, end in rows)

    inner = [x for x in grid.xs[1:-1] if ruled_rows(x) > max(1, 0.12 * num_rows)]
    return replace(grid, xs=(grid.xs[0], *inner, grid.xs[-1]))


def _merge_cells(
    edges: Edges, rulings: Rulings, pieces: Sequence[TextLine], line_px: float
) -> dict[tuple[int, int], tuple[int, int]]:
    """(row, column) of each base cell -> that of the top left cell of the cell it is part of."""
    slack_px = max(8.0, 0.5 * line_px)
    xs, ys = edges.xs, edges.ys
    num_rows, num_columns = len(ys) - 1, len(xs) - 1
    spanned = [edges.spanned(row) for row in range(len(edges.heads))]

    def open_right(row: int, column: int) -> bool:
        x, top, bottom = xs[column + 1], ys[row], ys[row + 1]
        ruled = covers(rulings.vertical, round(x), round(top), round(bottom), slack_px)
        # rules of the headings go on unseen between rows that no rule parts either
        unseen = not ruled and {top, bottom} & edges.soft_ys
        if x in edges.soft_xs or unseen:
            reach = 0.5 * line_px
            if row < len(edges.heads):
                return any(left < x < right for left, right in edges.heads[row])
            return any(
                top <= piece.center_px[1] < bottom
                and piece.box_px[0] + reach < x < piece.box_px[2] - reach
                for piece in pieces
            )
        if ruled:
            return False
        left, right = xs[column], xs[column + 2]
        return not _are_parted(
            [p for p in pieces if top <= p.center_px[1] < bottom and left < p.center_px[0] < x],
            [p for p in pieces if top <= p.center_px[1] < bottom and x <= p.center_px[0] < right],
            line_px,
        )

    def open_below(row: int, column: int) -> bool:
        y, left, right = ys[row + 1], xs[column], xs[column + 1]
        if row + 1 < len(edges.heads):
            return column not in spanned[row] | spanned[row + 1]
        if y in edges.soft_ys:
            return False
        return not covers(rulings.horizontal, round(y), round(left), round(right), slack_px)

    areas: dict[tuple[int, int], tuple[int, int]] = {}
    for row in range(num_rows):
        for column in range(num_columns):
            if (row, column) in areas:
                continue
            columns, rows = 1, 1
            while (
                column + columns < num_columns
                and (row, column + columns) not in areas
                and open_right(row, column + columns - 1)
            ):
                columns += 1
            while row + rows < num_rows and all(
                open_below(row + rows - 1, column + c)
                and (c == 0 or open_right(row + rows, column + c - 1))
                for c in range(columns)
            ):
                rows += 1
            for r in range(rows):
                for c in range(columns):
                    areas[row + r, column + c] = (row, column)
    return areas
