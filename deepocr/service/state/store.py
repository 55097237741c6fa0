"""Where tasks' states are kept: one contract, a file for one machine and Redis for several."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.records import Snapshot, State, TaskProgress, TaskRecord

WORKER_TTL_S = 30.0
"""A worker that has not been heard of for so long is gone."""


class StoreUnavailableError(Exception):
    """The store cannot be reached just now."""


class Store(Protocol):
    """Every change is atomic and may be asked for twice. Blocking, safe from any thread.

    All methods raise StoreUnavailableError when the store cannot be reached.
    """

    def create(
        self, record: TaskRecord, *, max_client_tasks: int, max_tasks: int, ttl_s: float
    ) -> TaskRecord:
        """Keep a new task, or return the owner's earlier one with the same idempotency key.

        Raises TooManyTasksError or QueueFullError.
        """
        ...

    def task(self, task_id: str) -> Snapshot | None: ...

    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        """The newest first."""
        ...

    def begin_page(self, task_id: str, number: int) -> int:
        """Count a reading of the page and start the task; the how-manieth it is, from 1.

        0 when there is nothing to do: the page is settled, or the task is final or gone.
        """
        ...

    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> bool:
        """The page is done, and `counts` are added to the counters.

        False, and nothing is counted, when it was already, or the task is final or gone.
        """
        ...

    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        """Make the task final. False when it was already, or is gone."""
        ...

    def ahead(self, task_id: str) -> int:
        """How many waiting tasks of the same lane come before this one."""
        ...

    def pending(self) -> Mapping[str, int]:
        """Waiting tasks by lane."""
        ...

    def unfinished(self) -> list[str]: ...

    def progress(self, task_ids: Iterable[str]) -> dict[str, TaskProgress]:
        """Of many tasks at once; those that are gone are left out."""
        ...

    def expired(self, now_s: float) -> list[str]: ...

    def delete(self, task_id: str) -> None: ...

    def write_live(self, task_id: str, number: int, text: str) -> None:
        """What has been written of a page so far."""
        ...

    def read_live(self, task_id: str, number: int) -> str: ...

    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        """A sign of life of a worker, with what it tells about itself."""
        ...

    def workers(self) -> dict[str, dict[str, Any]]:
        """Those that have given a sign of life within WORKER_TTL_S."""
        ...

    def forget_worker(self, worker_id: str) -> None: ...

    def count(self, amounts: Sequence[tuple[str, float]]) -> None:
        """Add to counters that all processes share."""
        ...

    def counters(self) -> dict[str, float]: ...

    def once(self, name: str, seconds: float) -> bool:
        """True for the first who asks within so many seconds, among all processes."""
        ...

    def close(self) -> None: ...


def open_store(settings: ServiceSettings, *, patient: bool = False) -> Store:
    """The store that the settings ask for.

    `patient` is for workers: they wait out a Redis that is away instead of failing a page.
    """
    if settings.redis_url is None:
        from deepocr.service.state.sqlite_store import SqliteStore

        return SqliteStore(settings.data_dir / "service.db")
    from deepocr.service.state.redis_store import RedisStore

    return RedisStore(settings.redis_url.get_secret_value(), patient=patient)
