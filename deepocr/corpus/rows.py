"""Pages as rows, and tables as Parquet."""

import io
import json
from collections.abc import Mapping
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from deepocr.book import stitch
from deepocr.book.page_reading import ReadPage
from deepocr.parsing.text import encodable
from deepocr.render.json import page_to_dict
from deepocr.render.markdown import render_markdown
from deepocr.types import Job, PageStatus, Region

REGIONS: TypeAdapter[tuple[Region, ...]] = TypeAdapter(tuple[Region, ...])
"""Parses the column `regions`, which has the form of the JSON output."""

PAGE = pa.schema([
    ("document_id", pa.int64()), ("document", pa.string()), ("page", pa.int32()),
    ("status", pa.string()), ("text", pa.string()), ("raw", pa.string()),
    ("regions", pa.string()), ("width_px", pa.int32()), ("height_px", pa.int32()),
    ("dpi", pa.float64()), ("turned", pa.int32()), ("engine", pa.string()), ("task", pa.string()),
    ("readings", pa.int32()), ("prompt_tokens", pa.int64()), ("output_tokens", pa.int64()),
    ("confidence", pa.float64()), ("verdict", pa.string()), ("error", pa.string()),
    ("seconds", pa.float64()),
])  # fmt: skip
"""Columns of `pages/`, one row per page; columns of the documents' list follow. All values but
`seconds` are determined by the page, the engine and the settings."""

STATUSES: tuple[PageStatus, ...] = get_args(PageStatus)

DOCUMENT = pa.schema([
    ("document_id", pa.int64()), ("document", pa.string()), ("pages", pa.string()),
    ("num_pages", pa.int32()), ("read", pa.int32()),
    *((status, pa.int32()) for status in STATUSES),
    ("output_tokens", pa.int64()), ("markdown", pa.string()), ("error", pa.string()),
])  # fmt: skip
"""Columns of `manifest/`, one row per document: the `pages` asked for, the document's `num_pages`,
the number of its rows in `pages/` (`read`) and of those with each status, and the `error` of a
document that could not be opened."""

FAILURE = pa.schema([
    ("document_id", pa.int64()), ("document", pa.string()), ("page", pa.int32()),
    ("error", pa.string()),
])  # fmt: skip
"""What failed and why; `page` is null if the document could not be opened."""

OWN_COLUMNS = frozenset({*PAGE.names, *DOCUMENT.names, "shard"})


def page_row(
    document_id: int, document: str, page: ReadPage, engine: str, job: Job
) -> dict[str, Any]:
    """A page as a row: `text` as in the book helper's Markdown, `regions` with boxes on the page as
    the document shows it."""
    record = page.record
    result = record.result
    task = stitch.task_of(record, job)
    failed = result.status == "failed"
    text = "" if failed else render_markdown(stitch.upright_result(record), task=task)
    width_px, height_px = result.size_px
    seconds = sum(page.seconds.values())
    seconds += sum(reading.get("total", 0.0) for reading in page.reading_seconds)
    return {
        "document_id": document_id,
        "document": document,
        "page": result.number,
        "status": result.status,
        "text": encodable(text),
        "raw": encodable(result.raw),
        "regions": json.dumps(page_to_dict(result)["regions"], ensure_ascii=False),
        "width_px": width_px,
        "height_px": height_px,
        "dpi": result.dpi,
        "turned": record.turned,
        "engine": engine,
        "task": task,
        "readings": len(record.attempts),
        "prompt_tokens": result.usage.prompt_tokens,
        "output_tokens": sum(attempt.output_tokens for attempt in record.attempts),
        "confidence": result.confidence,
        "verdict": result.check.verdict if result.check else None,
        "error": encodable(result.error) if result.error else None,
        "seconds": round(seconds, 4),
    }


def to_parquet(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    """The rows as Parquet; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression="zstd")
    return sink.getvalue()


def from_parquet(content: bytes, columns: list[str] | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(content), columns=columns).to_pylist()
    return rows


def with_carried(schema: pa.Schema, carried: pa.Schema) -> pa.Schema:
    return pa.schema([*schema, *carried])


def carried_of(row: Mapping[str, Any], carried: pa.Schema) -> dict[str, Any]:
    return {name: row[name] for name in carried.names}
