"""The task API: hand in a document, follow it, fetch what was read."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Query, Response, UploadFile
from fastapi.responses import FileResponse

from deepocr.errors import InvalidInput
from deepocr.render.forms import FORMS
from deepocr.service.http import answers
from deepocr.service.http.clients import ClientRoute, KnownClient
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.downloads import CopyResponse, download_of
from deepocr.service.http.made import made
from deepocr.service.http.problems import Problem, problem_responses
from deepocr.service.http.uploads import Wanted, save_stream, submit, submit_url
from deepocr.service.state.files import picture_name
from deepocr.service.state.records import Snapshot, TaskProgress
from deepocr.service.work.stitching import finish_task
from deepocr.service.work.webhooks import check_webhook
from deepocr.tasks import DEFAULT_NEW_TOKENS, MAX_NEW_TOKENS, PRESETS, TASKS, make_job, parse_dpi

router = APIRouter(prefix="/api/v1/ocr", tags=["tasks"], route_class=ClientRoute)

MAX_WAIT_S = 60.0
MAX_LISTED = 1000
MOST_DPI = 600

TheService = Annotated[Service, Depends(service_of)]


async def wanted_of(
    task: Annotated[str, Form(description=f"one of: {', '.join(TASKS)}")] = "Convert to Markdown",
    preset: Annotated[str, Form(description=f"one of: {', '.join(PRESETS)}")] = (
        "Gundam (Recommended)"
    ),
    reference_text: Annotated[str, Form(description="what to look for, for Locate")] = "",
    max_new_tokens: Annotated[int, Form(ge=1, le=MAX_NEW_TOKENS)] = DEFAULT_NEW_TOKENS,
    pages: Annotated[str, Form(description="such as 1-3,7; empty is all")] = "",
    password: Annotated[str, Form(description="of an encrypted PDF", max_length=200)] = "",
    dpi: Annotated[str, Form(description="of a PDF's pages: auto, or 36 to 600")] = "",
    webhook_url: Annotated[str, Form(description="told when the task is final")] = "",
    live: Annotated[bool, Form(description="publish text while it is written")] = False,
    check: Annotated[bool, Form(description="hold every page against a second reader")] = False,
    repair: Annotated[
        bool, Form(description="check, and insert what the text lacks, marked <ins>")
    ] = False,
    idempotency_key: Annotated[
        str | None, Header(description="the same key and request give the same task")
    ] = None,
) -> Wanted:
    """The form's other fields, validated."""
    return Wanted(
        job=make_job(task, reference_text, preset, max_new_tokens),
        pages=pages,
        password=password,
        dpi=parse_dpi(dpi, MOST_DPI) if dpi else None,
        webhook=webhook_url or None,
        live=live,
        check=check or repair,
        repair=repair,
        idempotency_key=idempotency_key,
    )


async def own_task(task_id: str, service: TheService, client: KnownClient) -> Snapshot:
    """The task, or 404: another client's task looks like a missing one."""
    found = None
    if task_id.isalnum() and task_id.isascii():
        found = await service.ask(service.store.task, task_id)
    if found is None or (client.known and found.record.owner != client.owner):
        raise Problem(404, "unknown-task", "there is no such task; it may have been deleted")
    return found


OwnTask = Annotated[Snapshot, Depends(own_task)]


@router.post(
    "/process",
    status_code=202,
    summary="Hand in a document",
    responses=problem_responses(401, 413, 415, 422, 429, 503),
)
async def process(
    service: TheService,
    client: KnownClient,
    wanted: Annotated[Wanted, Depends(wanted_of)],
    response: Response,
    file: Annotated[UploadFile | None, File(description="a picture, TIFF or PDF")] = None,
    url: Annotated[str, Form(description="where to fetch it instead, if that is allowed")] = "",
) -> answers.Accepted:
    """Queue a picture or PDF. Use the answer's `task_id` to ask for results."""
    if (file is None) == (not url):
        raise InvalidInput("send either a file or a url")
    if wanted.webhook:
        await check_webhook(service.settings, wanted.webhook)
    if file is not None:
        save = save_stream(file.file)
        record = await submit(service, client, file.filename or "", wanted, save)
    else:
        record = await submit_url(service, client, url, wanted)
    response.headers["Location"] = f"/api/v1/ocr/results/{record.task_id}"
    count = len(record.numbers)
    return answers.Accepted(
        task_id=record.task_id, message=f"{count} page{'s' if count > 1 else ''} queued"
    )


@router.get(
    "/results/{task_id}",
    summary="What has been read so far",
    response_model=answers.TaskAnswer,
    responses=problem_responses(401, 404, 503),
)
async def results(
    service: TheService,
    task: OwnTask,
    wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="wait so long at most")] = 0,
    wait_for: Annotated[Literal["change", "end"], Query(description="for what")] = "change",
    include_result: Annotated[bool, Query(description="false: state and progress only")] = True,
) -> Response:
    """State, progress by page, place in the queue, and the text of the pages that are done."""
    if wait_s and not task.final:
        if wait_for == "end":
            await service.watcher.final(task.record.task_id, wait_s)
        else:
            known = TaskProgress(task.state, len(task.settled))
            await service.watcher.changed(task.record.task_id, known, wait_s)
        task = await service.ask(_again, service, task)
    fields = await service.ask(answers.task_fields, service, task)
    if include_result and (task.settled or task.final):
        return await made(service, [task.record], answers.with_result, fields, task)
    return _json(f'{fields[:-1]},"result":null}}'.encode())


@router.get(
    "/results/{task_id}/pages/{number}",
    summary="One page, as in the JSON download",
    response_model=dict[str, object],
    responses=problem_responses(401, 404, 503),
)
async def page(service: TheService, task: OwnTask, number: int) -> Response | dict[str, object]:
    """Regions in pixels, confidence, timing, Markdown; while it is read, the text so far."""
    if number not in task.record.numbers:
        raise Problem(404, "unknown-page", f"page {number} is not among those that are read")
    if number not in task.settled:
        text = await service.ask(service.store.read_live, task.record.task_id, number)
        return {"number": number, "status": "waiting", "raw": text}
    return _json(await answers.page_answer(service, task.record, number))


@router.get(
    "/results/{task_id}/pages/{number}/image",
    summary="The page as the engine saw it",
    response_class=FileResponse,
    responses=problem_responses(401, 404, 503),
)
def page_image(service: TheService, task: OwnTask, number: int) -> FileResponse:
    """A JPEG in the pixels that boxes are counted in."""
    task_id, name = task.record.task_id, picture_name(number)
    if number not in task.record.numbers or not service.files.has(task_id, name):
        raise Problem(404, "unknown-page", f"there is no picture of page {number} (yet)")
    copy = service.files.copy(task_id, name)
    return CopyResponse(copy, media_type="image/jpeg", headers={"Cache-Control": "private"})


@router.get(
    "/results/{task_id}/download",
    summary="The whole document as a file",
    response_class=Response,
    responses=problem_responses(401, 404, 409, 422, 503),
)
async def download_file(
    service: TheService,
    task: OwnTask,
    kind: Annotated[
        str, Query(alias="format", description=f"one of: {', '.join(FORMS)}")
    ] = "markdown",
) -> Response:
    """A final task as a file; 202 with Retry-After while a large file is made."""
    return await download_of(service, task, kind)


@router.post(
    "/tasks/{task_id}/cancel", summary="Stop a task", responses=problem_responses(401, 404, 503)
)
def cancel(service: TheService, task: OwnTask) -> answers.TaskStatus:
    """Pages that are being read stop within a second. A task that is final stays as it is."""
    finish_task(service.store, service.files, task.record, "CANCELED")
    return answers.task_status(service, _again(service, task))


@router.delete(
    "/results/{task_id}",
    status_code=204,
    summary="Delete a task",
    responses=problem_responses(401, 404, 503),
)
def delete(service: TheService, task: OwnTask) -> Response:
    """Stop it, and delete its document and results now."""
    finish_task(service.store, service.files, task.record, "CANCELED")
    service.files.delete(task.record.task_id)
    service.store.delete(task.record.task_id)
    return Response(status_code=204)


@router.get(
    "/tasks",
    summary="One's own tasks",
    response_model=answers.TaskList,
    responses=problem_responses(401, 503),
)
async def list_tasks(
    service: TheService,
    client: KnownClient,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
) -> Response:
    """The tasks of the API key; without keys, those of X-Client-Token or of the address."""
    return _json(await service.ask(answers.task_list, service, client.owner, limit))


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _again(service: Service, task: Snapshot) -> Snapshot:
    found = service.store.task(task.record.task_id)
    if found is None:
        raise Problem(404, "unknown-task", "the task was deleted meanwhile")
    return found
