"""Text of pages that were read together: cut at the marks, probabilities with it."""

import pytest

from deepocr.parsing.page_marks import split_at_marks
from deepocr.types import TextDelta


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("<PAGE>one\n<PAGE>\ntwo", ["one", "two"]),
        ("one<PAGE>two", ["one", "two"]),
        (" \n<PAGE>one", ["one"]),
        ("<PAGE><PAGE>two", ["", "two"]),
        ("<PAGE>one<PAGE>", ["one", ""]),
        ("no mark", ["no mark"]),
        ("", [""]),
        ("<page> and <PAG", ["<page> and <PAG"]),
    ],
)
def test_one_text_a_page(text: str, pages: list[str]) -> None:
    for size in (1, 3, 100):
        deltas = [TextDelta(text[at : at + size]) for at in range(0, len(text), size)]
        found = split_at_marks(deltas)
        assert ["".join(delta.text for delta in part) for part in found] == pages


def test_a_delta_over_a_mark_counts_on_both_sides() -> None:
    deltas = [TextDelta("a", (0.1,)), TextDelta("b<PAGE>c", (0.2, 0.3)), TextDelta("d", (0.4,))]
    assert split_at_marks(deltas) == [
        [TextDelta("a", (0.1,)), TextDelta("b", (0.2, 0.3))],
        [TextDelta("c", (0.2, 0.3)), TextDelta("d", (0.4,))],
    ]
