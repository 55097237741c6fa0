"""Uploads and results in the data folder, one folder a task.

    tasks/ID/upload          the document as it came
    tasks/ID/password        of an encrypted PDF, until the task is final
    tasks/ID/page_0001.json  a page's result; written beside and renamed, so it is whole or absent
    tasks/ID/page_0001.jpg   the page as the engine saw it
    tasks/ID/document.*      what the whole document gives, made once

Names are made from task ids of our own making and page numbers, never from a client's file name.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from pydantic import TypeAdapter

from deepocr.errors import StorageError
from deepocr.types import DocumentResult, PageResult

_PAGE = TypeAdapter(PageResult)
_DOCUMENT = TypeAdapter(DocumentResult)
_TASK_ID = re.compile(r"[0-9a-f]{32}")

PICTURE_QUALITY = 88


class NoRoomError(StorageError):
    """The data folder cannot take any more: disk full, quota or a read-only file system."""


class TaskFiles:
    """Blocking, safe from any thread and process. Writers raise NoRoomError.

    Writing into the folder of a deleted task raises FileNotFoundError: folders are made only by
    `create`, so nothing comes back after it was deleted.
    """

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "tasks"
        self._root.mkdir(parents=True, exist_ok=True)

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
            return _PAGE.validate_json(
                (self.folder(task_id) / f"{_page(number)}.json").read_bytes()
            )
        except FileNotFoundError:
            return None

    def pages(self, task_id: str, numbers: Iterable[int]) -> list[PageResult]:
        """Those that are there, in the order asked for."""
        found = (self.page(task_id, number) for number in numbers)
        return [page for page in found if page is not None]

    def write_picture(self, task_id: str, number: int, image: Image.Image) -> None:
        path = self.folder(task_id) / f"{_page(number)}.jpg"
        part = _beside(path)
        try:
            image.save(part, format="JPEG", quality=PICTURE_QUALITY)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _no_room(error) from error

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
        """Whole or not at all, also when the machine stops in between."""
        path = self.folder(task_id) / name
        part = _beside(path)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _no_room(error) from error
        return path

    def delete(self, task_id: str) -> None:
        """A second call does nothing."""
        shutil.rmtree(self.folder(task_id), ignore_errors=True)


def new_task_id() -> str:
    """128 random bits: whoever does not know it cannot guess it."""
    return secrets.token_hex(16)


def _page(number: int) -> str:
    return f"page_{number:04d}"


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _no_room(error: OSError) -> Exception:
    """A folder that is gone means a deleted task, everything else a file system in trouble."""
    if isinstance(error, FileNotFoundError):
        return error
    return NoRoomError(f"the result cannot be written: {error.strerror}")
