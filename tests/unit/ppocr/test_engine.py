"""The CPU reader as an engine: its tasks, its refusals, cancel, pages at once, odd pages."""

import asyncio
import threading
import time
from collections.abc import Iterator

import cv2
import pymupdf
import pytest
from PIL import Image

from deepocr.documents import open_document
from deepocr.engines.base import Engine
from deepocr.engines.ppocr.engine import PPOCREngine
from deepocr.engines.ppocr.reader import Models, PageText
from deepocr.engines.ppocr.recognition.lines import Stop
from deepocr.engines.ppocr.recognition.models import Picture, Recognized
from deepocr.engines.registry import create_engine
from deepocr.errors import EngineBroken, EngineError, UnsupportedTask
from deepocr.parsing.grounding import parse_regions
from deepocr.pipeline import read_page
from deepocr.settings import Settings
from deepocr.tasks import make_job
from deepocr.types import Job, Page, PageDone, RegionFound, TextDelta
from tests.unit.ppocr.pages import picture_of

TEXTS = [
    (60, 60, 44, "The Harbor Master"),
    (60, 150, 22, "A ferry leaves the eastern quay at seven in the morning,"),
    (60, 180, 22, "and the last one comes back after the lamps are lit."),
    (60, 260, 22, "Nobody has missed it twice."),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = create_engine(Settings(engine="ppocr"))
    yield made
    asyncio.run(made.close())


def sample_page() -> Page:
    return Page(1, picture_of(TEXTS, (800, 400)))


async def test_markdown_has_heading_and_joined_paragraph(engine: Engine) -> None:
    result = await read_page(engine, sample_page(), make_job("markdown"))
    assert result.status == "ok"
    texts = [region.text for region in result.regions]
    assert texts[0].startswith("#")
    assert texts[0].endswith("The Harbor Master")
    assert "in the morning, and the last one" in texts[1]
    assert result.confidence is not None
    assert result.confidence > 0.9
    assert {"detect", "recognize", "layout", "total"} <= set(result.seconds)


async def test_raw_text_parses_into_the_same_regions(engine: Engine) -> None:
    page = sample_page()
    result = await read_page(engine, page, make_job("markdown"))
    parsed = parse_regions(result.raw, page.size_px)
    assert [region.label for region in parsed] == [region.label for region in result.regions]
    assert [region.text for region in parsed] == [region.text for region in result.regions]
    for ours, theirs in zip(result.regions, parsed, strict=True):
        assert ours.boxes_raw == theirs.boxes_raw
        assert (
            max(abs(a - b) for a, b in zip(ours.boxes_px[0], theirs.boxes_px[0], strict=True)) < 3
        )


async def test_boxes_task_gives_each_line_where_it_stands(engine: Engine) -> None:
    result = await read_page(engine, sample_page(), make_job("boxes"))
    assert [region.text for region in result.regions][-1] == TEXTS[-1][3]
    for region, (x, y, height, _) in zip(result.regions, TEXTS, strict=True):
        x1, y1, _, y2 = region.boxes_px[0]
        assert abs(x1 - x) < height
        assert y1 <= y + height / 2 <= y2


async def test_free_task_writes_no_tags(engine: Engine) -> None:
    result = await read_page(engine, sample_page(), make_job("free"))
    assert "<|" not in result.raw
    assert result.raw.startswith("The Harbor Master\n\n")


async def test_locate_finds_part_of_a_line_and_tolerates_a_typo(engine: Engine) -> None:
    job = make_job("locate", reference_text="easterm quay")
    result = await read_page(engine, sample_page(), job)
    (region,) = result.regions
    (box,) = region.boxes_px
    assert region.label == "easterm quay"
    assert 150 < box[0] < 330 < box[2] < 480, box
    assert box[1] < 165 < box[3]


async def test_locate_without_a_match_finds_nothing(engine: Engine) -> None:
    job = make_job("locate", reference_text="submarine telegraph")
    result = await read_page(engine, sample_page(), job)
    assert result.status == "ok"
    assert not result.regions


@pytest.mark.parametrize("task", ["figure", "describe"])
async def test_other_tasks_are_refused_with_the_list(engine: Engine, task: str) -> None:
    with pytest.raises(UnsupportedTask, match=r"Convert to Markdown.*Free OCR"):
        await read_page(engine, sample_page(), make_job(task))


async def test_blank_page_has_no_text(engine: Engine) -> None:
    page = Page(1, Image.new("RGB", (600, 800), "white"))
    result = await read_page(engine, page, make_job())
    assert result.status in ("ok", "blank")
    assert result.raw == ""


@pytest.mark.parametrize("quarters", [1, 2, 3])
async def test_turned_pages_are_read_and_boxes_stay_on_the_page(
    engine: Engine, quarters: int
) -> None:
    upright = picture_of(TEXTS, (800, 400))
    page = Page(1, upright.rotate(90 * quarters, expand=True))
    result = await read_page(engine, page, make_job())
    assert result.regions[0].text.lstrip("# ") == "The Harbor Master"
    x1, y1, x2, y2 = result.regions[0].boxes_px[0]
    cut = page.image.crop((x1, y1, x2, y2)).rotate(-90 * quarters, expand=True)
    again = await read_page(engine, Page(2, cut), make_job("free"))
    assert "Harbor" in again.raw


async def test_what_runs_upward_is_read_too(engine: Engine) -> None:
    image = picture_of(TEXTS, (800, 600))
    label = picture_of([(4, 6, 24, "Rain per month in millimeters")], (400, 40))
    image.paste(label.rotate(90, expand=True), (700, 180))
    result = await read_page(engine, Page(1, image), make_job("boxes"))
    assert "Rain per month in millimeters" in [region.text for region in result.regions]


async def test_columns_of_chinese_follow_from_right_to_left(engine: Engine) -> None:
    texts = ("话说天下大势分久必合合久必分", "周末七国分争并入于秦及秦灭之", "后楚汉分争又并入于汉")
    document = pymupdf.open()
    page = document.new_page(width=400, height=500)
    for column, text in enumerate(texts):
        for row, character in enumerate(text):
            place = (320 - 40 * column, 60 + 24 * row)
            page.insert_text(place, character, fontname="china-s", fontsize=20)
    picture = page.get_pixmap(dpi=144)
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.samples)
    result = await read_page(engine, Page(1, image), make_job("free"))
    assert "".join(result.raw.split()) == "".join(texts)


async def test_strip_much_longer_than_wide_is_read_in_tiles(engine: Engine) -> None:
    texts = [(20, 100 + 400 * n, 26, f"Milestone number {n} on the road") for n in range(12)]
    result = await read_page(engine, Page(1, picture_of(texts, (500, 5000))), make_job("free"))
    for number in range(12):
        assert f"number {number} on" in result.raw


async def test_the_event_loop_runs_on_while_a_page_is_read(engine: Engine) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticker = asyncio.create_task(tick())
    await read_page(engine, sample_page(), make_job())
    ticker.cancel()
    assert ticks >= 3


async def test_pages_at_once_do_not_mix(engine: Engine) -> None:
    pages = [
        Page(n, picture_of([(30, 40, 30, f"This is sheet {n} of the pile")], (600, 120)))
        for n in range(1, 7)
    ]
    results = await asyncio.gather(*(read_page(engine, p, make_job("free")) for p in pages))
    for page, result in zip(pages, results, strict=True):
        assert f"sheet {page.number} of" in result.raw


async def test_a_page_that_came_alone_is_read_alone_and_the_others_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: dict[int, set[int]] = {}
    at_work: set[int] = set()
    together = threading.Barrier(2, timeout=10)

    def read_slowly(_models: Models, page: Page, _job: Job, _stop: Stop, alone: bool) -> PageText:
        at_work.add(page.number)
        if not alone:
            together.wait()
        at_once[page.number] = set(at_work)
        if alone:
            time.sleep(0.1)
            at_once[page.number] |= at_work
        at_work.discard(page.number)
        return PageText((), {})

    monkeypatch.setattr("deepocr.engines.ppocr.engine.read_page", read_slowly)
    image = Image.new("RGB", (64, 64))
    await asyncio.gather(*(read_page(engine, Page(n, image), make_job()) for n in (1, 2, 3)))
    assert at_once[1] == {1}
    assert {2, 3} in (at_once[2], at_once[3])


async def test_cancel_is_prompt_and_the_next_page_works(engine: Engine) -> None:
    texts = [
        (20, 20 + 34 * n, 24, "a long row of words that takes a while " * 2) for n in range(40)
    ]
    task = asyncio.create_task(
        read_page(engine, Page(1, picture_of(texts, (1000, 1500))), make_job())
    )
    await asyncio.sleep(0.05)
    task.cancel()
    started_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started_s < 5
    result = await read_page(engine, sample_page(), make_job("free"))
    assert "eastern quay" in result.raw


async def test_events_end_with_done_and_regions_come_with_their_text(engine: Engine) -> None:
    events = [event async for event in engine.read(sample_page(), make_job())]
    assert isinstance(events[-1], PageDone)
    found = [event for event in events if isinstance(event, RegionFound)]
    written = [event for event in events if isinstance(event, TextDelta)]
    assert len(found) == len(written)
    assert all(event.region.lines for event in found)


async def test_text_layer_is_used_and_said_so(labeled_pdf: bytes) -> None:
    settings = Settings(engine="ppocr", ppocr_text_layer=True)
    engine = create_engine(settings)
    try:
        with open_document(labeled_pdf, settings, with_words=True) as document:
            result = await read_page(engine, document.page(1), make_job())
    finally:
        await engine.close()
    assert result.notes["text_layer"].startswith("used for")
    assert "text-layer" in engine.capabilities.engine


@pytest.fixture
def labeled_pdf() -> bytes:
    import pymupdf

    document = pymupdf.open()
    page = document.new_page(width=420, height=300)
    for row, text in enumerate(
        ("The quick brown fox", "jumps over the lazy dog", "and then sleeps")
    ):
        page.insert_text((40, 60 + 30 * row), text, fontsize=14)
    data: bytes = document.tobytes()
    return data


async def test_spaces_read_at_the_ends_of_lines_are_no_text(
    engine: PPOCREngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = engine._models.lines._recognizer

    def spaced(crop: Picture) -> Recognized:
        seen = recognizer(crop)
        return Recognized(f" {seen.text} ", seen.score, (0.0, *seen.char_x, 1.0))

    monkeypatch.setattr(engine._models.lines, "_recognizer", spaced)
    numbers = [(60, 60 + 40 * row, 22, f"{row}12 345   {row}7.5") for row in range(6)]
    for task in ("markdown", "free", "boxes"):
        page = Page(1, picture_of(numbers, (500, 400)))
        result = await read_page(engine, page, make_job(task))
        assert result.error is None
        lines = [line.text for region in result.regions for line in region.lines]
        assert lines
        assert lines == [text.strip() for text in lines]


@pytest.mark.parametrize("error", [IndexError("list index out of range"), cv2.error("(-215)")])
async def test_what_libraries_throw_is_the_pages_failure(
    engine: PPOCREngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine._models.lines, "crop", broken)
        with pytest.raises(EngineError, match="ppocr cannot read the page; an internal error: "):
            await anext(engine.read(sample_page(), make_job("free")))
    assert (await read_page(engine, sample_page(), make_job("free"))).status == "ok"


async def test_pages_in_hand_and_new_ones_are_told_when_it_is_closed() -> None:
    engine = create_engine(Settings(engine="ppocr"))
    pages = [
        asyncio.create_task(read_page(engine, sample_page(), make_job("free"))) for _ in range(6)
    ]
    await asyncio.sleep(0.05)
    await engine.close()
    results = await asyncio.gather(*pages, return_exceptions=True)
    told = [result for result in results if isinstance(result, EngineBroken)]
    assert len(told) + sum(not isinstance(r, BaseException) for r in results) == len(pages)
    assert told
    with pytest.raises(EngineBroken, match="closed"):
        await read_page(engine, sample_page(), make_job("free"))
