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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from deepocr.book.retries import agreement
from deepocr.documents import DocumentProcesses
from deepocr.documents.ink import ink_mask
from deepocr.errors import DeepOCRError, PasswordNeeded
from deepocr.render.formats import render_document
from deepocr.render.html import ShownPage, write_html
from deepocr.render.markdown import FIGURE_LABELS
from deepocr.render.picture_pdf import PicturePdf
from deepocr.render.placed_text import place_lines
from deepocr.render.searchable_pdf import (
    SearchablePage,
    keeps_own_text,
    write_searchable_pdf,
)
from deepocr.service.state.files import TaskFiles
from deepocr.settings import load_settings
from deepocr.types import DocumentResult, PageResult, Word

log = logging.getLogger(__name__)

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
    source = files.upload(task_id)
    with (
        TemporaryDirectory(dir=files.folder(task_id)) as folder,
        DocumentProcesses.of(load_settings()) as processes,
        ExitStack() as opened,
    ):
        words: Callable[[int], Sequence[Word]] | None = None
        try:
            # 36 dpi: only the words count here
            original = opened.enter_context(processes.open(source, dpi=36, with_words=True))
            if original.kind == "pdf":
                words = lambda number: original.page(number).words  # noqa: E731
        except PasswordNeeded:
            pass  # the password is not kept for so long
        if words is None:
            source = Path(folder) / "pictures.pdf"
            _write_pictures(files, task_id, document, source)
        target = Path(folder) / "searchable.pdf"
        pages = _searchable_pages(files, task_id, document, words)
        write_searchable_pdf(processes, source, pages, target)
        return target.read_bytes()


def _searchable_pages(
    files: TaskFiles,
    task_id: str,
    document: DocumentResult,
    words: Callable[[int], Sequence[Word]] | None,
) -> Iterator[SearchablePage]:
    """`words` are those of a PDF's own text layer, None for a PDF of pictures."""
    for place, page in enumerate(document.pages, start=1):
        number = page.number if words else place
        path = files.picture(task_id, page.number)
        if (
            not page.regions
            or not path.exists()
            or (words and keeps_own_text(agreement(page, words(page.number))))
        ):
            yield SearchablePage(number)
        else:
            with Image.open(path) as picture:
                ink = ink_mask(picture.convert("RGB"))
            lines = [
                line for region in page.regions for line in place_lines(region, ink, page.size_px)
            ]
            yield SearchablePage(number, page.size_px, lines)


def _write_pictures(files: TaskFiles, task_id: str, document: DocumentResult, path: Path) -> None:
    """A PDF of the pages' pictures."""
    scale = POINTS_PER_INCH / PICTURE_DPI
    with path.open("wb") as file:
        pdf = PicturePdf(file)
        for page in document.pages:
            picture_path = files.picture(task_id, page.number)
            if picture_path.exists():
                with Image.open(picture_path) as picture:
                    size_pt = (picture.width * scale, picture.height * scale)
                    pdf.add_jpeg(picture_path.read_bytes(), picture, size_pt)
            else:
                pdf.add_empty()
        pdf.close()


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
