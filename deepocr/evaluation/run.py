"""Pages through an engine, and what comes out against checks and reference texts."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from deepocr.documents import DocumentProcesses
from deepocr.engines.base import Engine
from deepocr.errors import InvalidInput
from deepocr.evaluation.checks import CHECK_TYPES, Check, load_checks, run_check
from deepocr.evaluation.texts import edit_distance, error_rate, plain
from deepocr.pipeline import read_pages
from deepocr.render.markdown import render_markdown
from deepocr.settings import Settings
from deepocr.types import Job, PageResult

PageKey = tuple[str, int]
"""A document's name, as checks have it, and a page number from 1."""

Outputs = Mapping[PageKey, str]
"""The Markdown of each page."""


@dataclass(frozen=True)
class LabeledSet:
    """Documents with what is known of their pages."""

    documents: Mapping[str, Path]
    checks: tuple[Check, ...]
    ignored: Mapping[str, int]
    references: Mapping[PageKey, str]

    def pages_of(self, name: str) -> list[int]:
        """Numbers of the pages of a document that something is known of."""
        numbers = {check.page for check in self.checks if check.pdf == name}
        numbers |= {page for document, page in self.references if document == name}
        return sorted(numbers)


@dataclass(frozen=True)
class Score:
    """One way to read (engine, task, preset) over a set; rates are means over the pages."""

    engine: str
    job: Job
    passed: Mapping[str, int]
    total: Mapping[str, int]
    ignored: Mapping[str, int]
    failed_checks: tuple[str, ...]
    pages: int
    failed_pages: int
    seconds_a_page: float
    error_rate: float | None
    edit_distance: float | None


def load_set(paths: Sequence[Path], documents: Path | None, references: Path | None) -> LabeledSet:
    """Checks from JSONL files, documents from a folder (default: that of the first file).

    A reference text is `NAME.txt` for a document of one page or `NAME_page_0003.txt`, in the
    folder `references` (default: that of the documents). Raises InvalidInput for what is missing.
    """
    folder = documents or paths[0].parent
    files = [load_checks(path) for path in paths]
    checks = tuple(check for file in files for check in file.checks)
    ignored: dict[str, int] = {}
    for file in files:
        for kind, count in file.ignored.items():
            ignored[kind] = ignored.get(kind, 0) + count
    known = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    found: dict[str, Path] = {}
    for check in checks:
        # a name in a check is looked up, never joined to a path
        path = known.get(check.pdf.rsplit("/", 1)[-1])
        if path is None:
            raise InvalidInput(f"{check.pdf!r} of check {check.id!r} is not in {str(folder)!r}")
        found[check.pdf] = path
    texts = _load_references(references or folder, found)
    return LabeledSet(found, checks, ignored, texts)


def _load_references(folder: Path, documents: Mapping[str, Path]) -> dict[PageKey, str]:
    texts: dict[PageKey, str] = {}
    for name, path in documents.items():
        single = folder / f"{path.stem}.txt"
        if single.is_file():
            texts[name, 1] = single.read_text("utf-8")
        for page in sorted(folder.glob(f"{path.stem}_page_*.txt")):
            number = page.stem.rsplit("_", 1)[-1]
            if number.isdigit():
                texts[name, int(number)] = page.read_text("utf-8")
    return texts


async def evaluate(engine: Engine, labeled: LabeledSet, job: Job, settings: Settings) -> Score:
    """Reads every page that something is known of, once."""
    outputs: dict[PageKey, str] = {}
    results: list[PageResult] = []
    with DocumentProcesses.of(settings) as processes:
        for name, path in labeled.documents.items():
            with_words = settings.ppocr_text_layer
            with processes.open(path, dpi=settings.dpi, with_words=with_words) as document:
                numbers = labeled.pages_of(name)
                window = max(engine.capabilities.concurrency, 1)
                async with aclosing(
                    read_pages(engine, document, numbers, job, window=window)
                ) as pages:
                    async for page in pages:
                        results.append(page)
                        failed = page.status == "failed"
                        outputs[name, page.number] = (
                            "" if failed else render_markdown(page, task=job.task)
                        )
    seconds = _mean([page.seconds.get("total", 0.0) for page in results]) or 0.0
    failed_pages = sum(page.status == "failed" for page in results)
    name = engine.capabilities.engine
    return score(name, labeled, job, outputs, seconds_a_page=seconds, failed_pages=failed_pages)


def score(
    engine: str,
    labeled: LabeledSet,
    job: Job,
    outputs: Outputs,
    *,
    seconds_a_page: float,
    failed_pages: int = 0,
) -> Score:
    """What the Markdown of all pages is worth; a page that failed is an empty one."""
    passed: dict[str, int] = dict.fromkeys(CHECK_TYPES, 0)
    total: dict[str, int] = dict.fromkeys(CHECK_TYPES, 0)
    failed_checks: list[str] = []
    for check in labeled.checks:
        total[check.type] += 1
        if run_check(check, outputs[check.pdf, check.page]):
            passed[check.type] += 1
        else:
            failed_checks.append(check.id)
    pairs = [(plain(text), plain(outputs[key])) for key, text in labeled.references.items()]
    return Score(
        engine=engine,
        job=job,
        passed=passed,
        total=total,
        ignored=labeled.ignored,
        failed_checks=tuple(failed_checks),
        pages=len(outputs),
        failed_pages=failed_pages,
        seconds_a_page=seconds_a_page,
        error_rate=_mean([error_rate(reference, text) for reference, text in pairs]),
        edit_distance=_mean([edit_distance(reference, text) for reference, text in pairs]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
