"""The task API's answers: their models, and how they are made from states and pages."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from deepocr.render.html import ShownPage, picture_html, text_html
from deepocr.render.json import page_to_dict
from deepocr.render.markdown import render_markdown
from deepocr.service.http.context import Service
from deepocr.service.state.records import Snapshot, State
from deepocr.types import Box, PageResult


class Accepted(BaseModel):
    """The document is queued."""

    task_id: str = Field(examples=["0f0e5c3a9b6d4f7e8a1b2c3d4e5f6071"])
    status: Literal["pending"] = "pending"
    message: str = Field(examples=["3 pages are queued"])


class Detection(BaseModel):
    """A line of text, or a region where the engine knows no lines; corners in page pixels."""

    text: str
    box: list[tuple[int, int]] = Field(examples=[[[10, 20], [210, 20], [210, 44], [10, 44]]])
    confidence: float | None
    page_number: int
    label: str


class PageState(BaseModel):
    """One page of the document; `waiting` until it is done."""

    number: int
    status: str = Field(examples=["ok"])
    error: str | None = None
    markdown: str | None = None


class Result(BaseModel):
    """What has been read; on FAILURE `error` says why, and pages that were read are still here."""

    detections: list[Detection] = []
    pages: list[PageState] = []
    markdown: str = ""
    complete: bool = False
    error: str | None = None


class Progress(BaseModel):
    """Pages done, of all that are to be read."""

    done: int
    total: int
    statuses: dict[int, str] = Field(description="of the pages that are done")


class TaskStatus(BaseModel):
    """A task without its text. `position` counts the tasks that come before a waiting one."""

    task_id: str
    status: State
    name: str
    task: str
    preset: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    numbers: list[int] = Field(description="of the pages that are read")
    progress: Progress
    position: int | None = None
    error: str | None = None


class TaskAnswer(TaskStatus):
    """A task with what has been read so far; `pending_tasks` counts all that wait."""

    result: Result | None = None
    pending_tasks: int = 0


class TaskList(BaseModel):
    """The newest first."""

    tasks: list[TaskStatus]


def task_status(service: Service, snapshot: Snapshot, *, position: bool = True) -> TaskStatus:
    """Everything but the text."""
    return TaskStatus(**_status_fields(service, snapshot, position))


def task_answer(service: Service, snapshot: Snapshot, *, with_result: bool) -> TaskAnswer:
    """Everything; the result is None while no page is done."""
    result = None
    if with_result and (snapshot.settled or snapshot.final):
        pages = service.files.pages(snapshot.record.task_id, snapshot.settled)
        result = _result(snapshot, pages)
    return TaskAnswer(
        **_status_fields(service, snapshot, True),
        result=result,
        pending_tasks=sum(service.store.pending().values()),
    )


def detections_of(page: PageResult) -> list[Detection]:
    """Lines where the engine knows them, regions with a box otherwise."""
    found = []
    for region in page.regions:
        for line in region.lines:
            found.append(
                Detection(
                    text=line.text,
                    box=list(line.quad_px),
                    confidence=line.confidence,
                    page_number=page.number,
                    label=region.label,
                )
            )
        for box in () if region.lines else region.boxes_px:
            found.append(
                Detection(
                    text=region.text,
                    box=corners(box),
                    confidence=region.confidence,
                    page_number=page.number,
                    label=region.label,
                )
            )
    return found


def corners(box_px: Box) -> list[tuple[int, int]]:
    """Clockwise from the top left."""
    x1, y1, x2, y2 = box_px
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def page_answer(task_id: str, page: PageResult, task: str) -> dict[str, Any]:
    """A page as in the JSON download, its Markdown, and the two halves of the viewer."""
    shown = ShownPage(page, f"/api/v1/ocr/results/{task_id}/pages/{page.number}/image", {})
    return {
        **page_to_dict(page),
        "markdown": render_markdown(page, task=task),
        "picture_html": picture_html(shown),
        "text_html": text_html(shown),
    }


def _result(snapshot: Snapshot, pages: list[PageResult]) -> Result:
    task = snapshot.record.job.task
    by_number = {page.number: page for page in pages}
    states, texts, detections = [], [], []
    for number in snapshot.record.numbers:
        page = by_number.get(number)
        state = PageState(number=number, status=snapshot.settled.get(number, "waiting"))
        if page is not None:
            state.error = page.error
            if page.status != "failed":
                state.markdown = render_markdown(page, task=task)
                texts.append(state.markdown)
                detections += detections_of(page)
        states.append(state)
    return Result(
        detections=detections,
        pages=states,
        markdown="\n\n".join(texts),
        complete=not snapshot.missing,
        error=snapshot.error,
    )


def _status_fields(service: Service, snapshot: Snapshot, position: bool) -> dict[str, Any]:
    record = snapshot.record
    waiting = position and snapshot.state == "PENDING"
    return {
        "task_id": record.task_id,
        "status": snapshot.state,
        "name": record.name,
        "task": record.job.task,
        "preset": record.job.preset,
        "created_at": _time(record.created_s),
        "started_at": _time(snapshot.started_s),
        "finished_at": _time(snapshot.finished_s),
        "expires_at": _time(record.created_s + service.settings.result_ttl_s),
        "numbers": list(record.numbers),
        "progress": Progress(
            done=len(snapshot.settled),
            total=len(record.numbers),
            statuses=dict(sorted(snapshot.settled.items())),
        ),
        "position": service.store.ahead(record.task_id) if waiting else None,
        "error": snapshot.error,
    }


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
