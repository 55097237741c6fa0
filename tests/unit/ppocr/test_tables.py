"""Tables from rulings and from alignment, and their HTML."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import split_line
from deepocr.engines.ppocr.structure.layout import find_blocks
from deepocr.engines.ppocr.structure.layout_model import Seen
from deepocr.engines.ppocr.tables.aligned import aligned_table, with_rows_beside
from deepocr.engines.ppocr.tables.grid import GridCell, Table, ruled_table, table_html
from deepocr.engines.ppocr.tables.rulings import Ruling, find_grids, find_rulings
from deepocr.engines.ppocr.tables.tabular import is_tabular
from tests.unit.ppocr.pages import line, prose, white

LINE_PX = 20.0


def rule(picture: npt.NDArray[np.uint8], x1: int, y1: int, x2: int, y2: int) -> None:
    cv2.line(picture, (x1, y1), (x2, y2), (0, 0, 0), 2)


def spanned_table() -> tuple[npt.NDArray[np.uint8], list[TextLine]]:
    """A heading over two columns, a name over two rows."""
    picture = white()
    xs, ys = (100, 300, 500, 700), (100, 140, 180, 220)
    for y in ys:
        rule(picture, 300 if y == 180 else 100, y, 700, y)
    for x in xs:
        rule(picture, x, 140 if x == 500 else 100, x, 220)
    lines = [
        line(120, 110, "Station"),
        line(420, 110, "Rain in mm"),
        line(120, 170, "Lighthouse"),
        line(350, 150, "1204"),
        line(550, 150, "1187"),
        line(350, 190, "988"),
        line(550, 190, "1012"),
    ]
    return picture, lines


def table_in(picture: npt.NDArray[np.uint8], lines: list[TextLine]) -> Table:
    rulings = find_rulings(picture, [one.box_px for one in lines], LINE_PX)
    (grid,) = find_grids(rulings, LINE_PX)
    table = ruled_table(grid, lines, LINE_PX)
    assert table is not None
    return table


def test_lines_of_a_table_follow_its_cells() -> None:
    """However they were found: a detector goes from the bottom up, or column by column."""
    picture, lines = spanned_table()
    for found in (lines[::-1], [*lines[1:], lines[0]]):
        assert [one.text for one in table_in(picture, found).lines] == [
            "Station",
            "Rain in mm",
            "Lighthouse",
            "1204",
            "1187",
            "988",
            "1012",
        ]
    rows = [[line(x, y, f"{x + y}") for x in (100, 400, 700)] for y in (100, 140, 180, 220)]
    aligned = aligned_table([one for row in rows[::-1] for one in row[::-1]], LINE_PX)
    assert aligned is not None
    assert list(aligned.lines) == [one for row in rows for one in row]


def test_ruled_table_with_spans() -> None:
    picture, lines = spanned_table()
    assert table_html(table_in(picture, lines)) == (
        '<table><thead><tr><th>Station</th><th colspan="2">Rain in mm</th></tr></thead>'
        '<tbody><tr><td rowspan="2">Lighthouse</td><td>1204</td><td>1187</td></tr>'
        "<tr><td>988</td><td>1012</td></tr></tbody></table>"
    )


def test_a_rule_that_letters_touch_is_found() -> None:
    picture = white()
    rule(picture, 100, 200, 700, 200)
    for y in range(185, 200, 3):
        cv2.line(picture, (300, y), (420, y), (0, 0, 0), 1)
    (found,) = find_rulings(picture, [], LINE_PX).horizontal
    assert abs(found.at - 200) <= 1
    assert (found.start, found.end) == (pytest.approx(100, abs=3), pytest.approx(700, abs=3))


def test_rows_of_numbers_between_two_rules() -> None:
    picture = white()
    for y in (100, 140, 230, 270, 310, 350):
        rule(picture, 100, y, 700, y)
    for x in (100, 300, 700):
        rule(picture, x, 100, x, 350)
    lines = [line(120, 110, "Size"), line(320, 110, "Cost")]
    lines += [line(120, 145 + 28 * n, f"{n}2") for n in range(3)]
    lines += [line(320, 145 + 28 * n, f"{n}9") for n in range(3)]
    lines += [line(x, 240 + 40 * n, "none") for n in range(3) for x in (120, 320)]
    table = table_in(picture, lines)
    assert texts_of(table)[1:4] == [["02", "09"], ["12", "19"], ["22", "29"]]


def grouped_rows(rows: list[tuple[str, str]]) -> list[list[str]]:
    """Cells of a grid: a heading, these rows without rules between them, two ruled rows."""
    picture = white()
    last = 150 + 26 * len(rows)
    for y in (100, 140, last, last + 50, last + 100, last + 150):
        rule(picture, 100, y, 900, y)
    for x in (100, 350, 900):
        rule(picture, x, 100, x, last + 150)
    lines = [line(120, 110, "Call"), line(370, 110, "What it does")]
    for number, (name, text) in enumerate(rows):
        lines += [line(120, 146 + 26 * number, name), line(370, 146 + 26 * number, text)]
    for number, name in enumerate(("close", "flush", "reset")):
        lines += [line(120, last + 15 + 50 * number, name)]
        lines += [line(370, last + 15 + 50 * number, "leaves the file as it was found on the disk")]
    return texts_of(table_in(picture, lines))


def test_lines_that_end_early_between_two_rules_are_rows() -> None:
    rows = grouped_rows(
        [("open", "takes a name"), ("read_all", "all its bytes"), ("tell", "where it is")]
    )
    assert rows[1:4] == [
        ["open", "takes a name"],
        ["read_all", "all its bytes"],
        ["tell", "where it is"],
    ]


def test_lines_that_fill_their_cell_between_two_rules_are_one_row() -> None:
    rows = grouped_rows(
        [
            ("opens the file again", "opens what was closed before, whatever the name"),
            ("though another reads", "of the file may be by now, and waits until that"),
            ("from it meanwhile", "other reader has let go of it or has been ended"),
        ]
    )
    assert len(rows) == 5


def test_headings_without_a_rule_between_them_stay_apart() -> None:
    picture = white()
    for y in (100, 140, 180, 220):
        rule(picture, 100, y, 700, y)
    for x in (100, 700):
        rule(picture, x, 100, x, 220)
    rule(picture, 400, 140, 400, 220)
    lines = [line(120, 110, "Metal"), line(520, 110, "Price")]
    lines += [line(x, 150 + 40 * n, f"{n}1") for n in range(2) for x in (120, 520)]
    assert texts_of(table_in(picture, lines))[0] == ["Metal", "Price"]


def test_a_piece_of_a_rule_that_touches_no_other_still_parts_cells() -> None:
    picture = white()
    for y in (100, 140, 220):
        rule(picture, 100, y, 700, y)
    for x in (100, 400, 700):
        rule(picture, x, 100, x, 220)
    # the scan has lost its ends
    rule(picture, 130, 180, 370, 180)
    rule(picture, 400, 180, 700, 180)
    lines = [line(x, 110 + 40 * n, f"{n}{x}") for n in range(3) for x in (120, 420)]
    assert texts_of(table_in(picture, lines))[1:] == [["1120", "1420"], ["2120", "2420"]]


def test_names_and_headings_outside_of_the_rules() -> None:
    picture = white()
    for y in (140, 180, 220, 260):
        rule(picture, 300, y, 700, y)
    for x in (300, 500, 700):
        rule(picture, x, 140, x, 260)
    lines = [line(120, 110, "size"), line(350, 110, "10pt"), line(550, 110, "11pt")]
    for n, name in enumerate(("tiny", "small", "large")):
        y = 150 + 40 * n
        lines += [line(120, y, name), line(380, y, f"{n}1"), line(580, y, f"{n}2")]
    blocks = find_blocks(picture, lines, [Seen("table", 0.8, (110, 100, 710, 265))])
    assert [block.label for block in blocks] == ["table"]
    assert "<th>size</th><th>10pt</th><th>11pt</th>" in blocks[0].markdown
    assert "<td>small</td><td>11</td><td>12</td>" in blocks[0].markdown


def test_headings_of_two_rows_in_a_grid() -> None:
    picture, lines = spanned_table()
    lines = [one for one in lines if one.text not in ("1204", "1187")]
    lines[2:3] = [line(120, 130, "Lighthouse"), line(350, 150, "2029"), line(550, 150, "2030")]
    rule(picture, 300, 260, 700, 260)
    for x in (100, 300, 500, 700):
        rule(picture, x, 220, x, 260)
    lines += [line(350, 230, "907"), line(550, 230, "1101")]
    assert table_in(picture, lines).num_heads == 2


def test_light_gray_rules_and_a_dark_heading() -> None:
    picture = white()
    cv2.rectangle(picture, (100, 100), (700, 140), (90, 70, 60), -1)
    for y in (140, 170, 200, 230):
        cv2.line(picture, (100, y), (700, y), (190, 190, 190), 1)
    for x in (100, 400, 700):
        cv2.line(picture, (x, 140), (x, 230), (190, 190, 190), 1)
    lines = [line(120, 110, "Metal"), line(420, 110, "Limit")]
    for row, name in enumerate(("Lead", "Tin", "Zinc")):
        lines += [line(120, 146 + 30 * row, name), line(420, 146 + 30 * row, f"{row} ppm")]
    table = table_in(picture, lines)
    assert (table.num_rows, table.num_columns) == (4, 2)
    assert GridCell(2, 1, "1 ppm") in table.cells


def test_a_line_over_two_cells_is_cut_at_the_rule() -> None:
    picture, lines = spanned_table()
    lines[3:5] = [line(350, 150, "1204                1187", width=250)]
    texts = {cell.text for cell in table_in(picture, lines).cells}
    assert {"1204", "1187"} <= texts


def test_cells_with_several_lines_stay_cells() -> None:
    picture = white()
    for y in (100, 180, 260, 340):
        rule(picture, 100, y, 700, y)
    for x in (100, 300, 700):
        rule(picture, x, 100, x, 340)
    lines = []
    for row in range(3):
        y = 105 + 80 * row
        lines += [line(120, y, f"name {row}")]
        lines += [line(320, y + 24 * n, f"part {n} of {row}") for n in range(3)]
    table = table_in(picture, lines)
    assert (table.num_rows, table.num_columns) == (3, 2)
    assert GridCell(1, 1, "part 0 of 1 part 1 of 1 part 2 of 1") in table.cells


def test_a_frame_around_prose_is_no_table() -> None:
    picture = white()
    cv2.rectangle(picture, (90, 90), (900, 500), (0, 0, 0), 2)
    lines = prose(100, 100, [f"line {n} of a text in a frame" for n in range(14)])
    assert all(block.label != "table" for block in find_blocks(picture, lines, []))


def test_rules_between_columns_of_running_text_make_no_table() -> None:
    picture = white()
    for y in (100, 420):
        rule(picture, 100, y, 900, y)
    for x in (100, 360, 620, 900):
        rule(picture, x, 100, x, 420)
    words = [
        "the ferry will run again",
        "from the first of the month",
        "on as the council said",
    ] * 4
    lines = [one for x in (110, 370, 630) for one in prose(x, 106, words, width=240)]
    rulings = find_rulings(picture, [one.box_px for one in lines], LINE_PX)
    (grid,) = find_grids(rulings, LINE_PX)
    assert ruled_table(grid, lines, LINE_PX) is None


def numbers_table() -> list[TextLine]:
    rows = [
        ("Metal", "Density", "Price"),
        ("Tin", "7.29", "27.40"),
        ("Zinc", "7.14", "2.65"),
        ("Lead", "11.3", "2.00"),
    ]
    return [
        line(x, 200 + 30 * n, text)
        for n, row in enumerate(rows)
        for x, text in zip((100, 400, 700), row, strict=True)
    ]


def test_aligned_table() -> None:
    table = aligned_table(numbers_table(), LINE_PX)
    assert table is not None
    assert (table.num_rows, table.num_columns) == (4, 3)
    assert GridCell(2, 1, "7.14") in table.cells


def table_of(rows: list[list[tuple[int, str]]], rules: tuple[Ruling, ...] = ()) -> Table:
    """Rows 30 pixels apart of (x, text)."""
    lines = [line(x, 200 + 30 * n, text) for n, row in enumerate(rows) for x, text in row]
    table = aligned_table(lines, LINE_PX, rules)
    assert table is not None
    return table


def texts_of(table: Table) -> list[list[str]]:
    return [[cell.text for cell in table.cells if cell.row == row] for row in range(table.num_rows)]


def test_columns_with_little_white_between_them() -> None:
    rows = [[(100 + 50 * n, f"{a}{n}.{n}7") for n in range(6)] for a in range(1, 5)]
    assert table_of(rows).num_columns == 6


def test_lines_found_over_two_columns_are_cut_at_their_space() -> None:
    rows = [[(100, name), (280, "mark"), (500, "12")] for name in ("Hull", "Mast", "Rope", "Sail")]
    rows += [[(100, "Anchors and a chain X"), (500, "34")]]
    rows += [[(100, "Eleven new lanterns Y"), (500, "56")]]
    assert texts_of(table_of(rows))[3:] == [
        ["Sail", "mark", "12"],
        ["Anchors and a chain", "X", "34"],
        ["Eleven new lanterns", "Y", "56"],
    ]


def test_a_space_within_a_heading_over_numbers_makes_no_column() -> None:
    heads = [(100, "Group"), (300, "Late Onset"), (500, "Total")]
    rows = [heads, *([(100, "TT"), (300, "17"), (500, "99")] for _ in range(6)), heads]
    rows += [[(100, "TT"), (300, "17"), (500, "99")] for _ in range(6)]
    assert texts_of(table_of(rows))[7] == ["Group", "Late Onset", "Total"]


def test_a_column_that_is_seldom_filled_keeps_its_place() -> None:
    rows = [[(100, f"name {n}"), (300, "7.10"), (500, "3.14")] for n in range(12)]
    rows[3].append((400, "(a)"))
    rows[7].append((400, "(b)"))
    table = table_of([sorted(row) for row in rows])
    assert table.num_columns == 4
    assert GridCell(3, 2, "(a)") in table.cells


def test_headings_of_two_lines_above_a_rule_are_one_row() -> None:
    rows = [[(100, "Metal"), (300, "Melting"), (500, "Price")], [(300, "point"), (500, "(EUR)")]]
    rows += [[(100, name), (300, "232"), (500, "27.4")] for name in ("Tin", "Zinc", "Lead")]
    table = table_of(rows, (Ruling(255, 100, 560),))
    assert texts_of(table)[:2] == [
        ["Metal", "Melting point", "Price (EUR)"],
        ["Tin", "232", "27.4"],
    ]
    assert table.num_heads == 1


def test_a_heading_reaches_as_far_as_the_rule_below_it() -> None:
    rows = [[(400, "Rain")], [(100, "Station"), (300, "2029"), (400, "2030"), (500, "2031")]]
    rows += [
        [(100, name), (300, "12"), (400, "13"), (500, "14")] for name in ("Pier", "Mill", "Wier")
    ]
    table = table_of(rows, (Ruling(224, 300, 540), Ruling(255, 100, 540)))
    assert GridCell(0, 1, "Rain", columns=3) in table.cells
    assert GridCell(0, 0, "Station", rows=2) in table.cells
    assert table.num_heads == 2


def test_signs_of_currencies_belong_to_their_numbers() -> None:
    rows = [[(100, f"item {n}"), (400, f"{n}18,204")] for n in range(5)]
    for number in (0, 4):
        rows[number].insert(1, (300, "$"))
    table = table_of(rows)
    assert table.num_columns == 2
    assert GridCell(4, 1, "$418,204") in table.cells


def test_numbers_found_as_one_line_are_parted() -> None:
    rows = [[(100, f"font {n}"), (300, f"{n}.25  {n}.50  {n}.75")] for n in range(4)]
    assert texts_of(table_of(rows))[2] == ["font 2", "2.25", "2.50", "2.75"]


def test_notes_and_captions_around_a_table_are_left_out() -> None:
    table = table_of(
        [
            [(100, "Table 1: metals, their densities and what they cost")],
            *[[(100, name), (300, "7.3"), (420, "27.4")] for name in ("Tin", "Zinc", "Lead")],
            [(100, "Prices are those of the last day of the year.")],
        ]
    )
    assert table.num_rows == 3
    assert not any("Prices" in one.text or "Table" in one.text for one in table.lines)


def test_short_words_below_each_other_are_cells() -> None:
    rows = [[(100, "point (pt)"), (300, "1pt = 12in")], [(100, "inch"), (300, "1in = 72pt")]]
    rows += [[(100, "didot"), (300, "1cm = 12in")], [(100, "cicero"), (300, "1cc = 12dd")]]
    assert table_of(rows).num_rows == 4


def test_a_dollar_read_as_an_s_makes_no_column() -> None:
    rows = [[(100, f"item {n}"), (300, "S"), (400, f"{n}18,204")] for n in range(5)]
    rows[0][1] = (300, "$")
    assert GridCell(2, 1, "$218,204") in table_of(rows).cells


@pytest.mark.parametrize("price", ["12.50", "$12.50"])
def test_a_size_is_no_dollar(price: str) -> None:
    rows = [[(100, f"shirt {n}"), (300, "S"), (400, f"4{n}"), (500, price)] for n in range(5)]
    table = table_of(rows)
    assert any(cell.text.startswith("S") for cell in table.cells)
    assert not any(cell.text.startswith("$") and "4" in cell.text[:2] for cell in table.cells)


def test_headings_over_several_columns_do_not_hide_the_columns() -> None:
    rows = [[(100, "Font"), (310, "A4 paper"), (490, "A5 paper")]]
    rows += [[(280, "10 pt"), (370, "12 pt"), (460, "10 pt"), (550, "12 pt")]]
    rows += [
        [(100, name), (290, "84"), (380, "77"), (470, "64"), (560, "59")]
        for name in ("Times", "Charter", "Utopia", "Courier")
    ]
    table = table_of(rows, (Ruling(255, 100, 600),))
    assert table.num_columns == 5
    assert GridCell(0, 1, "A4 paper", columns=2) in table.cells
    assert GridCell(0, 3, "A5 paper", columns=2) in table.cells
    assert GridCell(0, 0, "Font", rows=2) in table.cells


def test_numbers_above_the_only_rule_are_headings() -> None:
    rows = [[(100, "size"), (300, "10"), (400, "14"), (500, "18")]]
    rows += [[(100, f"{n}0"), (300, "40"), (400, "56"), (500, "72")] for n in range(8, 13)]
    assert table_of(rows, (Ruling(225, 100, 530),)).num_heads == 1


def test_headings_found_as_one_line_are_parted_where_most_white_is() -> None:
    words = line(100, 200, "Command A Number Comments", width=310)
    gaps = {"Command": 100, "A": 200, "Number": 224, "Comments": 330}
    places = [start + 10 * n for word, start in gaps.items() for n in range(len(word) + 1)]
    words = replace(words, char_x_px=tuple(float(x) for x in places[:-1]))
    lines = [words]
    for n, name in enumerate(("author", "table", "tab")):
        y = 230 + 30 * n
        lines += [line(100, y, name), line(220, y, "100"), line(330, y, "For tables")]
    rules = tuple(Ruling(at, 100, 430) for at in (195, 225, 320))
    table = aligned_table(lines, LINE_PX, rules)
    assert table is not None
    assert texts_of(table)[0] == ["Command", "A Number", "Comments"]


def test_rows_right_beside_a_table_belong_to_it() -> None:
    lines = numbers_table()
    total = [line(100, 320, "Sum"), line(400, 320, "25.7"), line(700, 320, "32.1")]
    head = [line(500, 170, "in the year 2029")]
    prose = [line(100, 350, "The prices are those of a Friday in the spring.")]
    rules = [Ruling(194, 390, 770)]
    grown = with_rows_beside(lines, [*lines, *total, *head, *prose], rules, LINE_PX)
    assert {one.text for one in grown} - {one.text for one in lines} == {
        *(one.text for one in total),
        "in the year 2029",
    }


def test_a_table_that_the_model_sees_as_a_figure() -> None:
    lines = numbers_table()
    blocks = find_blocks(white(), lines, [Seen("figure", 0.9, (90, 190, 800, 320))])
    assert [block.label for block in blocks] == ["table"]


def test_the_ticks_of_a_chart_are_no_table() -> None:
    ticks = [line(100, 200 + 90 * n, f"0.{n}") for n in range(5)]
    ticks += [line(150 + 100 * n, 640, f"{n}0") for n in range(6)]
    blocks = find_blocks(white(), ticks, [Seen("figure", 0.9, (90, 190, 800, 680))])
    assert [block.label for block in blocks] == ["image"]


def test_numbered_lines_of_a_program_are_no_table() -> None:
    program = [
        one
        for n, text in enumerate(("begin", "first", "second", "third", "end"))
        for one in (line(100, 200 + 26 * n, str(n + 1)), line(140, 200 + 26 * n, text))
    ]
    assert not is_tabular(program, LINE_PX)


def test_underlined_words_span_no_columns_beside_them() -> None:
    rows = [[(100, "Re"), (300, "Vary"), (400, "Fixed")]]
    rows += [[(100, f"{n}0"), (300, "868"), (400, "4,271")] for n in range(1, 5)]
    table = table_of(rows, (Ruling(218, 360, 450),))
    assert texts_of(table)[0] == ["Re", "Vary", "Fixed"]


def test_text_that_runs_over_its_gutters_is_no_table() -> None:
    rows = [[(100, str(n)), (140, "a line of words of a program" + " more" * n)] for n in range(6)]
    rows += [[(100, str(n)), (140, "left"), (300, "right"), (460, "more")] for n in range(6, 12)]
    lines = [line(x, 200 + 30 * n, text) for n, row in enumerate(rows) for x, text in row]
    assert aligned_table(lines, LINE_PX) is None


def test_pieces_far_apart_in_one_cell_are_no_table() -> None:
    lines = []
    for n in range(6):
        y = 200 + 30 * n
        lines += [line(100, y, "A"), line(140, y, f"item {n}"), line(420, y, f"{n}.50")]
    for n in range(6):
        y = 380 + 30 * n
        lines += [line(100, y, f"{n}"), line(140, y, "words of a program", width=286)]
    assert aligned_table(lines, LINE_PX) is None


def test_rows_of_numbers_never_go_on() -> None:
    rows = [
        [(100, f"{n}"), (300, "Field middle" if n else "Origin"), (600, "1.5")] for n in range(4)
    ]
    rows.insert(2, [(300, "Middle data range"), (600, "2.5")])
    assert len(texts_of(table_of(rows))) == 5


def test_text_that_fills_its_column_goes_on_in_the_next_line() -> None:
    rows = [
        [(100, "Pier"), (300, "Port Authority of the"), (600, "none")],
        [(300, "northern harbor")],
        [(100, "Mill"), (300, "County of the valleys"), (600, "fence built")],
        [(300, "and the hills")],
    ]
    table = table_of(rows)
    assert GridCell(1, 1, "County of the valleys and the hills") in table.cells


def test_wrapped_cells_are_joined_to_their_row() -> None:
    lines = []
    for n in range(4):
        y = 200 + 80 * n
        lines += [
            line(100, y, f"key {n}"),
            line(400, y, f"value {n} which goes"),
            line(400, y + 24, "on below it"),
        ]
    table = aligned_table(lines, LINE_PX)
    assert table is not None
    assert GridCell(1, 1, "value 1 which goes on below it") in table.cells
    assert table.num_rows == 4


def test_tables_are_found_without_a_model_and_prose_is_not_one() -> None:
    assert is_tabular(numbers_table(), LINE_PX)
    columns = [
        line(x, 100 + 26 * n, "running text that fills its column", width=390)
        for n in range(9)
        for x in (100, 510)
    ]
    assert not is_tabular(columns, LINE_PX)
    marks = [
        one
        for n in range(4)
        for one in (line(100, 100 + 30 * n, "•"), line(140, 100 + 30 * n, "point of a list"))
    ]
    assert not is_tabular(marks, LINE_PX)


def test_a_table_beside_prose_is_a_block_of_its_own() -> None:
    left = [
        line(60, 200 + 26 * n, f"prose {n} that fills the column", width=420) for n in range(12)
    ]
    pairs = [
        ("Reign", "959"),
        ("Born", "943"),
        ("Died", "975"),
        ("House", "Wessex"),
        ("Father", "Edmund"),
    ]
    right = [
        one
        for n, (a, b) in enumerate(pairs)
        for one in (line(560, 220 + 50 * n, a), line(760, 220 + 50 * n, b))
    ]
    blocks = find_blocks(white(), [*left, *right], [])
    assert [block.label for block in blocks] == ["text", "table"]
    assert "<td>Born</td><td>943</td>" in blocks[1].markdown


def test_html_is_escaped() -> None:
    cells = (GridCell(0, 0, "<script>"), GridCell(0, 1, "a & b"))
    table = Table(cells, 1, 2, (0, 0, 1, 1), ())
    assert "<td>&lt;script&gt;</td><td>a &amp; b</td>" in table_html(table)


def test_split_line_leaves_a_word_whole() -> None:
    whole = line(0, 0, "unbreakable", width=200)
    assert split_line(whole, [100.0]) == [whole]


def test_a_caption_beside_a_tall_cell_stays_outside() -> None:
    rows = [("Mill", "1204", "77"), ("Pier", "1101", "119"), ("Square", "988", "84")]
    cells = [
        line(200 + 200 * column, 150 + 40 * number, text)
        for number, row in enumerate(rows)
        for column, text in enumerate(row)
    ]
    tall = replace(line(100, 90, "North"), box_px=(100, 90, 118, 260), char_x_px=())
    caption = line(200, 100, "Table 3. Weather at the coast")
    table = aligned_table([caption, tall, *cells], LINE_PX)
    assert table is not None
    assert "Weather" not in table_html(table)
    assert caption not in table.lines
    assert tall in table.lines


def framed_rows() -> tuple[npt.NDArray[np.uint8], list[TextLine]]:
    """Ruled headings over a frame with rows that no rule parts, some of several lines."""
    picture = white()
    xs = (100, 250, 400, 760, 860)
    for y in (100, 150, 600):
        rule(picture, 100, y, 860, y)
    for x in xs:
        rule(picture, x, 100, x, 600 if x in (100, 860) else 150)
    lines = [
        line(x + 10, 115, name) for x, name in zip(xs, ("No", "Date", "For", "Cost"), strict=False)
    ]
    y = 170
    for number in range(6):
        lines.append(line(110, y, f"DH{number}"))
        lines.append(line(265, y, f"0{number + 1}/24/2031"))
        lines.append(line(410, y, "TRAVEL"))
        lines.append(line(790, y, f"{number}20.68"))
        y += 25
        lines.append(line(410, y, f"FARE {number} FROM THE CITY TO", width=340))
        y += 25
        if number % 2:
            lines.append(line(410, y, "THE LAKE AND BACK"))
            y += 25
    return picture, lines


def test_cells_of_several_lines_in_rows_that_no_rule_parts() -> None:
    picture, lines = framed_rows()
    rulings = find_rulings(picture, [one.box_px for one in lines], LINE_PX)
    (grid,) = find_grids(rulings, LINE_PX)
    table = ruled_table(grid, lines, LINE_PX)
    assert table is not None
    assert (table.num_rows, table.num_columns) == (7, 4)
    texts = {(cell.row, cell.column): cell.text for cell in table.cells}
    assert texts[1, 2] == "TRAVEL FARE 0 FROM THE CITY TO"
    assert texts[2, 2] == "TRAVEL FARE 1 FROM THE CITY TO THE LAKE AND BACK"
    assert texts[2, 0] == "DH1"
    assert texts[2, 3] == "120.68"


def test_columns_of_running_text_that_the_model_takes_for_a_table() -> None:
    left = [
        line(100, 300 + 26 * n, f"left {n} of a text that fills its line", width=400)
        for n in range(12)
    ]
    right = [
        line(540, 300 + 26 * n, f"right {n} of a text that fills its line", width=400)
        for n in range(12)
    ]
    seen = [Seen("table", 0.63, (90, 290, 950, 620))]
    labels = {block.label for block in find_blocks(white(), [*left, *right], seen)}
    assert labels == {"text"}
