"""Files that are made of a finished task, in helpers: requests and pages do not wait for them.

Those that need every page's picture are heavy: they are made once and kept.
"""

import asyncio
import base64
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from deepocr.documents import DocumentProcesses
from deepocr.documents.ink import ink_mask
from deepocr.errors import DeepOCRError, PasswordNeeded, reason
from deepocr.parsing.words import agreement
from deepocr.render.form_document import of_result
from deepocr.render.forms import FORMS, text_of
from deepocr.render.html import ShownPage, write_html
from deepocr.render.markdown import FIGURE_LABELS
from deepocr.render.picture_pdf import PicturePdf
from deepocr.render.placed_text import PlacedText, place_lines
from deepocr.render.searchable_pdf import (
    SearchablePage,
    keeps_own_text,
    write_searchable_pdf,
)
from deepocr.service.state.files import NoRoomError, TaskFiles
from deepocr.service.state.store import Store
from deepocr.service.work.helpers import Helpers
from deepocr.settings import load_settings
from deepocr.types import Box, DocumentResult, PageResult, Word

log = logging.getLogger(__name__)

POINTS_PER_INCH = 72
PICTURE_DPI = 144
HEAVY_S = 900.0

AT_ONCE = 2
FAILED_S = 60.0
"""For so long a failed export is not tried again."""


@dataclass(frozen=True)
class Export:
    """A download. `title` is the name of its text format; those without one are heavy."""

    suffix: str
    media_type: str
    title: str = ""


class ExportFailed(DeepOCRError):
    """The file cannot be made of this task."""


class Exports:
    """Heavy exports that are being made or failed, each in a helper. In one event loop."""

    def __init__(self, store: Store, files: TaskFiles) -> None:
        self._store = store
        self._files = files
        self._helpers = Helpers(AT_ONCE)
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
        failure = ""
        try:
            await self._helpers.run(HEAVY_S, write_export, self._files, task_id, kind)
            num_bytes = await asyncio.to_thread(self._files.num_bytes, task_id)
            await asyncio.to_thread(self._store.weigh, task_id, num_bytes)
        except Exception as error:
            known = isinstance(error, DeepOCRError)
            failure = str(error) if known else "the service failed at it; its log says why"
            log.error("%s of task %s failed", kind, task_id, exc_info=None if known else error)
        keep_s = FAILED_S if failure else 0
        asyncio.get_running_loop().call_later(keep_s, self._making.pop, (task_id, kind))
        return failure


def document_text(files: TaskFiles, task_id: str, kind: str) -> Iterator[str]:
    """A light export. Raises ExportFailed when the task has no document."""
    document = _document(files, task_id)
    yield text_of(FORMS[kind], of_result(document, paged=len(document.pages) > 1))


def write_export(files: TaskFiles, task_id: str, kind: str) -> None:
    """Make a heavy export and put it beside the results.

    Raises ExportFailed when the task has no document, NoRoomError, and what documents raise.
    """
    document = _document(files, task_id)
    write = {"html": _write_html, "pdf": _write_searchable_pdf}[kind]
    try:
        with TemporaryDirectory(dir=files.folder(task_id)) as folder:
            path = Path(folder) / "export"
            write(files, task_id, document, path)
            files.adopt(task_id, path, f"document{EXPORTS[kind].suffix}")
    except OSError as error:
        raise NoRoomError(f"the file cannot be written: {error.strerror}") from error


def _document(files: TaskFiles, task_id: str) -> DocumentResult:
    document = files.document(task_id)
    if document is None:
        raise ExportFailed("the task has no document, or was deleted meanwhile")
    return document


def _write_html(files: TaskFiles, task_id: str, document: DocumentResult, path: Path) -> None:
    pages = (_shown(files, task_id, page) for page in document.pages)
    with path.open("wb") as file:
        write_html(file, document.name, len(document.pages), pages)


def _shown(files: TaskFiles, task_id: str, page: PageResult) -> ShownPage:
    path = files.picture(task_id, page.number)
    if not path.exists():
        return ShownPage(page, None, {})
    try:
        with Image.open(path) as picture:
            figures = {
                index: data_url(picture, region.boxes_px[0])
                for index, region in enumerate(page.regions)
                if region.label in FIGURE_LABELS and region.boxes_px
            }
    except Exception as error:
        log.exception("page %d of task %s is shown without its picture", page.number, task_id)
        told = f"its picture cannot be shown: {reason(error)}"
        return ShownPage(replace(page, error=page.error or told), None, {})
    content = "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    return ShownPage(page, content, {index: url for index, url in figures.items() if url})


def data_url(picture: Image.Image, box_px: Box) -> str | None:
    """A part of a picture; None for a box without an area."""
    if box_px[2] <= box_px[0] or box_px[3] <= box_px[1]:
        return None
    buffer = io.BytesIO()
    picture.crop(box_px).save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _write_searchable_pdf(
    files: TaskFiles, task_id: str, document: DocumentResult, path: Path
) -> None:
    """The original pages with an invisible text layer."""
    source = files.upload(task_id)
    with DocumentProcesses.of(load_settings()) as processes, ExitStack() as opened:
        words: Callable[[int], Sequence[Word]] | None = None
        try:
            # 36 dpi: only the words count here
            original = opened.enter_context(processes.open(source, dpi=36, with_words=True))
            if original.kind == "pdf":
                words = lambda number: original.page(number).words  # noqa: E731
        except PasswordNeeded:
            pass  # the password is not kept for so long
        if words is None:
            source = path.with_name("pictures.pdf")
            _write_pictures(files, task_id, document, source)
        write_searchable_pdf(
            processes, source, _searchable_pages(files, task_id, document, words), path
        )


def _searchable_pages(
    files: TaskFiles,
    task_id: str,
    document: DocumentResult,
    words: Callable[[int], Sequence[Word]] | None,
) -> Iterator[SearchablePage]:
    """`words` are those of a PDF's own text layer, None for a PDF of pictures."""
    for place, page in enumerate(document.pages, start=1):
        number = page.number if words else place
        try:
            own = words(page.number) if words and page.regions else ()
            keep = words is not None and keeps_own_text(agreement(page, own))
            path = files.picture(task_id, page.number)
            lines = [] if keep or not path.exists() else _lines(page, path)
        except Exception:
            log.exception("page %d of task %s gets no text layer", page.number, task_id)
            lines = []
        yield SearchablePage(number, page.size_px, lines) if lines else SearchablePage(number)


def _lines(page: PageResult, picture_path: Path) -> list[PlacedText]:
    with Image.open(picture_path) as picture:
        ink = ink_mask(picture.convert("RGB"))
    return [line for region in page.regions for line in place_lines(region, ink, page.size_px)]


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


EXPORTS: Mapping[str, Export] = {
    **{name: Export(form.suffix, form.media_type, form.title) for name, form in FORMS.items()},
    "html": Export(".html", "text/html; charset=utf-8"),
    "pdf": Export(".pdf", "application/pdf"),
}
