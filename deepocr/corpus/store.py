"""The folder that a run writes: the finished pages, and what a later run needs to continue.

pages/shard=000000/part-00000.parquet  rows; there only when whole: a page with a row is done
manifest/documents-000000.parquet      a shard's documents, written when all its pages are there
manifest/failures-000000.parquet       what failed of it and why; there before `documents`
markdown/                              a file a document, on request
report.json                            what became of the run
_run/run.json                          what is read and how; another job is not mixed in
_run/listed.json                       how many documents there are; written after the listing
_run/listing/000000.parquet            documents as they were listed
_run/opened/000000.parquet             the same with their page counts
_run/tries/000000-00000.json           a part that is being read, or whose reader was lost
"""

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from deepocr.book.files import WorkspaceError
from deepocr.book.workspace import difference
from deepocr.corpus.listing import Entry, carried_schema
from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.plan import OpenedDocument, Part, cut_parts
from deepocr.corpus.rows import (
    DOCUMENT,
    FAILURE,
    PAGE,
    carried_of,
    from_parquet,
    to_parquet,
    with_carried,
)
from deepocr.parsing.text import encodable
from deepocr.settings import Settings
from deepocr.storage import Folder

OPENED = pa.schema([(name, DOCUMENT.field(name).type) for name in
                    ("document_id", "document", "pages", "num_pages", "error")])  # fmt: skip

KEPT_SHARDS = 4
"""Number of shards whose parts a process keeps in memory."""


@dataclass(frozen=True)
class Listed:
    """The size of the corpus as it was listed; `of` is the number of documents behind a sample,
    else 0."""

    documents: int
    shards: int
    of: int = 0


@dataclass(frozen=True)
class ShardDone:
    """Counts of an opened shard: its documents, their pages, and the pages that are committed."""

    shard: int
    documents: int
    pages: int
    done: int


class CorpusStore:
    """A run's folder. Its methods block, may be called from any thread and process, and raise
    StorageError."""

    def __init__(self, folder: Folder, options: CorpusOptions) -> None:
        self.folder = folder
        self._options = options
        self._parts: dict[int, list[Part]] = {}
        self._whole_up_to: dict[int, int] = {}
        self._carried: pa.Schema | None = None
        self._lock = threading.Lock()

    def claim(self, settings: Settings) -> None:
        """Take the folder for this run. Raises WorkspaceError if it holds another job."""
        wanted = self._options.identity(settings).to_json()
        found = self.folder.read("_run/run.json")
        if found is None:
            self.folder.write("_run/run.json", wanted.encode())
        elif found.decode() != wanted:
            raise WorkspaceError(
                f"{self.folder.address} holds another run ({difference(found.decode(), wanted)}); "
                "give the settings that it began with, or another --out"
            )

    def keep_listing(self, entries: Iterable[Entry], of: int = 0) -> Listed:
        """Save the list of what to read, so that a later run reads the same."""
        entries = iter(entries)
        carried = carried_schema(self._options.sources)
        self.folder.write("_run/carried.arrow", carried.serialize().to_pybytes())
        documents = shards = 0
        while batch := list(islice(entries, self._options.shard_documents)):
            rows = [
                {
                    "document_id": documents + index,
                    "document": encodable(entry.document),
                    "pages": encodable(entry.pages),
                    **{name: entry.carried.get(name) for name in carried.names},
                }
                for index, entry in enumerate(batch)
            ]
            content = to_parquet(rows, with_carried(OPENED, carried))
            self.folder.write(f"_run/listing/{shards:06d}.parquet", content)
            documents, shards = documents + len(batch), shards + 1
        listed = Listed(documents, shards, of)
        self.folder.write("_run/listed.json", json.dumps(asdict(listed)).encode())
        return listed

    def listed(self) -> Listed | None:
        content = self.folder.read("_run/listed.json")
        try:
            return None if content is None else Listed(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise WorkspaceError(
                f"_run/listed.json of {self.folder.address} is damaged; begin again with another "
                "--out"
            ) from error

    def listing(self, shard: int) -> list[OpenedDocument]:
        """A shard's documents, not opened yet."""
        return self._documents(self._require(f"_run/listing/{shard:06d}.parquet"))

    def keep_opened(self, shard: int, documents: list[OpenedDocument]) -> None:
        rows = [
            {
                **{name: getattr(document, name) for name in OPENED.names},
                **document.carried,
            }
            for document in documents
        ]
        content = to_parquet(rows, with_carried(OPENED, self.carried))
        self.folder.write(f"_run/opened/{shard:06d}.parquet", content)

    def opened(self, shard: int) -> list[OpenedDocument] | None:
        """A shard's documents with their page counts; None if they have not been opened yet."""
        content = self.folder.read(f"_run/opened/{shard:06d}.parquet")
        return None if content is None else self._documents(content)

    def parts(self, shard: int) -> list[Part]:
        """The parts of an opened shard."""
        with self._lock:
            parts = self._parts.get(shard)
            if parts is None:
                documents = self._documents(self._require(f"_run/opened/{shard:06d}.parquet"))
                parts = cut_parts(
                    shard,
                    documents,
                    self._options.part_pages,
                    one_at_random=self._options.sample > 0,
                )
                while len(self._parts) >= KEPT_SHARDS:
                    del self._parts[next(iter(self._parts))]
                self._parts[shard] = parts
            return parts

    def missing(self, shard: int) -> list[Part]:
        """The parts that are not committed yet."""
        there = set(self.folder.names(f"pages/shard={shard:06d}", "*.parquet"))
        return [part for part in self.parts(shard) if part_name(part) not in there]

    def opened_shards(self) -> list[int]:
        return [_shard_of(name) for name in self.folder.names("_run/opened", "*.parquet")]

    def done(self, shard: int) -> ShardDone:
        """The progress of an opened shard."""
        pages = sum(part.num_pages for part in self.parts(shard))
        missing = sum(part.num_pages for part in self.missing(shard))
        return ShardDone(shard, len(self.opened(shard) or []), pages, pages - missing)

    def is_whole(self, shard: int) -> bool:
        """Whether all its parts are committed. Looks no further than the first missing part."""
        parts, place = self.parts(shard), self._whole_up_to.get(shard, 0)
        while place < len(parts) and self.folder.num_bytes(part_name(parts[place])) is not None:
            place += 1
        self._whole_up_to[shard] = place
        return place == len(parts)

    def rows(self, part: Part, columns: list[str] | None = None) -> list[dict[str, Any]] | None:
        """The rows of a part; None if it is not committed."""
        content = self.folder.read(part_name(part))
        return None if content is None else from_parquet(content, columns)

    def commit(self, part: Part, rows: list[dict[str, Any]]) -> None:
        content = to_parquet(rows, with_carried(PAGE, self.carried))
        self.folder.write(part_name(part), content)

    def commit_manifest(
        self, shard: int, documents: list[dict[str, Any]], failures: list[dict[str, Any]]
    ) -> None:
        schema = with_carried(DOCUMENT, self.carried)
        self.folder.write(f"manifest/failures-{shard:06d}.parquet", to_parquet(failures, FAILURE))
        self.folder.write(f"manifest/documents-{shard:06d}.parquet", to_parquet(documents, schema))

    def finished(self) -> set[int]:
        """The numbers of the shards that are finished."""
        names = self.folder.names("manifest", "documents-*.parquet")
        return {_shard_of(name) for name in names}

    def manifest(self, shard: int, table: str) -> list[dict[str, Any]]:
        """The rows of a finished shard's `table`, which is "documents" or "failures"."""
        return from_parquet(self._require(f"manifest/{table}-{shard:06d}.parquet"))

    @property
    def carried(self) -> pa.Schema:
        """The columns that rows copy from the documents' list."""
        if self._carried is None:
            content = self._require("_run/carried.arrow")
            self._carried = pa.ipc.read_schema(pa.py_buffer(content))
        return self._carried

    def _documents(self, content: bytes) -> list[OpenedDocument]:
        return [
            OpenedDocument(
                row["document_id"],
                row["document"],
                row["pages"],
                row["num_pages"] or 0,
                row["error"],
                carried_of(row, self.carried),
            )
            for row in from_parquet(content)
        ]

    def _require(self, name: str) -> bytes:
        content = self.folder.read(name)
        if content is None:
            raise WorkspaceError(
                f"{name} is gone from {self.folder.address}; begin again with another --out"
            )
        return content


def part_name(part: Part) -> str:
    return f"pages/shard={part.shard:06d}/part-{part.number:05d}.parquet"


def _shard_of(name: str) -> int:
    return int(name.removesuffix(".parquet")[-6:])
