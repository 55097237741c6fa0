"""Files that are made of a finished task.

Those that need MuPDF or every page's picture are heavy: a worker makes them in a process of its
own, because MuPDF is not thread-safe and would hold up the pages that are being read.
"""

import base64
import io
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pymupdf
from PIL import Image

from deepocr.book.retries import agreement
from deepocr.documents import DocumentLimits, open_document
from deepocr.documents.ink import ink_mask
from deepocr.render.formats import render_document
from deepocr.render.html import ShownPage, write_html
from deepocr.render.markdown import FIGURE_LABELS
from deepocr.render.searchable_pdf import TextLayer, place_lines
from deepocr.service.state.files import TaskFiles
from deepocr.types import DocumentResult, PageResult

log = logging.getLogger(__name__)

OWN_TEXT_IS_GOOD = 0.8
"""A page whose own text layer says the same gets no second one."""

POINTS_PER_INCH = 72
PICTURE_DPI = 144
HEAVY_S = 900.0

Make = Callable[[TaskFiles, str, DocumentResult], bytes]


@dataclass(frozen=True)
class Export:
    """A download. `heavy` ones are made by a worker and kept, the others when asked for."""

    suffix: str
    media_type: str
    heavy: bool
    make: Make


def make_in_process(task_id: str, kind: str) -> None:
    """A heavy export, in a process of its own with the settings of this one. Blocking."""
    command = [sys.executable, "-m", "deepocr.service", "export-process", task_id, kind]
    try:
        subprocess.run(command, check=True, timeout=HEAVY_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        log.error("%s of task %s could not be made: %s", kind, task_id, error)


def keep_export(files: TaskFiles, task_id: str, kind: str) -> None:
    """Make the file and put it beside the results. Raises NoRoomError."""
    document = files.document(task_id)
    if document is not None:
        export = EXPORTS[kind]
        files.write(task_id, f"document{export.suffix}", export.make(files, task_id, document))


def _in_format(name: str) -> Make:
    def make(_files: TaskFiles, _task_id: str, document: DocumentResult) -> bytes:
        return render_document(document, name, paged=len(document.pages) > 1).encode()

    return make


def _html(files: TaskFiles, task_id: str, document: DocumentResult) -> bytes:
    file = io.BytesIO()
    pages = (_shown(files, task_id, page) for page in document.pages)
    write_html(file, document.name, len(document.pages), pages)
    return file.getvalue()


def _shown(files: TaskFiles, task_id: str, page: PageResult) -> ShownPage:
    path = files.picture(task_id, page.number)
    if not path.exists():
        return ShownPage(page, None, {})
    with Image.open(path) as picture:
        figures = {
            index: _data_url(_jpeg(picture.crop(region.boxes_px[0])))
            for index, region in enumerate(page.regions)
            if region.label in FIGURE_LABELS and region.boxes_px and _has_area(region.boxes_px[0])
        }
    return ShownPage(page, _data_url(path.read_bytes()), figures)


def _searchable_pdf(files: TaskFiles, task_id: str, document: DocumentResult) -> bytes:
    """The original pages with an invisible text layer."""
    own_words = _own_words(files, task_id, document)
    with _as_pdf(files, task_id, document) as pdf:
        layer = TextLayer(pdf)
        for place, page in enumerate(document.pages):
            path = files.picture(task_id, page.number)
            if page.regions and path.exists() and page.number not in own_words:
                with Image.open(path) as picture:
                    ink = ink_mask(picture.convert("RGB"))
                lines = [
                    line
                    for region in page.regions
                    for line in place_lines(region, ink, page.size_px)
                ]
                layer.add(pdf[place], lines, page.size_px)
        content: bytes = pdf.tobytes(garbage=1, deflate=True)
        return content


def _as_pdf(files: TaskFiles, task_id: str, document: DocumentResult) -> pymupdf.Document:
    """The pages that were read. Pictures become pages; so do those of an encrypted PDF, whose
    password is not kept for so long."""
    numbers = [page.number - 1 for page in document.pages]
    if _is_pdf(files, task_id):
        pdf = pymupdf.open(str(files.upload(task_id)), filetype="pdf")
        if not pdf.needs_pass:
            if len(numbers) < pdf.page_count:
                pdf.select(numbers)
            return pdf
    pdf = pymupdf.open()
    for page in document.pages:
        scale = POINTS_PER_INCH / PICTURE_DPI
        width, height = page.size_px if all(page.size_px) else (PICTURE_DPI, PICTURE_DPI)
        shown = pdf.new_page(width=width * scale, height=height * scale)
        path = files.picture(task_id, page.number)
        if path.exists():
            shown.insert_image(shown.rect, stream=path.read_bytes())
    return pdf


def _own_words(files: TaskFiles, task_id: str, document: DocumentResult) -> set[int]:
    """Pages of a PDF whose own text layer is sound."""
    return {number for number, good in _agreements(files, task_id, document) if good}


def _agreements(
    files: TaskFiles, task_id: str, document: DocumentResult
) -> Iterator[tuple[int, bool]]:
    if not _is_pdf(files, task_id):
        return
    with pymupdf.open(str(files.upload(task_id)), filetype="pdf") as pdf:
        if pdf.needs_pass:
            return
    limits = DocumentLimits()
    # 36 dpi: only the words count here
    with open_document(files.upload(task_id), limits, dpi=36, with_words=True) as opened:
        for page in document.pages:
            if page.regions:
                agrees = agreement(page, opened.page(page.number).words)
                yield page.number, agrees is not None and agrees >= OWN_TEXT_IS_GOOD


def _is_pdf(files: TaskFiles, task_id: str) -> bool:
    with files.upload(task_id).open("rb") as file:
        return b"%PDF-" in file.read(1024)


def _has_area(box_px: tuple[int, int, int, int]) -> bool:
    return box_px[2] > box_px[0] and box_px[3] > box_px[1]


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def _data_url(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


EXPORTS: Mapping[str, Export] = {
    "markdown": Export(".md", "text/markdown; charset=utf-8", False, _in_format("Markdown")),
    "json": Export(".json", "application/json", False, _in_format("JSON")),
    "raw": Export(".txt", "text/plain; charset=utf-8", False, _in_format("Raw")),
    "html": Export(".html", "text/html; charset=utf-8", True, _html),
    "pdf": Export(".pdf", "application/pdf", True, _searchable_pdf),
}
