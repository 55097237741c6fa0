"""Lines in rows, and lines cut into pieces."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.types import Box, Quad

_NUMBER = re.compile(
    r"""^[(\[]?\s*[-−–+±<>≤≥~≈]?\s*[$€£¥]?\s*[-−–+±]?\s*
    (?:\d[\d.,:'/ ]*(?:[eE×x][-−+\d^]+)?\s*%?\s*[)\]]?\s*%?\s*[*†‡§]*[a-z]?|[-−–—.·]+)$""",
    re.VERBOSE,
)


def find_rows(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Lines side by side, from top to bottom, each row from left to right."""
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: line.center_px[1]):
        if rows:
            middle = sum(other.center_px[1] for other in rows[-1]) / len(rows[-1])
            least = min(line.height_px, *(other.height_px for other in rows[-1]))
            if line.center_px[1] - middle < 0.5 * least:
                rows[-1].append(line)
                continue
        rows.append([line])
    return [sorted(row, key=lambda line: line.box_px[0]) for row in rows]


def in_rows(lines: Sequence[TextLine]) -> list[TextLine]:
    """Lines from top to bottom, those side by side from left to right."""
    return [line for row in find_rows(lines) for line in row]


def bounds(lines: Sequence[TextLine]) -> Box:
    """The box around lines."""
    return (
        min(line.box_px[0] for line in lines),
        min(line.box_px[1] for line in lines),
        max(line.box_px[2] for line in lines),
        max(line.box_px[3] for line in lines),
    )


def overlap(inner: Box, outer: Box) -> float:
    """Share of `inner` that lies in `outer`."""
    width = min(inner[2], outer[2]) - max(inner[0], outer[0])
    height = min(inner[3], outer[3]) - max(inner[1], outer[1])
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    return max(0, width) * max(0, height) / area if area else 0.0


def split_lines(lines: Sequence[TextLine], edges: Sequence[float]) -> list[TextLine]:
    """Lines that reach over an edge, cut there where a space is; the others as they are."""
    pieces: list[TextLine] = []
    for line in lines:
        pieces.extend(split_line(line, edges))
    return pieces


def split_line(line: TextLine, edges: Sequence[float], anywhere: bool = False) -> list[TextLine]:
    """A line cut at those edges that fall into it between two words, or `anywhere`."""
    if not line.char_x_px:
        return [line]
    x1, y1, x2, y2 = line.box_px
    reach = 0.5 * line.height_px
    cuts: list[tuple[int, float]] = []
    for edge in sorted(edges):
        if not x1 + reach < edge < x2 - reach:
            continue
        after = sum(x < edge for x in line.char_x_px)
        near = [i for i in (after - 1, after) if 0 < i < len(line.text) - 1]
        spaces = [i for i in near if line.text[i].isspace()]
        if spaces:
            cuts.append((spaces[0], edge))
        elif 0 < after < len(line.text) and (anywhere or _wide_gap(line, after)):
            cuts.append((after, edge))
    if not cuts:
        return [line]
    pieces: list[TextLine] = []
    start, left = 0, x1
    for end, edge in [*cuts, (len(line.text), float(x2))]:
        text = line.text[start:end]
        stripped = text.strip()
        if stripped:
            first = start + len(text) - len(text.lstrip())
            last = first + len(stripped)
            chars = line.char_x_px[first:last]
            half = 0.25 * line.height_px
            box = (
                x1 if start == 0 else max(left, round(chars[0] - half)),
                y1,
                x2 if end == len(line.text) else min(round(edge), round(chars[-1] + half)),
                y2,
            )
            quad = _part_quad(line, box[0], box[2])
            pieces.append(replace(line, text=stripped, box_px=box, quad_px=quad, char_x_px=chars))
        start, left = end, round(edge)
    return pieces


def split_wide_gaps(line: TextLine) -> list[TextLine]:
    """A line cut where the gap between two characters is that of columns."""
    edges = [
        (before + after) / 2
        for before, after in pairwise(line.char_x_px)
        if after - before > 2.2 * line.height_px
    ]
    return split_line(line, edges) if edges else [line]


def cell_pieces(line: TextLine) -> list[TextLine]:
    """A line cut where its parts stand in cells of their own: at wide gaps, between numbers."""
    return [piece for part in split_wide_gaps(line) for piece in _split_numbers(part)]


def _split_numbers(line: TextLine) -> list[TextLine]:
    """A line of nothing but numbers, cut between them; digits in groups are one number."""
    spaces = [index for index, character in enumerate(line.text) if character.isspace()]
    if not spaces or not line.char_x_px or not all(map(is_number, line.text.split())):
        return [line]
    x = line.char_x_px
    steps = [b - a for (a, b), text in zip(pairwise(x), line.text, strict=False) if text.isdigit()]
    usual_px = median(steps) if steps else 0.0
    edges = [x[index] for index in spaces if x[index + 1] - x[index - 1] > 1.7 * usual_px]
    return split_line(line, edges) if edges else [line]


def is_number(text: str) -> bool:
    """Digits with the marks that stand around them in tables, or a mark for none."""
    return bool(_NUMBER.match(text.strip()))


def _part_quad(line: TextLine, left_px: int, right_px: int) -> Quad:
    """The part of a line's corners on the page from `left_px` to `right_px` of its box."""
    start = (left_px - line.box_px[0]) / max(1, line.width_px)
    end = (right_px - line.box_px[0]) / max(1, line.width_px)

    def between(a: tuple[int, int], b: tuple[int, int], share: float) -> tuple[int, int]:
        return round(a[0] + share * (b[0] - a[0])), round(a[1] + share * (b[1] - a[1]))

    a, b, c, d = line.quad_px
    return between(a, b, start), between(a, b, end), between(d, c, end), between(d, c, start)


def _wide_gap(line: TextLine, after: int) -> bool:
    gap_px = line.char_x_px[after] - line.char_x_px[after - 1]
    return gap_px > 1.2 * line.height_px
