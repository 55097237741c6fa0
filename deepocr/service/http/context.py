"""What every route needs, made once when the app starts."""

from dataclasses import dataclass, field

from anyio import CapacityLimiter
from fastapi import Request

from deepocr.documents import DocumentProcesses
from deepocr.errors import UnsupportedTask
from deepocr.service.http.helpers import Helpers
from deepocr.service.http.watcher import Watcher, Workers
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.store import Store
from deepocr.service.work.exports import Exports
from deepocr.service.work.sweeper import Sweeper
from deepocr.types import Job


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
    # a hostile document may keep a thread for long: it is none of those that answer
    submit_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(32))
    # of its own, so that checks of health wait behind no other work
    look_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))

    def check_task(self, job: Job) -> None:
        """Raises UnsupportedTask when workers are there and none of them can do it."""
        workers = self.workers.known().values()
        if workers and not any(job.task in worker["tasks"] for worker in workers):
            can = sorted({task for worker in workers for task in worker["tasks"]})
            raise UnsupportedTask(f"no worker can do {job.task!r}; they can do: {', '.join(can)}")


async def service_of(request: Request) -> Service:
    """For Depends; async, so that it costs no thread."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found
