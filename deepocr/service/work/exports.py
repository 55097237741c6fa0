"""Files that are made of a finished task.

Those that need MuPDF or every page's picture are heavy: the API makes them in a process of their
own, which costs requests and pages nothing.
"""

import asyncio
import base64
import io
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pymupdf
from PIL import Image

from deepocr.book.retries import agreement
from deepocr.documents import DocumentLimits, open_document
from deepocr.documents.ink import ink_mask
from deepocr.errors import DeepOCRError
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

AT_ONCE = 2
FAILED_S = 60.0
"""For so long a failed export is not tried again."""

Make = Callable[[TaskFiles, str, DocumentResult], bytes]


@dataclass(frozen=True)
class Export:
    """A download. `heavy` ones are made by a worker and kept, the others when asked for."""

    suffix: str
    media_type: str
    heavy: bool
    make: Make


class ExportFailed(DeepOCRError):
    """The file cannot be made of this task."""


class Exports:
    """Heavy exports that are being made or failed, each in a process of its own. In one loop."""

    def __init__(self, files: TaskFiles) -> None:
        self._files = files
        self._free = asyncio.Semaphore(AT_ONCE)
        self._making: dict[tuple[str, str], asyncio.Task[str]] = {}

    async def path(self, task_id: str, kind: str, wait_s: float) -> Path | None:
        """The file; None while it is being made after so long. Raises ExportFailed."""
        path = self._files.folder(task_id) / f"document{EXPORTS[kind].suffix}"
        if path.exists():
            return path
        making = self._making.get((task_id, kind))
        if making is None:
            # many requests for one file make it once
            making = asyncio.create_task(self._make(task_id, kind))
            self._making[task_id, kind] = making
        await asyncio.wait((making,), timeout=wait_s)
        if not making.done():
            return None
        if making.result():
            raise ExportFailed(making.result())
        return path

    async def _make(self, task_id: str, kind: str) -> str:
        """Why it failed, "" when it did not. A failure is kept for a while, then tried again."""
        async with self._free:
            reason = await self._run(task_id, kind)
        keep_s = FAILED_S if reason else 0
        asyncio.get_running_loop().call_later(keep_s, self._making.pop, (task_id, kind))
        return reason

    async def _run(self, task_id: str, kind: str) -> str:
        command = (sys.executable, "-m", "deepocr.service", "export-process", task_id, kind)
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            async with asyncio.timeout(HEAVY_S):
                told, _ = await process.communicate()
        except TimeoutError:
            return f"it took longer than {HEAVY_S:g} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return ""
        log.error("%s of task %s failed with code %d", kind, task_id, process.returncode)
        return told.decode(errors="replace").strip() or "the process that makes it was lost"


def make_export(files: TaskFiles, task_id: str, kind: str) -> bytes:
    """The file's content. Raises ExportFailed when the task has no document."""
    document = files.document(task_id)
    if document is None:
        raise ExportFailed("the task has no document, or was deleted meanwhile")
    return EXPORTS[kind].make(files, task_id, document)


def export_process(files: TaskFiles, task_id: str, kind: str) -> int:
    """Make the file and put it beside the results; why not, on standard output."""
    try:
        content = make_export(files, task_id, kind)
        files.write(task_id, f"document{EXPORTS[kind].suffix}", content)
    except DeepOCRError as error:
        print(error)  # noqa: T201 - for the process that asked
        return 1
    except Exception:
        log.exception("%s of task %s failed", kind, task_id)
        print("the service failed at it; its log says why")  # noqa: T201
        return 1
    return 0


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
