"""Writing into the folder that a run owns, with errors that tell the user what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from deepocr import files
from deepocr.errors import StorageError

LOCK_NAME = ".lock"


class WorkspaceError(StorageError):
    """The output folder cannot be used: it is in use, full, read-only, or holds another job."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError in the block into a WorkspaceError."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"{path} cannot be written: {error.strerror or error}; make room or choose another "
            "folder, then run the same command again: finished pages are kept"
        ) from error


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Like `files.new_file`, but raises WorkspaceError if the file cannot be written."""
    with writing(path), files.new_file(path) as file:
        yield file


def write_file(path: Path, content: bytes | str) -> None:
    """Writes the whole content or nothing; text is encoded as UTF-8. Raises WorkspaceError."""
    with new_file(path) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def make_folder(path: Path) -> None:
    """Creates the folder and its parents; it may exist already. Raises WorkspaceError."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder for this process alone; creates it if needed.

    The kernel releases the lock however the process ends. Raises WorkspaceError if another run
    holds it or the folder cannot be written.
    """
    make_folder(folder)
    with writing(folder):
        file = (folder / LOCK_NAME).open("ab")
    with file:
        with writing(folder):
            is_ours = lock_descriptor(file.fileno(), blocking=False)
        if not is_ours:
            raise WorkspaceError(
                f"another run is writing into {folder}; wait for it or choose another folder"
            )
        yield
