"""Pages through an engine, results in page order.

The pipeline sees the Engine protocol only; whoever starts the program builds the engine.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from PIL import Image, ImageDraw

from deepocr.documents import Document
from deepocr.engines.base import Engine, check_task
from deepocr.errors import DocumentTooLarge, EngineError, UnreadableDocument
from deepocr.parsing.boxes import within_page
from deepocr.parsing.grounding import parse_regions
from deepocr.types import (
    DocumentResult,
    Event,
    FinishReason,
    Job,
    Page,
    PageDone,
    PageResult,
    PageStatus,
    RegionFound,
    TextDelta,
)

Listener = Callable[[int, Event], None]
"""Called with the page number and each event as it happens, for live output."""

STATUS_OF: Mapping[FinishReason, PageStatus] = {
    "stop": "ok",
    "length": "truncated",
    "repetition": "repetition",
}


async def read_page(
    engine: Engine, page: Page, job: Job, listener: Listener | None = None
) -> PageResult:
    """One page, one reading.

    An EngineError becomes a result with status `failed`: an error in one page is told in its
    place and never touches another. InvalidInput (a task the engine cannot do) is raised.
    """
    started_s = time.perf_counter()
    deltas: list[TextDelta] = []
    found: list[RegionFound] = []
    done: PageDone | None = None
    try:
        async with aclosing(engine.read(page, job)) as events:
            async for event in events:
                if listener:
                    listener(page.number, event)
                match event:
                    case TextDelta():
                        deltas.append(event)
                    case RegionFound():
                        found.append(event)
                    case PageDone():
                        done = event
    except EngineError as error:
        return failed_page(page.number, page.size_px, error)
    if done is None:
        unfinished = EngineError(f"{engine.capabilities.engine} left page {page.number} unfinished")
        return failed_page(page.number, page.size_px, unfinished)

    raw = "".join(delta.text for delta in deltas)
    probabilities = [p for delta in deltas for p in delta.probabilities]
    regions = tuple(event.region for event in found) or parse_regions(raw, page.size_px, deltas)
    return PageResult(
        number=page.number,
        status=STATUS_OF[done.finish_reason],
        size_px=page.size_px,
        raw=raw,
        regions=within_page(regions, page.size_px),
        finish_reason=done.finish_reason,
        usage=done.usage,
        confidence=sum(probabilities) / len(probabilities) if probabilities else None,
        seconds={**done.seconds, "total": time.perf_counter() - started_s},
        notes=done.notes,
    )


def failed_page(number: int, size_px: tuple[int, int], error: Exception) -> PageResult:
    """The place of a page that could not be read, with the reason."""
    return PageResult(number=number, status="failed", size_px=size_px, error=str(error))


async def read_pages(
    engine: Engine,
    document: Document,
    numbers: Sequence[int],
    job: Job,
    *,
    window: int,
    listener: Listener | None = None,
) -> AsyncIterator[PageResult]:
    """The pages `numbers` of a document, in that order, at most `window` of them in memory.

    Closing the iterator cancels the pages in flight. Raises UnsupportedTask before any work.
    """
    check_task(engine.capabilities, job)

    async def render_and_read(number: int) -> PageResult:
        started_s = time.perf_counter()
        try:
            page = await asyncio.to_thread(document.page, number)
        except (UnreadableDocument, DocumentTooLarge) as error:
            return failed_page(number, (0, 0), error)
        render_s = time.perf_counter() - started_s
        result = await read_page(engine, page, job, listener)
        return with_stage(result, "render", render_s)

    waiting = deque(numbers)
    running: deque[asyncio.Task[PageResult]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < window:
                running.append(asyncio.create_task(render_and_read(waiting.popleft())))
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def with_stage(result: PageResult, stage: str, seconds: float) -> PageResult:
    """The same result with one more stage in its `seconds`."""
    return replace(result, seconds={stage: seconds, **result.seconds})


async def read_document(
    engine: Engine,
    document: Document,
    numbers: Sequence[int],
    job: Job,
    *,
    window: int,
    name: str = "",
) -> DocumentResult:
    """All the pages `numbers` of a document, for whoever wants one answer.

    A page that failed stands in its place with its reason. Raises EngineError when not a single
    page could be read: an answer without any text would look like success.
    """
    pages = [page async for page in read_pages(engine, document, numbers, job, window=window)]
    failed = [page for page in pages if page.status == "failed"]
    if failed and len(failed) == len(pages):
        which = "the page" if len(pages) == 1 else f"any of {len(pages)} pages"
        raise EngineError(f"could not read {which}: {failed[0].error}")
    return DocumentResult(name, engine.capabilities.engine, job, tuple(pages))


async def warm_up(engine: Engine) -> None:
    """Read a small page, so that the first user does not wait for what is done once.

    Raises EngineError when it fails: an engine that cannot read this cannot read anything.
    """
    picture = Image.new("RGB", (640, 480), "white")
    ImageDraw.Draw(picture).text((40, 40), "Warm-up page", fill="black", font_size=32)
    job = Job(task="Free OCR", preset="Tiny", max_new_tokens=4)
    result = await read_page(engine, Page(number=1, image=picture), job)
    if result.status == "failed":
        raise EngineError(f"warm-up failed: {result.error}")
