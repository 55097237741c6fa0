"""Uploads and results, one folder a task: on a disk here, in an object store in `stored_files`.

    tasks/ID/upload          the document as it came
    tasks/ID/password        of an encrypted PDF, until the task is final
    tasks/ID/page_0001.json  a page's result; written beside and renamed, so it is whole or absent
    tasks/ID/page_0001.jpg   the page as the engine saw it
    tasks/ID/document.*      what the whole document gives, made once
    temporary/               files of single requests; swept if a request did not clean up

Names are made from task ids of our own making and page numbers, never from a client's file name.
"""

import contextlib
import io
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
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


class TaskFiles(ABC):
    """Blocking, safe from any thread and process. Writers raise NoRoomError.

    Writing into the folder of a deleted task raises FileNotFoundError: folders are made only by
    `create`, so nothing comes back after it was deleted. `local` is a folder of this machine.
    """

    def __init__(self, local: Path) -> None:
        self.local = local
        self._temporary = local / "temporary"
        self._temporary.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def create(self, task_id: str) -> None:
        """Make the folder of a new task."""

    @abstractmethod
    def task_ids(self) -> list[str]:
        """Every task with a folder."""

    @abstractmethod
    def age_s(self, task_id: str, now_s: float) -> float: ...

    @abstractmethod
    def read(self, task_id: str, name: str) -> bytes | None:
        """None where it is not there."""

    @abstractmethod
    def write(self, task_id: str, name: str, content: bytes, *, sync: bool = True) -> None:
        """Atomic, with `sync` also if the machine crashes in between."""

    @abstractmethod
    def adopt(self, task_id: str, part: Path, name: str, *, sync: bool = True) -> None:
        """Move a file from `temporary` into the task's folder."""

    @abstractmethod
    def size(self, task_id: str, name: str) -> int | None:
        """In bytes; None where it is not there."""

    @abstractmethod
    def remove(self, task_id: str, name: str) -> None:
        """A second call does nothing."""

    @abstractmethod
    def num_bytes(self, task_id: str) -> int:
        """Size of all the task's files."""

    @abstractmethod
    def delete(self, task_id: str) -> None:
        """The whole folder. A second call does nothing."""

    @abstractmethod
    def copy(self, task_id: str, name: str) -> AbstractContextManager[Path]:
        """A file as one of this machine, to be read during the block. Raises FileNotFoundError."""

    @abstractmethod
    def at_hand(self, task_id: str) -> "AbstractContextManager[DiskTaskFiles]":
        """All of a task's files on this machine, to be read during the block."""

    def has(self, task_id: str, name: str) -> bool:
        return self.size(task_id, name) is not None

    def write_password(self, task_id: str, password: str) -> None:
        self.write(task_id, "password", password.encode())

    def password(self, task_id: str) -> str:
        return (self.read(task_id, "password") or b"").decode()

    def drop_password(self, task_id: str) -> None:
        self.remove(task_id, "password")

    def write_page(self, task_id: str, result: PageResult) -> None:
        self.write(task_id, result_name(result.number), _PAGE.dump_json(result))

    def page(self, task_id: str, number: int) -> PageResult | None:
        content = self.read(task_id, result_name(number))
        return None if content is None else _PAGE.validate_json(content)

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
        sink = io.BytesIO()
        image.save(sink, format="JPEG", quality=PICTURE_QUALITY)
        self.write(task_id, picture_name(number), sink.getvalue(), sync=False)

    def has_document(self, task_id: str) -> bool:
        return self.has(task_id, "document.result")

    def write_document(self, task_id: str, document: DocumentResult) -> None:
        self.write(task_id, "document.result", _DOCUMENT.dump_json(document))

    def document(self, task_id: str) -> DocumentResult | None:
        content = self.read(task_id, "document.result")
        return None if content is None else _DOCUMENT.validate_json(content)

    def hold_at_most(self, records: Iterable[TaskRecord], most_bytes: int) -> bool:
        """Whether the pages' results have at most so many bytes."""
        for record in records:
            for number in record.numbers:
                most_bytes -= self.size(record.task_id, result_name(number)) or 0
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


class DiskTaskFiles(TaskFiles):
    """In the data folder, on a disk or a network's file system."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._root = data_dir / "tasks"
        self._root.mkdir(exist_ok=True)

    def create(self, task_id: str) -> None:
        try:
            self.folder(task_id).mkdir()
        except OSError as error:
            raise NoRoomError(f"{task_id}: {error.strerror}") from error

    def folder(self, task_id: str) -> Path:
        return self._root / checked_id(task_id)

    def upload(self, task_id: str) -> Path:
        return self.folder(task_id) / "upload"

    def picture(self, task_id: str, number: int) -> Path:
        return self.folder(task_id) / picture_name(number)

    def task_ids(self) -> list[str]:
        return [path.name for path in self._root.iterdir() if is_id(path.name)]

    def age_s(self, task_id: str, now_s: float) -> float:
        try:
            return now_s - self.folder(task_id).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def read(self, task_id: str, name: str) -> bytes | None:
        try:
            return (self.folder(task_id) / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, task_id: str, name: str, content: bytes, *, sync: bool = True) -> None:
        with _writing(), new_file(self.folder(task_id) / name, sync=sync) as file:
            file.write(content)

    def adopt(self, task_id: str, part: Path, name: str, *, sync: bool = True) -> None:
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        part.replace(self.folder(task_id) / name)

    def size(self, task_id: str, name: str) -> int | None:
        try:
            return (self.folder(task_id) / name).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, task_id: str, name: str) -> None:
        (self.folder(task_id) / name).unlink(missing_ok=True)

    def num_bytes(self, task_id: str) -> int:
        found = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder(task_id)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found += entry.stat().st_size
        return found

    def delete(self, task_id: str) -> None:
        shutil.rmtree(self.folder(task_id), ignore_errors=True)

    @contextlib.contextmanager
    def copy(self, task_id: str, name: str) -> Iterator[Path]:
        path = self.folder(task_id) / name
        if not path.exists():
            raise FileNotFoundError(name)
        yield path

    @contextlib.contextmanager
    def at_hand(self, task_id: str) -> Iterator["DiskTaskFiles"]:
        checked_id(task_id)
        yield self


def new_task_id() -> str:
    """128 random bits, which cannot be guessed."""
    return secrets.token_hex(16)


def is_id(name: str) -> bool:
    return _TASK_ID.fullmatch(name) is not None


def checked_id(task_id: str) -> str:
    """Raises ValueError: no path is made of anything else."""
    if not is_id(task_id):
        raise ValueError(f"{task_id!r} is no task id")
    return task_id


def result_name(number: int) -> str:
    return f"page_{number:04d}.json"


def picture_name(number: int) -> str:
    return f"page_{number:04d}.jpg"


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """A missing folder means that the task was deleted; other system errors become NoRoomError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise
        raise NoRoomError(f"the result cannot be written: {error.strerror}") from error
