"""Tables without a grid of rulings, from the alignment of their lines."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from deepocr.engines.ppocr.gutters import find_gutters
from deepocr.engines.ppocr.heads import column_of, count_heads, head_spans
from deepocr.engines.ppocr.lines import TextLine
from deepocr.engines.ppocr.pieces import bounds, cell_pieces, find_rows, is_number, split_line
from deepocr.engines.ppocr.rulings import Ruling, Rulings
from deepocr.engines.ppocr.tables import Edges, Table, fill_cells, is_table
from deepocr.engines.ppocr.wrapped import row_edges
from deepocr.types import Box

Row = list[TextLine]

FULL = 0.6
"""Share of a table's width that rules at one height cover where they run all the way."""

CURRENCY = frozenset("$€£¥S")


def aligned_table(
    lines: Sequence[TextLine], line_px: float, rules: Sequence[Ruling] = ()
) -> Table | None:
    """The table that lines make by their alignment; `rules` are the level rulings near it.

    Lines above and below that do not stand in its columns are left out.
    """
    pieces = [piece for line in lines for piece in cell_pieces(line)]
    if len(pieces) < 4:
        return None
    full = full_rules(rules, bounds(pieces), line_px)
    rows = _trim(find_rows(pieces), find_gutters(pieces, line_px), full)
    rows = [_with_marks(row) for row in rows]
    pieces = [piece for row in rows for piece in row]
    gutters = find_gutters(pieces, line_px)
    if len(rows) < 2 or not gutters:
        return None
    box = bounds(pieces)
    xs = (float(box[0] - 2), *gutters, float(box[2] + 2))
    rows = _cut(rows, xs, line_px)
    count = count_heads(rows, xs, full)
    heads, body = rows[:count], rows[count:]
    # what lies below the rule that ends the headings underlines no heading
    last = min((at for at in full if at > rows[count - 1][0].center_px[1]), default=box[3])
    partial = [rule for rule in rules if rule.at not in full and rule.at < last]
    reach_px = 0.5 * line_px
    spans = tuple(
        tuple((left + reach_px, right - reach_px) for left, right in row)
        for row in head_spans(heads, xs, partial, line_px)
    )
    inner = [_between(above, below) for above, below in pairwise([*heads, *body[:1]])]
    ys = (float(box[1] - 2), *inner, *row_edges(body, xs, full), float(box[3] + 2))
    edges = Edges(xs, ys, frozenset(gutters), frozenset(ys), spans).without_open_heads()
    pieces = [piece for row in rows for piece in row]
    table = fill_cells(edges, Rulings((), ()), pieces, line_px)
    kept = tuple(line for line in lines if box[1] <= line.center_px[1] <= box[3])
    table = replace(table, lines=kept, num_heads=len(edges.heads))
    return table if table.num_rows > 1 and is_table(table) else None


def full_rules(rules: Sequence[Ruling], box: Box, line_px: float) -> list[int]:
    """Heights of the rules that run all the way across a box, in one piece or in several."""
    left, right = box[0], box[2]
    found = []
    for rule in sorted(rules, key=lambda rule: rule.at):
        level = [other for other in rules if abs(other.at - rule.at) < 0.2 * line_px]
        covered = sum(max(0, min(r.end, right) - max(r.start, left)) for r in level)
        begins = min(r.start for r in level) < left + line_px
        ends = max(r.end for r in level) > right - line_px
        if begins and ends and covered > FULL * (right - left):
            found.append(rule.at)
    return found


def _trim(rows: Sequence[Row], gutters: Sequence[float], full: Sequence[int]) -> list[Row]:
    """Without the lines above and below that are no rows: captions, notes, running text."""
    several = [number for number, row in enumerate(rows) if len(row) > 1]
    if not several or not gutters:
        return []
    first, last = several[0], several[-1]
    begin, end = 0, len(rows)
    for number in range(first):
        if _stands_apart(rows[number], gutters) or _beyond(rows[number], full, above=True):
            begin = number + 1
    for number in range(len(rows) - 1, last, -1):
        if _stands_apart(rows[number], gutters) or _beyond(rows[number], full, above=False):
            end = number
    return [list(row) for row in rows[begin:end]]


def _stands_apart(row: Row, gutters: Sequence[float]) -> bool:
    """One line from the first column on into others."""
    return row[0].box_px[0] < gutters[0] < row[-1].box_px[2] - row[0].height_px


def _beyond(row: Row, full: Sequence[int], above: bool) -> bool:
    """Outside of the first and the last rule."""
    middle = row[0].center_px[1]
    return len(full) > 1 and (middle < min(full) if above else middle > max(full))


def _with_marks(row: Row) -> Row:
    """The row with the signs of currencies that stand apart joined to their numbers."""
    joined: Row = []
    for line in row:
        last = joined[-1] if joined else None
        if last is not None and last.text in CURRENCY and is_number(line.text):
            # a dollar is often read as an S
            joined[-1] = _joined(replace(last, text=last.text.replace("S", "$")), line)
        else:
            joined.append(line)
    return joined


def _joined(left: TextLine, right: TextLine) -> TextLine:
    a, _, _, d = left.quad_px
    _, b, c, _ = right.quad_px
    return replace(
        right,
        text=left.text + right.text,
        box_px=bounds([left, right]),
        quad_px=(a, b, c, d),
        char_x_px=(*left.char_x_px, *right.char_x_px),
    )


def _cut(rows: Sequence[Row], xs: Sequence[float], line_px: float) -> list[Row]:
    """Rows whose pieces are cut at gutters where what is cut off stands in line with its column."""
    gutters = xs[1:-1]
    places: dict[int, list[TextLine]] = {}
    for row in rows:
        for line in row:
            if split_line(line, gutters) == [line]:
                places.setdefault(column_of(xs, line), []).append(line)

    def in_line(part: TextLine) -> bool:
        others = places.get(column_of(xs, part), ())
        return any(
            min(abs(a - b) for a, b in zip(_anchors(part), _anchors(other), strict=True))
            < 0.4 * line_px
            for other in others
        )

    cut: list[Row] = []
    for row in rows:
        cut.append([])
        for line in row:
            number = not any(map(str.isalpha, line.text))
            parts = split_line(line, gutters, anywhere=number)
            cut[-1].extend(parts if number or all(map(in_line, parts)) else [line])
    return cut


def _anchors(line: TextLine) -> tuple[float, float, float]:
    return line.box_px[0], line.center_px[0], line.box_px[2]


def _between(above: Row, below: Row) -> float:
    return (max(line.box_px[3] for line in above) + min(line.box_px[1] for line in below)) / 2
