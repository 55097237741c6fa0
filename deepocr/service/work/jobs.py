"""What workers do for the queue: split, read, stitch, export, notify."""

import logging
from collections.abc import Callable
from typing import Any

import httpx
from celery import Celery, Task

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import NoRoomError, TaskFiles
from deepocr.service.state.records import Snapshot, State
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.service.work import queue
from deepocr.service.work.exports import make_in_process
from deepocr.service.work.gate import GateBusyError
from deepocr.service.work.reader import PageReader
from deepocr.service.work.webhooks import send_webhook
from deepocr.types import DocumentResult, PageResult

log = logging.getLogger(__name__)

WEBHOOK_TRIES = 6
RETRY_S = 5


class Jobs:
    """Every job may be delivered twice and then does nothing the second time."""

    def __init__(
        self,
        app: Celery,
        settings: ServiceSettings,
        store: Store,
        files: TaskFiles,
        reader: PageReader,
        engine_name: str,
    ) -> None:
        self._app = app
        self._settings = settings
        self._store = store
        self._files = files
        self._reader = reader
        self._engine_name = engine_name

    def register(self) -> None:
        """Make the jobs known to the app under their names."""
        jobs: dict[str, Callable[..., None]] = {
            queue.SPLIT: self.split,
            queue.PAGE: self.page,
            queue.STITCH: self.stitch,
            queue.NOTIFY: self.notify,
            queue.EXPORT: self.export,
        }
        for name, job in jobs.items():
            # typing: Celery would take the method's first argument for a bound task's
            self._app.task(job, name=name, max_retries=None, typing=False)

    def split(self, task_id: str) -> None:
        snapshot = self._store.task(task_id)
        if snapshot is not None and not snapshot.final:
            queue.spread(self._app, snapshot)

    def page(self, task_id: str, number: int) -> None:
        try:
            self._reader.read(task_id, number)
        except (GateBusyError, StoreUnavailableError) as error:
            raise self._task(queue.PAGE).retry(exc=error, countdown=RETRY_S) from error

    def stitch(self, task_id: str) -> None:
        """Put the pages together and make the task final."""
        snapshot = self._store.task(task_id)
        if snapshot is None or snapshot.final or snapshot.missing:
            return
        record = snapshot.record
        pages = self._files.pages(task_id, record.numbers)
        try:
            document = DocumentResult(record.name, self._engine_name, record.job, tuple(pages))
            self._files.write_document(task_id, document)
        except FileNotFoundError:
            return
        except NoRoomError as error:
            self._finish(snapshot, "FAILURE", str(error))
            return
        reason = _error_of(snapshot, pages)
        self._finish(snapshot, "FAILURE" if reason else "SUCCESS", reason)

    def export(self, task_id: str, kind: str) -> None:
        make_in_process(task_id, kind)

    def notify(self, task_id: str) -> None:
        snapshot = self._store.task(task_id)
        if snapshot is None or snapshot.record.webhook is None:
            return
        task = self._task(queue.NOTIFY)
        try:
            send_webhook(self._settings, snapshot)
        except (httpx.HTTPError, OSError) as error:
            tries = task.request.retries
            log.warning("webhook of task %s failed: %s", task_id, error)
            if tries + 1 < WEBHOOK_TRIES:
                raise task.retry(exc=error, countdown=2**tries) from error

    def _finish(self, snapshot: Snapshot, state: State, error: str | None) -> None:
        finish_task(self._app, self._store, self._files, snapshot, state, error)

    def _task(self, name: str) -> Task[Any, Any]:
        found: Task[Any, Any] = self._app.tasks[name]
        return found


def finish_task(
    app: Celery,
    store: Store,
    files: TaskFiles,
    snapshot: Snapshot,
    state: State,
    error: str | None = None,
) -> bool:
    """Make a task final, and do what comes with it. False when it was final already."""
    record = snapshot.record
    if not store.finish(record.task_id, state, error):
        return False
    files.drop_password(record.task_id)
    store.count([(f"tasks:{state}", 1)])
    if record.webhook is not None:
        queue.notify(app, record.task_id)
    return True


def _error_of(snapshot: Snapshot, pages: list[PageResult]) -> str | None:
    """Why the task failed, naming its first failed page; None when no page did."""
    failed = [number for number, status in sorted(snapshot.settled.items()) if status == "failed"]
    if not failed:
        return None
    number = failed[0]
    reasons = {page.number: page.error for page in pages if page.status == "failed"}
    reason = reasons.get(number) or "it was read, but its result was not kept"
    if not reason.startswith(f"page {number} "):
        reason = f"page {number}: {reason}"
    others = f" ({len(failed)} of {len(snapshot.record.numbers)} pages failed)"
    return reason + (others if len(snapshot.record.numbers) > 1 else "")
