"""Reading a page again when a reading went wrong, and which reading to keep.

The best reading is found by these rules; the first that tells two readings apart decides:

1. it did not fail;
2. it has text (a page without ink is never read);
3. it ended properly: no loop, not cut off;
4. its witness, where there is one, does not contradict it;
5. it agrees better with its witness, or with the PDF's own text layer, in steps of 5 %;
6. the engine was more confident, in steps of 2 %;
7. it has clearly more text (twice as much);
8. it came first.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from deepocr.book.orientation import Look
from deepocr.book.records import Attempt
from deepocr.engines.base import Capabilities
from deepocr.parsing.loops import has_loop
from deepocr.parsing.words import text_of, tokens
from deepocr.types import Job, PageResult, PageStatus

OTHER_PRESET = {
    "Gundam (Recommended)": "Large",
    "Large": "Gundam (Recommended)",
    "Base": "Gundam (Recommended)",
    "Small": "Base",
    "Tiny": "Base",
}
"""The preset to try next: Gundam and Large fail on different pages; smaller presets step up."""

OTHER_TASK = {
    "Convert to Markdown": "Free OCR",
    "Free OCR": "Convert to Markdown",
    "OCR with Boxes": "Free OCR",
}
"""The task to try next, whose prompt asks for the same text in another way; other tasks have none.
"""

SURE = 0.9
"""Confidence from which a turned page need not be read unturned as well."""


@dataclass(frozen=True)
class Rung:
    """A way to read a page: what to ask for, and by how much to turn it clockwise first."""

    job: Job
    turned: int = 0


@dataclass(frozen=True)
class Reading:
    """The outcome of a rung. `result` still has the coordinates of the turned page."""

    rung: Rung
    result: PageResult
    agreement: float | None

    @property
    def status(self) -> PageStatus:
        """The reading's own status: `ok`, `truncated`, `repetition`, or `failed`."""
        if self.result.status == "ok" and has_loop(self.result.raw):
            return "repetition"
        return self.result.status

    @property
    def characters(self) -> int:
        """Number of letters and digits that were read."""
        return sum(len(token) for token in tokens(text_of(self.result)))

    @property
    def contradicted(self) -> bool:
        """Whether its witness contradicts it."""
        return self.result.check is not None and self.result.check.verdict == "contradicted"

    @property
    def witnessed(self) -> float:
        """How far the witness and the text agree, 0 to 1: the lesser of coverage and support, or
        the agreement with the text layer if there was no check."""
        check = self.result.check
        if check is None or check.coverage is None or check.support is None:
            return self.agreement or 0.0
        return min(check.coverage, check.support)

    def as_attempt(self, kept: bool) -> Attempt:
        return Attempt(
            task=self.rung.job.task,
            preset=self.rung.job.preset,
            turned=self.rung.turned,
            status=self.status,
            finish_reason=self.result.finish_reason,
            characters=self.characters,
            output_tokens=self.result.usage.output_tokens,
            confidence=self.result.confidence,
            agreement=self.agreement,
            error=self.result.error,
            kept=kept,
            verdict=self.result.check.verdict if self.result.check else None,
        )


def rungs(job: Job, look: Look, capabilities: Capabilities) -> Iterator[Rung]:
    """Ways to read a page, the most promising first, each once.

    A page that does not look upright is read turned first and then unturned, because its look can
    deceive. After that come another preset and another prompt, with the most likely turn.
    """
    turns = look.turns if 0 in look.turns else (*look.turns[:1], 0, *look.turns[1:])
    ways = [Rung(job, turned) for turned in turns]
    if OTHER_PRESET.get(job.preset) in capabilities.presets:
        ways.append(Rung(replace(job, preset=OTHER_PRESET[job.preset]), turns[0]))
    if OTHER_TASK.get(job.task) in capabilities.tasks:
        ways.append(Rung(replace(job, task=OTHER_TASK[job.task]), turns[0]))
    if look.has_lines:
        # the last resort for a page whose lines are visible but give no text
        ways.append(Rung(job, (turns[0] + 180) % 360))
    return iter(dict.fromkeys(ways))


def is_good(reading: Reading, look: Look) -> bool:
    """Whether no further reading is needed."""
    if reading.status != "ok" or is_empty(reading, look) or reading.contradicted:
        return False
    if reading.rung.turned == 0 and look.turns[0] == 0:
        return True
    return (reading.result.confidence or 0.0) >= SURE


def is_settled(readings: Sequence[Reading], look: Look) -> bool:
    """Whether to stop: the last reading is good, all have failed, or a turned and an unturned
    reading both ended well, so that only the choice between them is left."""
    if is_good(readings[-1], look):
        return True
    if all(reading.status == "failed" for reading in readings):
        # the engine has its own retries; another preset does not repair a broken engine
        return True
    fine = [r for r in readings if r.status == "ok" and not is_empty(r, look)]
    return any(r.rung.turned for r in fine) and any(not r.rung.turned for r in fine)


def is_promising(rung: Rung, readings: Sequence[Reading], look: Look) -> bool:
    """Whether to try a rung: a page that gave text is not turned in unlikely directions."""
    if rung.turned in (*look.turns, 0):
        return True
    return not any(r.status == "ok" and not is_empty(r, look) for r in readings)


def is_empty(reading: Reading, look: Look) -> bool:
    """Whether a page with ink gave no text. If it has no lines of text, any region is enough."""
    if reading.characters:
        return False
    return look.has_lines or not reading.result.regions


def best(readings: Sequence[Reading]) -> Reading:
    """The reading to keep, by the rules above."""
    return max(readings, key=_rank)


def _rank(reading: Reading) -> tuple[bool, bool, bool, bool, int, int, int]:
    return (
        reading.status != "failed",
        reading.characters > 0,
        reading.status == "ok",
        not reading.contradicted,
        round(20 * reading.witnessed),
        round(50 * (reading.result.confidence or 0.0)),
        # the length of a loop is no merit
        int(math.log2(reading.characters + 1)) if reading.status == "ok" else 0,
    )
