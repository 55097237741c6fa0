"""Tables without a grid of rulings, from the alignment of their lines."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import (
    bounds,
    cell_pieces,
    find_rows,
    is_number,
    split_line,
)
from deepocr.engines.ppocr.structure.paragraphs import CAPTION
from deepocr.engines.ppocr.tables.grid import Edges, Table, fill_cells, is_table
from deepocr.engines.ppocr.tables.gutters import find_gutters
from deepocr.engines.ppocr.tables.heads import column_of, count_heads, head_spans
from deepocr.engines.ppocr.tables.rulings import Ruling, Rulings
from deepocr.engines.ppocr.tables.tabular import holds_prose
from deepocr.engines.ppocr.tables.wrapped import row_edges
from deepocr.types import Box

Row = list[TextLine]

FULL = 0.6
"""Share of a table's width that rules at one height cover where they run all the way."""

WORDS = 0.75
"""Heights of a line between the letters on both sides of a space between words."""

MAX_IGNORED = 0.3
"""Share of the rows that may ignore the columns."""

FAR = 2.0
"""Heights of a line between pieces that are in cells of their own."""

CURRENCY = frozenset("$€£¥")

SIGN_REACH = 0.5
"""Heights of a line: signs of one column begin no further apart than this."""


def aligned_table(
    lines: Sequence[TextLine], line_px: float, rules: Sequence[Ruling] = ()
) -> Table | None:
    """The table that lines make by their alignment; `rules` are the level rulings near it.

    Lines above and below that do not stand in its columns are left out.
    """
    pieces_of = [(line, cell_pieces(line)) for line in lines]
    pieces = [piece for _, parts in pieces_of for piece in parts]
    if len(pieces) < 4:
        return None
    full = full_rules(rules, bounds(pieces), line_px)
    rows = _trim(find_rows(pieces), find_gutters(pieces, line_px), full)
    inside = {id(piece) for row in rows for piece in row}
    kept = tuple(line for line, parts in pieces_of if any(id(part) in inside for part in parts))
    dollars = [piece.box_px[0] for row in rows for piece in row if piece.text.startswith("$")]
    rows = [_with_marks(row, dollars, line_px) for row in rows]
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
        for row in head_spans(heads, body, xs, partial, line_px)
    )
    inner = [_between(above, below) for above, below in pairwise([*heads, *body[:1]])]
    ys = (float(box[1] - 2), *inner, *row_edges(body, xs, full), float(box[3] + 2))
    edges = Edges(xs, ys, frozenset(gutters), frozenset(ys), spans).without_open_heads()
    pieces = [piece for row in rows for piece in row]
    table = fill_cells(edges, Rulings((), ()), pieces, kept, line_px)
    if _ignores(body, xs, line_px) or holds_prose(pieces, xs):
        return None
    table = replace(table, num_heads=len(edges.heads))
    return table if table.num_rows > 1 and is_table(table) else None


def _ignores(rows: Sequence[Row], xs: Sequence[float], line_px: float) -> bool:
    """Do many rows not stand in the columns: text over gutters, pieces far apart in one cell?"""
    reach = 0.5 * line_px

    def ignored(row: Row) -> bool:
        over = any(
            line.box_px[0] + reach < x < line.box_px[2] - reach for line in row for x in xs[1:-1]
        )
        apart = any(
            column_of(xs, left) == column_of(xs, right)
            and right.box_px[0] - left.box_px[2] > FAR * line_px
            for left, right in pairwise(row)
        )
        return len(row) > 1 and (over or apart)

    return sum(map(ignored, rows)) > MAX_IGNORED * len(rows)


def with_rows_beside(
    inside: Sequence[TextLine],
    lines: Sequence[TextLine],
    rules: Sequence[Ruling],
    line_px: float,
) -> list[TextLine]:
    """Lines of a table with the rows right above and below that stand in its columns.

    A row above may also hold headings over several columns, each underlined.
    """
    found = list(inside)
    left, top, right, bottom = bounds(inside)
    known = {id(line) for line in inside}
    near = [
        line
        for line in lines
        if id(line) not in known and left - line_px < line.center_px[0] < right + line_px
    ]
    pieces = [piece for line in inside for piece in cell_pieces(line)]
    for row in find_rows([line for line in near if line.center_px[1] > bottom]):
        if row[0].box_px[1] - bottom > line_px or not _stand_below(row, pieces, line_px):
            break
        found += row
        bottom = bounds(row)[3]
    for row in reversed(find_rows([line for line in near if line.center_px[1] < top])):
        underlined = all(
            any(
                row[0].center_px[1] < rule.at < top + line_px
                and rule.start - line_px < line.box_px[0]
                and line.box_px[2] < rule.end + line_px
                and rule.end - rule.start < 0.7 * (right - left)
                for rule in rules
            )
            for line in row
        )
        if top - row[0].box_px[3] > line_px or not (
            underlined or _stand_below(row, pieces, line_px)
        ):
            break
        found += row
        top = bounds(row)[1]
    return found


def _stand_below(row: Row, pieces: Sequence[TextLine], line_px: float) -> bool:
    """Is this a row of at least two pieces, each in line with some of these?"""
    return len(row) > 1 and all(
        any(
            min(abs(a - b) for a, b in zip(_anchors(line), _anchors(piece), strict=True))
            < 0.3 * line_px
            and min(line.box_px[2], piece.box_px[2]) > max(line.box_px[0], piece.box_px[0])
            for piece in pieces
        )
        for line in row
    )


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
        row = rows[number]
        if _stands_apart(row, gutters, full) or _beyond(row, full, above=True) or _names(row):
            begin = number + 1
    for number in range(len(rows) - 1, last, -1):
        if _stands_apart(rows[number], gutters, full) or _beyond(rows[number], full, above=False):
            end = number
    return [list(row) for row in rows[begin:end]]


def _stands_apart(row: Row, gutters: Sequence[float], full: Sequence[int]) -> bool:
    """One line from the first column on into others, not between the rules of the table."""
    if len(full) > 1 and min(full) < row[0].center_px[1] < max(full):
        return False
    return row[0].box_px[0] < gutters[0] < row[-1].box_px[2] - row[0].height_px


def _names(row: Row) -> bool:
    """The number and title of a table."""
    return bool(CAPTION.match(row[0].text))


def _beyond(row: Row, full: Sequence[int], above: bool) -> bool:
    """Outside of the first and the last rule."""
    middle = row[0].center_px[1]
    return len(full) > 1 and (middle < min(full) if above else middle > max(full))


def _with_marks(row: Row, dollars: Sequence[int], line_px: float) -> Row:
    """The row with the signs of currencies that stand apart joined to their numbers.

    A dollar is often read as an S; one that stands below or above a dollar (`dollars`: where these
    begin) is taken for one. Elsewhere an S is a size.
    """
    joined: Row = []
    for line in row:
        last = joined[-1] if joined else None
        if last is not None and last.text == "S" and _begins_at(last, dollars, line_px):
            last = replace(last, text="$")
        if last is not None and last.text in CURRENCY and is_number(line.text):
            joined[-1] = _joined(last, line)
        else:
            joined.append(line)
    return joined


def _begins_at(line: TextLine, places: Sequence[int], line_px: float) -> bool:
    return any(abs(line.box_px[0] - place) < SIGN_REACH * line_px for place in places)


def _joined(left: TextLine, right: TextLine) -> TextLine:
    a, _, _, d = left.quad_px
    _, b, c, _ = right.quad_px
    placed = left.char_x_px and right.char_x_px
    return replace(
        right,
        text=left.text + right.text,
        box_px=bounds([left, right]),
        quad_px=(a, b, c, d),
        char_x_px=(*left.char_x_px, *right.char_x_px) if placed else (),
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

    usual = median(len(row) for row in rows)
    top = next(number for number, row in enumerate(rows) if len(row) >= usual)
    cut: list[Row] = []
    for number, row in enumerate(rows):
        cut.append([])
        for line in row:
            digits = not any(map(str.isalpha, line.text))
            # a heading over several columns has its words where it likes
            if number < top and not digits:
                cut[-1].extend(_parted_title(line, xs))
                continue
            parts = split_line(line, gutters, anywhere=digits)
            cut[-1].extend(parts if digits or all(map(in_line, parts)) else [line])
    return cut


def _parted_title(line: TextLine, xs: Sequence[float]) -> list[TextLine]:
    """Headings found as one line, cut where there is more white than between their words."""
    x, text = line.char_x_px, line.text
    gaps = [(x[i + 1] - x[i - 1], x[i]) for i in range(1, len(x) - 1) if x and text[i].isspace()]
    gaps.sort(reverse=True)
    count = sum(line.box_px[0] < edge < line.box_px[2] for edge in xs[1:-1])
    words_px = gaps[count][0] if len(gaps) > count else WORDS * line.height_px
    if not 0 < count <= len(gaps) or gaps[count - 1][0] < 1.15 * words_px:
        return [line]
    parts = split_line(line, [place for _, place in gaps[:count]])
    columns = {column_of(xs, part) for part in parts}
    return parts if len(columns) == len(parts) else [line]


def _anchors(line: TextLine) -> tuple[float, float, float]:
    return line.box_px[0], line.center_px[0], line.box_px[2]


def _between(above: Row, below: Row) -> float:
    return (max(line.box_px[3] for line in above) + min(line.box_px[1] for line in below)) / 2
