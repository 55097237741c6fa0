"""A finished task as a file."""

import asyncio
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import FileResponse

from deepocr.service.http.context import Service
from deepocr.service.http.problems import Problem
from deepocr.service.state.records import Snapshot
from deepocr.service.work import queue
from deepocr.service.work.exports import EXPORTS

EXPORT_WAIT_S = 30.0
EXPORT_LOOK_S = 0.2


async def download_of(service: Service, task: Snapshot, kind: str) -> Response:
    """The file, or 202 while a heavy one is still being made. Raises Problem."""
    export = EXPORTS.get(kind)
    if export is None:
        detail = f"unknown format {kind!r}; choose one of: {', '.join(EXPORTS)}"
        raise Problem(422, "unknown-format", detail)
    task_id = task.record.task_id
    if not task.final:
        raise Problem(409, "task-not-final", "the task is not finished; ask again later")
    headers = {"Content-Disposition": _attachment(task.record.name + export.suffix)}
    if export.heavy:
        return await _heavy(service, task_id, kind, headers)
    document = await asyncio.to_thread(service.files.document, task_id)
    if document is None:
        raise Problem(404, "no-document", "the task ended before its pages were put together")
    content = await asyncio.to_thread(export.make, service.files, task_id, document)
    return Response(content, media_type=export.media_type, headers=headers)


async def _heavy(service: Service, task_id: str, kind: str, headers: dict[str, str]) -> Response:
    export = EXPORTS[kind]
    path = service.files.folder(task_id) / f"document{export.suffix}"
    if not path.exists():
        if await asyncio.to_thread(service.files.document, task_id) is None:
            raise Problem(404, "no-document", "the task ended before its pages were put together")
        # many requests for one file make one job
        if await asyncio.to_thread(service.store.once, f"export:{kind}:{task_id}", 300):
            await asyncio.to_thread(queue.export, service.celery, task_id, kind)
        for _ in range(int(EXPORT_WAIT_S / EXPORT_LOOK_S)):
            await asyncio.sleep(EXPORT_LOOK_S)
            if path.exists():
                break
        else:
            return Response(status_code=202, headers={"Retry-After": "5"})
    return FileResponse(path, media_type=export.media_type, headers=headers)


def _attachment(name: str) -> str:
    """A file name in any script, as RFC 6266 has it, with a plain one beside."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
