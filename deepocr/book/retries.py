"""Reading a page again when a reading went wrong, and which reading to keep.

A reading is kept by these rules, the first that tells two apart decides:

1. it did not fail;
2. it has text (a page without ink is never read);
3. it ended properly: no loop, not cut off;
4. its witness, where there is one, does not contradict it;
5. it agrees better with its witness, or with the PDF's own text layer, in steps of 5 %;
6. the engine was surer of it, in steps of 2 %;
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
"""Gundam and Large fail on different pages; the small ones step up."""

OTHER_TASK = {
    "Convert to Markdown": "Free OCR",
    "Free OCR": "Convert to Markdown",
    "OCR with Boxes": "Free OCR",
}
"""The prompts that ask for the same text in another way; the other tasks have no such prompt."""

SURE = 0.9
"""Confidence from which a page that was turned need not be read as it lies as well."""


@dataclass(frozen=True)
class Rung:
    """A way to read a page: what to ask for, and by how much to turn it clockwise first."""

    job: Job
    turned: int = 0


@dataclass(frozen=True)
class Reading:
    """What came of a rung. `result` is still on the turned page."""

    rung: Rung
    result: PageResult
    agreement: float | None

    @property
    def status(self) -> PageStatus:
        """As if it were the only reading: `ok`, `truncated`, `repetition`, or `failed`."""
        if self.result.status == "ok" and has_loop(self.result.raw):
            return "repetition"
        return self.result.status

    @property
    def characters(self) -> int:
        """Letters and digits that were read."""
        return sum(len(token) for token in tokens(text_of(self.result)))

    @property
    def contradicted(self) -> bool:
        """By its witness."""
        return self.result.check is not None and self.result.check.verdict == "contradicted"

    @property
    def witnessed(self) -> float:
        """How far the witness and the text say the same, 0 to 1: the lesser of coverage and
        support, or what the layer's words say where there was no check."""
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

    A page that seems to lie wrong is turned first and then read as it lies: its picture can
    deceive. After that another preset and another prompt, turned the way that is most likely.
    """
    turns = look.turns if 0 in look.turns else (*look.turns[:1], 0, *look.turns[1:])
    ways = [Rung(job, turned) for turned in turns]
    if OTHER_PRESET.get(job.preset) in capabilities.presets:
        ways.append(Rung(replace(job, preset=OTHER_PRESET[job.preset]), turns[0]))
    if OTHER_TASK.get(job.task) in capabilities.tasks:
        ways.append(Rung(replace(job, task=OTHER_TASK[job.task]), turns[0]))
    if look.has_lines:
        # the last straw for a page whose lines are seen but give no text
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
    """Whether reading goes no further: one is good, nothing works, or turned and unturned both
    ended well and only their choice is open."""
    if is_good(readings[-1], look):
        return True
    if all(reading.status == "failed" for reading in readings):
        # the engine has had its own retries; another preset does not mend a broken engine
        return True
    fine = [r for r in readings if r.status == "ok" and not is_empty(r, look)]
    return any(r.rung.turned for r in fine) and any(not r.rung.turned for r in fine)


def is_promising(rung: Rung, readings: Sequence[Reading], look: Look) -> bool:
    """Whether to try a rung: a page that gave text is not turned for what contradicts it."""
    if rung.turned in (*look.turns, 0):
        return True
    return not any(r.status == "ok" and not is_empty(r, look) for r in readings)


def is_empty(reading: Reading, look: Look) -> bool:
    """Whether a page with ink gave no text. Without lines of text a found figure is enough."""
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
        # a loop's length says nothing for it
        int(math.log2(reading.characters + 1)) if reading.status == "ok" else 0,
    )
