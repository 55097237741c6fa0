"""When a page is read again, how, and which reading is kept."""

import pytest

from deepocr.book.orientation import Look
from deepocr.book.retries import Reading, Rung, best, has_loop, is_settled, rungs
from deepocr.engines.base import Capabilities
from deepocr.parsing.words import agreement
from deepocr.tasks import TASKS, make_job
from deepocr.types import FinishReason, Job, PageResult, PageStatus, Region, Word

UPRIGHT = Look((0,), has_lines=True)
SIDEWAYS = Look((90, 270), has_lines=True)
ABLE = Capabilities("test", frozenset(TASKS), boxes=True, live_text=True, confidence=True)


def reading(
    text: str = "some words that were read",
    status: PageStatus = "ok",
    confidence: float | None = None,
    agrees: float | None = None,
    turned: int = 0,
) -> Reading:
    reasons: dict[PageStatus, FinishReason] = {"truncated": "length", "repetition": "repetition"}
    result = PageResult(
        1,
        status,
        (100, 100),
        raw=text,
        regions=(Region("text", text),) if text else (),
        finish_reason=reasons.get(status, "stop"),
        confidence=confidence,
        error="broken" if status == "failed" else None,
    )
    return Reading(Rung(Job(), turned), result, agrees)


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (reading(status="failed", text=""), reading(text="")),
        (reading(text="", confidence=1.0), reading(status="truncated")),
        (reading(status="repetition", agrees=1.0), reading(confidence=0.1)),
        (reading(confidence=0.9, agrees=0.5), reading(confidence=0.5, agrees=0.8)),
        (reading(confidence=0.5), reading(confidence=0.8)),
        (reading(text="few"), reading(text="many more words than the other one has")),
    ],
)
def test_the_better_reading_is_kept(worse: Reading, better: Reading) -> None:
    assert best([worse, better]) is better
    assert best([better, worse]) is better


def test_of_equals_the_first_is_kept() -> None:
    first, second = reading(confidence=0.801), reading(confidence=0.805)
    assert best([first, second]) is first


def test_an_upright_page_is_read_in_other_ways_after_the_first() -> None:
    ways = list(rungs(make_job("markdown", preset="gundam"), UPRIGHT, ABLE))
    assert [(way.job.task, way.job.preset, way.turned) for way in ways] == [
        ("Convert to Markdown", "Gundam (Recommended)", 0),
        ("Convert to Markdown", "Large", 0),
        ("Free OCR", "Gundam (Recommended)", 0),
        ("Convert to Markdown", "Gundam (Recommended)", 180),
    ]


def test_a_page_that_seems_turned_is_turned_first_and_read_as_it_lies_next() -> None:
    turns = [way.turned for way in rungs(make_job(), SIDEWAYS, ABLE)]
    assert turns[:3] == [90, 0, 270]


def test_what_the_engine_cannot_do_is_no_way() -> None:
    plain = Capabilities(
        "plain",
        frozenset({"Free OCR"}),
        boxes=True,
        live_text=False,
        confidence=True,
        presets=frozenset(),
    )
    ways = list(rungs(make_job("free"), UPRIGHT, plain))
    assert [(way.job.task, way.turned) for way in ways] == [("Free OCR", 0), ("Free OCR", 180)]


def test_locate_is_asked_the_same_again_only() -> None:
    ways = rungs(make_job("locate", "the seal"), UPRIGHT, ABLE)
    assert {way.job.task for way in ways} == {"Locate Object by Reference"}


@pytest.mark.parametrize(
    ("readings", "look", "settled"),
    [
        ([reading()], UPRIGHT, True),
        ([reading(text="")], UPRIGHT, False),
        ([reading(status="truncated")], UPRIGHT, False),
        ([reading(text="la la " * 200)], UPRIGHT, False),
        ([reading(status="failed", text="")], UPRIGHT, True),
        ([reading(status="truncated"), reading(status="failed", text="")], UPRIGHT, False),
        ([reading(turned=90)], SIDEWAYS, False),
        ([reading(turned=90, confidence=0.95)], SIDEWAYS, True),
        ([reading(turned=90), reading()], SIDEWAYS, True),
        ([reading(turned=90), reading(text="")], SIDEWAYS, False),
    ],
)
def test_when_reading_ends(readings: list[Reading], look: Look, settled: bool) -> None:
    assert is_settled(readings, look) is settled


@pytest.mark.parametrize(
    "text",
    ["la la " * 100, "x" * 500, "Some text. " + "and so on and on " * 40, "one same line\n" * 14],
)
def test_loops(text: str) -> None:
    assert has_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A plain text that ends.",
        "Name: " + "." * 600,
        "<table>" + "<tr><td></td><td></td></tr>" * 60 + "</table>",
        "\n".join(f"line {n} of many" for n in range(50)),
        "-\n" * 40,
    ],
)
def test_no_loops(text: str) -> None:
    assert not has_loop(text)


def test_agreement_counts_words() -> None:
    words = tuple(Word(text, (0, 0, 1, 1)) for text in ("the", "quick", "brown", "fox", "jumps"))
    assert agreement(reading("The quick, brown FOX jumps").result, words) == 1.0
    assert agreement(reading("nothing of it here at all").result, words) == 0.0
    assert agreement(reading("the quick").result, words) == pytest.approx(4 / 7, abs=1e-3)
    assert agreement(reading().result, words[:2]) is None
