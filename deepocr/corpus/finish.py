"""Finishes a shard whose pages are all read: writes its manifest and, on request, its documents as
Markdown.

The process that completes a shard finishes it. If two do so at once, they write the same bytes.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePosixPath
from typing import IO, Any

from deepocr.book.stitch import STATUS_NOTES
from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.rows import STATUSES
from deepocr.corpus.store import CorpusStore
from deepocr.errors import StorageError
from deepocr.render.failures import failure_comment
from deepocr.render.raw import PAGE_SPLIT
from deepocr.types import PageResult

COLUMNS = ["document_id", "document", "page", "status", "error", "output_tokens"]


def finish_shard(store: CorpusStore, shard: int, options: CorpusOptions) -> None:
    """Finish a shard. Blocking, with one part in memory at a time. Raises StorageError."""
    found: dict[int, dict[str, Any]] = {}
    failures: list[dict[str, Any]] = []
    rows = _rows(store, shard, [*COLUMNS, "verdict", "text"] if options.markdown else COLUMNS)
    for document_id, pages in groupby(rows, key=lambda row: int(row["document_id"])):
        counts: dict[str, Any] = dict.fromkeys(("read", "output_tokens", *STATUSES), 0)
        counted = _counted(pages, counts, failures)
        if options.markdown:
            counts["markdown"] = _write_markdown(store, document_id, counted)
        for _ in counted:
            pass
        found[document_id] = counts
    documents = []
    nothing = dict.fromkeys(("read", "output_tokens", *STATUSES), 0)
    for document in store.opened(shard) or []:
        of_document = {"document_id": document.document_id, "document": document.document}
        if document.error is not None:
            failures.append({**of_document, "page": None, "error": document.error})
        documents.append(
            {
                **of_document,
                "pages": document.pages,
                "num_pages": document.num_pages,
                "error": document.error,
                **found.get(document.document_id, nothing),
                **document.carried,
            }
        )
    failures.sort(key=lambda failure: (failure["document_id"], failure["page"] or 0))
    store.commit_manifest(shard, documents, failures)


def _rows(store: CorpusStore, shard: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    for part in store.parts(shard):
        rows = store.rows(part, columns)
        if rows is None:
            raise StorageError(
                f"part {part.number} of shard {shard} was removed during the run; run the same "
                "command again to read it again"
            )
        yield from rows


def _counted(
    pages: Iterator[dict[str, Any]], counts: dict[str, Any], failures: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for row in pages:
        counts["read"] += 1
        counts["output_tokens"] += row["output_tokens"]
        counts[row["status"]] += 1
        if row["status"] == "failed":
            failures.append({name: row[name] for name in COLUMNS[:3]} | {"error": row["error"]})
        yield row


def _write_markdown(store: CorpusStore, document_id: int, pages: Iterator[dict[str, Any]]) -> str:
    first = next(pages)
    name = markdown_name(document_id, first["document"])
    with store.folder.writing(name) as file:
        _write_page(file, first)
        for row in pages:
            _write_page(file, row)
    return name


def _write_page(file: IO[bytes], row: dict[str, Any]) -> None:
    """As in the book helper's document.mmd, but without the number of findings."""
    text = row["text"].strip()
    doubt = "contradicted by its witness" if row["verdict"] == "contradicted" else None
    note = "; ".join(filter(None, (STATUS_NOTES.get(row["status"]), doubt)))
    if row["status"] == "failed":
        text = failure_comment(PageResult(row["page"], "failed", (0, 0), error=row["error"]))
    elif note:
        text = f"<!-- page {row['page']}: {note} -->\n\n{text}".strip()
    file.write(f"{text}\n\n".encode() if text else b"")
    file.write(f"{PAGE_SPLIT}\n\n".encode())


def markdown_name(document_id: int, document: str) -> str:
    """Path of a document's Markdown: its unique number in the listing, and its name made safe."""
    stem = re.sub(r"[^\w.-]", "_", PurePosixPath(document).stem)[:80].strip("._") or "document"
    return f"markdown/{document_id // 1000:06d}/{document_id:09d}-{stem}.md"
