"""What every route needs, made once when the app starts."""

from dataclasses import dataclass

from celery import Celery
from fastapi import Request

from deepocr.errors import UnsupportedTask
from deepocr.service.files import TaskFiles
from deepocr.service.settings import ServiceSettings
from deepocr.service.store import Store
from deepocr.service.watcher import Watcher
from deepocr.types import Job


@dataclass(frozen=True)
class Service:
    """The API's side of the queue."""

    settings: ServiceSettings
    store: Store
    files: TaskFiles
    celery: Celery
    watcher: Watcher

    def check_task(self, job: Job) -> None:
        """Raises UnsupportedTask when workers are there and none of them can do it."""
        workers = self.store.workers().values()
        if workers and not any(job.task in worker["tasks"] for worker in workers):
            can = sorted({task for worker in workers for task in worker["tasks"]})
            raise UnsupportedTask(f"no worker can do {job.task!r}; they can do: {', '.join(can)}")


def service_of(request: Request) -> Service:
    """For Depends."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found
