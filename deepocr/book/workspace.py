"""One document's folder: the finished pages, and what a later run needs to continue.

pages/page_0001.json    the record; written last, so a page with a record is whole
page_0001.mmd           its Markdown
page_0001.raw.txt       as the engine wrote it, on request
images/                 its figures
pages/page_0001.in_hand one byte for each run that read the page and did not end properly
job.json                what is read and how; another job is not mixed in
timings.jsonl           seconds by page, in the order of reading
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deepocr.book.files import WorkspaceError, make_folder, write_file, writing
from deepocr.book.records import RECORD, PageRecord
from deepocr.files import remove_leftovers
from deepocr.types import PageStatus

log = logging.getLogger(__name__)

JOB_NAME = "job.json"
TIMINGS_NAME = "timings.jsonl"
OWN_PATTERNS = (
    "page_*.mmd",
    "page_*.raw.txt",
    "document.*",
    "searchable.pdf",
    "overlay.pdf",
    "images/page_*",
    "overlay/page_*",
    "pages/page_*",
    JOB_NAME,
    TIMINGS_NAME,
)
"""Patterns of all files that this program writes; other files in the folder are never removed."""


@dataclass(frozen=True)
class Identity:
    """What determines a page's result. Two runs with equal identities may share a folder."""

    source: Mapping[str, Any]
    reading: Mapping[str, Any]

    def to_json(self) -> str:
        content = {"format": 1, "source": dict(self.source), "reading": dict(self.reading)}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


class Workspace:
    """A document's folder. Raises WorkspaceError if it cannot be used or holds another job."""

    def __init__(self, folder: Path, identity: Identity, *, restart: bool = False) -> None:
        self.folder = folder
        for part in (folder, folder / "pages", folder / "images"):
            make_folder(part)
        for part in (folder, folder / "pages", folder / "images", folder / "overlay"):
            remove_leftovers(part)
        for part in folder.glob(".pictures-*"):
            shutil.rmtree(part, ignore_errors=True)
        if restart:
            self._remove_own_files()
        self._claim(identity)

    def load(self, number: int) -> PageRecord | None:
        """The record of a finished page; None if it is missing or damaged, or a file of the page is
        gone."""
        try:
            content = self._record_path(number).read_bytes()
        except FileNotFoundError:
            return None
        try:
            record = RECORD.validate_json(content)
        except ValidationError as error:
            log.warning("the record of page %d is damaged and is made anew: %s", number, error)
            return None
        files = [self.mmd_path(number), *(self.folder / figure.file for figure in record.figures)]
        return record if all(path.exists() for path in files) else None

    def require(self, number: int) -> PageRecord:
        """The record of a page that should be finished. Raises WorkspaceError if it is gone."""
        record = self.load(number)
        if record is None:
            raise WorkspaceError(
                f"page {number} was removed from {self.folder} during the run; run the same "
                "command again to read it again"
            )
        return record

    def statuses(self, numbers: tuple[int, ...]) -> dict[int, PageStatus]:
        """The statuses of the finished pages among `numbers`."""
        records = ((number, self.load(number)) for number in numbers)
        return {number: record.status for number, record in records if record is not None}

    def commit(self, record: PageRecord, mmd: str, figures: Mapping[str, bytes]) -> None:
        """Save a page: its files first, its record last."""
        for file, content in figures.items():
            write_file(self.folder / file, content)
        write_file(self.mmd_path(record.number), mmd)
        write_file(self._record_path(record.number), RECORD.dump_json(record, indent=1) + b"\n")

    def note_timings(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the timings. Unlike pages, timings may be lost in a crash."""
        path = self.folder / TIMINGS_NAME
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    @contextmanager
    def in_hand(self, number: int) -> Iterator[None]:
        """Marks a page as being read: a death of the process meanwhile counts against it."""
        path = self._in_hand_path(number)
        with writing(path), path.open("ab") as file:
            file.write(b".")
        try:
            yield
        finally:
            with writing(path):
                path.unlink(missing_ok=True)

    def lost(self, number: int) -> int:
        """How many runs in a row died while they read this page."""
        try:
            return self._in_hand_path(number).stat().st_size
        except FileNotFoundError:
            return 0

    def mmd_path(self, number: int) -> Path:
        return self.folder / f"{page_name(number)}.mmd"

    def raw_path(self, number: int) -> Path:
        return self.folder / f"{page_name(number)}.raw.txt"

    def _in_hand_path(self, number: int) -> Path:
        return self.folder / "pages" / f"{page_name(number)}.in_hand"

    def _record_path(self, number: int) -> Path:
        return self.folder / "pages" / f"{page_name(number)}.json"

    def _claim(self, identity: Identity) -> None:
        path = self.folder / JOB_NAME
        wanted = identity.to_json()
        if not path.exists():
            if any((self.folder / "pages").glob("page_*.json")):
                raise WorkspaceError(
                    f"{self.folder} holds pages but no {JOB_NAME}; use another folder, or "
                    "--restart to read everything again"
                )
            write_file(path, wanted)
            return
        found = path.read_text(encoding="utf-8")
        if found != wanted:
            raise WorkspaceError(
                f"{self.folder} holds another job ({difference(found, wanted)}); use another "
                "folder, or --restart to drop its pages and read everything again"
            )

    def _remove_own_files(self) -> None:
        # records first, so that a kill in between leaves no record without its files
        for pattern in ("pages/page_*", *OWN_PATTERNS):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)


def page_name(number: int) -> str:
    """The page's name in file names, with four digits or more if needed."""
    return f"page_{number:04d}"


def hash_file(path: Path) -> str:
    """SHA-256 of the content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def difference(found: str, wanted: str) -> str:
    """The first setting that differs, as `task was 'a', now 'b'`."""
    try:
        old, new = json.loads(found), json.loads(wanted)
    except json.JSONDecodeError:
        return f"its {JOB_NAME} is damaged"
    for part in ("source", "reading"):
        before, now = old.get(part, {}), new[part]
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                return f"{key} was {before.get(key)!r}, now {now.get(key)!r}"
    return "its format is of another version"
