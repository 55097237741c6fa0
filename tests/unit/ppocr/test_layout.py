"""Reading order, page furniture, paragraphs: on lines placed by hand."""

import random
from dataclasses import replace

import pytest

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.structure.atoms import Atom
from deepocr.engines.ppocr.structure.graph_order import graph_order
from deepocr.engines.ppocr.structure.layout import find_blocks
from deepocr.engines.ppocr.structure.layout_model import Seen
from deepocr.engines.ppocr.structure.reading_order import reading_order
from tests.unit.ppocr.pages import line, prose, white

WORDS = [f"{word} goes on in running text of the page" for word in ("one", "two", "three", "four")]


def column(x: int, y: int, name: str, count: int = 8, width: int = 380) -> list[TextLine]:
    return [
        line(x, y + 26 * n, f"{name}{n} and some more words", width=width) for n in range(count)
    ]


def order_of(lines: list[TextLine]) -> list[str]:
    shuffled = list(lines)
    random.Random(3).shuffle(shuffled)
    atoms = [Atom(one.box_px, one) for one in shuffled]
    runs = reading_order(atoms, 20.0, lambda _: None)
    return [atom.item.text.split()[0] for run in runs for atom in run]


def names(*groups: tuple[str, int]) -> list[str]:
    return [f"{name}{n}" for name, count in groups for n in range(count)]


def test_two_columns_below_a_title() -> None:
    lines = [line(100, 40, "title0 over both", width=800, height=30)]
    lines += column(100, 100, "a") + column(520, 113, "b")
    assert order_of(lines) == ["title0", *names(("a", 8), ("b", 8))]


def test_columns_above_and_below_a_heading_that_spans_them() -> None:
    lines = column(100, 50, "a", 5) + column(520, 50, "b", 5)
    lines += [line(100, 220, "middle0 over both columns", width=800)]
    lines += column(100, 290, "c", 5) + column(520, 290, "d", 5)
    expected = [*names(("a", 5), ("b", 5)), "middle0", *names(("c", 5), ("d", 5))]
    assert order_of(lines) == expected


def test_three_columns_of_unlike_length() -> None:
    lines = (
        column(50, 50, "a", 9, 260) + column(350, 50, "b", 4, 260) + column(650, 50, "c", 7, 260)
    )
    assert order_of(lines) == names(("a", 9), ("b", 4), ("c", 7))


def test_warped_columns_without_a_straight_strip() -> None:
    lines = []
    for n in range(30):
        drift = 2 * n
        lines.append(line(100 + drift, 50 + 26 * n, f"a{n} some words of it", width=395))
        lines.append(line(499 + drift, 50 + 26 * n, f"b{n} some words of it", width=395))
    random.Random(1).shuffle(lines)
    runs = graph_order([Atom(one.box_px, one) for one in lines], 20.0)
    found = [atom.item.text.split()[0] for run in runs for atom in run]
    assert found == names(("a", 30), ("b", 30))


def labels_of(lines: list[TextLine], seen: list[Seen] | None = None) -> dict[str, str]:
    blocks = find_blocks(white(), lines, seen or [])
    return {one.text: block.label for block in blocks for one in block.lines}


BODY = "row {} of a text that is as long as the line it stands in, from the left to the right"


def body(rows: int = 24, top: int = 200) -> list[TextLine]:
    return [line(100, top + 30 * n, BODY.format(n), width=780) for n in range(rows)]


@pytest.mark.parametrize("text", ["17", "- 17 -", "Page 3 of 12", "xiv", "3/34", "A-12"])
def test_page_numbers_at_the_foot(text: str) -> None:
    labels = labels_of([*body(), line(480, 1350, text, height=18)])
    assert labels[text] == "page_number"
    assert labels[BODY.format(23)] == "text"


def test_running_head_with_a_page_number() -> None:
    labels = labels_of([line(100, 60, "CHAPTER 2"), line(850, 60, "41"), *body()])
    assert labels["CHAPTER 2"] == "header"
    assert labels["41"] == "page_number"


def test_what_the_model_sees_as_a_header_is_one_only_at_the_edge() -> None:
    seen = [Seen("header", 0.9, (90, 50, 600, 90)), Seen("header", 0.9, (90, 600, 600, 640))]
    lines = [line(100, 60, "Journal of Examples", width=300), *body()]
    labels = labels_of(lines, seen)
    assert labels["Journal of Examples"] == "header"
    assert labels[BODY.format(14)] == "text"


def test_a_title_is_no_header() -> None:
    lines = [line(200, 60, "The Title of It All", height=44), *body()]
    assert labels_of(lines)["The Title of It All"] == "title"


def test_footnotes_stay_in_the_text() -> None:
    note = "12 The bridge was rebuilt in stone after the flood."
    labels = labels_of(
        [*body(), line(100, 1290, note, height=16), line(480, 1360, "83", height=16)]
    )
    assert labels[note] == "footnote"
    assert labels["83"] == "page_number"


def test_paragraphs_part_at_gaps_and_indents() -> None:
    lines = [*prose(100, 300, WORDS), *prose(100, 450, WORDS)]
    indented = line(130, 560, "Indented first line of the third", width=370)
    lines += [indented, line(100, 586, "whose second line is at the left", width=400)]
    blocks = find_blocks(white(), lines, [])
    assert len(blocks) == 3
    assert blocks[2].text.startswith("Indented first line")


def test_list_items_become_one_list() -> None:
    lines = [line(100, 300 + 30 * n, f"• item {n} of the list") for n in range(3)]
    blocks = find_blocks(white(), [*body(6, 500), *lines], [])
    lists = [block for block in blocks if block.label == "list"]
    assert [block.markdown for block in lists] == [
        "- item 0 of the list\n- item 1 of the list\n- item 2 of the list"
    ]


def test_numbered_headings_have_levels() -> None:
    lines = [line(100, 150, "2.1.4 Goals for the reader", height=26), *body()]
    (first, *_) = find_blocks(white(), lines, [])
    assert first.markdown == "#### 2.1.4 Goals for the reader"


def test_a_formula_is_no_heading() -> None:
    lines = [line(300, 150, "S(n) = 1 + 2 + n", height=30), *body()]
    assert labels_of(lines)["S(n) = 1 + 2 + n"] == "text"


def test_figures_keep_words_and_drop_ticks() -> None:
    seen = [Seen("figure", 0.9, (90, 900, 900, 1200))]
    lines = [
        *body(18),
        line(200, 950, "Rain per month"),
        line(150, 1000, "0.5"),
        line(150, 1050, "1.0"),
    ]
    blocks = find_blocks(white(), lines, seen)
    (figure,) = [block for block in blocks if block.label == "image"]
    assert figure.text == "Rain per month"
    assert all("0.5" not in block.text for block in blocks)


def test_no_lines_no_blocks() -> None:
    assert find_blocks(white(), [], []) == []


def test_what_stands_below_a_table_is_no_part_of_it() -> None:
    rows = [("Subtotal", "190.80"), ("Tax", "13.36"), ("Fee", "2.10"), ("Total due", "206.26")]
    cells = [
        line(x, 300 + 60 * n, text)
        for n, row in enumerate(rows)
        for x, text in zip((600, 800), row, strict=True)
    ]
    below = line(100, 560, "Please pay within 30 days, and come again, wherever you are", width=780)
    labels = labels_of([*cells, below])
    assert labels["Total due"] == "table"
    assert labels[below.text] == "text"


def test_rules_at_the_end_of_columns_make_no_table_of_them() -> None:
    picture = white()
    # the rule between the columns is broken, and the paper's edge is a bar below
    picture[700:1000, 499:501] = 0
    picture[998:1001, 80:920] = 0
    picture[900:902, 80:920] = 0
    lines = [line(100, 300 + 27 * n, f"a{n} and more words", width=380) for n in range(22)]
    lines += [line(520, 300 + 27 * n, f"b{n} and more words", width=380) for n in range(22)]
    blocks = find_blocks(picture, lines, [])
    assert {block.label for block in blocks} == {"text"}


def test_chinese_that_runs_downward_is_read_from_right_to_left() -> None:
    level = [line(100, 200 + 30 * n, f"横排的文字第{n}行，很长很长", width=780) for n in range(6)]
    verses = ("床前明月光", "疑是地上霜", "举头望明月")
    downward = [
        replace(line(600 - 50 * n, 450, text, width=30, height=150), char_x_px=())
        for n, text in enumerate(verses)
    ]
    blocks = find_blocks(white(), [*level, *reversed(downward)], [])
    assert blocks[-1].text == "".join(verses)


def test_a_large_first_letter_belongs_to_the_word_beside_it() -> None:
    initial = line(100, 300, "T", width=40, height=48)
    rows = [line(150, 300, "HIS is the guide for all who read it", width=730)]
    rows.append(line(150, 328, "and go on with it below the letter", width=730))
    (only,) = find_blocks(white(), [initial, *rows, *body(10, 356)], [])
    assert only.text.startswith("THIS is the guide for all who read it and go on")
