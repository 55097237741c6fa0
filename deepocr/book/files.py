"""Files that are either whole or absent, and a folder that one run owns."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deepocr.errors import StorageError

TEMPORARY_SUFFIX = ".part"
LOCK_NAME = ".lock"


class WorkspaceError(StorageError):
    """The output folder cannot be used: taken, full, read-only, or of another job."""


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when the block ends well.

    It is written beside, fsynced and renamed, and the folder is fsynced: after a crash or a power
    cut it is whole or absent. Raises WorkspaceError where the folder does not take it.
    """
    beside = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise unwritable(path, error) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: bytes | str) -> None:
    """The whole content or nothing; text as UTF-8. Raises WorkspaceError."""
    with new_file(path) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def make_folder(path: Path) -> None:
    """With its parents; one that is there is fine. Raises WorkspaceError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def remove_leftovers(folder: Path) -> None:
    """What a killed run was writing when it died."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if needed, for this process alone.

    The kernel lets go of the lock when the process dies, however it dies. Raises WorkspaceError
    when another run holds it or the folder cannot be written.
    """
    make_folder(folder)
    try:
        file = (folder / LOCK_NAME).open("ab")
    except OSError as error:
        raise unwritable(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkspaceError(
                f"another run is writing into {folder}; wait for it or choose another folder"
            ) from error
        yield


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{path} cannot be written: {error.strerror or error}; make room or choose another folder, "
        "then run the same command again: finished pages are kept"
    )
