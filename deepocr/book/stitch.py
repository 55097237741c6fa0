"""Combines pages into one document, as Markdown and JSON, with one page in memory at a time."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deepocr.book.files import new_file
from deepocr.book.joining import joined
from deepocr.book.options import RunOptions
from deepocr.book.pictures import figure_file
from deepocr.book.records import PageRecord
from deepocr.book.running_heads import RunningHeads
from deepocr.book.workspace import TIMINGS_NAME, Identity
from deepocr.check.repair import repaired
from deepocr.documents.turning import turn_upright
from deepocr.render.findings import WITNESS_NAMES
from deepocr.render.json import page_to_dict
from deepocr.render.markdown import render_markdown
from deepocr.render.raw import PAGE_SPLIT
from deepocr.types import Job, PageCheck, PageResult, PageStatus, Verdict

SCHEMA_VERSION = 1

Records = Callable[[], Iterator[PageRecord]]
"""Each call iterates over all records of a document from the beginning."""

TITLE_WITHIN = 10
"""Number of pages at the beginning that are searched for the document's title."""

STATUS_NOTES: Mapping[PageStatus, str] = {
    "truncated": "cut off at the token limit",
    "repetition": "the engine ran in circles; the text is not whole",
    "blank": "blank",
}
"""Notes on pages in document.mmd; the text of a failed page already says why."""


@dataclass(frozen=True)
class Book:
    """What is known about a document before its pages are written out."""

    name: str
    title: str
    engine: str
    source: Mapping[str, Any]
    counts: Counter[PageStatus]
    verdicts: Counter[Verdict]
    running: RunningHeads


def survey(name: str, identity: Identity, records: Records) -> Book:
    """Collect what is known about the document in one pass over its pages."""
    counts: Counter[PageStatus] = Counter()
    verdicts: Counter[Verdict] = Counter()
    running = RunningHeads()
    title = ""
    for place, record in enumerate(records()):
        counts[record.status] += 1
        if record.result.check is not None:
            verdicts[record.result.check.verdict] += 1
        upright = upright_result(record)
        running.see(upright)
        if not title and place < TITLE_WITHIN:
            title = _title_on(upright)
    engine = str(identity.reading["engine"])
    return Book(name, title or name, engine, identity.source, counts, verdicts, running)


def upright_result(record: PageRecord) -> PageResult:
    """The result with its boxes on the upright page."""
    return turn_upright(record.result, record.turned)


def shown_result(record: PageRecord, options: RunOptions) -> PageResult:
    """The upright result; on request, text that only its witness saw is inserted."""
    result = upright_result(record)
    return repaired(result) if options.writing.repair else result


def page_markdown(result: PageResult, task: str) -> str:
    """One upright page, its figures linked to their files."""
    return render_markdown(
        result, lambda number, _region: figure_file(result.number, number), task=task
    )


def task_of(record: PageRecord, job: Job) -> str:
    """The task of the reading that was kept."""
    return next((attempt.task for attempt in record.attempts if attempt.kept), job.task)


def shown_pages(book: Book, records: Records, options: RunOptions) -> Iterator[PageResult]:
    """The pages as the document shows them: upright and, if asked for, repaired, joined and without
    running heads. Their regions may differ from those in the records."""

    def pages() -> Iterator[PageResult]:
        for record in records():
            result = shown_result(record, options)
            if options.writing.drop_headers:
                result = _without(result, book.running.find(result))
            yield result

    return joined(pages()) if options.writing.join_pages else pages()


def write_markdown(path: Path, book: Book, records: Records, options: RunOptions) -> None:
    """document.mmd: every page in order, each followed by the page marker."""
    job = options.reading.job
    tasks = (task_of(record, job) for record in records())
    with new_file(path) as file:
        if options.writing.front_matter:
            file.write(_front_matter(book).encode("utf-8", "replace"))
        for result, task in zip(shown_pages(book, records, options), tasks, strict=True):
            text = page_markdown(result, task)
            notes = [STATUS_NOTES.get(result.status), _doubt(result.check)]
            if any(notes):
                told = "; ".join(note for note in notes if note)
                text = f"<!-- page {result.number}: {told} -->\n\n{text}"
            body = f"{text.strip()}\n\n" if text.strip() else ""
            file.write(f"{body}{PAGE_SPLIT}\n\n".encode("utf-8", "replace"))


def _doubt(check: PageCheck | None) -> str | None:
    """What document.mmd says about a page that its witness contradicts."""
    if check is None or check.verdict != "contradicted":
        return None
    kinds = Counter(finding.kind for finding in check.findings if finding.kind != "furniture")
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"contradicted by the {WITNESS_NAMES[check.witness]}: {told}"


def write_json(path: Path, book: Book, records: Records, options: RunOptions) -> None:
    """document.json: all that is known about every page, timings aside."""
    job = options.reading.job
    head = {
        "schema_version": SCHEMA_VERSION,
        "name": book.name,
        "title": book.title,
        "engine": book.engine,
        "job": asdict(job),
        "source": dict(book.source),
        "num_pages": book.counts.total(),
        "statuses": dict(sorted(book.counts.items())),
        **({"verdicts": dict(sorted(book.verdicts.items()))} if book.verdicts else {}),
        "timings": TIMINGS_NAME,
    }
    with new_file(path) as file:
        file.write(_dump(head)[:-2].encode("utf-8", "replace") + b',\n  "pages": [')
        for place, record in enumerate(records()):
            page = _dump(record_to_dict(record, book.running))
            file.write(("," if place else "").encode() + b"\n" + page.encode("utf-8", "replace"))
        file.write(b"\n  ]\n}\n")


def record_to_dict(record: PageRecord, running: RunningHeads) -> dict[str, Any]:
    """A page in plain types: the fields of render.json, and how the page was read."""
    return {
        **page_to_dict(record.result),
        "turned": record.turned,
        "ink": record.ink,
        "note": record.note,
        "running_heads": list(running.find(upright_result(record))),
        "figures": [asdict(figure) for figure in record.figures],
        "attempts": [asdict(attempt) for attempt in record.attempts],
    }


def _dump(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, ensure_ascii=False, indent=2, allow_nan=False)


def _without(result: PageResult, indexes: tuple[int, ...]) -> PageResult:
    """The page without these regions. Figures are never among them, so their numbers stay."""
    kept = tuple(r for i, r in enumerate(result.regions) if i not in indexes)
    return replace(result, regions=kept)


def _title_on(page: PageResult) -> str:
    for region in page.regions:
        if region.label == "title" and region.text.strip():
            return " ".join(region.text.lstrip("# ").split())[:200]
    return ""


def _front_matter(book: Book) -> str:
    # a JSON string is a YAML string
    lines = {
        "title": json.dumps(book.title, ensure_ascii=False),
        "pages": str(book.counts.total()),
        "source": json.dumps(str(book.source["name"]), ensure_ascii=False),
        "engine": json.dumps(book.engine, ensure_ascii=False),
    }
    return "---\n" + "".join(f"{key}: {value}\n" for key, value in lines.items()) + "---\n\n"
