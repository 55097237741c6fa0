"""From a client's document to a task in the queue."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from anyio import to_thread

from deepocr.errors import InvalidInput
from deepocr.service.http.clients import Client
from deepocr.service.http.context import Service
from deepocr.service.http.fetch import download
from deepocr.service.http.problems import Problem
from deepocr.service.state.files import NoRoomError, new_task_id
from deepocr.service.state.records import TaskRecord
from deepocr.tasks import refuse_unchecked_task
from deepocr.types import Dpi, Job

COPY_BYTES = 1 << 20
MAX_NAME_CHARS = 200
PAGE_BYTES = 300_000
"""Estimated size of a page's picture and text in bytes, counted until they exist."""

MAX_KEY_CHARS = 200


@dataclass(frozen=True)
class Wanted:
    """What a client asks for. `pages` is a range such as `1-3,7`; "" is all."""

    job: Job
    pages: str = ""
    password: str = ""
    dpi: Dpi | None = None
    webhook: str | None = None
    live: bool = False
    check: bool = False
    repair: bool = False
    idempotency_key: str | None = None


async def submit(
    service: Service,
    client: Client,
    name: str,
    wanted: Wanted,
    save: Callable[[Path], object],
    *,
    decode: bool = False,
    task_id: str | None = None,
) -> TaskRecord:
    """Save the document, inspect it, and queue it; nothing is left behind when that fails.

    `save` writes the document to the path it is given. With `decode` a picture is decoded too, so
    that a damaged one is refused at once. `task_id` is a new one. Raises InvalidInput, Problem,
    NoRoomError, StoreUnavailableError, and what `Store.create` raises.
    """
    task_id = task_id or new_task_id()
    work = partial(_submit, service, client, name, wanted, save, decode, task_id)
    return await to_thread.run_sync(work, limiter=service.submit_threads)


def _submit(
    service: Service,
    client: Client,
    name: str,
    wanted: Wanted,
    save: Callable[[Path], object],
    decode: bool,
    task_id: str,
) -> TaskRecord:
    service.check_task(wanted.job)
    if wanted.check:
        refuse_unchecked_task(wanted.job)
    if shutil.disk_usage(service.files.local).free < service.settings.min_free_bytes:
        raise NoRoomError("less is free than DEEPOCR_MIN_FREE_BYTES")
    service.files.create(task_id)
    path = service.files.temporary()
    try:
        try:
            save(path)
        except OSError as error:
            raise NoRoomError(f"the upload cannot be written: {error.strerror}") from error
        # in a drawing process; the worker draws the pages
        with service.documents.open(path, password=wanted.password, decode=decode) as document:
            num_pages, numbers = document.num_pages, document.select(wanted.pages)
        record = _record(service, client, task_id, name, wanted, path, num_pages, numbers)
        service.files.adopt(task_id, path, "upload", sync=False)
        if wanted.password:
            service.files.write_password(task_id, wanted.password)
        accepted = _accept(service, record)
    except BaseException:
        service.files.delete(task_id)
        raise
    finally:
        path.unlink(missing_ok=True)
    if accepted.task_id != task_id:
        service.files.delete(task_id)
    return accepted


async def submit_url(
    service: Service,
    client: Client,
    url: str,
    wanted: Wanted,
    *,
    decode: bool = False,
    task_id: str | None = None,
) -> TaskRecord:
    """Fetch a document where that is allowed, and queue it. Raises as `submit` does."""
    if not service.settings.fetch_urls:
        raise InvalidInput("documents are not fetched from URLs here; send the file itself")
    path = service.files.temporary()
    try:
        await download(url, path, max_bytes=service.settings.max_upload_bytes)
        name = urlsplit(url).path
        return await submit(
            service, client, name, wanted, path.rename, decode=decode, task_id=task_id
        )
    finally:
        path.unlink(missing_ok=True)


def save_stream(stream: IO[bytes]) -> Callable[[Path], None]:
    """For `submit`: copies an upload, piece by piece."""

    def save(path: Path) -> None:
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file, COPY_BYTES)

    return save


def save_bytes(content: bytes) -> Callable[[Path], None]:
    """For `submit`: writes what is in memory already."""

    def save(path: Path) -> None:
        path.write_bytes(content)

    return save


def clean_name(name: str | None) -> str:
    """A client's file name for display only: the last part, one line, shortened."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    shown = "".join(character for character in last if character.isprintable()).strip()
    return shown[:MAX_NAME_CHARS] or "document"


def _record(
    service: Service,
    client: Client,
    task_id: str,
    name: str,
    wanted: Wanted,
    upload: Path,
    num_pages: int,
    numbers: tuple[int, ...],
) -> TaskRecord:
    key = wanted.idempotency_key
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARS:
        raise InvalidInput(f"Idempotency-Key needs 1 to {MAX_KEY_CHARS} characters")
    return TaskRecord(
        task_id=task_id,
        client=client.client,
        owner=client.owner,
        created_s=time.time(),
        name=clean_name(name),
        num_pages=num_pages,
        numbers=numbers,
        job=wanted.job,
        dpi=wanted.dpi or service.settings.dpi,
        live=wanted.live,
        check=wanted.check,
        repair=wanted.repair,
        webhook=wanted.webhook,
        idempotency_key=key,
        num_bytes=upload.stat().st_size + PAGE_BYTES * len(numbers),
        digest=_digest(upload, wanted, numbers) if key else "",
    )


def _accept(service: Service, record: TaskRecord) -> TaskRecord:
    """Put the task into the store, then its pages into the queue. Pages that are not queued now are
    found and queued later."""
    accepted = service.store.create(record, service.settings)
    if accepted.task_id != record.task_id:
        if accepted.digest != record.digest:
            raise Problem(
                422,
                "idempotency-key-reused",
                "this Idempotency-Key came with another request before; use a new one",
            )
        return accepted
    try:
        service.sweeper.submit(record)
    except BaseException:
        # the client gets an error, so nothing of the task may run later
        service.store.delete(record.task_id)
        raise
    return accepted


def _digest(path: Path, wanted: Wanted, numbers: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    job = wanted.job
    options = [job.task, job.reference_text, job.preset, job.max_new_tokens, wanted.dpi, numbers]
    options += [name for name in ("check", "repair") if getattr(wanted, name)]
    return hashlib.sha256(json.dumps([content, options]).encode()).hexdigest()
