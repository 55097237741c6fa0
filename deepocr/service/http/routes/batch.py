"""`POST /ocr_batch`: many files in, their texts out, in order."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from pydantic import BaseModel, Field

from deepocr.errors import InvalidInput
from deepocr.service.http.clients import ClientRoute, KnownClient
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.made import json_text, made, markdown_of
from deepocr.service.http.problems import problem_responses
from deepocr.service.http.uploads import Wanted, save_stream
from deepocr.service.http.waiting import IncomingDocument, read
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import TaskRecord
from deepocr.tasks import make_job

router = APIRouter(tags=["batch"], route_class=ClientRoute)


class BatchTexts(BaseModel):
    """A text for every file, in the order in which they came."""

    texts: list[str] = Field(examples=[["First page's text", "Second page's text"]])


@router.post(
    "/ocr_batch",
    summary="Read many files and wait for their texts",
    response_model=BatchTexts,
    responses=problem_responses(401, 413, 415, 422, 429, 500, 503),
)
async def ocr_batch(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    client: KnownClient,
    files: Annotated[list[UploadFile], File(description="pictures, TIFFs or PDFs")],
    task: Annotated[str, Form()] = "Free OCR",
    preset: Annotated[str, Form()] = "Gundam (Recommended)",
) -> Response:
    """All or nothing: a file that cannot be read fails the request and is named."""
    limit = service.settings.max_batch_files
    if len(files) > limit:
        raise InvalidInput(f"{len(files)} files are sent; at most {limit} are read at once")
    wanted = Wanted(make_job(task, "", preset))
    sources = [IncomingDocument(file.filename or "", save_stream(file.file)) for file in files]
    async with read(service, request, client, sources, wanted) as records:
        return await made(service, records, texts_json, records)


def texts_json(files: TaskFiles, records: list[TaskRecord]) -> Iterator[str]:
    """The response as JSON, piece by piece."""
    yield '{"texts":['
    for index, record in enumerate(records):
        yield "," if index else ""
        pages = files.pages(record.task_id, record.numbers)
        yield from json_text(markdown_of(page, record.job.task) for page in pages)
    yield "]}"
