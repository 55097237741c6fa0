"""Files that are made of a finished task, in helpers: requests and pages do not wait for them.

Those that need every page's picture are made once and kept.
"""

import asyncio
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from deepocr.documents import Document, DocumentProcesses
from deepocr.errors import DeepOCRError, PasswordNeeded
from deepocr.render.form_document import FormDocument, FormPage, of_result
from deepocr.render.forms import FORMS
from deepocr.render.markdown import is_figure
from deepocr.render.picture_pdf import PicturePdf
from deepocr.render.places import around
from deepocr.render.text_forms import text_of
from deepocr.service.state.files import DiskTaskFiles, NoRoomError, TaskFiles
from deepocr.service.state.store import Store
from deepocr.service.work.helpers import Helpers
from deepocr.settings import load_settings
from deepocr.types import DocumentResult, Page, Word

log = logging.getLogger(__name__)

POINTS_PER_INCH = 72
PICTURE_DPI = 144
WORDS_DPI = 36
"""Of pages that are drawn for the words of their text layer only."""

HEAVY_S = 900.0

AT_ONCE = 2
FAILED_S = 60.0
"""For so long a failed export is not tried again."""


class ExportFailed(DeepOCRError):
    """The file cannot be made of this task."""


class Exports:
    """Heavy exports that are being made or failed, each in a helper. In one event loop."""

    def __init__(self, store: Store, files: TaskFiles) -> None:
        self._store = store
        self._files = files
        self._helpers = Helpers(AT_ONCE)
        self._making: dict[tuple[str, str], asyncio.Task[str]] = {}

    async def name(self, task_id: str, kind: str, wait_s: float) -> str | None:
        """The task's file; None while it is being made after so long. Raises ExportFailed."""
        name = f"document{FORMS[kind].suffix}"
        if await asyncio.to_thread(self._files.has, task_id, name):
            return name
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
        return name

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
    """A form of text. Raises ExportFailed when the task has no document."""
    document = _document(files, task_id)
    yield text_of(FORMS[kind], of_result(document, paged=len(document.pages) > 1))


def write_export(files: TaskFiles, task_id: str, kind: str) -> None:
    """Make a form with pictures and put it beside the results.

    Raises ExportFailed when the task has no document, NoRoomError, and what documents raise.
    """
    form, result, path = FORMS[kind], _document(files, task_id), files.temporary()
    try:
        with (
            DocumentProcesses.of(load_settings()) as processes,
            files.at_hand(task_id) as near,
            ExitStack() as opened,
        ):
            document = TaskDocument.of(result, processes, near, task_id, opened)
            with path.open("wb") as file:
                form.write(document, file)
            files.adopt(task_id, path, f"document{form.suffix}")
    except OSError as error:
        raise NoRoomError(f"the file cannot be written: {error.strerror}") from error
    finally:
        path.unlink(missing_ok=True)


def _document(files: TaskFiles, task_id: str) -> DocumentResult:
    document = files.document(task_id)
    if document is None:
        raise ExportFailed("the task has no document, or was deleted meanwhile")
    return document


@dataclass(frozen=True, kw_only=True)
class TaskPage(FormPage):
    """Its picture is the one that was read; its words are asked of the upload."""

    document: "TaskDocument"

    @property
    def _path(self) -> Path:
        return self.document.files.picture(self.document.task_id, self.result.number)

    def draw(self) -> Page | None:
        if not self._path.exists():
            return None
        with Image.open(self._path) as picture:
            return Page(self.result.number, picture.convert("RGB"))

    def own_words(self) -> Sequence[Word]:
        original = self.document.original
        return original.page(self.result.number).words if original else ()

    def figures(self) -> Mapping[int, bytes]:
        found = {}
        boxes = [
            (index, around(region.boxes_px))
            for index, region in enumerate(self.result.regions)
            if is_figure(region)
        ]
        drawn = self.draw() if boxes else None
        for index, box in boxes:
            if drawn and box and box[0] < box[2] and box[1] < box[3]:
                png = io.BytesIO()
                drawn.image.crop(box).save(png, "PNG", compress_level=3)
                found[index] = png.getvalue()
        return found

    def add_to(self, pdf: PicturePdf) -> None:
        if not self._path.exists():
            pdf.add_empty()
            return
        scale = POINTS_PER_INCH / (self.result.dpi or PICTURE_DPI)
        with Image.open(self._path) as picture:
            size_pt = (picture.width * scale, picture.height * scale)
            pdf.add_jpeg(self._path.read_bytes(), picture, size_pt)


@dataclass(frozen=True, kw_only=True)
class TaskDocument(FormDocument):
    """A task's results and files; `opened` closes what is opened."""

    result: DocumentResult
    files: DiskTaskFiles
    task_id: str
    opened: ExitStack

    @classmethod
    def of(
        cls,
        result: DocumentResult,
        processes: DocumentProcesses,
        files: DiskTaskFiles,
        task_id: str,
        opened: ExitStack,
    ) -> "TaskDocument":
        return cls(
            name=result.name,
            title=result.name,
            engine=result.engine,
            job=result.job,
            num_pages=len(result.pages),
            paged=len(result.pages) > 1,
            processes=processes,
            result=result,
            files=files,
            task_id=task_id,
            opened=opened,
        )

    @cached_property
    def original(self) -> Document | None:
        """The upload, if it is a PDF that can be read: its password is not kept for so long."""
        assert self.processes is not None
        upload = self.files.upload(self.task_id)
        try:
            document = self.processes.open(upload, dpi=WORDS_DPI, with_words=True)
        except PasswordNeeded:
            return None
        self.opened.enter_context(document)
        return document if document.kind == "pdf" else None

    def pages(self) -> Iterator[FormPage]:
        return (TaskPage(page, self.job.task, document=self) for page in self.result.pages)

    def pdf(self) -> Path | None:
        return self.files.upload(self.task_id) if self.original else None
