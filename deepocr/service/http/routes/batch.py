"""`POST /ocr_batch`: many files in, their texts out, in order."""

from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from pydantic import BaseModel, Field

from deepocr.errors import InvalidInput
from deepocr.render.markdown import render_markdown
from deepocr.service.http.clients import ClientRoute, KnownClient
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.problems import problem_responses
from deepocr.service.http.uploads import Wanted, save_stream
from deepocr.service.http.waiting import IncomingDocument, pages_of, queued
from deepocr.tasks import make_job

router = APIRouter(tags=["batch"], route_class=ClientRoute)


class BatchTexts(BaseModel):
    """A text for every file, in the order in which they came."""

    texts: list[str] = Field(examples=[["First page's text", "Second page's text"]])


@router.post(
    "/ocr_batch",
    summary="Read many files and wait for their texts",
    responses=problem_responses(401, 413, 415, 422, 429, 500, 503),
)
async def ocr_batch(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    client: KnownClient,
    files: Annotated[list[UploadFile], File(description="pictures, TIFFs or PDFs")],
    task: Annotated[str, Form()] = "Free OCR",
    preset: Annotated[str, Form()] = "Gundam (Recommended)",
) -> BatchTexts:
    """All or nothing: a file that cannot be read fails the request and is named."""
    limit = service.settings.max_batch_files
    if len(files) > limit:
        raise InvalidInput(f"{len(files)} files are sent; at most {limit} are read at once")
    wanted = Wanted(make_job(task, "", preset))
    sources = [IncomingDocument(file.filename or "", save_stream(file.file)) for file in files]
    texts = []
    async with queued(service, client, sources, wanted) as records:
        for record in records:
            pages = await pages_of(service, request, record)
            texts.append("\n\n".join(render_markdown(p, task=wanted.job.task) for p in pages))
    return BatchTexts(texts=texts)
