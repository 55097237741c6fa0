"""The worker process: one engine, many pages at once through Celery's thread pool."""

import asyncio
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from deepocr.check.beside import Checking
from deepocr.documents import DocumentProcesses
from deepocr.engines.base import Engine
from deepocr.engines.registry import create_engine
from deepocr.errors import EngineBroken
from deepocr.pipeline import warm_up
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.opening import open_files, open_store
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.service.work.drawing import OpenDocuments
from deepocr.service.work.queue import LANES, PAGE, make_celery
from deepocr.service.work.reader import PageReader, PagesInWork
from deepocr.service.work.threads import EXIT_ENGINE_BROKEN, EXIT_HUNG, start_thread

log = logging.getLogger(__name__)

EXTRA_THREADS = 2
"""Threads besides one for each page that the engine reads: they draw the next pages."""

BEAT_S = 0.5
STORE_BEAT_S = 5.0
LIVE_S = 0.15
CLOSE_S = 10.0


def run_worker(settings: ServiceSettings, worker_id: str, alive_fd: int, *, probe: bool) -> int:
    """Load the engine and work until stopped. Blocking; must run in the main thread.

    A byte is written to `alive_fd` twice a second while no page is over its hard limit, so that
    the supervisor can tell a worker that hangs. With `probe` a small page is read before any page
    is taken: the last worker was lost, and an engine that is still broken must not take pages.
    """
    pages = PagesInWork()
    start_thread(lambda: watch(pages, settings.page_limit_s(), alive_fd), "watchdog")
    engine = create_engine(settings)
    loop = asyncio.new_event_loop()
    start_thread(loop.run_forever, "engine-loop")
    if probe:
        asyncio.run_coroutine_threadsafe(_probe(engine, settings), loop).result()
    store = open_store(settings)
    files = open_files(settings)
    files.sweep_temporary(time.time())
    stop = threading.Event()
    with DocumentProcesses.of(settings) as processes:
        documents = OpenDocuments(processes, files)
        checking = Checking(engine, settings)
        reader = PageReader(
            engine, loop, settings, store, files, documents, pages, worker_id, checking
        )
        app = make_celery(settings)
        app.task(_job(reader), name=PAGE, typing=False)
        at_once = settings.worker_pages or engine.capabilities.concurrency
        worker = app.Worker(
            pool="threads",
            concurrency=at_once + EXTRA_THREADS,
            queues=list(LANES),
            hostname=worker_id,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=logging.WARNING,
            quiet=True,
        )
        keeper = Keeper(store, pages, worker_id, engine, at_once, stop)
        keeping = start_thread(keeper.run, "keeper")
        log.info("worker %s is ready for %d pages at once", worker_id, at_once)
        try:
            worker.start()
        finally:
            stop.set()
            keeping.join(timeout=STORE_BEAT_S)
            asyncio.run_coroutine_threadsafe(engine.close(), loop).result(timeout=CLOSE_S)
    return int(worker.exitcode or 0)


async def _probe(engine: Engine, settings: ServiceSettings) -> None:
    """Raises EngineBroken unless the engine reads a small page in time."""
    try:
        async with asyncio.timeout(settings.page_timeout_s):
            await warm_up(engine)
    except Exception as error:
        raise EngineBroken(f"after a worker was lost, the engine cannot read: {error}") from error


def _job(reader: PageReader) -> Any:
    def read(task_id: str, number: int) -> None:
        try:
            reader.read(task_id, number)
        except EngineBroken as error:
            # the supervisor returns every page in hand and restarts the worker
            log.critical("the engine is broken: %s", error)
            os._exit(EXIT_ENGINE_BROKEN)

    return read


def watch(pages: PagesInWork, limit_s: float, alive_fd: int) -> NoReturn:
    """End the process if a page does not stop; otherwise tell the parent that all is well."""
    while True:
        now_s = time.monotonic()
        for page in pages.now():
            if page.begun_s is not None and now_s - page.begun_s > limit_s:
                print(  # noqa: T201 - the logging lock may be held by the thread that hangs
                    f"page {page.number} of task {page.task_id} has not stopped after its "
                    "hard limit; the worker process ends",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(EXIT_HUNG)
        try:
            os.write(alive_fd, b".")
        except OSError:
            os._exit(EXIT_HUNG)  # the supervisor is gone
        time.sleep(BEAT_S)


@dataclass(frozen=True)
class Keeper:
    """Gives a sign of life, stops pages of tasks that are over, publishes text as it is written."""

    store: Store
    pages: PagesInWork
    worker_id: str
    engine: Engine
    at_once: int
    stop: threading.Event

    def run(self) -> None:
        beat_s = looked_s = -STORE_BEAT_S
        while not self.stop.wait(LIVE_S):
            now_s = time.monotonic()
            try:
                if now_s - beat_s >= STORE_BEAT_S:
                    self.store.beat(self.worker_id, self._info())
                    beat_s = now_s
                if now_s - looked_s >= BEAT_S:
                    self._cancel()
                    looked_s = now_s
                self._publish()
            except StoreUnavailableError as error:
                log.warning("no sign of life can be given: %s", error)
                self.stop.wait(STORE_BEAT_S)
        try:
            self.store.forget_worker(self.worker_id)
        except StoreUnavailableError as error:
            log.warning("the store cannot be told that this worker ends: %s", error)

    def _cancel(self) -> None:
        pages = self.pages.now()
        progress = self.store.progress({page.task_id for page in pages})
        for page in pages:
            found = progress.get(page.task_id)
            if found is None or found.state not in ("PENDING", "STARTED"):
                page.cancel()

    def _publish(self) -> None:
        for page in self.pages.now():
            text = page.text
            if page.live and text != page.text_sent:
                self.store.write_live(page.task_id, page.number, text)
                page.text_sent = text

    def _info(self) -> dict[str, Any]:
        capabilities = self.engine.capabilities
        return {
            "engine": capabilities.engine,
            "notes": dict(capabilities.notes),
            "start_s": {stage: round(s, 3) for stage, s in capabilities.start_s.items()},
            "tasks": sorted(capabilities.tasks),
            "pages_at_once": self.at_once,
            "pages_running": len(self.pages.now()),
            "device_memory_bytes": _device_memory_bytes(),
        }


def _device_memory_bytes() -> int:
    """Memory held on the GPU in bytes; 0 without a GPU. Never imports torch itself."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.memory_reserved())
