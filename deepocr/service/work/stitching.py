"""The end of a task: its pages stitched together, or the reason why it ended early."""

import logging

from deepocr.errors import StorageError
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import Snapshot, State, TaskRecord
from deepocr.service.state.store import Store
from deepocr.types import DocumentResult, PageResult

log = logging.getLogger(__name__)


def stitch(store: Store, files: TaskFiles, task_id: str, engine_name: str) -> None:
    """Stitch the pages and make the task final if all are there. Idempotent. Raises StorageError if
    nothing was changed, so that it can be tried again.
    """
    snapshot = store.task(task_id)
    if snapshot is None or snapshot.final or snapshot.missing:
        return
    record = snapshot.record
    try:
        pages = list(files.pages(task_id, record.numbers))
        document = DocumentResult(record.name, engine_name, record.job, tuple(pages))
        files.write_document(task_id, document)
        reason = _error_of(snapshot, pages)
    except FileNotFoundError:
        return  # deleted meanwhile
    except StorageError:
        raise
    except Exception:
        log.exception("task %s could not be put together", task_id)
        reason = "its pages could not be put together; the service's log says why"
    finish_task(store, files, record, "FAILURE" if reason else "SUCCESS", reason)


def finish_task(
    store: Store, files: TaskFiles, record: TaskRecord, state: State, error: str | None = None
) -> bool:
    """Make a task final, with everything that this involves. False if it was final already."""
    if not store.finish(record.task_id, state, error):
        return False
    files.drop_password(record.task_id)
    store.weigh(record.task_id, files.num_bytes(record.task_id))
    store.count([(f"tasks:{state}", 1)])
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
