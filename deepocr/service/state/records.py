"""What the service knows of a task: a record that never changes, and its state, which does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from deepocr.errors import DeepOCRError
from deepocr.types import Dpi, Job

State = Literal["PENDING", "STARTED", "SUCCESS", "FAILURE", "CANCELED"]
"""PENDING until its first page is read; the last three are final and never change again."""

FINAL: frozenset[State] = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

Lane = Literal["short", "long"]
"""Queues that are served in turn, so that a page need not wait behind a book."""

SHORT_PAGES = 4
"""A task with more pages takes the long lane."""


class TaskRecord(BaseModel):
    """Written once, when the task is accepted.

    `client` is whom limits apply to, `owner` whose list shows the task; both are digests. `numbers`
    are the pages to read, from 1. `live` asks workers to publish text while it is written,
    `check` to hold pages against a second reader, `repair` to insert what they lack. `num_bytes` is
    an estimate of its files' size; once the task is final the store counts the real size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    client: str
    owner: str
    created_s: float
    name: str
    num_pages: int
    numbers: tuple[int, ...]
    job: Job
    dpi: Dpi
    live: bool = False
    check: bool = False
    repair: bool = False
    webhook: str | None = None
    idempotency_key: str | None = None
    digest: str = ""
    num_bytes: int = 0

    @property
    def lane(self) -> Lane:
        return "short" if len(self.numbers) <= SHORT_PAGES else "long"


@dataclass(frozen=True)
class Snapshot:
    """A task as it stood at one moment. `settled` has the status of every page that is done."""

    record: TaskRecord
    state: State
    started_s: float | None = None
    finished_s: float | None = None
    error: str | None = None
    settled: Mapping[int, str] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def missing(self) -> tuple[int, ...]:
        """Page numbers that are not settled yet, in order."""
        return tuple(n for n in self.record.numbers if n not in self.settled)


@dataclass(frozen=True)
class TaskProgress:
    """What changes while a task runs; if two are equal, nothing has happened in between."""

    state: State
    done: int


@dataclass(frozen=True)
class Suspicion:
    """Why a page is suspected: `strikes` workers were lost while they were reading it. `together`
    is how many pages the last of them was reading, `reason` how it ended.
    """

    strikes: int = 0
    together: int = 0
    reason: str = ""


class TooManyTasksError(DeepOCRError):
    """The client has reached its limit of unfinished tasks."""


class TooManyBytesError(DeepOCRError):
    """The client has reached its limit of stored bytes, finished tasks included."""


class NoBytesLeftError(DeepOCRError):
    """All clients together have reached the limit of stored bytes."""


class QueueFullError(DeepOCRError):
    """All clients together have reached the limit of unfinished tasks."""
