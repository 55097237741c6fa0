"""Uploads and results in the data folder, one folder a task.

    tasks/ID/upload          the document as it came
    tasks/ID/password        of an encrypted PDF, until the task is final
    tasks/ID/page_0001.json  a page's result; written beside and renamed, so it is whole or absent
    tasks/ID/page_0001.jpg   the page as the engine saw it
    tasks/ID/document.*      what the whole document gives, made once
    temporary/               files of single requests; swept if a request did not clean up

Names are made from task ids of our own making and page numbers, never from a client's file name.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image
from pydantic import TypeAdapter

from deepocr.errors import DocumentTooLarge, StorageError
from deepocr.files import new_file
from deepocr.service.state.records import TaskRecord
from deepocr.types import DocumentResult, PageResult

_PAGE = TypeAdapter(PageResult)
_DOCUMENT = TypeAdapter(DocumentResult)
_TASK_ID = re.compile(r"[0-9a-f]{32}")

PICTURE_QUALITY = 88
MAX_SIDE_PX = 65_500
"""Longest side of a JPEG in pixels."""

TEMPORARY_S = 6 * 3600.0
"""Temporary files older than this, in seconds, belong to no request any more."""


class NoRoomError(StorageError):
    """Nothing can be written to the data folder: disk full, quota or read-only file system."""


class TaskFiles:
    """Blocking, safe from any thread and process. Writers raise NoRoomError.

    Writing into the folder of a deleted task raises FileNotFoundError: folders are made only by
    `create`, so nothing comes back after it was deleted.
    """

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "tasks"
        self._temporary = data_dir / "temporary"
        for folder in (self._root, self._temporary):
            folder.mkdir(parents=True, exist_ok=True)

    def create(self, task_id: str) -> Path:
        """The folder of a new task."""
        folder = self.folder(task_id)
        try:
            folder.mkdir()
        except OSError as error:
            raise NoRoomError(f"{folder.name}: {error.strerror}") from error
        return folder

    def folder(self, task_id: str) -> Path:
        if not _TASK_ID.fullmatch(task_id):
            raise ValueError(f"{task_id!r} is no task id")
        return self._root / task_id

    def upload(self, task_id: str) -> Path:
        return self.folder(task_id) / "upload"

    def task_ids(self) -> list[str]:
        """Every task with a folder."""
        return [path.name for path in self._root.iterdir() if _TASK_ID.fullmatch(path.name)]

    def age_s(self, task_id: str, now_s: float) -> float:
        try:
            return now_s - self.folder(task_id).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def write_password(self, task_id: str, password: str) -> None:
        self.write(task_id, "password", password.encode())

    def password(self, task_id: str) -> str:
        try:
            return (self.folder(task_id) / "password").read_text()
        except FileNotFoundError:
            return ""

    def drop_password(self, task_id: str) -> None:
        (self.folder(task_id) / "password").unlink(missing_ok=True)

    def write_page(self, task_id: str, result: PageResult) -> None:
        self.write(task_id, f"{_page(result.number)}.json", _PAGE.dump_json(result))

    def page(self, task_id: str, number: int) -> PageResult | None:
        try:
            return _PAGE.validate_json(self._page_path(task_id, number).read_bytes())
        except FileNotFoundError:
            return None

    def _page_path(self, task_id: str, number: int) -> Path:
        return self.folder(task_id) / f"{_page(number)}.json"

    def pages(self, task_id: str, numbers: Iterable[int]) -> Iterator[PageResult]:
        """The results that exist, in the order asked for."""
        found = (self.page(task_id, number) for number in numbers)
        return (page for page in found if page is not None)

    def write_picture(self, task_id: str, number: int, image: Image.Image) -> None:
        """Raises DocumentTooLarge for a picture that JPEG cannot hold."""
        width_px, height_px = image.size
        if max(image.size) > MAX_SIDE_PX:
            raise DocumentTooLarge(
                f"page {number} has {width_px} x {height_px} pixels; at most {MAX_SIDE_PX:,} on a "
                "side are read here: make it smaller"
            )
        path = self.folder(task_id) / f"{_page(number)}.jpg"
        with _writing(), new_file(path, sync=False) as file:
            image.save(file, format="JPEG", quality=PICTURE_QUALITY)

    def picture(self, task_id: str, number: int) -> Path:
        return self.folder(task_id) / f"{_page(number)}.jpg"

    def has_document(self, task_id: str) -> bool:
        return (self.folder(task_id) / "document.result").exists()

    def write_document(self, task_id: str, document: DocumentResult) -> None:
        self.write(task_id, "document.result", _DOCUMENT.dump_json(document))

    def document(self, task_id: str) -> DocumentResult | None:
        try:
            content = (self.folder(task_id) / "document.result").read_bytes()
        except FileNotFoundError:
            return None
        return _DOCUMENT.validate_json(content)

    def write(self, task_id: str, name: str, content: bytes) -> Path:
        """Atomic, also if the machine crashes in between."""
        path = self.folder(task_id) / name
        with _writing(), new_file(path) as file:
            file.write(content)
        return path

    def num_bytes(self, task_id: str) -> int:
        """Size of all the task's files."""
        found = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder(task_id)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found += entry.stat().st_size
        return found

    def adopt(self, task_id: str, part: Path, name: str) -> None:
        """Move a file from elsewhere in the data folder into the task's folder."""
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.folder(task_id) / name)

    def hold_at_most(self, records: Iterable[TaskRecord], most_bytes: int) -> bool:
        """Whether the pages' results have at most so many bytes."""
        for record in records:
            for number in record.numbers:
                try:
                    most_bytes -= self._page_path(record.task_id, number).stat().st_size
                except FileNotFoundError:
                    continue
                if most_bytes < 0:
                    return False
        return True

    def temporary(self) -> Path:
        """A new path for a file that belongs to one request."""
        return self._temporary / secrets.token_hex(16)

    def sweep_temporary(self, now_s: float) -> None:
        """Delete what is left of requests whose process was killed."""
        for path in self._temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if now_s - path.stat().st_mtime > TEMPORARY_S:
                    if path.is_dir():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink()

    def delete(self, task_id: str) -> None:
        """A second call does nothing."""
        shutil.rmtree(self.folder(task_id), ignore_errors=True)


def new_task_id() -> str:
    """128 random bits, which cannot be guessed."""
    return secrets.token_hex(16)


def _page(number: int) -> str:
    return f"page_{number:04d}"


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """A missing folder means that the task was deleted; other system errors become NoRoomError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise
        raise NoRoomError(f"the result cannot be written: {error.strerror}") from error
