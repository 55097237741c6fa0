"""One page in a worker: draw it, have the engine read it, keep the result. Once and no more."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

from deepocr.allowance import Allowance
from deepocr.engines.base import Engine
from deepocr.errors import EngineBroken, InvalidInput, StorageError
from deepocr.pipeline import failed_page, read_page, with_stage
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import Suspicion, TaskRecord
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.service.work.drawing import OpenDocuments
from deepocr.service.work.gate import Gate
from deepocr.service.work.stitching import stitch
from deepocr.types import Event, Page, PageResult, TextDelta

log = logging.getLogger(__name__)

WRITE_TRIES = 3
WRITE_PAUSE_S = 2.0
STORE_PAUSE_S = 0.5

PICTURE_BYTES = 1 << 30
"""Memory for the pictures of pages in work; a page larger than that is worked on alone."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class PageInWork:
    """A page that is in hand. `begun_s` is when its reading began; None: it is not being read."""

    task_id: str
    number: int
    begun_s: float | None = None
    live: bool = False
    text: str = ""
    text_sent: str = ""
    future: Future[PageResult] | None = None
    canceled: bool = False
    hopeless: bool = False
    """Reading again would end the same way."""

    def cancel(self) -> None:
        self.canceled = True
        if self.future is not None:
            self.future.cancel()


class PagesInWork:
    """Those that are in hand now, for whoever watches over them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[tuple[str, int], PageInWork] = {}

    def now(self) -> list[PageInWork]:
        with self._lock:
            return list(self._pages.values())

    def add(self, page: PageInWork) -> None:
        with self._lock:
            self._pages[page.task_id, page.number] = page

    def remove(self, page: PageInWork) -> None:
        with self._lock:
            self._pages.pop((page.task_id, page.number), None)


class PageReader:
    """Called from many threads at once; the engine's coroutines all run in `loop`."""

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        settings: ServiceSettings,
        store: Store,
        files: TaskFiles,
        documents: OpenDocuments,
        pages: PagesInWork,
        worker_id: str,
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._settings = settings
        self._store = store
        self._files = files
        self._documents = documents
        self._pages = pages
        self._worker_id = worker_id
        self._gate = Gate()
        self._memory = Allowance(PICTURE_BYTES)
        self._lock = threading.Lock()
        self._taken: set[tuple[str, int]] = set()

    def read(self, task_id: str, number: int) -> None:
        """Read one page and settle it, whatever happens to it. Raises EngineBroken."""
        with self._lock:
            if (task_id, number) in self._taken:
                return  # a second delivery of what this worker has in hand
            self._taken.add((task_id, number))
        try:
            suspicion = self._patiently(self._store.look_at_page, task_id, number)
            if suspicion is None:
                self._stitch(task_id)  # a worker may have been lost before it did
                return
            most = max(1, suspicion.together // 2) if suspicion.strikes else None
            with self._gate.enter(most):
                self._read_and_settle(task_id, number, suspicion)
        finally:
            with self._lock:
                self._taken.discard((task_id, number))

    def _read_and_settle(self, task_id: str, number: int, suspicion: Suspicion) -> None:
        snapshot = self._patiently(self._store.task, task_id)
        if snapshot is None:
            return
        record = snapshot.record
        if suspicion.strikes >= self._settings.page_tries and suspicion.together == 1:
            reason = (
                f"its worker was lost {suspicion.strikes} times while reading it, the last time "
                f"it alone: {suspicion.reason}"
            )
            self._settle(record, _gave_up(number, reason))
        elif self._patiently(self._store.begin_page, task_id, number, self._worker_id):
            page = PageInWork(task_id, number, live=record.live)
            self._pages.add(page)
            try:
                result = self._result(page, record)
                if result is not None:
                    self._settle(record, result)
            finally:
                self._pages.remove(page)

    def _result(self, page: PageInWork, record: TaskRecord) -> PageResult | None:
        """After as many tries as it takes; None when the task was canceled or deleted."""
        tries = self._settings.page_tries
        for tries_left in reversed(range(tries)):
            try:
                result = self._draw_and_read(page, record)
            except CancelledError:
                log.info("page %d of task %s was canceled", page.number, page.task_id)
                return None
            except EngineBroken:
                raise
            except Exception as error:
                if not self._files.upload(page.task_id).exists():
                    log.info("task %s was deleted while page %d was read", *_key(page))
                    return None
                page.hopeless |= isinstance(error, InvalidInput | StorageError)
                if not page.hopeless:
                    log.exception("page %d of task %s failed", page.number, page.task_id)
                result = failed_page(page.number, (0, 0), error)
            if result.status != "failed" or page.hopeless or not tries_left:
                return result
            log.warning("page %d of task %s failed, next try", page.number, page.task_id)
            page.text = ""
        raise AssertionError("the last try returns")

    def _draw_and_read(self, page: PageInWork, record: TaskRecord) -> PageResult:
        with self._documents.open(record) as document:
            if page.number > document.num_pages:
                raise InvalidInput(f"page {page.number} is not in the document")
            width_px, height_px = document.size_px(page.number)
            num_bytes = 3 * width_px * height_px
            self._call(self._memory.take(num_bytes)).result()
            try:
                started_s = time.monotonic()
                drawn = document.page(page.number)
                render_s = time.monotonic() - started_s
                self._files.write_picture(record.task_id, page.number, drawn.image)
                result = self._read_in_loop(drawn, page, record)
            finally:
                self._call(self._memory.give(num_bytes)).result()
        return with_stage(result, "render", render_s)

    def _read_in_loop(self, drawn: Page, page: PageInWork, record: TaskRecord) -> PageResult:
        """Raises CancelledError when the page is canceled."""
        page.begun_s = time.monotonic()
        try:
            page.future = self._call(self._read_in_time(drawn, page, record))
            if page.canceled:
                page.future.cancel()
            return page.future.result()
        finally:
            page.begun_s = None

    def _call(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _read_in_time(self, drawn: Page, page: PageInWork, record: TaskRecord) -> PageResult:
        def listen(_number: int, event: Event) -> None:
            if isinstance(event, TextDelta):
                page.text += event.text

        limit_s = self._settings.page_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await read_page(
                    self._engine, drawn, record.job, listen if page.live else None
                )
        except TimeoutError:
            page.hopeless = True
            return replace(
                _gave_up(page.number, f"it took longer than the hard limit of {limit_s:g} s"),
                size_px=drawn.size_px,
            )

    def _settle(self, record: TaskRecord, result: PageResult) -> None:
        """The result first, then the state: a settled page always has its result."""
        for tries_left in reversed(range(WRITE_TRIES)):
            try:
                self._files.write_page(record.task_id, result)
                break
            except FileNotFoundError:
                return
            except Exception as error:
                log.exception("page %d of task %s is not kept", result.number, record.task_id)
                if isinstance(error, StorageError) and tries_left:
                    time.sleep(WRITE_PAUSE_S)
                else:
                    result = failed_page(result.number, result.size_px, error)
        missing = self._patiently(
            self._store.settle_page, record.task_id, result.number, result.status, _counts(result)
        )
        if missing == 0:
            self._stitch(record.task_id)

    def _stitch(self, task_id: str) -> None:
        engine_name = self._engine.capabilities.engine
        self._patiently(stitch, self._store, self._files, task_id, engine_name)

    def _patiently(self, ask: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A worker holds on to what it has while the store is away."""
        told = False
        while True:
            try:
                return ask(*args, **kwargs)
            except StoreUnavailableError as error:
                if not told:
                    log.warning("waiting for the store: %s", error)
                told = True
                time.sleep(STORE_PAUSE_S)


def _key(page: PageInWork) -> tuple[str, int]:
    return page.task_id, page.number


def _gave_up(number: int, reason: str) -> PageResult:
    return PageResult(number, "failed", (0, 0), error=f"page {number} was given up: {reason}")


def _counts(result: PageResult) -> list[tuple[str, float]]:
    """Counters of one page, by the names that `metrics` takes apart again."""
    stages: Mapping[str, float] = result.seconds
    return [
        (f"pages:{result.status}", 1),
        ("tokens:prompt", result.usage.prompt_tokens),
        ("tokens:output", result.usage.output_tokens),
        *((f"stage_s:{stage}", seconds) for stage, seconds in stages.items()),
        *((f"stage_n:{stage}", 1) for stage in stages),
    ]
