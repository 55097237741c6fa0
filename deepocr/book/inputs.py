"""The inputs of a run: files, folders and globs, and the output folder of each document."""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepocr.book.workspace import hash_file
from deepocr.errors import InvalidInput, UnreadableDocument

SUFFIXES = frozenset({".pdf", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Endings of the files that are taken from a folder; a file given by itself may have any name."""

MAX_NAME_CHARS = 100

NO_NAMES: Mapping[str, str] = {}


@dataclass(frozen=True)
class InputFile:
    """A document to read, the name of its folder, and what messages call it."""

    path: Path
    name: str
    shown: str


def find_sources(inputs: Sequence[str], shown: Mapping[str, str] = NO_NAMES) -> list[InputFile]:
    """The files to read, each once: files as given, the documents directly in a folder, sorted by
    name, and the matches of a pattern with *, ? or [ that the shell did not expand. Two of the same
    name get the folders `name` and `name-2`. `shown` has the names of those that the user did not
    name by path. Raises InvalidInput for an input without documents."""
    paths: dict[Path, Path] = {}
    for text in inputs:
        for path in _expand(text):
            paths.setdefault(path.resolve(), path)
    taken: set[str] = set()
    sources = []
    for path in paths.values():
        name = _free_name(folder_name(path), taken)
        # on some disks, folders whose names differ only by case are the same
        taken.add(name.casefold())
        sources.append(InputFile(path, name, shown.get(str(path), str(path))))
    return sources


def folder_name(path: Path) -> str:
    """The file's name without its ending, safe as a folder: no leading dot, no odd characters."""
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    name = re.sub(r"[^\w .()+,=@-]", "_", stem).strip(" .")
    return name[:MAX_NAME_CHARS].rstrip(" .") or "document"


class WatchedFile:
    """A file that must stay as it is while it is read."""

    def __init__(self, path: Path) -> None:
        """Reads the file once for its hash. Raises UnreadableDocument."""
        self.path = path
        self._seen = self._look()
        try:
            self.sha256 = hash_file(path)
        except OSError as error:
            raise UnreadableDocument(f"{path} cannot be read: {error.strerror}") from error
        self.check()

    def check(self) -> None:
        """Raises UnreadableDocument when the file has gone or changed since it was opened."""
        if self._look() != self._seen:
            raise UnreadableDocument(
                f"{self.path} changed while it was being read; pages read so far are kept. Put "
                "the file back as it was and run the same command again, or --restart"
            )

    def _look(self) -> tuple[int, int, int, int]:
        """Values that change when the file is written or replaced. Raises UnreadableDocument."""
        try:
            status = self.path.stat()
        except FileNotFoundError as error:
            raise UnreadableDocument(
                f"{self.path} is not there (any more); pages read so far are kept. Put it back "
                "and run the same command again"
            ) from error
        except OSError as error:
            raise UnreadableDocument(f"{self.path} cannot be read: {error.strerror}") from error
        self.num_bytes = status.st_size
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        found = sorted(
            file
            for file in path.iterdir()
            if file.is_file() and file.suffix.lower() in SUFFIXES and file.name[0] != "."
        )
        if not found:
            raise InvalidInput(f"folder {text} has no documents ({', '.join(sorted(SUFFIXES))})")
        return found
    if path.is_file():
        return [path]
    if path.exists():
        raise InvalidInput(f"{text} is no regular file; send it to standard input and name -")
    if glob.has_magic(text):
        found = sorted(Path(match) for match in glob.glob(text, recursive=True))  # noqa: PTH207 - absolute too
        files = [file for file in found if file.is_file()]
        if files:
            return files
        raise InvalidInput(f"no file matches {text!r}")
    raise InvalidInput(f"{text} is not there; check the path")


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free
