"""Reading order: columns from left to right, between what spans them from top to bottom.

A page is cut recursively. Where a white strip runs down through everything, what is left of it is
read before what is right of it; otherwise the page is cut across, into the largest bands that have
such a strip, and what spans the columns stands alone between them.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import TypeVar

from deepocr.engines.ppocr.structure.atoms import Atom
from deepocr.engines.ppocr.structure.graph_order import graph_order

T = TypeVar("T")

MIN_STRIP = 0.4
"""Of a line's height: a narrower white strip parts no columns."""

SHRINK = 0.12
"""Of a line's height: found boxes reach beyond their letters by this on either side."""

LEAST_LINES = ((1.5, 2), (0.8, 4), (0.0, 6))
"""A strip as wide as this, in heights of a line, parts columns of so many lines."""

NEW_BAND = 0.8
"""Of a line's height: a gap above, for a band to begin where the strips change."""

TableMaker = Callable[[Sequence[Atom[T]]], list[Atom[T]] | None]
"""A table of these atoms and those that are not in it, or None where they are no table."""


def reading_order(
    atoms: Sequence[Atom[T]], line_px: float, table_of: TableMaker[T]
) -> list[list[Atom[T]]]:
    """Runs of atoms in reading order; each run is one column, from top to bottom.

    Columns of short pieces that stand in rows are no columns to be read one after the other:
    `table_of` is asked to make one atom of them.
    """
    if not atoms:
        return []
    bands = _bands(atoms, line_px)
    tangled = [len(_columns(band, line_px)) == 1 and _is_tangled(band, line_px) for band in bands]
    in_tangle = sum(len(band) for band, is_so in zip(bands, tangled, strict=True) if is_so)
    if in_tangle > 0.5 * len(atoms):
        return graph_order(atoms, line_px)
    runs: list[list[Atom[T]]] = []
    last_spans = False
    for band in bands:
        columns = _columns(band, line_px)
        table = _table(columns, band, table_of)
        if table is not None:
            band, columns = table, [table]
        if len(columns) > 1:
            for column in columns:
                runs.extend(reading_order(column, line_px, table_of))
            last_spans = False
        elif _is_tangled(band, line_px):
            runs.extend(graph_order(band, line_px))
            last_spans = False
        elif last_spans:
            # one column that goes on below: one run, so that paragraphs may go on too
            runs[-1].extend(_top_down(band))
        else:
            runs.append(_top_down(band))
            last_spans = True
    return runs


def _table(
    columns: list[list[Atom[T]]], band: Sequence[Atom[T]], table_of: TableMaker[T]
) -> list[Atom[T]] | None:
    """Makes one of neighboring columns that hold no running text, where they hold one table.

    Returns the band with a table from its first column to its last; a table in a part of the
    columns becomes one column in place.
    """
    if len(columns) == 1:
        return table_of(band) if len(_strips(band, 0)) else None
    start = 0
    while start < len(columns):
        end = start
        while end < len(columns) and not _is_prose(columns[end]):
            end += 1
        if end - start > 1:
            together = [atom for column in columns[start:end] for atom in column]
            table = table_of(together)
            if table is not None and end - start == len(columns):
                return table
            # parted again one level deeper, where other rows may make up a table
            if end - start < len(columns):
                columns[start:end] = [together]
                end = start
        start = end + 1
    return None


def _is_prose(column: Sequence[Atom[T]]) -> bool:
    """Lines that fill the column's width, as running text does."""
    lines = [atom.box_px for atom in column if atom.is_line]
    if len(lines) < 4:
        return False
    left, right = min(box[0] for box in lines), max(box[2] for box in lines)
    height = median(box[3] - box[1] for box in lines)
    full = sum(box[2] - box[0] > 0.75 * (right - left) for box in lines)
    return full >= 0.5 * len(lines) and right - left > 8 * height


def _is_tangled(band: Sequence[Atom[T]], line_px: float) -> bool:
    """Many lines stand beside each other, and yet no strip parts them."""
    lines = sorted((atom.box_px for atom in band if atom.is_line), key=lambda box: box[1])
    if len(lines) < 10:
        return False
    beside = 0
    for index, box in enumerate(lines):
        for other in lines[index + 1 : index + 12]:
            level = abs(other[1] + other[3] - box[1] - box[3]) < line_px
            apart = other[0] > box[2] - 0.2 * line_px or box[0] > other[2] - 0.2 * line_px
            if level and apart and min(other[2] - other[0], box[2] - box[0]) > 6 * line_px:
                beside += 1
                break
    return beside > 0.25 * len(lines)


def _top_down(atoms: Sequence[Atom[T]]) -> list[Atom[T]]:
    return sorted(atoms, key=lambda atom: (atom.box_px[1] + atom.box_px[3], atom.box_px[0]))


def _bands(atoms: Sequence[Atom[T]], line_px: float) -> list[list[Atom[T]]]:
    """Cut across into bands whose white strips run all the way through."""
    bands: list[list[list[Atom[T]]]] = []
    for row in _rows(atoms):
        band = bands[-1] if bands else []
        flat = [atom for other in band for atom in other]
        if band and _belongs(flat, row, line_px):
            beside = not _strips(flat, line_px) and bool(_strips([*band[-1], *row], line_px))
            if not beside:
                band.append(row)
                continue
        bands.append([*_pop_beside(band, row, line_px), row])
    return [[atom for row in band for atom in row] for band in bands if band]


def _pop_beside(
    band: list[list[Atom[T]]], row: Sequence[Atom[T]], line_px: float
) -> list[list[Atom[T]]]:
    """Takes rows from the end of a band that already stand in the columns that begin with `row`.

    Lines of columns need not stand level, and one column may begin above the other.
    """
    taken: list[list[Atom[T]]] = []
    together = list(row)
    while band:
        gap_px = min(atom.box_px[1] for atom in together) - max(a.box_px[3] for a in band[-1])
        together += band[-1]
        if gap_px > NEW_BAND * line_px or not _strips(together, line_px):
            break
        taken.insert(0, band.pop())
    return taken


def _belongs(band: Sequence[Atom[T]], row: Sequence[Atom[T]], line_px: float) -> bool:
    """Does a row of atoms go on with the band above it?"""
    before = _strips(band, line_px)
    if not before:
        return not _strips(row, line_px)
    both = _strips([*band, *row], line_px)
    if not both:
        return False
    gap_px = min(atom.box_px[1] for atom in row) - max(atom.box_px[3] for atom in band)
    return len(both) >= len(before) or gap_px < NEW_BAND * line_px


def _rows(atoms: Sequence[Atom[T]]) -> list[list[Atom[T]]]:
    """Atoms that overlap in height, with some slack: boxes of tight lines touch."""
    rows: list[list[Atom[T]]] = []
    bottom = float("-inf")
    for atom in sorted(atoms, key=lambda atom: atom.box_px[1]):
        _x1, y1, _x2, y2 = atom.box_px
        slack_px = 0.2 * (y2 - y1) if atom.is_line else 0.0
        if y1 + slack_px >= bottom:
            rows.append([atom])
            bottom = y2 - slack_px
        else:
            rows[-1].append(atom)
            bottom = max(bottom, y2 - slack_px)
    return rows


def _strips(atoms: Sequence[Atom[T]], line_px: float) -> list[tuple[float, float]]:
    """White strips (left, right) that no atom reaches into."""
    strips = []
    reach: float | None = None
    for box, is_line in sorted((atom.box_px, atom.is_line) for atom in atoms):
        shrink_px = SHRINK * line_px if is_line else 0.0
        left, right = box[0] + shrink_px, box[2] - shrink_px
        if reach is not None and left - reach >= MIN_STRIP * line_px:
            strips.append((reach, left))
        reach = right if reach is None else max(reach, right)
    return strips


def _columns(atoms: Sequence[Atom[T]], line_px: float) -> list[list[Atom[T]]]:
    """The band's columns from left to right; the whole band where its strips part no columns."""
    edges = [(left + right) / 2 for left, right in _strips(atoms, line_px)]
    widths = [right - left for left, right in _strips(atoms, line_px)]
    while edges:
        parts = _parted(atoms, edges)
        weak = [
            index
            for index, (left, right) in enumerate(pairwise(parts))
            if not _are_columns(left, right, widths[index], line_px)
        ]
        if not weak:
            return parts
        narrowest = min(weak, key=lambda index: widths[index])
        del edges[narrowest], widths[narrowest]
    return [list(atoms)]


def _parted(atoms: Sequence[Atom[T]], edges: Sequence[float]) -> list[list[Atom[T]]]:
    parts: list[list[Atom[T]]] = [[] for _ in range(len(edges) + 1)]
    for atom in atoms:
        middle = (atom.box_px[0] + atom.box_px[2]) / 2
        parts[sum(middle > edge for edge in edges)].append(atom)
    return parts


def _are_columns(
    left: Sequence[Atom[T]], right: Sequence[Atom[T]], width_px: float, line_px: float
) -> bool:
    """Two columns stand beside each other over some height and have several lines each."""
    least = next(lines for width, lines in LEAST_LINES if width_px >= width * line_px)
    for side in (left, right):
        if all(atom.is_line for atom in side) and len(_rows(side)) < least:
            return False
    top = max(min(atom.box_px[1] for atom in side) for side in (left, right))
    bottom = min(max(atom.box_px[3] for atom in side) for side in (left, right))
    return bottom - top > 1.5 * line_px
