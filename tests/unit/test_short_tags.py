"""Unlimited-OCR's tags: one marker, a label and one box."""

import time

import pytest

from deepocr.parsing.grounding import parse_regions
from deepocr.types import Region, TextDelta

SIZE = (1998, 999)
PAGE = """<|det|>title [144, 210, 872, 270]<|/det|>Notes on lamps
<|det|>text [100, 300, 900, 400]<|/det|>The power is known,
so that a < b.
<|det|>image [100, 450, 500, 700]<|/det|>
<|det|>table [100, 720, 900, 800]<|/det|><table><tr><td>5 W</td></tr></table>
"""


def test_a_whole_page() -> None:
    regions = parse_regions(PAGE, SIZE)
    assert [(region.label, region.text) for region in regions] == [
        ("title", "Notes on lamps"),
        ("text", "The power is known,\nso that a < b."),
        ("image", ""),
        ("table", "<table><tr><td>5 W</td></tr></table>"),
    ]
    assert regions[0].boxes_raw == ((144, 210, 872, 270),)
    assert regions[0].boxes_px == ((288, 210, 1744, 270),)


def test_confidence_is_of_the_text() -> None:
    deltas = [
        TextDelta("<|det|>text [1, 2, 3, 4]<|/det|>", (0.1,)),
        TextDelta("word", (0.8,)),
    ]
    [region] = parse_regions("".join(delta.text for delta in deltas), SIZE, deltas)
    assert region.confidence == pytest.approx(0.8)


@pytest.mark.parametrize("end", range(2, len("<|det|>text [100, 300, 900, 400]<|/det|>")))
def test_a_tag_that_is_cut_off_leaves_nothing(end: int) -> None:
    cut = "<|det|>text [100, 300, 900, 400]<|/det|>"[:end]
    [region] = parse_regions("<|det|>title [1, 2, 3, 4]<|/det|>whole\n" + cut, SIZE)
    assert (region.label, region.text) == ("title", "whole")


def test_a_box_that_cannot_be_meant_leaves_its_label() -> None:
    raw = "<|det|>text [900, 10, 100, 20]<|/det|>read anyway"
    assert parse_regions(raw, SIZE) == (Region("text", "read anyway"),)


def test_both_forms_stand_side_by_side() -> None:
    raw = "<|ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>a\n<|det|>text [5, 6, 7, 8]<|/det|>b"
    assert [(r.label, r.boxes_raw, r.text) for r in parse_regions(raw, SIZE)] == [
        ("title", ((1, 2, 3, 4),), "a"),
        ("text", ((5, 6, 7, 8),), "b"),
    ]


@pytest.mark.parametrize("junk", ["<|det|>", "<|det|>text [", "<|det|>a [1, 2", "<|det|>text "])
def test_junk_costs_one_look_at_each_letter(junk: str) -> None:
    started_s = time.process_time()
    parse_regions(junk * 40_000, SIZE)
    assert time.process_time() - started_s < 10
