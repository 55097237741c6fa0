"""Pages through an engine, results in page order.

The pipeline sees the Engine protocol only; whoever starts the program builds the engine.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import chain

from PIL import Image, ImageDraw

from deepocr.documents import Document
from deepocr.engines.base import Engine, check_task
from deepocr.errors import (
    DeepOCRError,
    EngineBroken,
    EngineError,
    InvalidInput,
    RemoteError,
    UnsupportedTask,
    reason,
)
from deepocr.parsing.boxes import box_notes, within_page
from deepocr.parsing.grounding import parse_regions
from deepocr.parsing.page_marks import split_at_marks
from deepocr.tasks import MAX_PAGES_TOGETHER, PAGES_TOGETHER
from deepocr.types import (
    DocumentResult,
    Event,
    FinishReason,
    Job,
    Page,
    PageDone,
    PageResult,
    PageStatus,
    Region,
    RegionFound,
    TextDelta,
    Usage,
)

log = logging.getLogger(__name__)

MAX_RAW_CHARS = 4_000_000
"""More than any page holds and any token limit allows: what writes so much does not stop."""

Listener = Callable[[int, Event], None]
"""Called with the page number and each event as it happens, for live output."""

Addition = Callable[[Page, Awaitable[PageResult]], Awaitable[PageResult]]
"""Waits for the reading of a page and adds to it, beside the engine; it must await it."""

STATUS_OF: Mapping[FinishReason, PageStatus] = {
    "stop": "ok",
    "length": "truncated",
    "repetition": "repetition",
}


async def read_page(
    engine: Engine, page: Page, job: Job, listener: Listener | None = None
) -> PageResult:
    """One page, one reading.

    Whatever goes wrong with the page becomes a result with status `failed` and never touches
    another page. Raised are UnsupportedTask, and EngineBroken: then no page is to blame.
    """
    return (await _read((page,), engine, job, listener))[0]


async def _read(
    pages: Sequence[Page], engine: Engine, job: Job, listener: Listener | None
) -> list[PageResult]:
    """One reading, a result for each of the pages that are read in it."""
    page = replace(pages[0], following=tuple(pages[1:]))
    started_s = time.perf_counter()
    reading = _Reading()
    try:
        async with aclosing(engine.read(page, job)) as events:
            async for event in events:
                if listener:
                    listener(page.number, event)
                reading.take(event)
        if reading.done is None:
            raise EngineError(f"{engine.capabilities.engine} left page {page.number} unfinished")
        first, *others = reading.results(pages, reading.done)
        return [with_stage(first, "total", time.perf_counter() - started_s), *others]
    except (UnsupportedTask, EngineBroken):
        raise
    except Exception as error:  # noqa: BLE001 - logged by failed_page
        raws = [reading.raw, *[""] * len(page.following)]
        return [_failed(page, error, raw) for page, raw in zip(pages, raws, strict=True)]


class _Reading:
    """What an engine has said about a page so far."""

    def __init__(self) -> None:
        self.deltas: list[TextDelta] = []
        self.found: list[Region] = []
        self.done: PageDone | None = None
        self._num_chars = 0

    def take(self, event: Event) -> None:
        """Raises EngineError for a page without end."""
        match event:
            case TextDelta():
                self.deltas.append(event)
                self._num_chars += len(event.text)
                if self._num_chars > MAX_RAW_CHARS:
                    raise EngineError(
                        f"more than {MAX_RAW_CHARS:,} characters were written for the page; "
                        "read it at another resolution"
                    )
            case RegionFound():
                self.found.append(event.region)
            case PageDone():
                self.done = event

    @property
    def raw(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    def results(self, pages: Sequence[Page], done: PageDone) -> list[PageResult]:
        """Of each page. What the reading cost as a whole stands with the first."""
        if len(pages) == 1:
            return [self._result(pages[0], self.deltas, done)]
        numbers = f"pages {pages[0].number} to {pages[-1].number}"
        texts = split_at_marks(self.deltas)
        notes = {**done.notes, "read together": numbers}
        if len(texts) != len(pages):
            notes["page marks"] = (
                f"{len(texts)} for {len(pages)} pages: text may stand with a page before its own"
            )
        texts, surplus = texts[: len(pages)], texts[len(pages) :]
        # nothing is lost: text beyond the last page stays with it
        texts[-1].extend(chain.from_iterable(surplus))
        results: list[PageResult] = []
        for page, deltas in zip(pages, texts, strict=False):
            usage = Usage(0, sum(len(delta.probabilities) for delta in deltas))
            end = done.finish_reason if len(results) == len(texts) - 1 else "stop"
            results.append(self._result(page, deltas, PageDone(end, usage, notes=notes)))
        unwritten = EngineError(
            f"the engine wrote the text of {len(texts)} of {numbers}, which were read together; "
            "read this page by itself"
        )
        results += [_failed(page, unwritten) for page in pages[len(texts) :]]
        elsewhere = sum(result.usage.output_tokens for result in results[1:])
        usage = Usage(done.usage.prompt_tokens, max(0, done.usage.output_tokens - elsewhere))
        return [replace(results[0], usage=usage, seconds=done.seconds), *results[1:]]

    def _result(self, page: Page, deltas: Sequence[TextDelta], done: PageDone) -> PageResult:
        raw = "".join(delta.text for delta in deltas)
        probabilities = [p for delta in deltas for p in delta.probabilities]
        found = tuple(self.found) or parse_regions(raw, page.size_px, deltas)
        regions = within_page(found, page.size_px)
        return PageResult(
            number=page.number,
            status=STATUS_OF[done.finish_reason],
            size_px=page.size_px,
            raw=raw,
            regions=regions,
            finish_reason=done.finish_reason,
            usage=done.usage,
            confidence=sum(probabilities) / len(probabilities) if probabilities else None,
            seconds=done.seconds,
            notes={**done.notes, **box_notes(regions)},
            dpi=page.dpi,
        )


def failed_page(
    number: int, size_px: tuple[int, int], error: Exception, raw: str = ""
) -> PageResult:
    """The place of a page that could not be read, with the reason and what was written of it.

    The error is logged here: with its traceback, unless it is one that is raised on purpose.
    """
    foreign = not isinstance(error, DeepOCRError) or (
        error.__cause__ is not None and not isinstance(error, RemoteError | InvalidInput)
    )
    log.warning("page %d failed: %s", number, reason(error), exc_info=error if foreign else None)
    return PageResult(number, "failed", size_px, raw=raw, error=reason(error))


def _failed(page: Page, error: Exception, raw: str = "") -> PageResult:
    return replace(failed_page(page.number, page.size_px, error, raw), dpi=page.dpi)


async def read_pages(
    engine: Engine,
    document: Document,
    numbers: Sequence[int],
    job: Job,
    *,
    window: int,
    listener: Listener | None = None,
    also: Addition | None = None,
) -> AsyncGenerator[PageResult, None]:
    """The pages `numbers` of a document, in that order, at most `window` of them in memory, or as
    many as one reading takes.

    A page that cannot be drawn or read is a failed one in its place. Closing the iterator cancels
    the pages in flight. Raises UnsupportedTask before any work, EngineBroken.
    """
    check_task(engine.capabilities, job)

    async def draw(number: int) -> tuple[Page, float] | PageResult:
        started_s = time.perf_counter()
        try:
            page = await asyncio.to_thread(document.page, number)
        except Exception as error:  # noqa: BLE001 - logged by failed_page
            return failed_page(number, (0, 0), error)
        return page, time.perf_counter() - started_s

    async def draw_and_read(group: Sequence[int]) -> list[PageResult]:
        drawn = await asyncio.gather(*map(draw, group))
        pages = [page[0] for page in drawn if isinstance(page, tuple)]
        read = iter(await _read_also(pages, engine, job, listener, also) if pages else ())
        return [
            with_stage(next(read), "render", page[1]) if isinstance(page, tuple) else page
            for page in drawn
        ]

    size = MAX_PAGES_TOGETHER if job.task == PAGES_TOGETHER.title else 1
    waiting = deque(numbers[at : at + size] for at in range(0, len(numbers), size))
    running: deque[asyncio.Task[list[PageResult]]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < max(1, window // size):
                running.append(asyncio.create_task(draw_and_read(waiting.popleft())))
            for result in await running[0]:
                yield result
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _read_also(
    pages: Sequence[Page],
    engine: Engine,
    job: Job,
    listener: Listener | None,
    also: Addition | None,
) -> Sequence[PageResult]:
    """One reading of the pages, with what is added to each beside it."""
    if also is None:
        return await _read(pages, engine, job, listener)
    reading = asyncio.create_task(_read(pages, engine, job, listener))

    async def result_of(place: int) -> PageResult:
        return (await reading)[place]

    additions = (also(page, result_of(place)) for place, page in enumerate(pages))
    return await asyncio.gather(*additions)


def with_stage(result: PageResult, stage: str, seconds: float) -> PageResult:
    """The same result with one more stage in its `seconds`."""
    return replace(result, seconds={**result.seconds, stage: seconds})


async def read_document(
    engine: Engine,
    document: Document,
    numbers: Sequence[int],
    job: Job,
    *,
    window: int,
    name: str = "",
    also: Addition | None = None,
) -> DocumentResult:
    """All the pages `numbers` of a document, for whoever wants one answer.

    A page that failed stands in its place with its reason. Raises EngineError when not a single
    page could be read: an answer without any text would look like success. EngineBroken is one.
    """
    reading = read_pages(engine, document, numbers, job, window=window, also=also)
    pages = [page async for page in reading]
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
    known = engine.capabilities
    task = "Free OCR" if "Free OCR" in known.tasks else Job().task
    preset = "Tiny" if "Tiny" in known.presets else Job().preset
    job = Job(task=task, preset=preset, max_new_tokens=4)
    result = await read_page(engine, Page(number=1, image=picture), job)
    if result.status == "failed":
        raise EngineError(f"warm-up failed: {result.error}")
