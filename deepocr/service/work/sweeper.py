"""Background work: queueing books' pages, enforcing limits, and recovering what got lost."""

import logging
import threading
import time
from dataclasses import dataclass

from celery import Celery

from deepocr.errors import StorageError
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import Snapshot, TaskProgress, TaskRecord
from deepocr.service.state.store import WORKER_TTL_S, Store
from deepocr.service.work.queue import send_again, send_pages, send_unsent, waiting_messages
from deepocr.service.work.stitching import finish_task

log = logging.getLogger(__name__)

SEND_S = 1.0
SWEEP_S = 10.0
STUCK_S = 15.0
"""Time in seconds that a task may stay unfinished after its last page is done."""


@dataclass(frozen=True)
class _Sighting:
    progress: TaskProgress
    since_s: float


class Sweeper:
    """Runs in every API process; for each turn the store picks one of them."""

    def __init__(
        self, app: Celery, settings: ServiceSettings, store: Store, files: TaskFiles
    ) -> None:
        self._app = app
        self._settings = settings
        self._store = store
        self._files = files
        self._seen: dict[str, _Sighting] = {}
        self._silent_since_s: dict[str, float] = {}
        self._wake = threading.Event()

    def submit(self, record: TaskRecord) -> None:
        """Queue the first pages of a new task now and the others soon.

        Raises StoreUnavailableError.
        """
        send_unsent(self._app, self._store, record)
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Send and sweep until stopped. Blocking."""
        while not stop.is_set():
            self._wake.wait(SEND_S)
            self._wake.clear()
            try:
                self.send()
                self.sweep(time.time())
            except (StorageError, OSError) as error:
                log.warning("sweeping is put off: %s", error)
                self._silent_since_s.clear()

    def send(self) -> None:
        """Queue pages that are not queued yet, a few of each task in turn."""
        while waiting := self._store.tasks(self._store.unsent()):
            for snapshot in waiting.values():
                send_unsent(self._app, self._store, snapshot.record)

    def sweep(self, now_s: float) -> None:
        """One turn. Everything in it is idempotent."""
        if not self._store.once("sweep", SWEEP_S * 0.9):
            return
        for task_id in self._store.expired(now_s):
            self._delete(task_id)
        self._delete_orphans(now_s)
        self._files.sweep_temporary(now_s)
        self._release_lost(now_s)
        progress = self._store.progress(self._store.unfinished())
        self._seen = {
            task_id: self._see(task_id, found, now_s) for task_id, found in progress.items()
        }
        for task_id, seen in self._seen.items():
            if now_s - seen.since_s >= STUCK_S or seen.progress.state == "STARTED":
                snapshot = self._store.task(task_id)
                if snapshot is not None and not snapshot.final:
                    self._help(snapshot, now_s, now_s - seen.since_s)

    def _see(self, task_id: str, progress: TaskProgress, now_s: float) -> _Sighting:
        earlier = self._seen.get(task_id)
        return earlier if earlier and earlier.progress == progress else _Sighting(progress, now_s)

    def _help(self, snapshot: Snapshot, now_s: float, still_s: float) -> None:
        record = snapshot.record
        limit_s = self._settings.task_timeout_s
        if snapshot.started_s is not None and now_s - snapshot.started_s > limit_s:
            error = f"the task took longer than {limit_s:g} s, the limit for one task"
            finish_task(self._store, self._files, record, "FAILURE", error)
        elif still_s < STUCK_S:
            return
        elif not snapshot.missing:
            log.warning("task %s has all its pages and is stitched now", record.task_id)
            # a worker that finds its page settled checks whether the task can be stitched
            send_pages(self._app, "short", [(record.task_id, record.numbers[0])])
        elif still_s > self._settings.redelivery_s() and not waiting_messages(self._app):
            log.warning("task %s lost its place in the queue and is queued again", record.task_id)
            send_pages(
                self._app, record.lane, [(record.task_id, number) for number in snapshot.missing]
            )

    def _release_lost(self, now_s: float) -> None:
        """Return the pages of workers that were lost together with their supervisor."""
        silent = self._store.readers() - self._store.workers().keys()
        silent -= self._store.troubles().keys()
        since_s = {worker: self._silent_since_s.get(worker, now_s) for worker in silent}
        for worker_id, first_s in since_s.items():
            if now_s - first_s > WORKER_TTL_S:
                pages = self._store.release(worker_id, "its machine was not heard of any more")
                log.warning("worker %s is lost; its pages are queued again", worker_id)
                send_again(self._app, self._store, pages)
        self._silent_since_s = since_s

    def _delete(self, task_id: str) -> None:
        self._files.delete(task_id)
        self._store.delete(task_id)

    def _delete_orphans(self, now_s: float) -> None:
        """Delete folders of uploads that never became tasks."""
        for task_id in self._files.task_ids():
            old = self._files.age_s(task_id, now_s) > self._settings.result_ttl_s
            if old and self._store.task(task_id) is None:
                self._files.delete(task_id)
