"""Headings told from text, line breaks that are meant, notes and lists, on lines placed by hand."""

import numpy as np

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.weight import Weigher
from deepocr.engines.ppocr.structure.layout import Block, find_blocks
from tests.unit.ppocr.pages import line, picture_of, white

BODY = "Row {} of a text that is as long as the line it stands in, from the left to the right"


def body(top: int, rows: int = 12) -> list[TextLine]:
    return [line(100, top + 30 * n, BODY.format(n), width=780) for n in range(rows)]


def blocks_of(*lines: TextLine, picture: np.ndarray | None = None) -> list[Block]:
    return find_blocks(white() if picture is None else picture, lines, [])


def test_a_short_line_in_wider_letters_and_apart_is_no_part_of_the_paragraph() -> None:
    head = line(100, 200, "Measured at home", width=230)
    first, second, *_ = blocks_of(head, *body(238))
    assert first.text == "Measured at home"
    assert second.text.startswith("Row 0")


def test_a_bold_line_over_a_paragraph_is_a_heading() -> None:
    picture = white()
    head = line(100, 200, "Measured at home", width=190)
    rows = body(230)
    for number, one in enumerate((head, *rows)):
        stroke_px = 2 if number else 4
        x1, y1, x2, y2 = one.box_px
        # not in line with those above, which would be columns
        for x in range(x1 + 2 + 3 * number % 10, x2 - 6, 10):
            picture[y1 + 3 : y2 - 3, x : x + stroke_px] = 0
    first, second, *_ = blocks_of(head, *rows, picture=picture)
    assert first.markdown == "### Measured at home"
    assert second.text.startswith("Row 0")


def test_the_first_line_of_a_paragraph_stays_in_it() -> None:
    (only,) = blocks_of(*body(200))
    assert only.label == "text"


def test_a_heading_of_two_lines_is_one() -> None:
    head = [line(100, 200, "8 CONCEPTS AND THE WORDS FOR"), line(130, 226, "THEM AND US")]
    first, second, *_ = blocks_of(*head, *body(280))
    assert first.text == "8 CONCEPTS AND THE WORDS FOR THEM AND US"
    assert second.text.startswith("Row 0")


def test_strokes_are_weighed_in_any_size_of_box() -> None:
    drawn = np.asarray(picture_of([(20, 20, 24, "stroke")], (300, 80)))[:, :, ::-1].copy()
    weigh = Weigher(drawn)
    tight, loose = line(20, 20, "stroke", width=80, height=26), line(10, 10, "stroke", width=120)
    assert weigh(tight) > 0
    assert abs(weigh(tight) - weigh(loose)) < 0.3 * weigh(tight)
    assert weigh(line(290, 70, "beyond", height=30)) == 0


def test_lines_that_end_early_keep_their_breaks() -> None:
    address = [
        line(100, 100, "The Harbor Street Timber Company"),
        line(100, 126, "Nadia Brandt"),
        line(100, 152, "Port Ellery"),
    ]
    first, *_ = blocks_of(*address, *body(300))
    assert first.text.endswith("Nadia Brandt\nPort Ellery")
    assert "Nadia Brandt  \nPort Ellery" in first.markdown


def test_a_citation_that_begins_a_line_begins_no_list() -> None:
    rows = body(200, 3)
    rows[1] = line(100, 230, "[7]. But any surface nearby is a hindrance to the waves", width=780)
    (only,) = blocks_of(*rows)
    assert "right [7]. But any surface" in only.text


def test_the_number_of_an_equation_that_begins_a_line_begins_no_list() -> None:
    rows = body(200, 3)
    rows[1] = line(100, 230, "(1) is up to you, but please be consistent in your text", width=780)
    (only,) = blocks_of(*rows)
    assert "to the right (1) is up" in only.text


def test_numbered_items_are_no_headings_though_the_next_is_set_apart() -> None:
    items = [line(140, 200 + 36 * n, f"{n + 1}. Item of the list, {n}") for n in range(4)]
    blocks = blocks_of(*items, *body(420))
    assert all(block.label == "text" for block in blocks)


def test_a_note_with_a_star_is_no_item_of_a_list() -> None:
    note = line(100, 1000, "* Work supported by the city of Port Ellery", height=16)
    second = line(100, 1022, "† Also at the university of the harbor", height=16)
    third = line(100, 1044, "2Yet another note of one of the authors", height=16)
    blocks = blocks_of(*body(200, 24), note, second, third)
    assert [block.label for block in blocks[1:]] == ["footnote"] * 3
    assert blocks[1].markdown.startswith("* Work supported")
