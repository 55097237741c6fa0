"""Requests that wait for their documents: several tasks queued, awaited, and cleaned up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request

from deepocr.service.http.clients import Client
from deepocr.service.http.context import Service
from deepocr.service.http.problems import Problem
from deepocr.service.http.uploads import Wanted, submit, submit_url
from deepocr.service.state.files import new_task_id
from deepocr.service.state.records import FINAL, TaskRecord
from deepocr.service.work.stitching import finish_task

GONE_LOOK_S = 0.5

R = TypeVar("R")


@dataclass(frozen=True)
class IncomingDocument:
    """A document that a request brings along: how to save it, or a URL to fetch it from."""

    name: str
    save: Callable[[Path], object] | None = None
    url: str = ""


@contextlib.asynccontextmanager
async def queued(
    service: Service, client: Client, sources: Sequence[IncomingDocument], wanted: Wanted
) -> AsyncIterator[list[TaskRecord]]:
    """The documents as tasks; canceled and deleted when the block ends, however it does.

    Pictures are decoded first, so that a damaged one raises InvalidInput here.
    """
    task_ids = [new_task_id() for _ in sources]
    try:
        yield await all_of(
            _submit(service, client, source, wanted, task_id)
            for source, task_id in zip(sources, task_ids, strict=True)
        )
    finally:
        # shielded: a client that hangs up cancels this request, but the tasks must still be ended
        await asyncio.shield(asyncio.to_thread(_discard, service, task_ids))


@contextlib.asynccontextmanager
async def read(
    service: Service,
    request: Request,
    client: Client,
    sources: Sequence[IncomingDocument],
    wanted: Wanted,
) -> AsyncIterator[list[TaskRecord]]:
    """As `queued`, once all pages have been read. Raises as `until_read`."""
    async with queued(service, client, sources, wanted) as records:
        await until_read(service, request, records)
        yield records


async def until_read(service: Service, request: Request, records: Sequence[TaskRecord]) -> None:
    """Raises Problem when a task failed, took too long, or the client hung up meanwhile."""
    reading = asyncio.ensure_future(all_of(_final(service, record) for record in records))
    gone = asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait((reading, gone), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            raise Problem(400, "client-gone", "the connection was closed meanwhile")
        await reading
    finally:
        reading.cancel()
        gone.cancel()


async def all_of(work: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """Side by side; the first error cancels the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _final(service: Service, record: TaskRecord) -> None:
    progress = await service.watcher.final(record.task_id, service.settings.sync_timeout_s)
    if progress is not None and progress.state not in FINAL:
        raise Problem(503, "took-too-long", "the document took too long", {"Retry-After": "60"})
    snapshot = await service.ask(service.store.task, record.task_id)
    if snapshot is None or snapshot.state == "CANCELED":
        raise Problem(409, "task-canceled", "the task was canceled or deleted meanwhile")
    if snapshot.state == "FAILURE":
        raise Problem(500, "reading-failed", snapshot.error or "the document could not be read")


async def _submit(
    service: Service, client: Client, source: IncomingDocument, wanted: Wanted, task_id: str
) -> TaskRecord:
    if source.save is None:
        work = submit_url(service, client, source.url, wanted, decode=True, task_id=task_id)
    else:
        name, save = source.name, source.save
        work = submit(service, client, name, wanted, save, decode=True, task_id=task_id)
    submission = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(submission)
    finally:
        if not submission.done():
            # its thread goes on: wait for it, so that what it queues can be deleted
            await asyncio.wait((submission,))


async def _wait_until_gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(GONE_LOOK_S)


def _discard(service: Service, task_ids: Sequence[str]) -> None:
    """Delete tasks that nobody can ask for again."""
    for snapshot in service.store.tasks(task_ids).values():
        finish_task(service.store, service.files, snapshot.record, "CANCELED")
    for task_id in task_ids:
        service.files.delete(task_id)
        service.store.delete(task_id)
