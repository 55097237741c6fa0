"""Lines joined to text, spaces found again, the text layer judged."""

import numpy as np
import pytest

from deepocr.engines.ppocr.locate import locate
from deepocr.engines.ppocr.recognition.columns import part_lines
from deepocr.engines.ppocr.recognition.spaces import recover_spaces
from deepocr.engines.ppocr.structure.text import join_texts, tidy
from deepocr.engines.ppocr.textlayer import is_sound, layer_lines, usable
from deepocr.types import Word
from tests.unit.ppocr.pages import line, white


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("the tech-", "nical part", "the technical part"),
        ("in the well-", "known case", "in the well-known case"),
        ("the Anglo-", "Saxon coast", "the Anglo-Saxon coast"),
        ("from 1939-", "1945", "from 1939-1945"),
        ("a dash -", "and more", "a dash - and more"),
        ("老街的尽头有", "一家钟表店", "老街的尽头有一家钟表店"),
        ("版本 Python", "三", "版本 Python 三"),
        ("서울은", "수도이다", "서울은 수도이다"),
        ("", "alone", "alone"),
    ],
)
def test_join_texts(first: str, second: str, joined: str) -> None:
    assert join_texts(first, second, words={"well-known"}) == joined


def test_tidy_replaces_full_width_marks_in_latin_text_only() -> None:
    assert tidy("one，two（three）") == "one, two(three)"
    assert tidy("老街，很小") == "老街，很小"


def words_picture(gaps_px: list[int]) -> tuple[np.ndarray, str, tuple[float, ...]]:
    """Four-letter words of bars, `gaps_px` between them, read as one word without spaces."""
    picture = np.full((30, 900, 3), 255, np.uint8)
    x, centers, text = 10, [], ""
    for gap in [*gaps_px, 0]:
        for _ in range(4):
            picture[6:24, x : x + 8] = 0
            centers.append((x + 4) / 900)
            text += "n"
            x += 11
        x += gap
    return picture, text, tuple(centers)


def test_a_gap_like_the_spaces_read_becomes_a_space() -> None:
    picture, text, places = words_picture([12, 12, 12, 12])
    # the recognizer saw three of the four spaces
    spaced, spots = list(text), list(places)
    for index in (12, 8, 4):
        spaced.insert(index, " ")
        spots.insert(index, (places[index - 1] + places[index]) / 2)
    found, centers = recover_spaces(picture, "".join(spaced), tuple(spots))
    assert found == "nnnn nnnn nnnn nnnn nnnn"
    assert len(centers) == len(found)


def test_the_white_behind_the_last_letter_is_no_space() -> None:
    picture, text, places = words_picture([12, 12, 12])
    spaced, spots = list(text), list(places)
    for index in (12, 8, 4):
        spaced.insert(index, " ")
        spots.insert(index, (places[index - 1] + places[index]) / 2)
    # places are a little off: the last letter's lies in the margin, and more so in its middle
    end = round(places[-1] * 900) + 4
    cut = np.ascontiguousarray(picture[:, : end + 12])
    wide = [spot * 900 / cut.shape[1] for spot in spots]
    wide[-1] = (end + 8) / cut.shape[1]
    found, _ = recover_spaces(cut, "".join(spaced), tuple(wide))
    assert found == "nnnn nnnn nnnn nnnn"


def test_wide_letters_are_left_together() -> None:
    picture, text, places = words_picture([])
    assert recover_spaces(picture, text, places) == (text, places)


def test_locate_over_a_line_break_gives_a_box_for_each_line() -> None:
    lines = [
        line(10, 10, "we met at the old"),
        line(10, 40, "mill by the river"),
        line(10, 70, "x"),
    ]
    found = locate("old mill by the river", lines)
    assert [match.box_px[1] for match in found] == [10, 40]


def test_locate_every_place() -> None:
    lines = [line(10, 10, "Invoice 12"), line(10, 40, "see invoice"), line(10, 70, "total")]
    assert len(locate("invoice", lines)) == 2


def test_layer_words_go_to_their_lines_and_a_gap_is_seen() -> None:
    boxes = [(0, 0, 100, 20), (0, 30, 100, 50)]
    words = [
        Word("brown", (50, 2, 98, 18)),
        Word("quick", (2, 2, 46, 18)),
        Word("fox", (2, 32, 30, 48)),
    ]
    (first, second), placed = layer_lines(boxes, words)
    assert first.recognized.text == "quick brown"
    assert len(first.recognized.char_x) == len("quick brown")
    assert usable(first)
    assert not usable(second), "the layer misses most of the line"
    assert placed == 1.0


def test_a_layer_with_other_letters_is_not_sound() -> None:
    shown = ["the quick brown fox", "jumps over the dog", "and sleeps all day"]
    assert is_sound(shown, shown, placed=1.0)
    assert not is_sound(["uif rvjdl cspxo gpy", "kvnqt pwfs uif eph", "boe tmffqt"], shown, 1.0)
    assert not is_sound(shown, shown, placed=0.4), "hidden or misplaced text"


def test_lines_across_columns_are_parted_and_headlines_are_not() -> None:
    picture = white()
    lines = [line(100, 40, "A HEADLINE OVER BOTH COLUMNS OF IT", width=800, height=40)]
    for row in range(8):
        y = 120 + 26 * row
        text = "left column has some words here right column has some others"
        lines.append(line(100, y, text, width=800))
        # ink everywhere but between the columns
        for x in range(100, 890, 8):
            if not 492 <= x <= 512:
                picture[y + 3 : y + 17, x : x + 7] = 0
        picture[y + 3 : y + 17, 490:515] = 255
    parted = part_lines(picture, lines, 20.0)
    assert len(parted) == 1 + 16
    assert {piece.box_px[0] for piece in parted[1:]} <= {100, 515, 516}
    assert all(piece.quad_px[1][0] < 530 for piece in parted[1::2])
