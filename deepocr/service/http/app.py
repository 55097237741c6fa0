"""The ASGI app: routes, limits, and what runs beside them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from deepocr import __version__
from deepocr.documents import DocumentProcesses
from deepocr.service.http.body_limit import BodyLimit
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.metrics import RequestFigures, shared_figures
from deepocr.service.http.problems import add_problem_handlers
from deepocr.service.http.routes import batch, health, mistral, openai, paddle, tasks, web
from deepocr.service.http.watcher import Watcher, Workers
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.opening import open_files, open_store
from deepocr.service.work.exports import Exports
from deepocr.service.work.helpers import Helpers
from deepocr.service.work.queue import make_celery
from deepocr.service.work.sweeper import Sweeper
from deepocr.service.work.threads import start_thread
from deepocr.service.work.webhooks import WebhookSender

STOP_S = 3.0

DESCRIPTION = """Reads pictures and PDFs: text, Markdown, tables, and where each stands.

Hand in a document at `/api/v1/ocr/process` and follow it by its `task_id`, or use one of the
shapes that other programs know. Errors are problem details (RFC 9457)."""


HELPER_PROCESSES = 2

ROUTERS = tuple(api.router for api in (tasks, batch, paddle, openai, mistral, health, web))


def create_app(settings: ServiceSettings) -> FastAPI:
    """The API and web page; workers are processes of their own."""
    store = open_store(settings)
    files = open_files(settings)
    service = Service(
        settings=settings,
        store=store,
        files=files,
        sweeper=Sweeper(make_celery(settings), settings, store, files),
        exports=Exports(store, files),
        watcher=Watcher(store),
        workers=Workers(store),
        helpers=Helpers(HELPER_PROCESSES),
        documents=DocumentProcesses.of(settings),
    )
    # FastAPI's own /docs would load its files from another host
    app = FastAPIOffline(
        title="deepocr", version=__version__, description=DESCRIPTION, lifespan=_lifespan
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    _add_metrics(app)
    add_problem_handlers(app, [route for router in (*ROUTERS, app) for route in router.routes])
    app.add_middleware(BodyLimit, settings=settings)
    if settings.origins():
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins(),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    return app


def _add_metrics(app: FastAPI) -> None:
    registry = CollectorRegistry()
    app.add_middleware(RequestFigures, registry=registry)

    @app.get("/metrics", summary="Figures for Prometheus", tags=["operation"])
    async def metrics(service: Annotated[Service, Depends(service_of)]) -> Response:
        """Requests, queue, pages, tokens, stage times, device memory."""
        shared = CollectorRegistry()
        shared.register(await shared_figures(service))
        figures = generate_latest(registry) + generate_latest(shared)
        return Response(figures, media_type=CONTENT_TYPE_LATEST)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    stop = threading.Event()
    webhooks = WebhookSender(service.settings, service.store)
    loop = asyncio.get_running_loop()
    threads = [
        start_thread(lambda: service.sweeper.run(stop), "sweeper"),
        start_thread(lambda: webhooks.run(stop), "webhooks"),
        start_thread(lambda: service.watcher.run(loop, stop), "watcher"),
    ]
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, STOP_S)
        await asyncio.to_thread(service.documents.close)
