"""A folder on a disk or in an object store.

An address with `://` (s3://, gs://) goes through fsspec and its package for that store, any other
is a path. What is written appears whole or not at all: by a rename, or because a store shows an
object only when all of it has arrived.
"""

import contextlib
import fnmatch
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from deepocr.errors import StorageError, reason
from deepocr.files import new_file

PAUSES_S = (0.5, 2.0, 8.0)
"""Before what a store refused is tried again."""

Answer = TypeVar("Answer")


class Folder(Protocol):
    """Names are relative, with `/` between. Blocking, safe from any thread and process; raises
    StorageError where the disk or the store does not do it."""

    address: str

    def read(self, name: str) -> bytes | None:
        """None where it is not there."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all; folders are made as needed."""
        ...

    def writing(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A file that appears under its name only when the block ends well."""
        ...

    def num_bytes(self, name: str) -> int | None:
        """None where it is not there."""
        ...

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """Files right inside a folder whose own names match, in order, as names within this one;
        none where there is no folder."""
        ...

    def delete(self, name: str) -> None:
        """A second call does nothing."""
        ...

    def below(self, name: str) -> "Folder":
        """A folder in this one."""
        ...


def is_remote(address: str) -> bool:
    return "://" in address


def open_folder(address: str) -> Folder:
    """Raises StorageError where a package for the store is missing."""
    return StoreFolder(address) if is_remote(address) else DiskFolder(Path(address))


class DiskFolder:
    """On a disk, or a network's file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = str(path)

    def read(self, name: str) -> bytes | None:
        with _told(name):
            try:
                return (self.path / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes) -> None:
        with self.writing(name) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        path = self.path / name
        with _told(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with new_file(path) as file:
                yield file

    def num_bytes(self, name: str) -> int | None:
        with _told(name):
            try:
                return (self.path / name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        with _told(folder):
            try:
                with os.scandir(self.path / folder) as entries:
                    found = [entry.name for entry in entries if entry.is_file()]
            except FileNotFoundError:
                return []
        return _matching((f"{folder}/{name}" for name in found if name[0] != "."), pattern)

    def delete(self, name: str) -> None:
        with _told(name):
            (self.path / name).unlink(missing_ok=True)

    def below(self, name: str) -> "DiskFolder":
        return DiskFolder(self.path / name)


class StoreFolder:
    """In an object store."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._files, self._root = connect(self.address)

    def read(self, name: str) -> bytes | None:
        try:
            content: bytes = self._ask(lambda: self._files.cat_file(self._path(name)), name)
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        self._ask(lambda: self._files.pipe_file(self._path(name), content), name)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        with tempfile.NamedTemporaryFile(prefix="deepocr-") as file:
            yield file
            file.flush()
            self.put(Path(file.name), name)

    def num_bytes(self, name: str) -> int | None:
        try:
            return int(self._ask(lambda: self._files.info(self._path(name)), name)["size"])
        except FileNotFoundError:
            return None

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        return _matching((f"{folder}/{name}" for name in self.sizes(folder)), pattern)

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._ask(lambda: self._files.rm_file(self._path(name)), name)

    def below(self, name: str) -> "StoreFolder":
        return StoreFolder(f"{self.address}/{name}")

    def put(self, path: Path, name: str) -> None:
        """A file of this machine."""
        self._ask(lambda: self._files.put_file(str(path), self._path(name)), name)

    def fetch(self, name: str, path: Path) -> None:
        """Into a file of this machine. Raises FileNotFoundError."""
        self._ask(lambda: self._files.get_file(self._path(name), str(path)), name)

    def folders(self) -> list[str]:
        """Folders right inside."""
        return [f["name"].rpartition("/")[2] for f in self._inside("") if f["type"] != "file"]

    def sizes(self, folder: str) -> dict[str, int]:
        """Files right inside a folder, by their own names, with their bytes."""
        files = (f for f in self._inside(folder) if f["type"] == "file")
        return {f["name"].rpartition("/")[2]: int(f["size"]) for f in files}

    def delete_folder(self, folder: str) -> None:
        """With all below it. A second call does nothing."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(lambda: self._files.rm(self._path(folder), recursive=True), folder)

    def _inside(self, folder: str) -> list[dict[str, Any]]:
        path = self._path(folder)
        try:
            found: list[dict[str, Any]] = self._ask(
                lambda: self._files.ls(path, detail=True, refresh=True), folder
            )
        except FileNotFoundError:
            return []
        return found

    def _ask(self, ask: Callable[[], Answer], name: str) -> Answer:
        try:
            return asked(ask, name)
        except PermissionError as error:
            raise StorageError(f"{self.address} may not be used; check the key's rights") from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def connect(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the address as it calls it.

    Raises StorageError where the package for it is missing.
    """
    try:
        import fsspec

        # another machine may have written a moment ago
        files, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StorageError(
            f"{address} cannot be used: {error}; install deepocr[corpus] and, for this store, "
            "s3fs or gcsfs"
        ) from error
    return files, path.rstrip("/")


def asked(ask: Callable[[], Answer], name: str) -> Answer:
    """What a store answers. Raises FileNotFoundError and PermissionError as they are, StorageError
    for all else, after a few tries."""
    for pause_s in (*PAUSES_S, None):
        try:
            return ask()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            if pause_s is None:
                raise StorageError(f"{name}: the store does not answer: {reason(error)}") from error
            time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{name} cannot be read or written: {error.strerror or error}; make room or choose "
            "another folder"
        ) from error


def _matching(names: Iterator[str], pattern: str) -> list[str]:
    return sorted(name for name in names if fnmatch.fnmatch(name.rpartition("/")[2], pattern))
