"""One page in a worker: draw it, have the engine read it, keep the result. Once and no more."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace

from deepocr.documents import open_document
from deepocr.engines.base import Engine
from deepocr.errors import InvalidInput
from deepocr.pipeline import failed_page, read_page, with_stage
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import NoRoomError, TaskFiles
from deepocr.service.state.records import Snapshot, TaskRecord
from deepocr.service.state.store import Store
from deepocr.service.work.gate import Gate
from deepocr.types import Event, Page, PageResult, TextDelta

log = logging.getLogger(__name__)

WRITE_TRIES = 3
WRITE_PAUSE_S = 2.0


@dataclass
class PageInWork:
    """A page that is being read now."""

    task_id: str
    number: int
    started_s: float = field(default_factory=time.monotonic)
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


class PageReader:
    """Called from many threads at once; the engine's coroutines all run in `loop`."""

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        settings: ServiceSettings,
        store: Store,
        files: TaskFiles,
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._settings = settings
        self._store = store
        self._files = files
        self._gate = Gate()
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], PageInWork] = {}

    def running(self) -> list[PageInWork]:
        with self._lock:
            return list(self._running.values())

    def read(self, task_id: str, number: int) -> None:
        """Read one page and settle it, whatever happens to it.

        Raises GateBusyError when it must be read alone and cannot be now, StoreUnavailableError.
        """
        snapshot = self._store.task(task_id)
        if snapshot is None or snapshot.final or number in snapshot.settled:
            return
        with self._lock:
            if (task_id, number) in self._running:
                return  # a second delivery of what this worker is reading
        alone = snapshot.attempts.get(number, 0) > 0
        with self._gate.enter(alone=alone, timeout_s=self._settings.page_limit_s()):
            self._read_to_the_end(snapshot, number)

    def _read_to_the_end(self, snapshot: Snapshot, number: int) -> None:
        """All tries the page still has. Each is counted before it begins."""
        record = snapshot.record
        tries = self._settings.page_tries
        while attempt := self._store.begin_page(record.task_id, number):
            if attempt > tries:
                result = _gave_up(number, f"its worker was lost {tries} times while reading it")
                self._settle(record, result)
                return
            reading = PageInWork(record.task_id, number, live=record.live)
            read = self._read_once(reading, record)
            if read is None:
                return
            if read.status != "failed" or attempt == tries or reading.hopeless:
                self._settle(record, read)
                return
            log.warning("page %d of task %s failed, next try", number, record.task_id)

    def _read_once(self, reading: PageInWork, record: TaskRecord) -> PageResult | None:
        """None when the task was canceled meanwhile."""
        key = (reading.task_id, reading.number)
        with self._lock:
            self._running[key] = reading
        try:
            return self._draw_and_read(reading, record)
        except CancelledError:
            log.info("page %d of task %s was canceled", reading.number, reading.task_id)
            return None
        except FileNotFoundError:
            log.info("task %s was deleted while page %d was read", *key)
            return None
        except NoRoomError as error:
            return _gave_up(reading.number, str(error))
        finally:
            with self._lock:
                del self._running[key]

    def _draw_and_read(self, reading: PageInWork, record: TaskRecord) -> PageResult:
        started_s = time.perf_counter()
        try:
            page = self._draw(record, reading.number)
        except InvalidInput as error:
            reading.hopeless = True
            return failed_page(reading.number, (0, 0), error)
        render_s = time.perf_counter() - started_s
        self._files.write_picture(record.task_id, reading.number, page.image)
        work = self._read_in_time(page, reading, record)
        reading.future = asyncio.run_coroutine_threadsafe(work, self._loop)
        if reading.canceled:
            reading.future.cancel()
        return with_stage(reading.future.result(), "render", render_s)

    def _draw(self, record: TaskRecord, number: int) -> Page:
        path = self._files.upload(record.task_id)
        if not path.exists():
            raise FileNotFoundError(path.name)
        password = self._files.password(record.task_id)
        with open_document(path, self._settings, dpi=record.dpi, password=password) as document:
            if number > document.num_pages:
                raise InvalidInput(f"page {number} is not in the document")
            return document.page(number)

    async def _read_in_time(
        self, page: Page, reading: PageInWork, record: TaskRecord
    ) -> PageResult:
        def listen(_number: int, event: Event) -> None:
            if isinstance(event, TextDelta):
                reading.text += event.text

        limit_s = self._settings.page_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await read_page(
                    self._engine, page, record.job, listen if reading.live else None
                )
        except TimeoutError:
            reading.hopeless = True
            return replace(
                _gave_up(page.number, f"it took longer than the hard limit of {limit_s:g} s"),
                size_px=page.size_px,
            )
        except InvalidInput as error:
            reading.hopeless = True
            return failed_page(page.number, page.size_px, error)

    def _settle(self, record: TaskRecord, result: PageResult) -> None:
        """The result first, then the state: a settled page always has its result."""
        for tries_left in reversed(range(WRITE_TRIES)):
            try:
                self._files.write_page(record.task_id, result)
                break
            except FileNotFoundError:
                return
            except NoRoomError as error:
                log.error("page %d of task %s: %s", result.number, record.task_id, error)
                if not tries_left:
                    result = _gave_up(result.number, str(error))
                else:
                    time.sleep(WRITE_PAUSE_S)
        self._store.settle_page(record.task_id, result.number, result.status, _counts(result))


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
