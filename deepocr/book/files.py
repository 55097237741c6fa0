"""The folder that a run owns, and what goes wrong with writing into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from deepocr import files
from deepocr.errors import StorageError

LOCK_NAME = ".lock"


class WorkspaceError(StorageError):
    """The output folder cannot be used: taken, full, read-only, or of another job."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the block cannot write raises WorkspaceError."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"{path} cannot be written: {error.strerror or error}; make room or choose another "
            "folder, then run the same command again: finished pages are kept"
        ) from error


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """`files.new_file`. Raises WorkspaceError where the folder does not take it."""
    with writing(path), files.new_file(path) as file:
        yield file


def write_file(path: Path, content: bytes | str) -> None:
    """The whole content or nothing; text as UTF-8. Raises WorkspaceError."""
    with new_file(path) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def make_folder(path: Path) -> None:
    """With its parents; one that is there is fine. Raises WorkspaceError."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if needed, for this process alone.

    The kernel lets go of the lock when the process dies, however it dies. Raises WorkspaceError
    when another run holds it or the folder cannot be written.
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
