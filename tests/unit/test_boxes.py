"""What an engine or a server says about places never reaches beyond the page."""

import math
import random
from collections.abc import AsyncIterator

from PIL import Image

from deepocr.engines.scripted import Reply, Script, ScriptedEngine
from deepocr.parsing.boxes import within_page
from deepocr.pipeline import read_page
from deepocr.types import Event, Job, Line, Page, PageDone, Region, RegionFound

SIZE = (200, 100)
HUGE = 10**30


def region(*boxes: tuple[float, ...], **more: object) -> Region:
    return Region("text", "words", boxes_px=boxes, **more)  # type: ignore[arg-type]


def boxes_of(*boxes: tuple[float, ...]) -> tuple[tuple[int, ...], ...]:
    return within_page([region(*boxes)], SIZE)[0].boxes_px


def test_boxes_on_the_page_stay_as_they_are() -> None:
    whole = region((0, 0, 200, 100), (5, 5, 5, 5), boxes_raw=((0, 0, 999, 999), (24, 50, 24, 50)))
    assert within_page([whole], SIZE) == (whole,)


def test_what_reaches_over_the_edge_is_cut() -> None:
    assert boxes_of((-HUGE, -1, HUGE, 10**400)) == ((0, 0, 200, 100),)
    assert boxes_of((150, 50, 201, math.inf)) == ((150, 50, 200, 100),)


def test_what_cannot_be_a_box_of_the_page_is_dropped_and_the_text_stays() -> None:
    bad = [
        (math.nan, 0, 10, 10),
        (0, 0, 10, math.nan),
        (201, 0, 300, 10),
        (0, HUGE, 10, HUGE),
        (-20, 0, -10, 10),
        (20, 0, 10, 10),
        (0, 20, 10, 10),
    ]
    assert within_page([region(*bad)], SIZE) == (Region("text", "words"),)


def test_a_box_goes_from_both_scales() -> None:
    (cut,) = within_page(
        [region((0, 0, 10, 10), (500, 0, 600, 9), boxes_raw=((0, 0, 50, 100), (1, 2, 3, 4)))], SIZE
    )
    assert (cut.boxes_px, cut.boxes_raw) == (((0, 0, 10, 10),), ((0, 0, 50, 100),))
    (cut,) = within_page([region((0, 0, 10, 10), boxes_raw=((0, 0, HUGE, 1), (5, 1, 4, 1)))], SIZE)
    assert (cut.boxes_px, cut.boxes_raw) == (((0, 0, 10, 10),), ((0, 0, 999, 1),))


def test_lines_too() -> None:
    def line(*corners: tuple[float, float]) -> Line:
        return Line("words", corners, 0.5)  # type: ignore[arg-type]

    good = line((1, 1), (50, 2), (50, 12), (1, 11))
    over = line((-5, 1), (HUGE, 2), (HUGE, 12), (-5, 11))
    nan = line((1, 1), (50, math.nan), (50, 12), (1, 11))
    away = line((HUGE, 1), (HUGE, 1), (HUGE, 1), (HUGE, 1))
    (cut,) = within_page([region((0, 0, 9, 9), lines=(good, over, nan, away))], SIZE)
    assert cut.lines == (good, line((0, 1), (200, 2), (200, 12), (0, 11)))


def test_anything_at_all_ends_within_the_page() -> None:
    chance = random.Random(5)
    values = [0, 1, -1, 99, 100, 101, 0.5, 1e308, math.inf, -math.inf, math.nan, HUGE, -HUGE]
    for _ in range(3000):
        box = tuple(chance.choice(values) for _ in range(4))
        for x1, y1, x2, y2 in boxes_of(box):
            assert 0 <= x1 <= x2 <= SIZE[0]
            assert 0 <= y1 <= y2 <= SIZE[1]
            assert all(type(value) is int for value in (x1, y1, x2, y2))


class _Wild(ScriptedEngine):
    async def read(self, page: Page, job: Job) -> AsyncIterator[Event]:
        yield RegionFound(region((0, 0, HUGE, HUGE)))
        yield PageDone()


async def test_no_engine_is_believed() -> None:
    result = await read_page(_Wild(Script()), Page(1, Image.new("RGB", SIZE)), Job())
    assert result.regions == (region((0, 0, *SIZE)),)


async def test_boxes_without_size_are_told() -> None:
    tags = "<|ref|>text<|/ref|><|det|>[[1, 2, 1, 4], [1, 2, 3, 4], [5, 5, 5, 5]]<|/det|>"
    engine = ScriptedEngine(Script(default=Reply(text=tags)))
    page = Page(1, Image.new("RGB", SIZE))
    assert (await read_page(engine, page, Job())).notes == {
        "boxes": "2 of 3 without width or height"
    }
