"""Where tasks' states are kept: one contract for a file and for Redis, and what they share."""

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
"""A worker that has not been heard of for so long is gone."""

ANSWER_S = 2.0
"""A store that has not answered after so long is told as unavailable."""


class StoreUnavailableError(StorageError):
    """The store or the queue cannot be reached just now."""


class Store(Protocol):
    """Every change is atomic and may be asked for twice. Blocking, safe from any thread.

    All methods raise StoreUnavailableError when the store cannot be reached.
    """

    # tasks

    def create(self, record: TaskRecord, settings: ServiceSettings) -> TaskRecord:
        """Keep a new task, or return the owner's earlier one with the same idempotency key.

        The settings' limits on tasks count those that are not final, limits on bytes all that
        are not deleted. Raises TooManyTasksError,
        QueueFullError, TooManyBytesError or NoBytesLeftError.
        """

    def task(self, task_id: str) -> Snapshot | None:
        return self.tasks([task_id]).get(task_id)

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Snapshot]:
        """Of many tasks; those that are gone are left out."""

    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        """The newest first."""

    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        """Make the task final, and its webhook due. False when it was final already, or is gone."""

    def delete(self, task_id: str) -> None: ...

    def weigh(self, task_id: str, num_bytes: int) -> None:
        """From now on the task counts as so many bytes that are kept for its client."""

    def ahead(self, task_id: str) -> int:
        """How many waiting tasks of the same lane come before this one."""

    def pending(self) -> Mapping[str, int]:
        """Waiting tasks by lane."""

    def unfinished(self) -> list[str]: ...

    def expired(self, now_s: float) -> list[str]: ...

    def progress(self, task_ids: Iterable[str]) -> dict[str, TaskProgress]:
        """Of many tasks at once; those that are gone are left out."""

    def wait_for_change(self, timeout_s: float) -> None:
        """Return when a task may have changed since this thread's last call, or after the time."""

    # sending pages to the queue

    def unsent(self) -> list[str]:
        """Unfinished tasks with pages that were never sent to the queue."""

    def take_unsent(self, task_id: str, count: int) -> int | None:
        """Claim the next `count` places of the task's `numbers` for sending; the first of them.

        None when all are sent, or the task is final or gone.
        """

    # pages

    def take_page(self, task_id: str, number: int, worker_id: str) -> Suspicion | None:
        """The page was delivered to the worker, which may have it wait: what is held against it.

        None when it is settled, or the task is final or gone.
        """

    def begin_page(self, task_id: str, number: int, worker_id: str) -> bool:
        """The page is being read, and the task is started. False: nothing to do."""

    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> int | None:
        """The page is done, and `counts` are added to the counters: how many pages are missing.

        None, and nothing is counted, when it was done already, or the task is final or gone.
        """

    def release(self, worker_id: str, reason: str | None) -> list[tuple[str, int]]:
        """The worker is gone; pages that it had taken are nobody's again and returned.

        With a reason those that it had begun get a strike: one of them may have ended the worker.
        """

    def readers(self) -> set[str]:
        """Workers that have taken pages."""

    def write_live(self, task_id: str, number: int, text: str) -> None:
        """What has been written of a page so far."""

    def read_live(self, task_id: str, number: int) -> str: ...

    # webhooks

    def take_webhook(self, now_s: float, again_s: float) -> tuple[str, int] | None:
        """A task whose webhook is due, and its tries with this one; due again at `again_s`."""

    def put_webhook(self, task_id: str, due_s: float | None) -> None:
        """When a webhook that was taken is due again; None: never."""

    # workers

    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        """A sign of life with what a worker tells about itself; `trouble`: why there is none."""

    def _beats(self) -> Iterable[tuple[str, str]]:
        """Signs of life within WORKER_TTL_S: ids and JSON."""

    def forget_worker(self, worker_id: str) -> None: ...

    def workers(self) -> dict[str, dict[str, Any]]:
        """Those that have given a sign of life lately."""
        infos = ((name, json.loads(info)) for name, info in self._beats())
        return {name: info for name, info in infos if "trouble" not in info}

    def troubles(self) -> dict[str, str]:
        """Workers that are being started again, and why."""
        infos = ((name, json.loads(info)) for name, info in self._beats())
        return {name: info["trouble"] for name, info in infos if "trouble" in info}

    # the rest

    def count(self, amounts: Sequence[tuple[str, float]]) -> None:
        """Add to counters that all processes share."""

    def counters(self) -> dict[str, float]: ...

    def once(self, name: str, seconds: float) -> bool:
        """True for the first who asks within so many seconds, among all processes."""

    def close(self) -> None: ...


def snapshot_of(fields: Mapping[str, Any], settled: Mapping[Any, str]) -> Snapshot:
    """From what a store keeps under the names of Snapshot's fields."""
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
    """Whether there is anything left to do for a page of a task."""
    return state is not None and state not in FINAL and status is None
