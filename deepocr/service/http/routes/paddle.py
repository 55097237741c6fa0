"""PaddleOCR HubServing's `POST /predict/ocr_system`, field for field.

As there, an error of the request comes with HTTP 200 and a status of its own: "101" when it cannot
be read, "112" when it is not JSON; `results` is then "". A picture that cannot be decoded has an
empty list in its place, as a blank one, and `msg` says which and why.
"""

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field, ValidationError

from deepocr.errors import InvalidInput
from deepocr.render.failures import render_or_tell
from deepocr.service.http.answers import detections_of
from deepocr.service.http.clients import Client, KnownClient
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.json_requests import JsonRequest, JsonRoute
from deepocr.service.http.made import made
from deepocr.service.http.problems import Problem, problem_responses
from deepocr.service.http.uploads import Wanted
from deepocr.service.http.waiting import all_of, read
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import TaskRecord
from deepocr.tasks import make_job
from deepocr.types import PageResult

router = APIRouter(tags=["PaddleOCR HubServing"], route_class=JsonRoute)


class PaddleRequest(BaseModel):
    """Pictures as base64."""

    images: list[str] = Field(examples=[["iVBORw0KGgo..."]])


class PaddleLine(BaseModel):
    """A line of text with its four corners."""

    text: str
    confidence: float
    text_region: list[tuple[int, int]]


class PaddleAnswer(BaseModel):
    """`status` is "000" when all is well; `msg` then names the pictures that cannot be read."""

    msg: str = ""
    results: list[list[PaddleLine]] | Literal[""]
    status: Literal["000", "101", "112"] = "000"


@router.post(
    "/predict/ocr_system",
    summary="Lines of text of many pictures, as PaddleOCR's HubServing answers",
    response_model=PaddleAnswer,
    responses=problem_responses(401, 413),
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": PaddleRequest.model_json_schema()}},
            "required": True,
        }
    },
)
async def ocr_system(
    request: JsonRequest, service: Annotated[Service, Depends(service_of)], client: KnownClient
) -> PaddleAnswer | Response:
    """Reads with the task "OCR with Boxes"."""
    # parsed by hand: invalid JSON must be answered in this API's own format
    try:
        content = json.loads(await request.body())
    except (ValueError, RecursionError):
        return PaddleAnswer(msg="the request is not JSON", results="", status="112")
    try:
        images = PaddleRequest.model_validate(content).images
    except ValidationError:
        return PaddleAnswer(msg='send {"images": [base64, ...]}', results="", status="101")
    limit = service.settings.max_batch_files
    if len(images) > limit:
        return PaddleAnswer(msg=f"at most {limit} images at once", results="", status="101")
    try:
        async with AsyncExitStack() as stack:
            found = await all_of(_read_one(stack, request, service, client, i) for i in images)
            records = [one for one in found if not isinstance(one, str)]
            return await made(service, records, answer_json, found)
    except Problem as problem:
        return PaddleAnswer(msg=problem.detail, results="", status="101")


async def _read_one(
    stack: AsyncExitStack, request: JsonRequest, service: Service, client: Client, image: str
) -> TaskRecord | str:
    """The picture's task, kept until the stack is closed, or why it cannot be read."""
    wanted = Wanted(make_job("OCR with Boxes"))
    try:
        source = request.document(image, "image")
        reading = read(service, request, client, [source], wanted)
        return (await stack.enter_async_context(reading))[0]
    except InvalidInput as error:
        return str(error)


def answer_json(files: TaskFiles, found: list[TaskRecord | str]) -> Iterator[str]:
    """A PaddleAnswer, page by page."""
    unread = [f"images[{i}]: {one}" for i, one in enumerate(found) if isinstance(one, str)]
    yield f'{{"msg":{json.dumps("; ".join(unread))},"status":"000","results":['
    for index, one in enumerate(found):
        yield ",[" if index else "["
        if isinstance(one, TaskRecord):
            pages = files.pages(one.task_id, one.numbers)
            lines = (line for page in pages for line in render_or_tell(_lines, page, "lines"))
            yield ",".join(line.model_dump_json() for line in lines)
        yield "]"
    yield "]}"


def _lines(page: PageResult) -> list[PaddleLine]:
    return [
        PaddleLine(text=found.text, confidence=found.confidence or 0.0, text_region=found.box)
        for found in detections_of(page)
    ]
