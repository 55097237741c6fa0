"""What must happen though nobody asks: limits, time to live, and work that got stuck."""

import logging
import threading
import time
from dataclasses import dataclass

from celery import Celery
from kombu.exceptions import OperationalError

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import Snapshot, TaskProgress
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.service.work import queue
from deepocr.service.work.jobs import finish_task

log = logging.getLogger(__name__)

SWEEP_S = 10.0
CLEANUP_S = 3600.0
STUCK_S = 15.0
"""A task whose pages are all there may stay so for this long."""


@dataclass(frozen=True)
class Seen:
    progress: TaskProgress
    since_s: float


class Sweeper:
    """Runs in every API process; the store gives each turn to one of them."""

    def __init__(
        self, app: Celery, settings: ServiceSettings, store: Store, files: TaskFiles
    ) -> None:
        self._app = app
        self._settings = settings
        self._store = store
        self._files = files
        self._seen: dict[str, Seen] = {}

    def run(self, stop: threading.Event) -> None:
        """Sweep until told to stop. Blocking."""
        while not stop.wait(SWEEP_S):
            try:
                self.sweep(time.time())
            except (StoreUnavailableError, OperationalError, OSError) as error:
                log.warning("sweeping is put off: %s", error)

    def sweep(self, now_s: float) -> None:
        """One turn. All of it may be done twice."""
        if not self._store.once("sweep", SWEEP_S * 0.9):
            return
        for task_id in self._store.expired(now_s):
            self._delete(task_id)
        self._delete_orphans(now_s)
        if self._settings.redis_url is None and self._store.once("cleanup", CLEANUP_S):
            # Celery's notes on every page's job; Redis forgets them by itself
            self._app.backend.cleanup()
        unfinished = self._store.unfinished()
        progress = self._store.progress(unfinished)
        self._seen = {
            task_id: self._see(task_id, found, now_s) for task_id, found in progress.items()
        }
        for task_id, seen in self._seen.items():
            if now_s - seen.since_s >= STUCK_S or seen.progress.state == "STARTED":
                snapshot = self._store.task(task_id)
                if snapshot is not None and not snapshot.final:
                    self._help(snapshot, now_s, now_s - seen.since_s)

    def _see(self, task_id: str, progress: TaskProgress, now_s: float) -> Seen:
        earlier = self._seen.get(task_id)
        return earlier if earlier and earlier.progress == progress else Seen(progress, now_s)

    def _help(self, snapshot: Snapshot, now_s: float, still_s: float) -> None:
        record = snapshot.record
        limit_s = self._settings.task_timeout_s
        if snapshot.started_s is not None and now_s - snapshot.started_s > limit_s:
            error = f"the task took longer than {limit_s:g} s, the limit for one task"
            finish_task(self._app, self._store, self._files, snapshot, "FAILURE", error)
        elif still_s < STUCK_S:
            return
        elif not snapshot.missing:
            log.warning("task %s has all its pages and is stitched now", record.task_id)
            queue.stitch_again(self._app, record)
        elif still_s > self._settings.redelivery_s() and not queue.waiting_messages(self._app):
            log.warning("task %s lost its place in the queue and is queued again", record.task_id)
            queue.dispatch(self._app, record)

    def _delete(self, task_id: str) -> None:
        self._files.delete(task_id)
        self._store.delete(task_id)

    def _delete_orphans(self, now_s: float) -> None:
        """Folders of uploads that never became tasks."""
        for task_id in self._files.task_ids():
            old = self._files.age_s(task_id, now_s) > self._settings.result_ttl_s
            if old and self._store.task(task_id) is None:
                self._files.delete(task_id)
