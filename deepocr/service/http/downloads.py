"""A finished task as a file."""

from urllib.parse import quote

from fastapi import Response
from fastapi.responses import FileResponse

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
    if not service.files.has_document(task_id):
        raise Problem(404, "no-document", "the task ended before its pages were put together")
    if form.pictures:
        try:
            path = await service.exports.path(task_id, kind, EXPORT_WAIT_S)
        except ExportFailed as error:
            detail = f"the {kind} file cannot be made: {error}"
            raise Problem(500, "export-failed", detail) from error
        if path is None:
            return Response(status_code=202, headers={"Retry-After": "5"})
        return FileResponse(path, media_type=form.media_type, headers=headers)
    return await made(
        service, [task.record], document_text, task_id, kind,
        media_type=form.media_type, headers=headers,
    )  # fmt: skip


def _attachment(name: str) -> str:
    """A file name in any script, as RFC 6266 has it, with a plain one beside."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
