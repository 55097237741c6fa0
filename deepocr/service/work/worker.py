"""The worker process: one engine, many pages at once through Celery's thread pool."""

import asyncio
import logging
import os
import secrets
import socket
import sys
import threading
import time
from typing import Any

from deepocr.engines.base import Engine
from deepocr.engines.registry import create_engine
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.store import Store, StoreUnavailableError, open_store
from deepocr.service.work.jobs import Jobs
from deepocr.service.work.queue import LANES, make_celery
from deepocr.service.work.reader import PageInWork, PageReader

log = logging.getLogger(__name__)

EXTRA_THREADS = 2
"""Beside one for each page that the engine reads: to draw the next, to stitch, to notify."""

BEAT_S = 0.5
STORE_BEAT_S = 5.0
LIVE_S = 0.15
EXIT_HUNG = 70
CLOSE_S = 10.0


def run_worker(settings: ServiceSettings, alive_fd: int | None = None) -> int:
    """Load the engine and work until told to stop. Blocking; wants the main thread.

    A byte is written to `alive_fd` twice a second while no page is over its hard limit, so that
    a parent process can tell a worker that hangs.
    """
    engine = create_engine(settings)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="engine-loop", daemon=True).start()
    store = open_store(settings, patient=True)
    files = TaskFiles(settings.data_dir)
    reader = PageReader(engine, loop, settings, store, files)
    app = make_celery(settings)
    capabilities = engine.capabilities
    Jobs(app, settings, store, files, reader, capabilities.engine).register()
    pages = settings.worker_pages or capabilities.concurrency
    worker = app.Worker(
        pool="threads",
        concurrency=pages + EXTRA_THREADS,
        queues=list(LANES),
        hostname=f"deepocr-{secrets.token_hex(4)}@{socket.gethostname()}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel=logging.WARNING,
        quiet=True,
    )
    stop = threading.Event()
    _start(Watchdog(settings, reader, loop, alive_fd, stop).run, "watchdog")
    _start(LiveText(store, reader, stop).run, "live-text")
    keeper = Housekeeper(open_store(settings), reader, worker.hostname, engine, pages, stop)
    keeper_thread = _start(keeper.run, "housekeeper")
    log.info("worker %s is ready for %d pages at once", worker.hostname, pages)
    try:
        worker.start()
    finally:
        stop.set()
        keeper_thread.join(timeout=STORE_BEAT_S)
        asyncio.run_coroutine_threadsafe(engine.close(), loop).result(timeout=CLOSE_S)
        loop.call_soon_threadsafe(loop.stop)
    return int(worker.exitcode or 0)


class Watchdog:
    """Ends the process when a page does not, and tells the parent that all is well otherwise."""

    def __init__(
        self,
        settings: ServiceSettings,
        reader: PageReader,
        loop: asyncio.AbstractEventLoop,
        alive_fd: int | None,
        stop: threading.Event,
    ) -> None:
        self._limit_s = settings.page_limit_s()
        self._reader = reader
        self._loop = loop
        self._alive_fd = alive_fd
        self._stop = stop

    def run(self) -> None:
        while not self._stop.wait(BEAT_S):
            now_s = time.monotonic()
            for reading in self._reader.running():
                if now_s - reading.started_s > self._limit_s:
                    self._end_process(reading)
            if self._alive_fd is not None:
                try:
                    os.write(self._alive_fd, b".")
                except OSError:
                    os._exit(EXIT_HUNG)  # nobody supervises this process any more

    def _end_process(self, reading: PageInWork) -> None:
        print(  # noqa: T201 - the logging lock may be held by the thread that hangs
            f"page {reading.number} of task {reading.task_id} has not stopped after its hard "
            "limit; the worker process ends",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_HUNG)


class LiveText:
    """Publishes what is written of pages that somebody watches."""

    def __init__(self, store: Store, reader: PageReader, stop: threading.Event) -> None:
        self._store = store
        self._reader = reader
        self._stop = stop

    def run(self) -> None:
        while not self._stop.wait(LIVE_S):
            for reading in self._reader.running():
                text = reading.text
                if reading.live and text != reading.text_sent:
                    try:
                        self._store.write_live(reading.task_id, reading.number, text)
                    except StoreUnavailableError as error:
                        log.warning("live text is late: %s", error)
                        continue
                    reading.text_sent = text


class Housekeeper:
    """Stops pages of canceled tasks, and gives a sign of life."""

    def __init__(
        self,
        store: Store,
        reader: PageReader,
        worker_id: str,
        engine: Engine,
        pages: int,
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._reader = reader
        self._worker_id = worker_id
        self._engine = engine
        self._pages = pages
        self._stop = stop

    def run(self) -> None:
        beat_s = -STORE_BEAT_S
        while not self._stop.is_set():
            try:
                if time.monotonic() - beat_s >= STORE_BEAT_S:
                    self._store.beat(self._worker_id, self._info())
                    beat_s = time.monotonic()
                self._cancel()
            except StoreUnavailableError as error:
                log.warning("no sign of life can be given: %s", error)
            self._stop.wait(BEAT_S)
        try:
            self._store.forget_worker(self._worker_id)
        except StoreUnavailableError as error:
            log.warning("the store cannot be told that this worker ends: %s", error)

    def _cancel(self) -> None:
        readings = self._reader.running()
        progress = self._store.progress({reading.task_id for reading in readings})
        for reading in readings:
            found = progress.get(reading.task_id)
            if found is None or found.state not in ("PENDING", "STARTED"):
                reading.cancel()

    def _info(self) -> dict[str, Any]:
        capabilities = self._engine.capabilities
        return {
            "engine": capabilities.engine,
            "tasks": sorted(capabilities.tasks),
            "pages_at_once": self._pages,
            "pages_running": len(self._reader.running()),
            "device_memory_bytes": _device_memory_bytes(),
        }


def _device_memory_bytes() -> int:
    """Memory held on the GPU; 0 without one. Never imports torch by itself."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.memory_reserved())


def _start(target: Any, name: str) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
