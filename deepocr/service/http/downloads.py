"""A finished task as a file."""

import asyncio
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from deepocr.render.forms import FORMS
from deepocr.service.http.context import Service
from deepocr.service.http.made import made
from deepocr.service.http.problems import Problem
from deepocr.service.state.records import Snapshot
from deepocr.service.work.exports import ExportFailed, document_text

EXPORT_WAIT_S = 30.0


async def download_of(service: Service, task: Snapshot, kind: str) -> Response:
    """The file, or 202 while a heavy one is still being made. Raises Problem."""
    form = FORMS.get(kind)
    if form is None:
        detail = f"unknown format {kind!r}; choose one of: {', '.join(FORMS)}"
        raise Problem(422, "unknown-format", detail)
    task_id = task.record.task_id
    if not task.final:
        raise Problem(409, "task-not-final", "the task is not finished; ask again later")
    headers = {"Content-Disposition": _attachment(task.record.name + form.suffix)}
    if not await asyncio.to_thread(service.files.has_document, task_id):
        raise Problem(404, "no-document", "the task ended before its pages were put together")
    if form.pictures:
        try:
            name = await service.exports.name(task_id, kind, EXPORT_WAIT_S)
        except ExportFailed as error:
            detail = f"the {kind} file cannot be made: {error}"
            raise Problem(500, "export-failed", detail) from error
        if name is None:
            return Response(status_code=202, headers={"Retry-After": "5"})
        file = service.files.copy(task_id, name)
        return CopyResponse(file, media_type=form.media_type, headers=headers)
    return await made(
        service, [task.record], document_text, task_id, kind,
        media_type=form.media_type, headers=headers,
    )  # fmt: skip


class CopyResponse(FileResponse):
    """A file that is fetched, where it lies elsewhere, and given back when it was sent."""

    def __init__(self, copy: AbstractContextManager[Path], **options: Any) -> None:
        super().__init__("", **options)
        self._copy = copy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path = await asyncio.to_thread(self._copy.__enter__)
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.to_thread(self._copy.__exit__, None, None, None)


def _attachment(name: str) -> str:
    """A file name in any script, as RFC 6266 has it, with a plain one beside."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
