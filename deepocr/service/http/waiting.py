"""Requests that wait for their documents: several tasks queued, awaited, and cleaned up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from deepocr.service.http.clients import Client
from deepocr.service.http.context import Service
from deepocr.service.http.problems import Problem
from deepocr.service.http.uploads import Wanted, submit, submit_url
from deepocr.service.state.records import FINAL, TaskRecord
from deepocr.service.work.stitching import finish_task
from deepocr.types import PageResult

GONE_LOOK_S = 0.5


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
    records: list[TaskRecord] = []
    try:
        for source in sources:
            records.append(await _submit(service, client, source, wanted))
        yield records
    finally:
        # shielded: a client that hangs up cancels this request, and the tasks must still end
        await asyncio.shield(asyncio.to_thread(_discard, service, records))


async def pages_of(service: Service, request: Request, record: TaskRecord) -> list[PageResult]:
    """All pages of a queued task, once it is done.

    Raises Problem when it failed, took too long, or the client hung up meanwhile.
    """
    final = asyncio.ensure_future(
        service.watcher.final(record.task_id, service.settings.sync_timeout_s)
    )
    gone = asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait((final, gone), return_when=asyncio.FIRST_COMPLETED)
        if not final.done():
            raise Problem(400, "client-gone", "the connection was closed meanwhile")
        progress = final.result()
    finally:
        final.cancel()
        gone.cancel()
    if progress is None or progress.state not in FINAL:
        raise Problem(503, "took-too-long", "the document took too long", {"Retry-After": "60"})
    return await asyncio.to_thread(check_pages, service, record)


def check_pages(service: Service, record: TaskRecord) -> list[PageResult]:
    """The pages of a final task. Raises Problem when it did not succeed. Blocking."""
    snapshot = service.store.task(record.task_id)
    if snapshot is None or snapshot.state == "CANCELED":
        raise Problem(409, "task-canceled", "the task was canceled or deleted meanwhile")
    if snapshot.state == "FAILURE":
        raise Problem(500, "reading-failed", snapshot.error or "the document could not be read")
    return service.files.pages(record.task_id, record.numbers)


async def _submit(
    service: Service, client: Client, source: IncomingDocument, wanted: Wanted
) -> TaskRecord:
    if source.save is None:
        return await submit_url(service, client, source.url, wanted, decode=True)
    return await submit(service, client, source.name, wanted, source.save, decode=True)


async def _wait_until_gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(GONE_LOOK_S)


def _discard(service: Service, records: Sequence[TaskRecord]) -> None:
    """Nobody can ask for these tasks again: nothing of them is kept."""
    for record in records:
        snapshot = service.store.task(record.task_id)
        if snapshot is not None:
            finish_task(service.store, service.files, snapshot.record, "CANCELED")
        service.files.delete(record.task_id)
        service.store.delete(record.task_id)
