"""Mistral's `POST /v1/ocr`."""

import base64
import io
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from deepocr.errors import InvalidInput
from deepocr.render.markdown import figures_of, render_markdown
from deepocr.service.http.base64_input import source_of
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.limits import KnownClient
from deepocr.service.http.problems import problem_responses
from deepocr.service.http.uploads import Wanted
from deepocr.service.http.waiting import pages_of, queued
from deepocr.service.state.records import TaskRecord
from deepocr.tasks import make_job
from deepocr.types import PageResult

router = APIRouter(tags=["Mistral OCR"])

MAX_PAGES_LISTED = 10_000


class ImageUrl(BaseModel):
    """A picture's address in an object of its own."""

    url: str


class DocumentUrl(BaseModel):
    """A PDF or picture by URL: a data URL, or one to fetch where that is allowed."""

    type: Literal["document_url"] = "document_url"
    document_url: str
    document_name: str | None = None


class PictureUrl(BaseModel):
    """A picture by URL."""

    type: Literal["image_url"]
    image_url: str | ImageUrl


class MistralRequest(BaseModel):
    """`pages` count from 0 here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "deepocr",
                    "document": {"type": "image_url", "image_url": "data:image/png;base64,..."},
                    "include_image_base64": True,
                }
            ]
        }
    )

    model: str | None = "deepocr"
    id: str | None = None
    document: DocumentUrl | PictureUrl
    pages: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, max_length=MAX_PAGES_LISTED
    )
    include_image_base64: bool | None = False
    image_limit: int | None = Field(default=None, ge=0)
    image_min_size: int | None = Field(default=None, ge=0)


class MistralImage(BaseModel):
    """A figure; the Markdown links to it by its id."""

    id: str
    top_left_x: int
    top_left_y: int
    bottom_right_x: int
    bottom_right_y: int
    image_base64: str | None = None


class Dimensions(BaseModel):
    """Of the page picture that coordinates are counted in."""

    dpi: int
    height: int
    width: int


class MistralPage(BaseModel):
    """`index` counts from 0."""

    index: int
    markdown: str
    images: list[MistralImage]
    dimensions: Dimensions


class UsageInfo(BaseModel):
    """What was worked on."""

    pages_processed: int
    doc_size_bytes: int | None = None


class MistralAnswer(BaseModel):
    """All pages that were asked for."""

    pages: list[MistralPage]
    model: str
    usage_info: UsageInfo


@router.post(
    "/v1/ocr",
    summary="A document as Markdown by page, as Mistral's OCR answers",
    responses=problem_responses(401, 413, 415, 422, 429, 500, 503),
)
async def ocr(
    body: MistralRequest,
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    client: KnownClient,
) -> MistralAnswer:
    """Reads with the task "Convert to Markdown"."""
    document = body.document
    if isinstance(document, DocumentUrl):
        source = source_of(document.document_url, document.document_name or "document")
    else:
        picture = document.image_url
        source = source_of(picture if isinstance(picture, str) else picture.url, "image")
    if body.pages is not None and not body.pages:
        raise InvalidInput("pages is an empty list; leave it out to read all pages")
    pages = ",".join(str(index + 1) for index in body.pages or ())
    wanted = Wanted(make_job(), pages=pages)
    async with queued(service, client, [source], wanted) as records:
        read = await pages_of(service, request, records[0])
        size = (await run_in_threadpool(service.files.upload(records[0].task_id).stat)).st_size
        answers = [await run_in_threadpool(_page, service, records[0], page, body) for page in read]
    usage = UsageInfo(pages_processed=len(answers), doc_size_bytes=size)
    return MistralAnswer(pages=answers, model=body.model or "deepocr", usage_info=usage)


def _page(
    service: Service, record: TaskRecord, page: PageResult, body: MistralRequest
) -> MistralPage:
    width, height = page.size_px
    return MistralPage(
        index=page.number - 1,
        markdown=render_markdown(page, lambda number, _: f"img-{number - 1}.jpeg"),
        images=_images(service, record, page, body),
        dimensions=Dimensions(dpi=record.dpi, height=height, width=width),
    )


def _images(
    service: Service, record: TaskRecord, page: PageResult, body: MistralRequest
) -> list[MistralImage]:
    """The page's figures, cut out of its picture where that is asked for."""
    smallest_px = body.image_min_size or 0
    images = []
    for number, region in enumerate(figures_of(page)):
        x1, y1, x2, y2 = region.boxes_px[0]
        if min(x2 - x1, y2 - y1) < smallest_px:
            continue
        image = MistralImage(
            id=f"img-{number}.jpeg",
            top_left_x=x1,
            top_left_y=y1,
            bottom_right_x=x2,
            bottom_right_y=y2,
        )
        if body.include_image_base64:
            with Image.open(service.files.picture(record.task_id, page.number)) as picture:
                image.image_base64 = _data_url(picture, (x1, y1, x2, y2))
        images.append(image)
    return images if body.image_limit is None else images[: body.image_limit]


def _data_url(picture: Image.Image, box_px: tuple[int, int, int, int]) -> str | None:
    cut = picture.crop(box_px)
    if 0 in cut.size:
        return None
    buffer = io.BytesIO()
    cut.save(buffer, format="JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
