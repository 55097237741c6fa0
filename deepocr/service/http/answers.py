"""The task API's responses: their models, and how they are built from states and pages."""

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, Field

from deepocr.errors import DeepOCRError
from deepocr.render.failures import render_or_tell
from deepocr.render.markdown import render_markdown
from deepocr.service.http.context import Service
from deepocr.service.http.made import json_text
from deepocr.service.http.page_view import page_json, plain_page_json
from deepocr.service.http.problems import Problem
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import Snapshot, State, TaskRecord
from deepocr.types import Box, PageResult, Verdict

log = logging.getLogger(__name__)

PAGE_S = 10.0
"""Limit for rendering a page's HTML in seconds; after that its plain text is shown."""


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
    verdict: Verdict | None = Field(default=None, description="where a check was asked for")
    markdown: str | None = None


class Result(BaseModel):
    """What has been read; on FAILURE `error` says why, and pages that were read are still here."""

    detections: list[Detection] = []
    pages: list[PageState] = []
    markdown: str = ""
    verdicts: dict[Verdict, int] = Field(default={}, description="of checked pages, how many")
    complete: bool = False
    error: str | None = None


class Progress(BaseModel):
    """Pages done, and pages to read in all."""

    done: int
    total: int
    statuses: dict[int, str] = Field(description="of the pages that are done")


class TaskStatus(BaseModel):
    """A task without its text. `position` is the number of tasks ahead of a waiting one."""

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
    """A task with its text so far; `pending_tasks` counts all waiting tasks."""

    result: Result | None = None
    pending_tasks: int = 0


class TaskList(BaseModel):
    """The newest first."""

    tasks: list[TaskStatus]


def task_status(service: Service, snapshot: Snapshot, *, position: bool = True) -> TaskStatus:
    """Everything but the text."""
    return TaskStatus(**_status_fields(service, snapshot, position))


def task_fields(service: Service, snapshot: Snapshot) -> str:
    """The fields of a TaskAnswer without its result, as JSON."""
    answer = TaskAnswer(
        **_status_fields(service, snapshot, True),
        pending_tasks=sum(service.store.pending().values()),
    )
    return answer.model_dump_json(exclude={"result"})


def with_result(files: TaskFiles, fields: str, snapshot: Snapshot) -> Iterator[str]:
    """A TaskAnswer from these fields and the pages' results, piece by piece."""
    yield f'{fields[:-1]},"result":'
    states, texts, detections = [], [], []
    verdicts: Counter[Verdict] = Counter()
    for number in snapshot.record.numbers:
        state = PageState(number=number, status=snapshot.settled.get(number, "waiting"))
        page = files.page(snapshot.record.task_id, number) if number in snapshot.settled else None
        if page is not None:
            state.error, text, found = render_or_tell(
                partial(_parts, task=snapshot.record.job.task), page, "JSON"
            )
            if page.check is not None:
                state.verdict = page.check.verdict
                verdicts[page.check.verdict] += 1
            if text is not None:
                state.markdown = text
                texts.append(text)
            detections += found
        states.append(state.model_dump_json())
    rest = Result(complete=not snapshot.missing, error=snapshot.error, verdicts=verdicts)
    yield rest.model_dump_json(exclude={"detections", "pages", "markdown"})[:-1]
    yield f',"detections":[{",".join(detections)}],"pages":[{",".join(states)}]'
    yield ',"markdown":'
    yield from json_text(texts)
    yield "}}"


def _parts(page: PageResult, task: str) -> tuple[str | None, str | None, list[str]]:
    """Its error, Markdown and detections as JSON."""
    if page.status == "failed":
        return page.error, None, []
    detections = [found.model_dump_json() for found in detections_of(page)]
    return page.error, render_markdown(page, task=task), detections


def task_list(service: Service, owner: str, limit: int) -> bytes:
    """A TaskList as JSON."""
    found = service.store.tasks_of(owner, limit)
    tasks = (task_status(service, task).model_dump_json() for task in found)
    return f'{{"tasks":[{",".join(tasks)}]}}'.encode()


def detections_of(page: PageResult) -> list[Detection]:
    """The lines if the engine knows them, else the regions that have a box."""
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


async def page_answer(service: Service, record: TaskRecord, number: int) -> bytes:
    """A page as JSON. One that cannot be rendered shows its plain text and why."""
    where = (service.files, record.task_id, number)
    try:
        return await service.helpers.run(PAGE_S, page_json, *where, record.job.task)
    except FileNotFoundError as error:
        raise Problem(404, "unknown-page", f"page {number} was deleted meanwhile") from error
    except Exception as error:  # noqa: BLE001  whatever a page's text does, it is told in its place
        log.warning("page %d of task %s cannot be rendered: %r", number, record.task_id, error)
        reason = str(error) if isinstance(error, DeepOCRError) else "rendering it failed"
        return await service.helpers.run(PAGE_S, plain_page_json, *where, reason)


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
