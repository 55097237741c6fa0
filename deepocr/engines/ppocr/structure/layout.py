"""Lines and what a layout model sees, to labeled blocks in reading order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepocr.engines.ppocr.recognition.columns import part_lines
from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.models import Picture
from deepocr.engines.ppocr.recognition.pieces import bounds, find_rows, in_rows, overlap
from deepocr.engines.ppocr.recognition.weight import Weigher
from deepocr.engines.ppocr.structure.atoms import Atom
from deepocr.engines.ppocr.structure.furniture import find_furniture
from deepocr.engines.ppocr.structure.layout_model import Seen
from deepocr.engines.ppocr.structure.paragraphs import (
    Paragraph,
    Style,
    body_height,
    char_width,
    make_paragraphs,
)
from deepocr.engines.ppocr.structure.reading_order import reading_order
from deepocr.engines.ppocr.structure.text import hyphenated_words, is_cjk, join_lines
from deepocr.engines.ppocr.tables.aligned import aligned_table, with_rows_beside
from deepocr.engines.ppocr.tables.grid import (
    Table,
    ruled_table,
    table_html,
    with_outer_cells,
)
from deepocr.engines.ppocr.tables.rulings import (
    Grid,
    Rulings,
    covers,
    find_grids,
    find_rulings,
)
from deepocr.engines.ppocr.tables.tabular import is_tabular
from deepocr.types import Box

FOOTNOTES_BELOW = 0.55
"""Share of the page's height above which small print is no footnote."""


MIN_COLUMN = 8.0
"""Of a line's height: lines of running text are wider than this."""

MAX_VERTICAL_GAP = 2.5
"""Of its width: lines that run downward follow each other at no more."""

MIN_INITIAL = 1.6
"""Of a line's height: a letter as high as this that begins a paragraph stands beside two lines."""

LOOKALIKES = {"0": "O", "1": "I", "工": "I", "口": "O"}
"""What large letters are read as that stand alone."""

MIN_TITLE = 0.65
"""Score of the model: below it a heading needs other evidence."""

MIN_EQUATION, MAX_EQUATION_WORDS = 0.7, 16
"""Score of the model, and words in a line: sentences with a formula in them are text."""


MIN_FILLED = 0.5
"""Share of the height of what a model sees as a figure that the rows of a table in it have."""


@dataclass(frozen=True)
class Block:
    """A labeled part of the page; `markdown` is `text` with its marks."""

    label: str
    lines: tuple[TextLine, ...]
    box_px: Box
    text: str
    markdown: str


Item = TextLine | Block


def find_blocks(picture: Picture, lines: Sequence[TextLine], seen: Sequence[Seen]) -> list[Block]:
    """Blocks of a straight page in reading order, furniture included."""
    if not lines:
        return []
    height, width = picture.shape[:2]
    body_px = body_height(lines)
    lines, initials = _with_initials(part_lines(picture, lines, body_px), body_px)
    # the model takes large letters for figures
    seen = [
        r
        for r in seen
        if all(overlap(initial, r.box_px) < 0.5 for initial in initials) or r.label != "figure"
    ]
    rulings = find_rulings(picture, [line.box_px for line in lines], body_px)
    labels = find_furniture(picture, lines, seen, rulings, body_px)
    furniture = [
        _block(labels[index], (line,)) for index, line in enumerate(lines) if index in labels
    ]
    free = [line for index, line in enumerate(lines) if index not in labels]
    tables, free = _take_tables(free, rulings, seen, body_px)
    figures, free = _take_figures(free, seen, tables, (width, height))
    equations, free = _take_equations(free, seen)
    vertical, free = _take_vertical(free)
    blocks = [*tables, *figures, *equations, *vertical]
    atoms: list[Atom[Item]] = [Atom(block.box_px, block, is_line=False) for block in blocks]
    atoms += [Atom(line.box_px, line) for line in free]
    style = Style(body_px, char_width(lines), hyphenated_words(lines), Weigher(picture))
    titles = [r.box_px for r in seen if r.label == "title" and r.score >= MIN_TITLE]
    ordered: list[Block] = []

    def table_of(some: Sequence[Atom[Item]]) -> list[Atom[Item]] | None:
        some_lines = [atom.item for atom in some if isinstance(atom.item, TextLine)]
        if len(some_lines) < len(some) or not is_tabular(some_lines, body_px):
            return None
        table = aligned_table(some_lines, body_px, rulings.horizontal)
        if table is None:
            return None
        block = _from_table(table)
        taken = {id(line) for line in table.lines}
        rest = [atom for atom in some if id(atom.item) not in taken]
        return [Atom(block.box_px, block, is_line=False), *rest]

    for run in reading_order(atoms, body_px, table_of):
        ordered += _blocks_of(run, titles, style, FOOTNOTES_BELOW * height)
    heads = [block for block in furniture if block.box_px[1] < height / 2]
    feet = [block for block in furniture if block.box_px[1] >= height / 2]
    return [*_top_down(heads), *_join_lists(ordered), *_top_down(feet)]


def _top_down(blocks: Sequence[Block]) -> list[Block]:
    return sorted(blocks, key=lambda block: (block.box_px[1], block.box_px[0]))


def _blocks_of(
    run: Sequence[Atom[Item]], titles: Sequence[Box], style: Style, footnote_top_px: float
) -> list[Block]:
    """A column's paragraphs, between its tables and figures."""
    found: list[Block] = []
    waiting: list[TextLine] = []

    def flush() -> None:
        for paragraph in make_paragraphs(waiting, titles, style, footnote_top_px):
            found.append(_from_paragraph(paragraph))
        waiting.clear()

    for atom in run:
        if isinstance(atom.item, Block):
            flush()
            found.append(atom.item)
        else:
            waiting.append(atom.item)
    flush()
    return found


def _take_tables(
    lines: Sequence[TextLine], rulings: Rulings, seen: Sequence[Seen], body_px: float
) -> tuple[list[Block], list[TextLine]]:
    """Tables, and the lines that are in none: by rulings, by the model, by alignment."""
    tables: list[Table] = []
    free = list(lines)

    def take(table: Table | None) -> None:
        nonlocal free
        if table is not None:
            tables.append(table)
            taken = {id(line) for line in table.lines}
            free = [line for line in free if id(line) not in taken]

    grids = sorted(find_grids(rulings, body_px), key=lambda grid: _area(grid.box_px))
    for grid in grids:
        for region in seen:
            if region.label == "table" and overlap(grid.box_px, region.box_px) > 0.9:
                around = [line for line in free if overlap(line.box_px, region.box_px) > 0.5]
                grid = with_outer_cells(grid, around, body_px)
        inside = [line for line in free if overlap(line.box_px, grid.box_px) > 0.5]
        if len(inside) > 1 and not _cuts_columns(grid, inside, free, body_px):
            take(ruled_table(grid, inside, body_px))
    for region in seen:
        if region.label == "table":
            inside = [line for line in free if overlap(line.box_px, region.box_px) > 0.5]
            if inside:
                inside = with_rows_beside(inside, free, rulings.horizontal, body_px)
            take(aligned_table(inside, body_px, rulings.horizontal))
        elif region.label == "figure":
            inside = [line for line in free if overlap(line.box_px, region.box_px) > 0.6]
            if _fills(inside, region.box_px) and is_tabular(inside, body_px):
                take(aligned_table(inside, body_px, rulings.horizontal))
    return [_from_table(table) for table in tables], free


def _fills(lines: Sequence[TextLine], box: Box) -> bool:
    """Rows of lines over most of the height of a box, as a table has and a chart has not."""
    rows = [row for row in find_rows(lines) if len(row) > 1]
    height = sum(max(line.height_px for line in row) for row in rows)
    return height > MIN_FILLED * (box[3] - box[1])


def _cuts_columns(
    grid: Grid, inside: Sequence[TextLine], lines: Sequence[TextLine], body_px: float
) -> bool:
    """Columns of running text go on into a grid whose upper edge is not ruled."""
    left, top, right, _ = grid.box_px
    if covers(grid.rulings.horizontal, top, left, right, max(8.0, 0.5 * body_px)):
        return False
    within = {id(line) for line in inside}
    wide = [line for line in lines if line.width_px > MIN_COLUMN * body_px]
    above = [line for line in wide if id(line) not in within and line.center_px[1] < top + body_px]
    goes_on = sum(
        abs(upper.box_px[0] - lower.box_px[0]) < body_px
        and lower.center_px[1] - upper.center_px[1] < 1.8 * body_px
        for lower in wide
        if id(lower) in within
        for upper in above
        if upper.center_px[1] > top - 2 * body_px
    )
    return goes_on >= 2


def _take_figures(
    lines: Sequence[TextLine],
    seen: Sequence[Seen],
    tables: Sequence[Block],
    size_px: tuple[int, int],
) -> tuple[list[Block], list[TextLine]]:
    """Figures with what is written in them, and the other lines."""
    figures: list[Block] = []
    free = list(lines)
    page_area = size_px[0] * size_px[1]
    for region in sorted(seen, key=lambda region: -region.score):
        if region.label != "figure":
            continue
        box = _inside_page(region.box_px, size_px)
        inside = [line for line in free if overlap(line.box_px, box) > 0.6]
        prose = sum(len(line.text.split()) >= 4 for line in inside)
        mostly_text = prose >= 4 or (len(inside) > 12 and _area(box) > 0.5 * page_area)
        known = [*tables, *figures]
        if mostly_text or any(overlap(block.box_px, box) > 0.5 for block in known):
            continue
        if any(overlap(box, block.box_px) > 0.3 for block in known):
            continue
        taken = {id(line) for line in inside}
        free = [line for line in free if id(line) not in taken]
        inside = in_rows(inside)
        # noise is left out of the text alone: no line that was read is lost
        text = "\n".join(line.text for line in inside if _says_something(line))
        figures.append(Block("image", tuple(inside), box, text, text))
    return figures, free


def _take_equations(
    lines: Sequence[TextLine], seen: Sequence[Seen]
) -> tuple[list[Block], list[TextLine]]:
    """Formulas on lines of their own: their pieces stand above each other, yet are one thing."""
    equations: list[Block] = []
    free = list(lines)
    for region in seen:
        if region.label != "equation" or region.score < MIN_EQUATION:
            continue
        inside = [line for line in free if overlap(line.box_px, region.box_px) > 0.5]
        if not inside or any(len(line.text.split()) > MAX_EQUATION_WORDS for line in inside):
            continue
        taken = {id(line) for line in inside}
        free = [line for line in free if id(line) not in taken]
        equations.append(_block("equation", in_rows(inside)))
    return equations, free


def _take_vertical(lines: Sequence[TextLine]) -> tuple[list[Block], list[TextLine]]:
    """Chinese that runs downward on a page of level lines: its lines follow from right to left."""
    free = [line for line in lines if not (line.vertical and is_cjk(line.text[0]))]
    groups: list[list[TextLine]] = []
    known = {id(line) for line in free}
    downward = [line for line in lines if id(line) not in known]
    for line in sorted(downward, key=lambda line: -line.box_px[0]):
        for group in groups:
            last = group[-1]
            common = min(line.box_px[3], last.box_px[3]) - max(line.box_px[1], last.box_px[1])
            near = last.box_px[0] - line.box_px[2] < MAX_VERTICAL_GAP * last.width_px
            if near and common > 0.3 * min(line.height_px, last.height_px):
                group.append(line)
                break
        else:
            groups.append([line])
    return [_block("text", group) for group in groups], free


def _with_initials(lines: Sequence[TextLine], body_px: float) -> tuple[list[TextLine], list[Box]]:
    """The lines, large first letters put before those that go on from them; where these stood."""
    joined = list(lines)
    places: list[Box] = []
    for initial in lines:
        large = initial.height_px > MIN_INITIAL * body_px
        if not large or len(initial.text) > 1 or not initial.text.isalnum():
            continue
        _, top, right, bottom = initial.box_px
        beside = [
            line
            for line in joined
            if line is not initial
            and top < line.center_px[1] < bottom
            and -body_px < line.box_px[0] - right < 1.5 * body_px
        ]
        if len(beside) > 1:
            first = min(beside, key=lambda line: line.center_px[1])
            text = LOOKALIKES.get(initial.text, initial.text) + first.text
            chars = (initial.center_px[0], *first.char_x_px) if first.char_x_px else ()
            joined[joined.index(first)] = replace(first, text=text, char_x_px=chars)
            joined.remove(initial)
            places.append(initial.box_px)
    return joined, places


def _says_something(line: TextLine) -> bool:
    """Not a tick of an axis, not a stain that looks like a letter."""
    letters = sum(character.isalpha() for character in line.text)
    return letters >= 3 and line.confidence >= (0.8 if " " in line.text else 0.93)


def _inside_page(box: Box, size_px: tuple[int, int]) -> Box:
    width, height = size_px
    return max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _from_table(table: Table) -> Block:
    text = table_html(table)
    box = bounds(table.lines)
    whole = (
        min(box[0], table.box_px[0]),
        min(box[1], table.box_px[1]),
        max(box[2], table.box_px[2]),
        max(box[3], table.box_px[3]),
    )
    plain = "\n".join(
        " | ".join(cell.text for cell in table.cells if cell.row == row)
        for row in range(table.num_rows)
    )
    return Block("table", table.lines, whole, plain, text)


def _from_paragraph(paragraph: Paragraph) -> Block:
    lines = paragraph.lines
    return Block(paragraph.label, lines, bounds(lines), paragraph.text, paragraph.markdown)


def _join_lists(blocks: Sequence[Block]) -> list[Block]:
    """List items that follow each other, as one list."""
    joined: list[Block] = []
    for block in blocks:
        if joined and block.label == joined[-1].label == "list":
            last = joined[-1]
            lines = (*last.lines, *block.lines)
            joined[-1] = Block(
                "list",
                lines,
                bounds(lines),
                f"{last.text}\n{block.text}",
                f"{last.markdown}\n{block.markdown}",
            )
        else:
            joined.append(block)
    return joined


def _block(label: str, lines: Sequence[TextLine]) -> Block:
    text = join_lines(lines)
    return Block(label, tuple(lines), bounds(lines), text, text)
