"""OpenAI's `POST /v1/chat/completions` and `GET /v1/models`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from deepocr.service.http import openai_chat
from deepocr.service.http.clients import KnownClient
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.json_requests import JsonRequest, JsonRoute
from deepocr.service.http.made import made
from deepocr.service.http.openai_chat import ChatJob, ChatRequest, Chunks, Totals, chat_job
from deepocr.service.http.problems import Problem, problem_of, problem_responses
from deepocr.service.http.uploads import Wanted
from deepocr.service.http.waiting import queued, read, until_read
from deepocr.service.state.records import TaskRecord

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)

LOOK_S = 0.15


@router.get("/v1/models", summary="Models: one for each preset", responses=problem_responses(401))
def models(_: KnownClient) -> dict[str, Any]:
    """`deepocr` reads with the recommended preset."""
    return openai_chat.models()


@router.get("/v1/models/{name}", summary="One model", responses=problem_responses(401, 404))
def model(name: str, _: KnownClient) -> dict[str, Any]:
    """As in the list."""
    return openai_chat.model(name)


@router.post(
    "/v1/chat/completions",
    summary="Read the pictures of a chat message",
    responses=problem_responses(401, 404, 413, 415, 422, 429, 500, 503),
    response_model=None,
)
async def chat_completions(
    body: ChatRequest,
    request: JsonRequest,
    service: Annotated[Service, Depends(service_of)],
    client: KnownClient,
) -> Response:
    """The text part is one of the model's prompts, or a task's name; without one, Markdown.

    A prompt with the model's tags is answered with its raw text, tags and all. With `stream` text
    arrives while it is written, or page by page where Markdown is made of tagged text.
    """
    job = chat_job(body, service.settings.max_batch_files, request.document)
    wanted = Wanted(job.job, live=bool(body.stream))
    if not body.stream:
        async with read(service, request, client, job.sources, wanted) as records:
            return await made(service, records, openai_chat.completion, job.model, records, job.raw)
    stack = contextlib.AsyncExitStack()
    records = await stack.enter_async_context(queued(service, client, job.sources, wanted))
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    events = _events(service, request, job, records, stack, with_usage)
    return StreamingResponse(
        events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def _events(
    service: Service,
    request: Request,
    job: ChatJob,
    records: list[TaskRecord],
    stack: contextlib.AsyncExitStack,
    with_usage: bool,
) -> AsyncIterator[str]:
    """Server-sent events: the role, pieces of text, how it ended, tokens, [DONE]."""
    chunks = Chunks(job.model)
    totals = Totals()
    async with stack:
        yield _event(chunks.delta(role="assistant", content=""))
        try:
            for index, record in enumerate(records):
                if index:
                    yield _event(chunks.delta(content="\n\n"))
                async for piece in _pieces(service, request, job, record, totals):
                    yield _event(chunks.delta(content=piece))
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            yield _event({"error": {"message": problem.detail, "code": problem.slug}})
            return
        yield _event(chunks.delta(finish=totals.finish_reason))
        if with_usage:
            yield _event(chunks.usage(totals))
        yield "data: [DONE]\n\n"


async def _pieces(
    service: Service, request: Request, job: ChatJob, record: TaskRecord, totals: Totals
) -> AsyncIterator[str]:
    """Text of one document: of a single page while it is written, of several pages page by page."""
    reading = asyncio.ensure_future(until_read(service, request, [record]))
    sent = ""
    try:
        while not reading.done() and len(record.numbers) == 1:
            await asyncio.wait((reading,), timeout=LOOK_S)
            live = await service.ask(service.store.read_live, record.task_id, record.numbers[0])
            text = _sure(live, job)
            if len(text) > len(sent) and text.startswith(sent):
                yield text[len(sent) :]
                sent = text
        await reading
    finally:
        reading.cancel()
    pages = service.files.pages(record.task_id, record.numbers)

    def next_text() -> str | None:
        page = next(pages, None)
        return None if page is None else totals.text_of(page, record.job, job.raw)

    between = ""
    while (text_of_page := await asyncio.to_thread(next_text)) is not None:
        whole = between + text_of_page
        if not whole.startswith(sent):
            raise Problem(500, "read-anew", "the page was read anew and became another text")
        if len(whole) > len(sent):
            yield whole[len(sent) :]
        sent, between = "", "\n\n"


def _sure(live: str, job: ChatJob) -> str:
    """The part of the text so far that is certain to start the final answer."""
    if job.raw:
        return live
    # tagged text is rendered when it is complete; surrounding white space may be stripped
    return "" if "<" in live else live.strip()


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
