"""Results come in page order, failures stay in their place, closing stops the work."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest
from PIL import Image

from deepocr import pipeline
from deepocr.engines.scripted import Reply, Script, ScriptedEngine
from deepocr.errors import (
    EngineBroken,
    EngineError,
    InvalidInput,
    UnreadableDocument,
    UnsupportedTask,
    reason,
)
from deepocr.pipeline import read_document, read_page, read_pages, warm_up
from deepocr.tasks import MAX_PAGES_TOGETHER
from deepocr.types import Event, Job, Page, PageDone, PageResult, TextDelta


class FakeDocument:
    """Blank pages, some of which cannot be drawn; keeps count of the pages asked for."""

    name = "fake"
    kind = "pdf"

    def __init__(self, num_pages: int, broken: set[int] | None = None) -> None:
        self.num_pages = num_pages
        self.broken = broken or set()
        self.drawn: list[int] = []

    def page(self, number: int) -> Page:
        self.drawn.append(number)
        if number in self.broken:
            raise UnreadableDocument(f"page {number} is damaged")
        return Page(number, Image.new("RGB", (100, 50), "white"))


def engine_with(pages: Mapping[int, Reply] | None = None, **default: object) -> ScriptedEngine:
    return ScriptedEngine(Script(default=Reply(**default), pages=dict(pages or {})))  # type: ignore[arg-type]


@contextmanager
def everything_settled(engine: ScriptedEngine) -> Iterator[None]:
    yield
    assert engine.started == engine.finished + engine.abandoned


async def test_pages_come_in_order_though_later_ones_are_faster() -> None:
    engine = engine_with({1: Reply(text="one", delay_s=0.2)}, text="page {page}")
    document = FakeDocument(6)
    pages = [p async for p in read_pages(engine, document, (1, 2, 3, 5), Job(), window=4)]  # type: ignore[arg-type]
    assert [page.number for page in pages] == [1, 2, 3, 5]
    assert [page.raw for page in pages] == ["one", "page 2", "page 3", "page 5"]
    assert all(page.status == "ok" and page.seconds["render"] >= 0 for page in pages)


async def test_at_most_a_window_of_pages_is_drawn_ahead() -> None:
    engine = engine_with({1: Reply(delay_s=0.3)})
    document = FakeDocument(50)
    async for _page in read_pages(engine, document, range(1, 51), Job(), window=3):  # type: ignore[arg-type]
        assert len(document.drawn) <= 3
        break


TOGETHER = Job("Parse Pages Together", preset="Base")


class JoiningEngine(ScriptedEngine):
    """Reads pages together as Unlimited-OCR does: one text for all of them."""

    def __init__(self, text: str, error: str | None = None) -> None:
        super().__init__(Script(default=Reply(text=text, error=error)))
        tasks = self.capabilities.tasks | {TOGETHER.task}
        self.capabilities = replace(self.capabilities, tasks=tasks)
        self.read_together: list[list[int]] = []

    def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        self.read_together.append([page.number, *(after.number for after in page.following)])
        return super().read(page, job)


async def read_together(engine: ScriptedEngine, document: FakeDocument) -> list[PageResult]:
    numbers = range(1, document.num_pages + 1)
    reading = read_pages(engine, document, numbers, TOGETHER, window=4)  # type: ignore[arg-type]
    return [page async for page in reading]


async def test_pages_of_one_reading_get_their_own_text() -> None:
    engine = JoiningEngine("<PAGE><|det|>title [0, 0, 999, 500]<|/det|>one\n<PAGE>two<PAGE>three")
    pages = await read_together(engine, FakeDocument(4, broken={2}))
    assert engine.read_together == [[1, 3, 4]]
    assert [page.status for page in pages] == ["ok", "failed", "ok", "ok"]
    assert [page.raw for page in pages if page.raw][1:] == ["two", "three"]
    assert pages[0].regions[0].text == "one"
    assert pages[0].regions[0].boxes_px == ((0, 0, 100, 25),)
    assert pages[2].notes["read together"] == "pages 1 to 4"
    assert "page marks" not in pages[2].notes


async def test_a_long_document_is_read_in_several_readings() -> None:
    engine = JoiningEngine("<PAGE>x" * MAX_PAGES_TOGETHER)
    pages = await read_together(engine, FakeDocument(20))
    assert engine.read_together == [list(range(1, 17)), [17, 18, 19, 20]]
    assert [page.number for page in pages] == list(range(1, 21))
    assert all(page.status == "ok" for page in pages)


async def test_a_page_without_text_in_a_joined_reading_is_told() -> None:
    one, two, three = await read_together(JoiningEngine("one <PAGE> two"), FakeDocument(3))
    assert (one.raw, two.raw, one.status, two.status) == ("one", "two", "ok", "ok")
    assert one.notes["page marks"].startswith("2 for 3 pages")
    assert three.status == "failed"
    assert "read this page by itself" in str(three.error)


async def test_text_beyond_the_last_page_is_kept_with_it() -> None:
    pages = await read_together(JoiningEngine("<PAGE>one<PAGE>two<PAGE>more"), FakeDocument(2))
    assert [page.raw for page in pages] == ["one", "twomore"]
    assert pages[1].notes["page marks"].startswith("3 for 2 pages")


async def test_a_joined_reading_fails_as_one() -> None:
    pages = await read_together(JoiningEngine("", error="out of ink"), FakeDocument(2))
    assert [(page.status, page.error) for page in pages] == [("failed", "out of ink")] * 2


async def test_what_is_added_to_a_page_is_added_to_each_of_a_joined_reading() -> None:
    async def also(page: Page, reading: Awaitable[PageResult]) -> PageResult:
        result = await reading
        return replace(result, notes={"seen": f"{page.number}: {result.raw}"})

    engine, document = JoiningEngine("<PAGE>one<PAGE>two"), FakeDocument(2)
    reading = read_pages(engine, document, (1, 2), TOGETHER, window=1, also=also)  # type: ignore[arg-type]
    assert [page.notes["seen"] async for page in reading] == ["1: one", "2: two"]


async def test_only_a_joining_engine_takes_the_task() -> None:
    with pytest.raises(UnsupportedTask, match="Parse Pages Together"):
        await read_together(engine_with(), FakeDocument(2))


async def test_failures_stay_in_their_place() -> None:
    engine = engine_with({2: Reply(error="out of ink")})
    result = await read_document(
        engine,
        FakeDocument(3, broken={3}),  # type: ignore[arg-type]
        (1, 2, 3),
        Job(),
        window=2,
    )
    assert [page.status for page in result.pages] == ["ok", "failed", "failed"]
    assert [page.error for page in result.pages] == [None, "out of ink", "page 3 is damaged"]


async def test_a_document_without_a_single_read_page_is_an_error() -> None:
    engine = engine_with(error="no luck")
    with pytest.raises(EngineError, match="any of 2 pages: no luck"):
        await read_document(engine, FakeDocument(2), (1, 2), Job(), window=2)  # type: ignore[arg-type]


async def test_closing_the_iterator_abandons_what_is_running() -> None:
    engine = engine_with({1: Reply(text="quick")}, delay_s=60, text="slow words here")
    with everything_settled(engine):
        pages = read_pages(engine, FakeDocument(9), range(1, 10), Job(), window=4)  # type: ignore[arg-type]
        first = await anext(pages)
        await asyncio.sleep(0.05)
        await pages.aclose()
    assert first.raw == "quick"
    assert engine.abandoned >= 2


@pytest.mark.parametrize(
    ("reason", "status"), [("stop", "ok"), ("length", "truncated"), ("repetition", "repetition")]
)
async def test_status_follows_the_finish_reason(reason: str, status: str) -> None:
    engine = engine_with(finish_reason=reason)
    result = await read_page(engine, Page(1, Image.new("RGB", (9, 9))), Job())
    assert (result.finish_reason, result.status) == (reason, status)


async def test_confidence_is_the_mean_over_tokens() -> None:
    class TwoTokens(ScriptedEngine):
        async def read(self, page: Page, job: Job):  # type: ignore[no-untyped-def]  # noqa: ANN202
            yield TextDelta("a", (1.0,))
            yield TextDelta("b", (0.5, 0.0))
            yield PageDone()

    result = await read_page(TwoTokens(Script()), Page(1, Image.new("RGB", (9, 9))), Job())
    assert result.confidence == pytest.approx(0.5)


async def test_an_engine_that_just_ends_is_a_failed_page() -> None:
    class Silent(ScriptedEngine):
        async def read(self, page: Page, job: Job):  # type: ignore[no-untyped-def]  # noqa: ANN202
            yield TextDelta("half a")

    result = await read_page(Silent(Script()), Page(4, Image.new("RGB", (9, 9))), Job())
    assert result.status == "failed"
    assert "page 4 unfinished" in (result.error or "")


async def test_a_task_the_engine_lacks_is_refused_before_any_page_is_drawn() -> None:
    engine = engine_with()
    engine.capabilities = type(engine.capabilities)(
        "narrow", frozenset({"Free OCR"}), False, False, False
    )
    document = FakeDocument(2)
    with pytest.raises(UnsupportedTask, match="it can do: Free OCR"):
        await anext(read_pages(engine, document, (1, 2), Job(), window=2))  # type: ignore[arg-type]
    assert document.drawn == []


async def test_the_listener_hears_events_as_they_happen() -> None:
    heard: list[tuple[int, Event]] = []
    page = Page(7, Image.new("RGB", (9, 9)))
    result = await read_page(
        engine_with(text="hello"), page, Job(), lambda n, e: heard.append((n, e))
    )
    assert {number for number, _ in heard} == {7}
    assert "".join(e.text for _, e in heard if isinstance(e, TextDelta)) == result.raw == "hello"
    assert isinstance(heard[-1][1], PageDone)


async def test_warm_up_fails_loudly() -> None:
    await warm_up(engine_with())
    with pytest.raises(EngineError, match="warm-up failed: cold"):
        await warm_up(engine_with(error="cold"))


KINDS = {
    "index": "an internal error: list index out of range",
    "key": "an internal error: 'a key'",
    "runtime": "an internal error: a step failed",
    "memory": "out of memory: no more after 64 MB",
    "unicode": "text that cannot be encoded: 'utf-8' codec can't encode",
    "recursion": "nested too deeply: maximum recursion depth",
    "os": "a file or a connection failed: Input/output error",
    "foreign": "an internal error: resize.cpp:4152: error: (-215) inv_scale_x > 0",
}


@pytest.mark.parametrize("fault", KINDS)
async def test_any_exception_of_one_page_is_that_pages_failure(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_with({2: Reply(text="so far", fault=fault)}, text="fine")  # type: ignore[arg-type]
    result = await read_document(engine, FakeDocument(3), (1, 2, 3), Job(), window=3)  # type: ignore[arg-type]
    first, failed, last = result.pages
    assert (first.raw, last.raw) == ("fine", "fine")
    assert (failed.status, failed.raw) == ("failed", "so far")
    assert failed.error is not None
    assert failed.error.startswith(KINDS[fault])
    assert "Error" not in failed.error
    with_traceback = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage().split(":")[0] for record in with_traceback] == ["page 2 failed"]


@pytest.mark.parametrize("error", [MemoryError(), IndexError("no such xref"), ValueError("dpi")])
async def test_any_exception_while_drawing_is_that_pages_failure(error: Exception) -> None:
    class Torn(FakeDocument):
        def page(self, number: int) -> Page:
            if number == 2:
                raise error
            return super().page(number)

    result = await read_document(engine_with(), Torn(3), (1, 2, 3), Job(), window=2)  # type: ignore[arg-type]
    assert [page.status for page in result.pages] == ["ok", "failed", "ok"]
    assert result.pages[1].error == reason(error)


async def test_text_that_breaks_the_parser_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(pipeline, "parse_regions", broken)
    result = await read_page(
        engine_with(text="as written"), Page(1, Image.new("RGB", (9, 9))), Job()
    )
    assert (result.status, result.raw) == ("failed", "as written")
    assert result.error == "nested too deeply: too deep"


async def test_what_an_engine_refuses_for_a_page_is_that_pages_failure() -> None:
    class Picky(ScriptedEngine):
        async def read(self, page: Page, job: Job):  # type: ignore[no-untyped-def]  # noqa: ANN202
            if page.number == 1:
                raise InvalidInput("no room for output")
            yield TextDelta("b")
            yield PageDone()

    result = await read_document(Picky(Script()), FakeDocument(2), (1, 2), Job(), window=1)  # type: ignore[arg-type]
    assert [page.error for page in result.pages] == ["no room for output", None]


async def test_a_broken_engine_is_no_pages_failure() -> None:
    engine = engine_with({2: Reply(fault="broken")}, delay_s=0.1)
    assert engine.broken is None
    pages = read_pages(engine, FakeDocument(9), range(1, 10), Job(), window=3)  # type: ignore[arg-type]
    with everything_settled(engine), pytest.raises(EngineBroken):
        assert [page.status async for page in pages] == []
    assert engine.broken is not None
    with pytest.raises(EngineBroken):
        await read_page(engine, Page(1, Image.new("RGB", (9, 9))), Job())


async def test_a_page_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_RAW_CHARS", 50_000)
    engine = engine_with(fault="endless")
    with everything_settled(engine):
        result = await read_page(engine, Page(1, Image.new("RGB", (9, 9))), Job())
    assert "more than 50,000 characters" in (result.error or "")


async def test_cancellation_goes_through() -> None:
    engine = engine_with(fault="hang")
    task = asyncio.create_task(read_page(engine, Page(1, Image.new("RGB", (9, 9))), Job()))
    while not engine.started:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.abandoned == 1


async def test_what_is_raised_on_purpose_is_logged_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    await read_page(engine_with(error="torn"), Page(7, Image.new("RGB", (9, 9))), Job())
    (record,) = caplog.records
    assert record.getMessage() == "page 7 failed: torn"
    assert record.exc_info is None


def test_a_fault_may_happen_a_few_times_only() -> None:
    engine = engine_with(fault="index", times=1)
    page = Page(1, Image.new("RGB", (9, 9)))
    results = [asyncio.run(read_page(engine, page, Job())) for _ in range(2)]
    assert [result.status for result in results] == ["failed", "ok"]


def test_reasons_hold_no_folders_and_no_novels() -> None:
    assert reason(FileNotFoundError(2, "No such file", "/srv/secret")) == (
        "a file or a connection failed: No such file"
    )
    assert "/srv" not in reason(RuntimeError("cannot open /srv/data/a.bin: gone"))
    assert reason(RuntimeError("see https://example.org/a/b")).endswith("https://example.org/a/b")
    assert reason(RuntimeError("two\n lines")) == "an internal error: two lines"
    assert len(reason(RuntimeError("x" * 10_000))) < 500
    assert reason(MemoryError()) == "out of memory"
