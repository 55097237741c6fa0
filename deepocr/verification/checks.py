"""What is read, in which way, and when the outcome counts as sound.

The bounds tell a broken installation from a working one; they are no measure of quality. A wrong
weight, kernel or tokenizer makes text that has nothing to do with the page, and boxes beside it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from deepocr.documents import DocumentProcesses
from deepocr.engines.base import Capabilities, Engine
from deepocr.errors import DeepOCRError
from deepocr.evaluation.texts import error_rate
from deepocr.pipeline import read_pages
from deepocr.settings import Settings
from deepocr.tasks import PRESETS, TASKS, make_job
from deepocr.types import Box, Job, PageResult
from deepocr.verification.memory import peak_bytes, reset_peak
from deepocr.verification.samples import Sample, find_phrase
from deepocr.verification.text import page_text

TEXT_TASKS = ("Convert to Markdown", "Free OCR", "OCR with Boxes")
LOCATE = "Locate Object by Reference"
BOX_TASKS = ("OCR with Boxes", LOCATE)

MAX_ERROR_RATE: Mapping[str, float] = {
    "Gundam (Recommended)": 0.25,  # a column read after another instead of beside it costs 0.1
    "Large": 0.25,
    "Base": 0.25,
    "Small": 0.4,  # a whole page in 640 pixels: small print is guessed
    "Tiny": 0.7,
}

MAX_AREA_RATIO = 12.0
"""How much larger than the phrase a found box may be."""


@dataclass(frozen=True)
class Trial:
    """One document, one task, one preset. `pages` counts from 1."""

    sample: Sample
    task: str
    preset: str
    pages: tuple[int, ...]

    @property
    def job(self) -> Job:
        reference = self.sample.phrase if TASKS[self.task].needs_reference else ""
        return make_job(self.task, reference, self.preset)


@dataclass(frozen=True)
class TrialOutcome:
    """`error_rate` is None for tasks that do not read the whole page; no `problems` is sound."""

    check: Trial
    seconds: float
    error_rate: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def plan(
    samples: Sequence[Sample],
    capabilities: Capabilities,
    tasks: Sequence[str] = (),
    presets: Sequence[str] = (),
) -> Iterator[Trial]:
    """Every task and preset that the engine has (of those named, if any are), on every sample.

    Figures are asked for on the last page of each PDF, where the samples have them, and things
    are located on its first, where the text layer says where they stand.
    """
    known = tuple(preset for preset in PRESETS if preset in capabilities.presets)
    chosen = presets or known or (Job().preset,)
    for task in TASKS:
        if task not in capabilities.tasks or (tasks and task not in tasks):
            continue
        for preset in chosen:
            for sample in samples:
                last = len(sample.texts)
                if task in TEXT_TASKS:
                    yield Trial(sample, task, preset, tuple(range(1, last + 1)))
                elif sample.path.suffix == ".pdf":
                    yield Trial(sample, task, preset, (1 if task == LOCATE else last,))


async def run_check(engine: Engine, check: Trial, settings: Settings) -> TrialOutcome:
    """Reads and judges. What the package raises on purpose becomes a problem of the outcome."""
    reset_peak()
    started_s = time.perf_counter()
    expected: Box | None = None
    pages: list[PageResult] = []
    try:
        with (
            DocumentProcesses.of(settings) as processes,
            processes.open(
                check.sample.path, dpi=settings.dpi, with_words=check.task == LOCATE
            ) as document,
        ):
            if check.task == LOCATE:
                expected = find_phrase(document.page(1).words, check.sample.phrase)
            async for page in read_pages(
                engine, document, check.pages, check.job, window=settings.page_window
            ):
                pages.append(page)
    except DeepOCRError as error:
        return TrialOutcome(check, time.perf_counter() - started_s, problems=(str(error),))
    seconds = time.perf_counter() - started_s
    rate = error_rate_of(check, pages) if check.task in TEXT_TASKS else None
    return TrialOutcome(
        check,
        seconds,
        rate,
        prompt_tokens=sum(page.usage.prompt_tokens for page in pages),
        output_tokens=sum(page.usage.output_tokens for page in pages),
        peak_bytes=peak_bytes(),
        problems=tuple(judge(check, pages, rate, expected)),
    )


def error_rate_of(check: Trial, pages: Sequence[PageResult]) -> float:
    """Over all pages together; a page that failed counts as unread."""
    read = "\n".join(page_text(page) for page in pages)
    return error_rate("\n".join(check.sample.texts[n - 1] for n in check.pages), read)


def judge(
    check: Trial, pages: Sequence[PageResult], rate: float | None, expected: Box | None
) -> Iterator[str]:
    """What is not as it should be, a sentence each."""
    for page in pages:
        if page.status not in ("ok", "retried"):
            reason = f": {page.error}" if page.error else ""
            yield f"page {page.number} is {page.status}{reason}"
        elif not page.regions:
            yield f"page {page.number} has no text"
        yield from judge_boxes(check, page)
    limit = MAX_ERROR_RATE[check.preset]
    if rate is not None and rate > limit:
        yield f"character error rate {rate:.3f} is above {limit}"
    if check.task == LOCATE and expected is not None:
        boxes = [box for page in pages for region in page.regions for box in region.boxes_px]
        if not any(fits(box, expected) for box in boxes):
            yield f"{check.sample.phrase!r} stands at {expected}, found at {boxes[:3]}"


def judge_boxes(check: Trial, page: PageResult) -> Iterator[str]:
    """Boxes must be there when they are asked for, and on the page."""
    if page.status == "failed":
        return
    boxes = [box for region in page.regions for box in region.boxes_px]
    if check.task in BOX_TASKS and not boxes:
        yield f"page {page.number} has no boxes"
    width, height = page.size_px
    for x1, y1, x2, y2 in boxes:
        if not (0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height):
            yield f"page {page.number} has a box {(x1, y1, x2, y2)} beyond its {width}x{height}"
            return


def fits(box: Box, expected: Box) -> bool:
    """Whether a found box is about the phrase: its center on it, and not half the page."""
    x1, y1, x2, y2 = expected
    line = y2 - y1
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    near = x1 - line <= middle_x <= x2 + line and y1 - line <= middle_y <= y2 + line
    return near and area(box) <= MAX_AREA_RATIO * area(expected)


def area(box: Box) -> int:
    """Square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])
