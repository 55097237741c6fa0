"""The engine over the tiny checkpoint: many readers at once, cancel, close, a broken worker."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepocr.engines.deepseek.engine import DeepSeekEngine, create
from deepocr.engines.deepseek.vision import PreparedPage, prepare
from deepocr.errors import EngineBroken, EngineError, InvalidInput, SettingsError
from deepocr.settings import Settings
from deepocr.tasks import make_job
from deepocr.types import Event, Job, Page, PageDone, TextDelta
from tests.tiny_checkpoint import make_tiny_checkpoint

IMAGES = Path(__file__).parents[2] / "parity" / "data" / "images"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def make_engine(checkpoint: Path, batch: int) -> DeepSeekEngine:
    settings = Settings(
        checkpoints=checkpoint, weights_download=False, dtype="fp32", device="cpu", batch=batch
    )
    return create(settings)


@pytest.fixture
async def engine(checkpoint: Path) -> AsyncIterator[DeepSeekEngine]:
    engine = make_engine(checkpoint, batch=4)
    yield engine
    await engine.close()


def page(number: int, name: str = "a4") -> Page:
    with Image.open(IMAGES / f"{name}.png") as image:
        return Page(number, image.convert("RGB"))


async def read(engine: DeepSeekEngine, page: Page, job: Job) -> list[Event]:
    async with aclosing(engine.read(page, job)) as events:
        return [event async for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


JOBS = [
    ("a4", make_job("markdown", preset="tiny", max_new_tokens=20)),
    ("landscape", make_job("free", preset="small", max_new_tokens=33)),
    ("square", make_job("locate", "the title", preset="tiny", max_new_tokens=7)),
    ("wide_small", make_job("figure", preset="gundam", max_new_tokens=12)),
    ("square", make_job("describe", preset="tiny", max_new_tokens=1)),
    ("landscape", make_job("boxes", preset="tiny", max_new_tokens=28)),
]


async def test_pages_read_together_say_what_each_says_alone(
    checkpoint: Path, engine: DeepSeekEngine
) -> None:
    alone_engine = make_engine(checkpoint, batch=1)
    pages = [(page(i + 1, name), job) for i, (name, job) in enumerate(JOBS)]
    alone = [await read(alone_engine, *one) for one in pages]
    await alone_engine.close()
    together = await asyncio.gather(*(read(engine, *one) for one in pages))
    for (_, job), one, many in zip(pages, alone, together, strict=True):
        done = many[-1]
        assert isinstance(done, PageDone)
        assert text_of(many) == text_of(one)
        assert done.usage == one[-1].usage  # type: ignore[union-attr]
        assert 0 < done.usage.output_tokens <= job.max_new_tokens
        assert set(done.seconds) == {"queue", "vision", "prefill", "decode"}
    assert all_free(engine)


def all_free(engine: DeepSeekEngine) -> bool:
    reader = engine._worker.reader
    pool = reader.scheduler.pool
    return pool.used == 0 and pool.free == pool.total and reader.num_readings == 0


async def until_free(engine: DeepSeekEngine) -> None:
    async with asyncio.timeout(60):
        while not all_free(engine):
            await asyncio.sleep(0.01)


async def test_closing_the_iterator_frees_the_page_and_leaves_the_others(
    engine: DeepSeekEngine,
) -> None:
    long = make_job("free", preset="tiny", max_new_tokens=8000)
    short = make_job("free", preset="tiny", max_new_tokens=40)
    events = engine.read(page(1), long)
    first = await anext(events)
    assert isinstance(first, TextDelta)
    other = asyncio.create_task(read(engine, page(2, "square"), short))
    await events.aclose()
    assert isinstance((await other)[-1], PageDone)
    await until_free(engine)


async def test_canceling_the_task_frees_the_page(engine: DeepSeekEngine) -> None:
    long = make_job("free", preset="tiny", max_new_tokens=8000)
    tasks = [asyncio.create_task(read(engine, page(i), long)) for i in range(6)]
    async with asyncio.timeout(60):
        while engine._worker.reader.num_readings < len(tasks):
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await until_free(engine)


async def test_close_ends_pages_with_an_error(checkpoint: Path) -> None:
    engine = make_engine(checkpoint, batch=2)
    long = make_job("free", preset="tiny", max_new_tokens=8000)
    tasks = [asyncio.create_task(read(engine, page(i), long)) for i in range(4)]
    await asyncio.sleep(0.5)
    await engine.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, EngineError) for result in results)
    with pytest.raises(EngineError, match="closed"):
        await read(engine, page(1), long)
    await engine.close()


async def test_close_ends_pages_whose_pictures_wait(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are handed back; a cancellation that nobody asked for would end whoever reads."""
    closed = threading.Event()

    def slow(*args: Any) -> PreparedPage:
        closed.wait(60)
        return prepare(*args)

    monkeypatch.setattr("deepocr.engines.deepseek.engine.prepare", slow)
    engine = make_engine(checkpoint, batch=2)
    job = make_job("free", preset="tiny", max_new_tokens=5)
    tasks = [asyncio.create_task(read(engine, page(i), job)) for i in range(20)]
    await asyncio.sleep(0.1)
    await engine.close()
    closed.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [EngineBroken] * 20


async def test_a_bug_in_the_worker_is_told_to_everyone(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(checkpoint, batch=2)

    def broken() -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(engine._worker.reader, "step", broken)
    job = make_job("free", preset="tiny", max_new_tokens=5)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"broke.*a bug"):
            await read(engine, page(1), job)
    await engine.close()


@pytest.mark.parametrize("quantize", ["none", "int8", "int4"])
async def test_quantized_weights_read_and_say_so(checkpoint: Path, quantize: str) -> None:
    settings = Settings(
        checkpoints=checkpoint, weights_download=False, device="cpu", quantize=quantize
    )
    engine = create(settings)
    assert engine.capabilities.engine == f"deepseek {'bf16' if quantize == 'none' else quantize}"
    events = await read(engine, page(1), make_job("free", preset="tiny", max_new_tokens=5))
    assert isinstance(events[-1], PageDone)
    await engine.close()


def test_quantized_weights_in_float32_are_refused(checkpoint: Path) -> None:
    settings = Settings(
        checkpoints=checkpoint, weights_download=False, device="cpu", dtype="fp32", quantize="int8"
    )
    with pytest.raises(SettingsError, match="QUANTIZE=int8"):
        create(settings)


async def test_a_prompt_that_leaves_no_room_is_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(checkpoint, batch=2)
    monkeypatch.setattr(engine, "_context", 80)
    with pytest.raises(InvalidInput, match="context holds 80"):
        await read(engine, page(1), make_job("free", preset="small"))
    await engine.close()
