"""The interface of the task store, and what its implementations in SQLite and Redis share."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from deepocr.errors import StorageError
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.records import (
    FINAL,
    Snapshot,
    State,
    Suspicion,
    TaskProgress,
    TaskRecord,
)

WORKER_TTL_S = 30.0
"""A worker that gave no sign of life for this long, in seconds, is lost."""

ANSWER_S = 2.0
"""A store that does not answer within this time, in seconds, is unavailable."""


class StoreUnavailableError(StorageError):
    """The store or the queue cannot be reached just now."""


class Store(Protocol):
    """Every change is atomic and idempotent. Blocking, thread-safe.

    All methods raise StoreUnavailableError when the store cannot be reached.
    """

    # tasks

    def create(self, record: TaskRecord, settings: ServiceSettings) -> TaskRecord:
        """Keep a new task, or return the owner's earlier one with the same idempotency key.

        Limits on tasks count unfinished tasks, limits on bytes all tasks that are not deleted.
        Raises TooManyTasksError, QueueFullError, TooManyBytesError or NoBytesLeftError.
        """

    def task(self, task_id: str) -> Snapshot | None:
        return self.tasks([task_id]).get(task_id)

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Snapshot]:
        """Snapshots of many tasks; deleted ones are left out."""

    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        """The newest first."""

    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        """Make the task final and its webhook due. False if it was final already or is deleted."""

    def delete(self, task_id: str) -> None: ...

    def weigh(self, task_id: str, num_bytes: int) -> None:
        """Set how many bytes the task counts for in its client's limit."""

    def ahead(self, task_id: str) -> int:
        """How many waiting tasks of the same lane are ahead of this one."""

    def pending(self) -> Mapping[str, int]:
        """Waiting tasks by lane."""

    def unfinished(self) -> list[str]: ...

    def expired(self, now_s: float) -> list[str]: ...

    def progress(self, task_ids: Iterable[str]) -> dict[str, TaskProgress]:
        """Progress of many tasks at once; deleted ones are left out."""

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until a task may have changed since this thread's last call, or the timeout."""

    # sending pages to the queue

    def unsent(self) -> list[str]:
        """Unfinished tasks with pages that were never sent to the queue."""

    def take_unsent(self, task_id: str, count: int) -> int | None:
        """Claim the next `count` places in the task's `numbers` for sending; returns the first of
        them.

        None if all are sent, or the task is final or deleted.
        """

    # pages

    def take_page(self, task_id: str, number: int, worker_id: str) -> Suspicion | None:
        """The page was delivered to the worker, which may let it wait. Returns why it is suspected.

        None if it is settled, or the task is final or deleted.
        """

    def begin_page(self, task_id: str, number: int, worker_id: str) -> bool:
        """Mark the page as being read and the task as started. False if there is nothing to do."""

    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> int | None:
        """Mark the page as done and add `counts` to the counters. Returns how many pages are
        missing.

        None, and nothing is counted, if it was done already, or the task is final or deleted.
        """

    def release(self, worker_id: str, reason: str | None) -> list[tuple[str, int]]:
        """Take back the pages of a lost worker; returns them.

        With a reason, the pages that it had begun get a strike: one of them may have ended the
        worker.
        """

    def readers(self) -> set[str]:
        """Workers that have taken pages."""

    def write_live(self, task_id: str, number: int, text: str) -> None:
        """Keep the text of a page so far."""

    def read_live(self, task_id: str, number: int) -> str: ...

    # webhooks

    def take_webhook(self, now_s: float, again_s: float) -> tuple[str, int] | None:
        """A task whose webhook is due, and the number of tries including this one; due again at
        `again_s`."""

    def put_webhook(self, task_id: str, due_s: float | None) -> None:
        """Set when a taken webhook is due again; None for never."""

    # workers

    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        """A worker's sign of life with facts about it; `trouble`: why there is no worker."""

    def _beats(self) -> Iterable[tuple[str, str]]:
        """Ids and JSON of the signs of life within WORKER_TTL_S."""

    def forget_worker(self, worker_id: str) -> None: ...

    def workers(self) -> dict[str, dict[str, Any]]:
        """Workers that gave a sign of life recently."""
        infos = ((name, json.loads(info)) for name, info in self._beats())
        return {name: info for name, info in infos if "trouble" not in info}

    def troubles(self) -> dict[str, str]:
        """Workers that are being restarted, and why."""
        infos = ((name, json.loads(info)) for name, info in self._beats())
        return {name: info["trouble"] for name, info in infos if "trouble" in info}

    # the rest

    def count(self, amounts: Sequence[tuple[str, float]]) -> None:
        """Add to the counters that all processes share."""

    def counters(self) -> dict[str, float]: ...

    def once(self, name: str, seconds: float) -> bool:
        """True for the first caller within so many seconds, among all processes."""

    def close(self) -> None: ...


def snapshot_of(fields: Mapping[str, Any], settled: Mapping[Any, str]) -> Snapshot:
    """A Snapshot from fields that a store keeps under the same names."""
    started_s, finished_s = fields.get("started_s"), fields.get("finished_s")
    return Snapshot(
        record=TaskRecord.model_validate_json(fields["record"]),
        state=fields["state"],
        started_s=float(started_s) if started_s else None,
        finished_s=float(finished_s) if finished_s else None,
        error=fields.get("error"),
        settled={int(number): status for number, status in settled.items()},
    )


def is_open(state: Any, status: Any) -> bool:
    """Whether a page of a task is still to be done."""
    return state is not None and state not in FINAL and status is None
