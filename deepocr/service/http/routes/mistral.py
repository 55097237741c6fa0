"""Mistral's `POST /v1/ocr`."""

import base64
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from deepocr.documents.resolution import LEAST_DPI
from deepocr.errors import InvalidInput
from deepocr.render.failures import render_or_tell
from deepocr.render.markdown import FIGURE_LABELS, HEADINGS, figures_of, render_markdown
from deepocr.service.http.clients import KnownClient
from deepocr.service.http.context import Service, service_of
from deepocr.service.http.json_requests import JsonRequest, JsonRoute
from deepocr.service.http.made import made
from deepocr.service.http.problems import problem_responses, refuse_options
from deepocr.service.http.uploads import Wanted
from deepocr.service.http.waiting import read
from deepocr.service.state.files import TaskFiles, picture_name
from deepocr.service.state.records import TaskRecord
from deepocr.tasks import make_job
from deepocr.types import Box, PageResult

router = APIRouter(tags=["Mistral OCR"], route_class=JsonRoute)

MAX_PAGES_LISTED = 10_000
MAX_PAGES_CHARS = 1000

PageIndex = Annotated[int, Field(ge=0)]


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


# default values that change nothing
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "table_format": (),
    "bbox_annotation_format": (),
    "document_annotation_format": (),
    "document_annotation_prompt": ("",),
    "confidence_scores_granularity": (),
}

BLOCK_TYPES: Mapping[str, str] = {
    **dict.fromkeys(FIGURE_LABELS, "image"),
    **dict.fromkeys(HEADINGS, "title"),
    "table": "table",
    "equation": "equation",
    "formula": "equation",
    "image_caption": "caption",
    "figure_caption": "caption",
    "table_caption": "caption",
    "header": "header",
    "footer": "footer",
    "page_number": "footer",
    "aside": "aside_text",
    "list": "list",
    "code": "code",
}
"""Labels of regions to Mistral's types of blocks; all others are text."""


class MistralRequest(BaseModel):
    """`pages` count from 0 here: a list, or a text such as `0-2,5`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "model": "deepocr",
                    "document": {"type": "image_url", "image_url": "data:image/png;base64,..."},
                    "include_image_base64": True,
                }
            ]
        },
    )

    model: str | None = "deepocr"
    id: str | None = None
    document: DocumentUrl | PictureUrl
    pages: (
        Annotated[
            list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_PAGES_LISTED, fail_fast=True)
        ]
        | Annotated[str, Field(max_length=MAX_PAGES_CHARS)]
        | None
    ) = None
    include_image_base64: bool | None = False
    image_limit: int | None = Field(default=None, ge=0)
    image_min_size: int | None = Field(default=None, ge=0)
    extract_header: bool | None = False
    extract_footer: bool | None = False
    include_blocks: bool | None = False


class MistralImage(BaseModel):
    """A figure; the Markdown links to it by its id."""

    id: str
    top_left_x: int
    top_left_y: int
    bottom_right_x: int
    bottom_right_y: int
    image_base64: str | None = None


class MistralBlock(BaseModel):
    """A region of the page, in reading order."""

    type: str = Field(examples=["text"])
    top_left_x: int
    top_left_y: int
    bottom_right_x: int
    bottom_right_y: int
    content: str
    image_id: str | None = None


class Dimensions(BaseModel):
    """Of the page picture that coordinates are counted in."""

    dpi: int
    height: int
    width: int


class MistralPage(BaseModel):
    """`index` counts from 0. The last three fields are present on request."""

    index: int
    markdown: str
    images: list[MistralImage]
    dimensions: Dimensions
    header: str | None = None
    footer: str | None = None
    blocks: list[MistralBlock] | None = None


class UsageInfo(BaseModel):
    """Pages and bytes that were processed."""

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
    response_model=MistralAnswer,
    responses=problem_responses(401, 413, 415, 422, 429, 500, 503),
)
async def ocr(
    body: MistralRequest,
    request: JsonRequest,
    service: Annotated[Service, Depends(service_of)],
    client: KnownClient,
) -> Response:
    """Reads with the task "Convert to Markdown"."""
    document = body.document
    if isinstance(document, DocumentUrl):
        source = request.document(document.document_url, document.document_name or "document")
    else:
        picture = document.image_url
        source = request.document(picture if isinstance(picture, str) else picture.url, "image")
    refuse_options(body.model_extra or {}, _REFUSED)
    wanted = Wanted(make_job(), pages=_from_one(body.pages))
    async with read(service, request, client, [source], wanted) as records:
        costly = bool(body.include_image_base64)
        return await made(service, records, answer_json, records[0], body, costly=costly)


def _from_one(pages: list[int] | str | None) -> str:
    """Mistral's page range, which counts from 0, as ours, which counts from 1."""
    if pages is None:
        return ""
    if not pages:
        raise InvalidInput("pages is empty; leave it out to read all pages")
    text = pages if isinstance(pages, str) else ",".join(map(str, pages))
    return re.sub(r"\d{1,9}", lambda number: str(int(number[0]) + 1), text)


def answer_json(files: TaskFiles, record: TaskRecord, body: MistralRequest) -> Iterator[str]:
    """A MistralAnswer, page by page."""
    yield '{"pages":['
    num_pages = 0
    for page in files.pages(record.task_id, record.numbers):
        yield "," if num_pages else ""
        yield render_or_tell(lambda one: _page(files, record, one, body), page, "JSON")
        num_pages += 1
    size = files.size(record.task_id, "upload") or 0
    usage = UsageInfo(pages_processed=num_pages, doc_size_bytes=size).model_dump_json()
    yield f'],"model":{json.dumps(body.model or "deepocr")},"usage_info":{usage}}}'


def _page(files: TaskFiles, record: TaskRecord, page: PageResult, body: MistralRequest) -> str:
    width, height = page.size_px
    images = _images(page, body)
    if body.include_image_base64 and images:
        path = files.copy(record.task_id, picture_name(page.number))
        with path as opened, Image.open(opened) as picture:
            for image in images:
                x1, y1 = image.top_left_x, image.top_left_y
                box_px = (x1, y1, image.bottom_right_x, image.bottom_right_y)
                image.image_base64 = _data_url(picture, box_px)
    return MistralPage(
        index=page.number - 1,
        markdown=render_markdown(page, lambda number, _: _image_id(number - 1)),
        images=images,
        dimensions=Dimensions(dpi=round(page.dpi or LEAST_DPI), height=height, width=width),
        header=_furniture(page, "header") if body.extract_header else None,
        footer=_furniture(page, "footer", "page_number") if body.extract_footer else None,
        blocks=_blocks(page) if body.include_blocks else None,
    ).model_dump_json()


def _data_url(picture: Image.Image, box_px: Box) -> str | None:
    """A part of a picture; None for a box without an area."""
    if box_px[2] <= box_px[0] or box_px[3] <= box_px[1]:
        return None
    jpeg = io.BytesIO()
    picture.crop(box_px).save(jpeg, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()


def _image_id(index: int) -> str:
    return f"img-{index}.jpeg"


def _furniture(page: PageResult, *labels: str) -> str | None:
    """Headers and footers of the page; the Markdown never contains them."""
    texts = (region.text.strip() for region in page.regions if region.label in labels)
    return "\n".join(filter(None, texts)) or None


def _blocks(page: PageResult) -> list[MistralBlock]:
    image_ids = {id(region): _image_id(index) for index, region in enumerate(figures_of(page))}
    return [
        MistralBlock(
            type=BLOCK_TYPES.get(region.label, "text"),
            **_corners(region.boxes_px[0]),
            content=region.text.strip(),
            image_id=image_ids.get(id(region)),
        )
        for region in page.regions
        if region.boxes_px
    ]


def _corners(box_px: Box) -> dict[str, Any]:
    names = ("top_left_x", "top_left_y", "bottom_right_x", "bottom_right_y")
    return dict(zip(names, box_px, strict=True))


def _images(page: PageResult, body: MistralRequest) -> list[MistralImage]:
    smallest_px = body.image_min_size or 0
    images = []
    for number, region in enumerate(figures_of(page)):
        x1, y1, x2, y2 = region.boxes_px[0]
        if min(x2 - x1, y2 - y1) < smallest_px:
            continue
        images.append(MistralImage(id=_image_id(number), **_corners(region.boxes_px[0])))
    return images if body.image_limit is None else images[: body.image_limit]
