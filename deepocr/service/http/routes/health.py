"""Is it alive, is it ready, and what can it do."""

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from deepocr import __version__
from deepocr.render.forms import FORMS
from deepocr.service.http.clients import KnownClient
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.problems import problem_responses
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.tasks import PRESETS, TASKS

router = APIRouter(tags=["operation"])

TheService = Annotated[Service, Depends(service_of)]


class Live(BaseModel):
    """The process answers."""

    live: bool = True


class WorkerEngine(BaseModel):
    """The engine of a worker, and how it came up."""

    engine: str = Field(examples=["deepseek bf16"])
    notes: dict[str, str] = Field(default={}, description="what runs slower than it could, and why")
    start_s: dict[str, float] = Field(default={}, description="seconds of its start by stage")


class Health(Live):
    """`ready` when the queue can be reached and a worker with an engine is there."""

    ready: bool
    version: str = __version__
    queue: str = Field(examples=["ok"])
    workers: int
    engines: dict[str, WorkerEngine] = Field(description="by worker")
    waiting: dict[str, int] = Field(description="tasks by lane")
    troubles: dict[str, str] = Field(description="workers that are started again, and why")


class Options(BaseModel):
    """What a form needs to know."""

    tasks: list[str]
    presets: list[str]
    formats: list[str]
    forms: dict[str, str] = Field(description="the formats' names and what people call them")
    can: list[str] = Field(description="tasks that workers can do now")
    max_upload_bytes: int
    max_pages: int
    urls: bool
    webhooks: bool
    result_ttl_s: float


@router.get("/health/live", summary="Does the process answer?")
async def live() -> Live:
    """Liveness: restart the process when this does not answer. Uses no thread, store or disk."""
    return Live()


@router.get(
    "/health/ready",
    summary="Can documents be read?",
    responses={503: {"model": Health, "description": "Not now"}},
)
async def ready(service: TheService, response: Response) -> Health:
    """Readiness: send no requests while this answers 503."""
    health = await _look(service)
    response.status_code = 200 if health.ready else 503
    return health


@router.get("/health", summary="Both at once")
async def health(service: TheService) -> Health:
    """Always 200: `live` and `ready` are in the answer."""
    return await _look(service)


@router.get(
    "/api/v1/ocr/options",
    summary="Tasks, presets and limits",
    responses=problem_responses(401, 503),
    tags=["tasks"],
)
async def options(service: TheService, _: KnownClient) -> Options:
    """What may be asked for here."""
    settings = service.settings
    workers = (await service.ask(service.store.workers)).values()
    return Options(
        tasks=list(TASKS),
        presets=list(PRESETS),
        formats=list(FORMS),
        forms={name: form.title for name, form in FORMS.items()},
        can=sorted({task for worker in workers for task in worker["tasks"]}),
        max_upload_bytes=settings.max_upload_bytes,
        max_pages=settings.max_pages,
        urls=settings.fetch_urls,
        webhooks=bool(settings.webhook_secret.get_secret_value()),
        result_ttl_s=settings.result_ttl_s,
    )


async def _look(service: Service) -> Health:
    found: dict[str, Any] = {"queue": "unreachable", "workers": 0}
    found |= {"engines": {}, "waiting": {}, "troubles": {}}
    with contextlib.suppress(StoreUnavailableError):
        found = await service.ask(_of_store, service.store)
    return Health(ready=found["workers"] > 0, **found)


def _of_store(store: Store) -> dict[str, Any]:
    workers = store.workers()
    return {
        "queue": "ok",
        "workers": len(workers),
        "engines": {name: WorkerEngine(**info) for name, info in workers.items()},
        "waiting": dict(store.pending()),
        "troubles": store.troubles(),
    }
