"""Pages checked beside an engine: what the witness may and may not do to them."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from PIL import ImageDraw

from deepocr.check import beside
from deepocr.check.beside import Checking
from deepocr.engines.base import Capabilities, Engine
from deepocr.errors import EngineError, EngineUnavailable, InvalidInput
from deepocr.pipeline import read_page
from deepocr.settings import Settings
from deepocr.tasks import CHECKED_TASKS, PAGES_TOGETHER, TASKS, refuse_unchecked_task
from deepocr.types import Event, Job, Line, Page, PageDone, Region, RegionFound, TextDelta
from tests.unit.test_check import BEES, SALT, page_of, words_of

SETTINGS = Settings()


class Saying:
    """An engine that writes `text`, a line a region line, sure of it; waits for `gate` first."""

    broken = None

    def __init__(self, text: str, name: str = "scripted") -> None:
        self.capabilities = Capabilities(
            name, CHECKED_TASKS, boxes=True, live_text=False, confidence=True
        )
        self.text = text
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.closed = False

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        self.begun.set()
        await self.gate.wait()
        lines = tuple(
            Line(line, ((100, y), (700, y), (700, y + 18), (100, y + 18)), 0.99)
            for y, line in zip(range(200, 1300, 24), self.text.split("\n"), strict=False)
        )
        yield RegionFound(Region("text", self.text, ((100, 200, 700, 400),), lines=lines))
        yield TextDelta(self.text)
        yield PageDone()

    async def close(self) -> None:
        self.closed = True


def scan() -> Page:
    """A page with ink and without a text layer."""
    page = page_of(())
    ImageDraw.Draw(page.image).rectangle((100, 200, 700, 300), fill="black")
    return page


def layered() -> Page:
    return replace(scan(), words=tuple(words_of(SALT)))


def with_reader(monkeypatch: pytest.MonkeyPatch, reader: Engine | None) -> list[str]:
    """PP-OCR is `reader`, or cannot be loaded; the list grows with each time it is loaded."""
    loaded: list[str] = []

    def create(settings: Settings) -> Engine:
        loaded.append(settings.engine)
        if reader is None:
            raise EngineUnavailable("engine 'ppocr' cannot be loaded: no rapidocr in /srv/lib")
        return reader

    monkeypatch.setattr(beside, "create_engine", create)
    return loaded


async def test_a_sound_layer_needs_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = with_reader(monkeypatch, None)
    engine = Saying("\n".join(SALT).replace("1742", "1724"))
    page = layered()
    result = await Checking(engine, SETTINGS).checked(page, read_page(engine, page, Job()))
    assert result.check is not None
    assert (result.check.verdict, result.check.witness) == ("doubtful", "text layer")
    (finding,) = result.check.findings
    assert (finding.kind, finding.witness, finding.text) == ("differs", "1742", "1724")
    assert result.seconds["check"] >= 0
    assert loaded == []


async def test_the_reader_reads_while_the_engine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Saying("\n".join(SALT))
    loaded = with_reader(monkeypatch, reader)
    engine = Saying("\n".join(SALT[:3]))
    engine.gate.clear()
    checking = Checking(engine, SETTINGS)
    page = scan()
    reading = asyncio.create_task(checking.checked(page, read_page(engine, page, Job())))
    async with asyncio.timeout(30):
        await reader.begun.wait()
        assert not reading.done()
        engine.gate.set()
        result = await reading
    assert result.check is not None
    assert (result.check.verdict, result.check.witness) == ("contradicted", "ppocr")
    assert {finding.kind for finding in result.check.findings} == {"missing"}
    again = await checking.checked(page, read_page(engine, page, Job()))
    assert again.check == result.check
    assert loaded == ["ppocr"]
    await checking.close()
    assert reader.closed


async def test_without_a_reader_there_is_no_verdict_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_reader(monkeypatch, None)
    engine, page = Saying("\n".join(SALT)), scan()
    checking = Checking(engine, SETTINGS)
    result = await checking.checked(page, read_page(engine, page, Job()))
    assert result.status == "ok"
    assert result.check is not None
    assert result.check.verdict == "no witness"
    assert result.check.reason == "no text layer; the CPU reader failed: it is not installed here"
    await checking.close()


async def test_the_cpu_reader_is_not_its_own_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = with_reader(monkeypatch, Saying("other words"))
    engine, page = Saying("\n".join(SALT), "ppocr"), scan()
    result = await Checking(engine, SETTINGS).checked(page, read_page(engine, page, Job()))
    assert result.check is not None
    assert (result.check.verdict, result.check.reason) == ("no witness", "no text layer")
    assert loaded == []


async def test_nor_is_a_layer_that_the_engine_copies() -> None:
    engine, page = Saying("\n".join(SALT), "ppocr text-layer"), layered()
    result = await Checking(engine, SETTINGS).checked(page, read_page(engine, page, Job()))
    assert result.check is not None
    assert result.check.verdict == "no witness"
    assert "layer" in result.check.reason


async def test_a_slow_reader_costs_its_verdict_not_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Saying("")
    reader.gate.clear()
    with_reader(monkeypatch, reader)
    monkeypatch.setattr("deepocr.check.checker.READER_LIMIT_S", 0.05)
    engine, page = Saying("\n".join(SALT)), scan()
    result = await Checking(engine, SETTINGS).checked(page, read_page(engine, page, Job()))
    assert result.status == "ok"
    assert result.check is not None
    assert result.check.verdict == "no witness"
    assert "took longer" in result.check.reason


async def test_a_check_that_fails_costs_its_verdict_not_the_page(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_args: object, **_named: object) -> None:
        raise ValueError("bees")

    monkeypatch.setattr(beside, "check_page", fails)
    engine, page = Saying("\n".join(BEES)), layered()
    result = await Checking(engine, SETTINGS).checked(page, read_page(engine, page, Job()))
    assert result.status == "ok"
    assert result.check is not None
    assert result.check.verdict == "no witness"
    assert "the check failed" in result.check.reason
    assert "Traceback" in caplog.text


async def test_a_failed_page_is_not_checked() -> None:
    class Failing(Saying):
        async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
            raise EngineError("no light")
            yield PageDone()

    engine, page = Failing(""), layered()
    result = await Checking(engine, SETTINGS).checked(page, read_page(engine, page, Job()))
    assert (result.status, result.check) == ("failed", None)


async def test_canceling_stops_engine_and_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Saying("")
    reader.gate.clear()
    with_reader(monkeypatch, reader)
    engine, page = Saying("\n".join(SALT)), scan()
    before = asyncio.all_tasks()
    reading = asyncio.create_task(
        Checking(engine, SETTINGS).checked(page, read_page(engine, page, Job()))
    )
    async with asyncio.timeout(30):
        await reader.begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert asyncio.all_tasks() - before <= {reading}


@pytest.mark.parametrize("task", [*TASKS, PAGES_TOGETHER.title])
def test_only_tasks_that_write_the_page_can_be_checked(task: str) -> None:
    if task in CHECKED_TASKS:
        refuse_unchecked_task(Job(task))
    else:
        with pytest.raises(InvalidInput, match="leave check out"):
            refuse_unchecked_task(Job(task))
