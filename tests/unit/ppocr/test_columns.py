"""Columns that stand close together: lines found across them, pieces of lines within them."""

from deepocr.engines.ppocr.recognition.columns import part_lines
from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.structure.atoms import Atom
from deepocr.engines.ppocr.structure.graph_order import graph_order
from tests.unit.ppocr.pages import line, white


def column(x: int, name: str, rows: int = 9, top: int = 100) -> list[TextLine]:
    return [line(x, top + 26 * n, f"{name}{n} words that fill it", width=380) for n in range(rows)]


def texts_of(lines: list[TextLine]) -> list[list[str]]:
    runs = graph_order([Atom(one.box_px, one) for one in lines], 20.0)
    return [[atom.item.text for atom in run] for run in runs]


def test_a_single_line_across_two_columns_is_cut_where_its_neighbors_end() -> None:
    lines = [*column(100, "a"), *column(484, "b")]
    merged = [*lines[:4], *lines[5:13], *lines[14:]]
    merged.append(line(100, 204, "a4 words that fill it b4 words that fill it", width=764))
    parted = part_lines(white(), merged, 20.0)
    assert {one.text for one in parted} == {one.text for one in lines}


def test_a_line_that_others_like_it_surround_stays_whole() -> None:
    lines = [
        line(100, 100 + 26 * n, f"a{n} words that fill it b{n} words that fill it", width=764)
        for n in range(5)
    ]
    assert part_lines(white(), lines, 20.0) == lines


def test_boxes_that_overlap_side_by_side_end_with_their_ink() -> None:
    picture = white()
    picture[105:115, 104:440] = 0
    picture[105:115, 470:700] = 0
    left, right = line(100, 100, "some words", width=372), line(468, 100, "others", width=236)
    first, second = part_lines(picture, [left, right], 20.0)
    assert first.box_px == (100, 100, 440, 120)
    assert second.box_px == (470, 100, 704, 120)


def test_pieces_of_one_line_stay_together_in_a_tangle() -> None:
    lines = [one for one in column(100, "a") if not one.text.startswith("a4")]
    lines += [line(100, 204, "a4 words", width=160), line(278, 204, "that fill it", width=202)]
    (run,) = texts_of([*lines])
    assert run[4:6] == ["a4 words", "that fill it"]


def test_lines_at_a_gutter_are_no_pieces_of_one_line() -> None:
    left = [line(100, 100 + 26 * n, f"a{n} words", width=380) for n in range(3)]
    right = [line(484, 152 + 26 * n, f"b{n} words", width=380) for n in range(8)]
    runs = texts_of([*left, *right])
    assert all(len({text[0] for text in run}) == 1 for run in runs)


def test_the_words_of_a_masthead_are_one_line() -> None:
    head = [line(100, 20, "Commercial", height=100), line(800, 24, "Advertiser", height=96)]
    runs = texts_of([*head, *column(100, "a", top=300), *column(600, "b", top=310)])
    assert ["Commercial", "Advertiser"] in runs
