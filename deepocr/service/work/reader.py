"""One page in a worker: draw it, have the engine read it, store the result. Exactly once."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

from deepocr.allowance import Allowance
from deepocr.check.beside import Checking
from deepocr.check.repair import repaired
from deepocr.engines.base import Engine
from deepocr.errors import EngineBroken, InvalidInput, StorageError
from deepocr.pipeline import failed_page, read_page, with_stage
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import Suspicion, TaskRecord
from deepocr.service.state.store import Store
from deepocr.service.work.drawing import OpenDocuments
from deepocr.service.work.gate import Gate
from deepocr.service.work.stitching import stitch
from deepocr.types import Event, Page, PageResult, TextDelta

log = logging.getLogger(__name__)

WAIT_S = 0.5
"""Pause between tries while the store is unavailable or the disk is full."""

PICTURE_BYTES = 1 << 30
"""Memory for the pictures of pages being read; a larger page is read alone."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class PageInWork:
    """A page in this worker's hands. `begun_s` is when reading began, None before that."""

    task_id: str
    number: int
    begun_s: float | None = None
    live: bool = False
    text: str = ""
    text_sent: str = ""
    future: Future[PageResult] | None = None
    canceled: bool = False
    hopeless: bool = False
    """Errors for which another try would end the same way."""

    def cancel(self) -> None:
        self.canceled = True
        if self.future is not None:
            self.future.cancel()


class PagesInWork:
    """The pages in this worker's hands, for the threads that watch over them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[tuple[str, int], PageInWork] = {}

    def now(self) -> list[PageInWork]:
        with self._lock:
            return list(self._pages.values())

    @contextlib.contextmanager
    def add(self, page: PageInWork) -> Iterator[bool]:
        """False if the page is in hand already."""
        key = page.task_id, page.number
        with self._lock:
            new = self._pages.setdefault(key, page) is page
        try:
            yield new
        finally:
            if new:
                with self._lock:
                    del self._pages[key]


@dataclass(frozen=True)
class PageReader:
    """Called from many threads at once; the engine's coroutines all run in `loop`."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    settings: ServiceSettings
    store: Store
    files: TaskFiles
    documents: OpenDocuments
    pages: PagesInWork
    worker_id: str
    checking: Checking
    gate: Gate = field(default_factory=Gate)
    memory: Allowance = field(default_factory=lambda: Allowance(PICTURE_BYTES))

    def read(self, task_id: str, number: int) -> None:
        """Read one page and settle it, whatever happens to it. Raises EngineBroken."""
        page = PageInWork(task_id, number)
        with self.pages.add(page) as new:
            if not new:
                return  # a second delivery of what this worker has in hand
            try:
                suspicion = self._patiently(
                    page, self.store.take_page, task_id, number, self.worker_id
                )
                if suspicion is None:
                    self._stitch(page)  # a worker may have been lost before it did
                    return
                most = max(1, suspicion.together // 2) if suspicion.strikes else None
                with self.gate.enter(most):
                    self._read_and_settle(page, suspicion)
            except (CancelledError, FileNotFoundError):
                log.info("page %d of task %s was canceled or deleted", number, task_id)

    def _read_and_settle(self, page: PageInWork, suspicion: Suspicion) -> None:
        snapshot = self._patiently(page, self.store.task, page.task_id)
        if snapshot is None:
            return
        if suspicion.strikes >= self.settings.page_tries and suspicion.together == 1:
            reason = (
                f"its worker was lost {suspicion.strikes} times while reading it, the last time "
                f"it alone: {suspicion.reason}"
            )
            self._settle(page, _gave_up(page.number, reason))
        elif self._patiently(
            page, self.store.begin_page, page.task_id, page.number, self.worker_id
        ):
            page.live = snapshot.record.live
            self._settle(page, self._result(page, snapshot.record))

    def _result(self, page: PageInWork, record: TaskRecord) -> PageResult:
        """Read the page, with retries. Raises CancelledError."""
        tries = self.settings.page_tries
        for tries_left in reversed(range(tries)):
            try:
                result = self._draw_and_read(page, record)
            except (CancelledError, EngineBroken):
                raise
            except Exception as error:
                if not self.files.has(page.task_id, "upload"):
                    raise FileNotFoundError("the task was deleted meanwhile") from error
                page.hopeless |= isinstance(error, InvalidInput)
                if not page.hopeless:
                    log.exception("page %d of task %s failed", page.number, page.task_id)
                result = failed_page(page.number, (0, 0), error)
            if result.status != "failed" or page.hopeless or not tries_left:
                return result
            log.warning("page %d of task %s failed, next try", page.number, page.task_id)
            page.text = ""
        raise AssertionError("the last try returns")

    def _draw_and_read(self, page: PageInWork, record: TaskRecord) -> PageResult:
        with self.documents.open(record) as document:
            if page.number > document.num_pages:
                raise InvalidInput(f"page {page.number} is not in the document")
            width_px, height_px = document.size_px(page.number)
            # a page that is too large to be drawn must fail at once, not wait for memory
            num_bytes = 3 * min(width_px * height_px, self.settings.max_pixels)
            self._call(self.memory.take(num_bytes)).result()
            try:
                started_s = time.monotonic()
                drawn = document.page(page.number)
                render_s = time.monotonic() - started_s
                self._patiently(
                    page, self.files.write_picture, page.task_id, page.number, drawn.image
                )
                result = self._read_in_loop(drawn, page, record)
            finally:
                self._call(self.memory.give(num_bytes)).result()
        return with_stage(result, "render", render_s)

    def _read_in_loop(self, drawn: Page, page: PageInWork, record: TaskRecord) -> PageResult:
        """Raises CancelledError when the page is canceled."""
        page.begun_s = time.monotonic()
        try:
            page.future = self._call(self._read_and_check(drawn, page, record))
            if page.canceled:
                page.future.cancel()
            return page.future.result()
        finally:
            page.begun_s = None

    def _call(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def _read_and_check(
        self, drawn: Page, page: PageInWork, record: TaskRecord
    ) -> PageResult:
        reading = self._read_in_time(drawn, page, record)
        if not record.check:
            return await reading
        result = await self.checking.checked(drawn, reading)
        return repaired(result) if record.repair else result

    async def _read_in_time(self, drawn: Page, page: PageInWork, record: TaskRecord) -> PageResult:
        def listen(_number: int, event: Event) -> None:
            if isinstance(event, TextDelta):
                page.text += event.text

        limit_s = self.settings.page_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await read_page(
                    self.engine, drawn, record.job, listen if page.live else None
                )
        except TimeoutError:
            page.hopeless = True
            return replace(
                _gave_up(page.number, f"it took longer than the hard limit of {limit_s:g} s"),
                size_px=drawn.size_px,
            )
        finally:
            page.begun_s = None  # the check has its own time limit

    def _settle(self, page: PageInWork, result: PageResult) -> None:
        """Store the result first, then the state: a settled page always has its result."""
        try:
            self._patiently(page, self.files.write_page, page.task_id, result)
        except FileNotFoundError:
            raise
        except Exception as error:
            log.exception("page %d of task %s is not kept", page.number, page.task_id)
            result = failed_page(result.number, result.size_px, error)
            self._patiently(page, self.files.write_page, page.task_id, result)
        missing = self._patiently(
            page, self.store.settle_page, page.task_id, page.number, result.status, _counts(result)
        )
        if missing == 0:
            self._stitch(page)

    def _stitch(self, page: PageInWork) -> None:
        engine_name = self.engine.capabilities.engine
        self._patiently(page, stitch, self.store, self.files, page.task_id, engine_name)

    def _patiently(
        self, page: PageInWork, ask: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Retry while the store is unavailable or the disk is full. Raises CancelledError once the
        task is over.
        """
        told = False
        while True:
            try:
                return ask(*args, **kwargs)
            except StorageError as error:
                if not told:
                    log.warning("page %d of task %s waits: %s", page.number, page.task_id, error)
                told = True
                if page.canceled:
                    raise CancelledError from error
                time.sleep(WAIT_S)


def _gave_up(number: int, reason: str) -> PageResult:
    return PageResult(number, "failed", (0, 0), error=f"page {number} was given up: {reason}")


def _counts(result: PageResult) -> list[tuple[str, float]]:
    """Counters of one page, named in the form that `metrics` parses."""
    stages: Mapping[str, float] = result.seconds
    return [
        (f"pages:{result.status}", 1),
        *([(f"verdicts:{result.check.verdict}", 1.0)] if result.check else ()),
        ("tokens:prompt", result.usage.prompt_tokens),
        ("tokens:output", result.usage.output_tokens),
        *((f"stage_s:{stage}", seconds) for stage, seconds in stages.items()),
        *((f"stage_n:{stage}", 1) for stage in stages),
    ]
