"""Finds the documents that sources name: folders, patterns, and lists. No document is opened."""

import glob
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from deepocr.book.inputs import SUFFIXES
from deepocr.copies import address_of
from deepocr.corpus.rows import OWN_COLUMNS
from deepocr.errors import DeepOCRError, InvalidInput, StorageError, reason
from deepocr.parsing.text import encodable
from deepocr.storage import connect, is_remote

LISTS = (".txt", ".csv", ".parquet")
"""Endings of sources that are lists of documents: one path per line, or a table with a column
`path`."""


@dataclass(frozen=True)
class Entry:
    """A document to read. `pages` is a range such as `1-3,7`, empty for all; `carried` are other
    columns of its list, which are copied to its rows."""

    document: str
    pages: str = ""
    carried: Mapping[str, Any] = field(default_factory=dict)


def find_entries(sources: Sequence[str]) -> Iterator[Entry]:
    """Documents in the order of the sources, sorted by name within a folder, including subfolders.
    Documents that are named twice with the same pages are taken once.

    Memory does not grow with their number. Raises InvalidInput and StorageError.
    """
    with closing(sqlite3.connect("")) as seen:  # a temporary file
        seen.execute("CREATE TABLE seen (entry TEXT PRIMARY KEY) WITHOUT ROWID")
        for source in sources:
            entry = None
            for entry in _expand(source):
                key = f"{entry.document}\n{entry.pages}"
                if seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount:
                    yield entry
            if entry is None:
                raise InvalidInput(f"{source} has no documents ({', '.join(sorted(SUFFIXES))})")


def carried_schema(sources: Sequence[str]) -> pa.Schema:
    """The other columns of all lists together. Raises InvalidInput if two lists disagree on a
    column, or if a column has the name of one of ours."""
    schemas = []
    for source in sources:
        if source.lower().endswith(LISTS[1:]):
            with _told(source):
                schema = next(_batches(source)).schema
            own = [name for name in ("path", "pages") if name in schema.names]
            schemas.append(pa.schema([f for f in schema if f.name not in own]))
    try:
        merged = pa.unify_schemas(schemas) if schemas else pa.schema([])
    except pa.ArrowException as error:
        raise InvalidInput(f"the lists do not go together: {error}") from error
    if taken := sorted(set(merged.names) & set(OWN_COLUMNS)):
        raise InvalidInput(
            f"a list has the columns {', '.join(taken)}, which the results have too; rename them"
        )
    return merged.remove_metadata()


def _expand(source: str) -> Iterator[Entry]:
    ending = Path(source).suffix.lower()
    with _told(source):
        if ending == ".txt":
            yield from _lines(source)
        elif ending in LISTS:
            yield from _table(source)
        else:
            yield from (Entry(document) for document in _documents(source))


def _documents(source: str) -> Iterator[str]:
    files, path = connect(source)
    if glob.has_magic(source):
        matches = sorted(files.glob(path))
        names: Iterator[str] = (
            n for n in matches if n.rpartition("/")[2][0] != "." and not files.isdir(n)
        )
    elif files.isdir(path):
        names = _walk(files, path)
    elif files.isfile(path):
        names = iter([path])
    else:
        raise FileNotFoundError(source)
    for name in names:
        yield files.unstrip_protocol(name) if is_remote(source) else address_of(name)


def _walk(files: Any, path: str) -> Iterator[str]:
    for folder, folders, names in files.walk(path, on_error="raise"):
        folders.sort()
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and name[0] != ".":
                yield f"{folder}/{name}"


def _lines(source: str) -> Iterator[Entry]:
    with _opened(source) as file:
        for line in file:
            if text := line.decode("utf-8", "surrogateescape").strip():
                yield Entry(_address(text))


def _table(source: str) -> Iterator[Entry]:
    for batch in _batches(source):
        for row in batch.to_pylist():
            path, pages = row.pop("path"), row.pop("pages", None)
            if not path:
                raise InvalidInput(f"{source} has a row without a path; give every row one")
            yield Entry(_address(str(path)), "" if pages is None else str(pages), row)


def _batches(source: str) -> Iterator[pa.RecordBatch]:
    """At least one batch, which may be empty. Raises InvalidInput."""
    with _opened(source) as file:
        try:
            if source.lower().endswith(".csv"):
                types = pa.csv.ConvertOptions(column_types={"path": "string", "pages": "string"})
                with pa.csv.open_csv(file, convert_options=types) as reader:
                    schema, batches = reader.schema, iter(reader)
                    yield from _checked(source, schema, batches)
            else:
                table = pq.ParquetFile(file)
                yield from _checked(source, table.schema_arrow, table.iter_batches(batch_size=4096))
        except pa.ArrowException as error:
            raise InvalidInput(f"{source} cannot be read as a table: {error}") from error


def _checked(
    source: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    if "path" not in schema.names:
        raise InvalidInput(
            f"{source} has no column `path`; its columns are {', '.join(schema.names)}"
        )
    yield pa.RecordBatch.from_pylist([], schema)
    yield from batches


def _opened(source: str) -> Any:
    files, path = connect(source)
    return files.open(path, "rb")


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Stores fail with errors of their packages' own. Raises InvalidInput and StorageError."""
    try:
        yield
    except DeepOCRError:
        raise
    except FileNotFoundError as error:
        raise InvalidInput(f"{source} is not there; check the path") from error
    except Exception as error:
        if not (isinstance(error, OSError) or is_remote(source)):
            raise
        raise StorageError(
            f"{source} cannot be read: {reason(error)}; check the address and the rights to it"
        ) from error


def _address(text: str) -> str:
    """Makes a path absolute: workers on other machines have another current folder."""
    return encodable(text) if is_remote(text) else address_of(str(Path(text).absolute()))
