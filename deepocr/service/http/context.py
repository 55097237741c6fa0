"""What every route needs, made once when the app starts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from deepocr.documents import DocumentProcesses
from deepocr.errors import UnsupportedTask
from deepocr.service.http.watcher import Watcher, Workers
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.service.work.exports import Exports
from deepocr.service.work.helpers import Helpers
from deepocr.service.work.sweeper import Sweeper
from deepocr.types import Job

ASK_S = 2.0
"""A store that takes longer to answer counts as unavailable."""

A = TypeVarTuple("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Service:
    """The API's side of the queue."""

    settings: ServiceSettings
    store: Store
    files: TaskFiles
    sweeper: Sweeper
    exports: Exports
    watcher: Watcher
    workers: Workers
    helpers: Helpers
    documents: DocumentProcesses
    # a hostile document may block a thread for long, so these threads answer no requests
    submit_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(32))
    # a separate pool, so that calls to the store never wait behind other work
    ask_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(32))

    async def ask(self, question: Callable[[*A], R], *args: *A) -> R:
        """Run a blocking call to the store with a time limit. Raises StoreUnavailableError."""
        try:
            async with asyncio.timeout(ASK_S):
                return await to_thread.run_sync(
                    question, *args, abandon_on_cancel=True, limiter=self.ask_threads
                )
        except TimeoutError as error:
            raise StoreUnavailableError(f"no answer within {ASK_S:g} s") from error

    def check_task(self, job: Job) -> None:
        """Raises UnsupportedTask if there are workers and none of them supports the task."""
        workers = self.workers.known().values()
        if workers and not any(job.task in worker["tasks"] for worker in workers):
            can = sorted({task for worker in workers for task in worker["tasks"]})
            raise UnsupportedTask(f"no worker can do {job.task!r}; they can do: {', '.join(can)}")


async def service_of(request: Request) -> Service:
    """For Depends; async, so that it needs no thread."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found
