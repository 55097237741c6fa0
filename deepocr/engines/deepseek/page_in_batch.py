"""A page in the running batch, and what is told of it."""

import time
from collections.abc import Mapping
from collections.abc import Sequence as Row
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from deepocr.engines.deepseek.sequence import Sequence
from deepocr.engines.deepseek.vision import PreparedPage
from deepocr.errors import EngineError
from deepocr.parsing.loops import LoopWatch
from deepocr.types import FinishReason


@dataclass(frozen=True)
class Token:
    """One written token and the probability that the model gave it."""

    token: int
    probability: float


@dataclass(frozen=True)
class Finished:
    """The page is complete. `seconds` by stage: queue, vision, prefill, decode."""

    reason: FinishReason
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Failed:
    """The page cannot be read; no other page is touched."""

    error: EngineError


Update = Token | Finished | Failed


@dataclass(eq=False)
class PageInBatch:
    """A page in the batch: its sequence, its text so far, its picture or features, its times."""

    sequence: Sequence
    page: PreparedPage | None
    loops: LoopWatch
    features: Tensor | None = None
    faults: int = 0
    times: dict[str, float] = field(default_factory=dict)

    def mark(self, moment: str) -> None:
        """Note the time at which something happened first."""
        self.times.setdefault(moment, time.perf_counter())

    def seconds(self) -> dict[str, float]:
        """Time spent in each stage."""
        ends = ("submitted", "encoding", "encoded", "first token", "done")
        stages = ("queue", "vision", "prefill", "decode")
        at = [self.times.get(moment, self.times["done"]) for moment in ends]
        return {name: at[i + 1] - at[i] for i, name in enumerate(stages)}


AnyPage = TypeVar("AnyPage")


def halves(pages: Row[AnyPage]) -> tuple[Row[AnyPage], Row[AnyPage]]:
    middle = len(pages) // 2
    return pages[:middle], pages[middle:]
