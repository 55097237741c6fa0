"""Uploads and results in an object store, so that machines share no folder.

    tasks/ID/created    when; there first and as long as the task is
    tasks/ID/...        as on a disk

What a program wants as a file is fetched into a temporary folder, and gone afterward.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from deepocr.service.state.files import DiskTaskFiles, NoRoomError, TaskFiles, checked_id, is_id
from deepocr.storage import StoreFolder

CREATED = "created"


class StoredTaskFiles(TaskFiles):
    """`address` is the store's, such as s3://bucket/folder; `local` is for temporary files."""

    def __init__(self, address: str, local: Path) -> None:
        super().__init__(local)
        self._address = address
        self._store = StoreFolder(f"{address.rstrip('/')}/tasks")

    def __reduce__(self) -> tuple[type["StoredTaskFiles"], tuple[str, Path]]:
        return StoredTaskFiles, (self._address, self.local)  # for helpers

    def create(self, task_id: str) -> None:
        self._store.write(f"{checked_id(task_id)}/{CREATED}", repr(time.time()).encode())

    def task_ids(self) -> list[str]:
        return [name for name in self._store.folders() if is_id(name)]

    def age_s(self, task_id: str, now_s: float) -> float:
        created = self.read(task_id, CREATED)
        return now_s - float(created or 0)

    def read(self, task_id: str, name: str) -> bytes | None:
        return self._store.read(f"{checked_id(task_id)}/{name}")

    def write(  # a store is always in sync
        self,
        task_id: str,
        name: str,
        content: bytes,
        *,
        sync: bool = True,  # noqa: ARG002
    ) -> None:
        self._check_there(task_id)
        self._store.write(f"{task_id}/{name}", content)

    def adopt(
        self,
        task_id: str,
        part: Path,
        name: str,
        *,
        sync: bool = True,  # noqa: ARG002
    ) -> None:
        self._check_there(task_id)
        self._store.put(part, f"{task_id}/{name}")
        part.unlink(missing_ok=True)

    def size(self, task_id: str, name: str) -> int | None:
        return self._store.num_bytes(f"{checked_id(task_id)}/{name}")

    def remove(self, task_id: str, name: str) -> None:
        self._store.delete(f"{checked_id(task_id)}/{name}")

    def num_bytes(self, task_id: str) -> int:
        return sum(self._store.sizes(checked_id(task_id)).values())

    def delete(self, task_id: str) -> None:
        # last: what is written meanwhile is found by its age
        self._store.delete(f"{checked_id(task_id)}/{CREATED}")
        self._store.delete_folder(task_id)

    @contextlib.contextmanager
    def copy(self, task_id: str, name: str) -> Iterator[Path]:
        path = self.temporary()
        try:
            self._fetch(task_id, name, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def at_hand(self, task_id: str) -> Iterator[DiskTaskFiles]:
        folder = self.temporary()
        try:
            near = DiskTaskFiles(folder)
            near.create(task_id)
            for name in self._store.sizes(checked_id(task_id)):
                if name not in (CREATED, "password"):
                    self._fetch(task_id, name, near.folder(task_id) / name)
            yield near
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _fetch(self, task_id: str, name: str, path: Path) -> None:
        """Raises FileNotFoundError, NoRoomError."""
        try:
            self._store.fetch(f"{checked_id(task_id)}/{name}", path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise NoRoomError(f"{name} cannot be fetched: {error.strerror or error}") from error

    def _check_there(self, task_id: str) -> None:
        if not self.size(task_id, CREATED):
            raise FileNotFoundError(f"task {task_id} was deleted")
