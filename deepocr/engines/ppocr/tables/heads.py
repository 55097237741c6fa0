"""The heading rows of a table, and how far their cells reach."""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import is_number
from deepocr.engines.ppocr.tables.rulings import Ruling

Row = Sequence[TextLine]
Span = tuple[float, float]

MAX_HEADS = 5
MAX_NUMBERS = 0.34
"""Share of a heading's cells that may be numbers."""

_LABEL = re.compile(r"^(?:(?:19|20)\d\d|\(\w{1,3}\)|#)\W?$")
"""Years and numbers of columns: they look like numbers and head columns."""


def is_value(text: str) -> bool:
    """A number such as stands below a heading, no year, no number of a column."""
    return is_number(text) and not _LABEL.match(text.strip())


def count_heads(rows: Sequence[Row], xs: Sequence[float], rules: Sequence[float]) -> int:
    """How many rows from the top are headings; `rules` are the heights of rules over the table."""
    middles = [_middle(row) for row in rows]
    inner = {sum(middle < rule for middle in middles) for rule in rules} - {0, len(rows)}
    if not inner:
        return _heads_over_numbers(rows, xs)
    above = min(inner)
    texts = [line.text for row in rows[:above] for line in row]
    values = sum(map(is_value, texts))
    # the only rule within a table is below its headings, numbers as they may be
    alone = len(inner) == 1 and above <= 0.3 * len(rows)
    if above > MAX_HEADS or not (alone or values <= MAX_NUMBERS * len(texts)):
        return 0
    return _with_further_heads(rows, above, sorted(inner))


def _with_further_heads(rows: Sequence[Row], above: int, inner: Sequence[int]) -> int:
    """Headings below a rule: rows of words and years where all else are numbers."""
    for after in inner:
        texts = [line.text for row in rows[above:after] for line in row]
        body = [line.text for row in rows[after:] for line in row]
        numbers = sum(map(is_value, body)) > 0.5 * len(body)
        if above < after <= MAX_HEADS and numbers and not any(map(is_value, texts)):
            above = after
    return above


def _heads_over_numbers(rows: Sequence[Row], xs: Sequence[float]) -> int:
    """Rows of words at the top of columns of numbers."""
    numeric = []
    for left, right in pairwise(xs):
        texts = [line.text for row in rows for line in row if left <= line.center_px[0] < right]
        values = sum(map(is_value, texts))
        numeric.append(values >= 2 and values > 0.5 * len(texts))
    heads = 0
    for number, row in enumerate(rows[: MAX_HEADS + 1]):
        over = [line.text for line in row if numeric[column_of(xs, line)]]
        if any(map(is_value, over)):
            return heads
        if over:
            heads = number + 1
    return 0


def column_of(xs: Sequence[float], line: TextLine) -> int:
    """The column in which the middle of a piece stands; `xs` are the edges of the columns."""
    return sum(line.center_px[0] >= x for x in xs[1:-1])


def head_spans(
    heads: Sequence[Row],
    body: Sequence[Row],
    xs: Sequence[float],
    rules: Sequence[Ruling],
    line_px: float,
) -> list[list[Span]]:
    """For each heading row from where to where its cells reach, past the middles of columns.

    Over the columns above whose middles the rule right below them runs, if there is one; over the
    columns they stand centered on, if those have headings of their own in the next row.
    """
    middles = _middles(body, xs)
    found = []
    for number, row in enumerate(heads):
        below = heads[number + 1] if number + 1 < len(heads) else ()
        spans = []
        for line in row:
            left, right = float(line.box_px[0]), float(line.box_px[2])
            rule = _rule_below(line, rules, line_px)
            over = [x for x in middles if rule and rule.start < x < rule.end]
            if len(over) > 1:
                left, right = min(left, over[0] - line_px), max(right, over[-1] + line_px)
            elif below:
                left, right = _centered_over(line, row, below, xs, line_px)
            spans.append((left, right))
        found.append(spans)
    return found


def _middles(rows: Sequence[Row], xs: Sequence[float]) -> list[float]:
    """The usual middle of the pieces of each column."""
    places: dict[int, list[float]] = {}
    for row in rows:
        for line in row:
            places.setdefault(column_of(xs, line), []).append(line.center_px[0])
    return [median(places[column]) for column in sorted(places)]


def _rule_below(line: TextLine, rules: Sequence[Ruling], line_px: float) -> Ruling | None:
    below = [
        rule
        for rule in rules
        if -0.3 * line_px < rule.at - line.box_px[3] < 0.7 * line_px
        and rule.start - line_px < line.box_px[0]
        and line.box_px[2] < rule.end + line_px
    ]
    return min(below, key=lambda rule: rule.at, default=None)


def _centered_over(
    line: TextLine, row: Row, below: Row, xs: Sequence[float], line_px: float
) -> Span:
    own, middle = column_of(xs, line), line.center_px[0]
    # half the way to the headings beside it
    others = [other.center_px[0] for other in row if other is not line]
    low = max(((x + middle) / 2 for x in others if x < middle), default=xs[1])
    high = min(((x + middle) / 2 for x in others if x > middle), default=xs[-1])
    places = {column_of(xs, one): one for one in below if low < one.center_px[0] < high}
    best: Span = (line.box_px[0], line.box_px[2])
    for first in range(own, 0, -1):
        for last in range(own, len(xs) - 1):
            if last > first and all(column in places for column in range(first, last + 1)):
                left, right = places[first].box_px[0], places[last].box_px[2]
                off = abs((left + right) / 2 - middle)
                if off < 0.5 * line_px and right - left > best[1] - best[0]:
                    best = (left, right)
    return best


def _middle(row: Row) -> float:
    return sum(line.center_px[1] for line in row) / len(row)
