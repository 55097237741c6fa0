"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from datetime import timedelta
from types import TracebackType
from typing import Self, TextIO, get_args

from tqdm import tqdm

from deepocr.types import PageStatus, Verdict

LINE_EVERY_S = 5.0
"""Least time in seconds between plain lines."""

STATUSES: tuple[PageStatus, ...] = get_args(PageStatus)


def describe(counts: Counter[PageStatus]) -> str:
    """Counts such as `12 ok, 1 failed`: the statuses that occur, in a fixed order."""
    return ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name]) or "no pages"


VERDICTS: tuple[Verdict, ...] = ("confirmed", "doubtful", "contradicted", "no witness")


def describe_verdicts(counts: Counter[Verdict]) -> str:
    """Counts such as `11 confirmed, 1 no witness`."""
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])


def pages(number: int) -> str:
    """A count such as `1 page` or `2 pages`."""
    return f"{number} page{'' if number == 1 else 's'}"


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line for the user without buffering."""
    stream = sys.stdout if stream is None else stream
    stream.write(f"{line}\n")
    stream.flush()


class ProgressLine:
    """Shows how many pages are done. `already` counts pages that an earlier run has read."""

    def __init__(
        self,
        name: str,
        total: int,
        already: Counter[PageStatus],
        stream: TextIO | None = None,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self.counts = Counter(already)
        self._name, self._total, self._stream = name, total, stream
        self._already = already.total()
        self._started_s = self._said_s = time.monotonic()
        self._bar: tqdm[None] | None = None
        if stream.isatty():
            self._bar = tqdm(
                total=total,
                initial=self._already,
                desc=name,
                unit="page",
                file=stream,
                dynamic_ncols=True,
            )
            self._bar.set_postfix_str(describe(self.counts))

    def __enter__(self) -> Self:
        if self._bar is None:
            more = f", {self._already} of them read earlier" if self._already else ""
            say(f"{self._name}: {pages(self._total)}{more}", self._stream)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def page_done(self, status: PageStatus) -> None:
        self.counts[status] += 1
        if self._bar is not None:
            self._bar.set_postfix_str(describe(self.counts), refresh=False)
            self._bar.update()
            return
        now_s = time.monotonic()
        if now_s - self._said_s >= LINE_EVERY_S or self.counts.total() == self._total:
            self._said_s = now_s
            say(self._line(now_s), self._stream)

    def _line(self, now_s: float) -> str:
        done = self.counts.total()
        rate = (done - self._already) / max(now_s - self._started_s, 1e-6)
        left_s = timedelta(seconds=round((self._total - done) / rate if rate else 0))
        left = "" if done == self._total else f", {left_s} left"
        counts = describe(self.counts)
        return f"{self._name}: {done}/{pages(self._total)}, {rate:.2f} pages/s{left}; {counts}"
