"""The progress of a run on one line, and its final report."""

import re
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TextIO

from deepocr.book.progress import describe, say
from deepocr.corpus.rows import STATUSES
from deepocr.corpus.store import CorpusStore, Listed, ShardDone

LINE_EVERY_S = 5.0
MOST_REASONS = 20
"""Number of kinds of reasons that are counted separately; the others are counted together."""


@dataclass(frozen=True)
class Report:
    """What the folder holds after a run. `pages` counts by status, `reasons` by kind; `seconds`,
    `pages_per_s` and `cost` are only those of this run."""

    documents: int
    documents_failed: int
    pages: dict[str, int]
    reasons: dict[str, int]
    output_tokens: int
    seconds: float
    pages_per_s: float
    cost: float | None

    def text(self) -> str:
        failed = f", {self.documents_failed:,} could not be opened" if self.documents_failed else ""
        cost = "" if self.cost is None else f", {self.cost:,.2f} spent"
        lines = [
            f"{self.documents:,} documents{failed}; {sum(self.pages.values()):,} pages: "
            f"{describe(Counter(self.pages))}",  # type: ignore[arg-type]
            f"this run: {timedelta(seconds=round(self.seconds))}, {self.pages_per_s:.2f} pages/s"
            f"{cost}",
            *(f"  {count:,} × {kind}" for kind, count in self.reasons.items()),
        ]
        return "\n".join(lines)

    def plain(self) -> dict[str, object]:
        return asdict(self)


def kind_of(reason: str) -> str:
    """Reasons that differ by a number are one kind; the remedy is left out."""
    return re.sub(r"\d[\d,.]*", "N", reason.partition(";")[0])[:160]


class Progress:
    """The progress of one run. `price_per_hour` is for the whole cluster."""

    def __init__(
        self, listed: Listed, price_per_hour: float | None, stream: TextIO | None = None
    ) -> None:
        self._listed = listed
        self._price = price_per_hour
        self._stream = sys.stderr if stream is None else stream
        self._started_s = self._said_s = time.monotonic()
        self._line = ""
        self.reasons: Counter[str] = Counter()
        self.pages = 0
        """Pages that this run has read and committed."""
        self.earlier = 0
        """Pages that earlier runs have committed."""
        self._known_documents = 0
        self._known_pages = 0
        self._known_shards: set[int] = set()

    def knows(self, shard: int) -> bool:
        return shard in self._known_shards

    def learn(self, shard: ShardDone) -> None:
        """Add an opened shard: its pages, and those that earlier runs have read."""
        self._known_shards.add(shard.shard)
        self._known_documents += shard.documents
        self._known_pages += shard.pages
        self.earlier += shard.done

    def part_done(self, pages: int, reasons: Counter[str]) -> None:
        """Count a part's pages; prints a line at most every LINE_EVERY_S seconds."""
        self.pages += pages
        for reason, count in reasons.items():
            kind = kind_of(reason)
            few = kind in self.reasons or len(self.reasons) < MOST_REASONS
            self.reasons[kind if few else "others"] += count
        now_s = time.monotonic()
        if now_s - self._said_s >= LINE_EVERY_S:
            self._said_s = now_s
            self._say()

    @property
    def total(self) -> int:
        """Pages of the corpus, estimated from the mean per document of the shards opened so far."""
        if not self._known_documents:
            return 0
        return round(self._known_pages * self._listed.documents / self._known_documents)

    @property
    def left(self) -> int:
        return max(0, self.total - self.pages - self.earlier)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started_s

    @property
    def pages_per_s(self) -> float:
        return self.pages / max(self.seconds, 1e-6)

    @property
    def seconds_left(self) -> float:
        return self.left / self.pages_per_s if self.pages else 0.0

    def cost(self, seconds: float) -> float | None:
        return None if self._price is None else self._price * seconds / 3600

    def line(self) -> str:
        about = "" if self._known_documents == self._listed.documents else "about "
        parts = [
            f"{self.pages + self.earlier:,} of {about}{self.total:,} pages",
            f"{self.pages_per_s:.2f} pages/s",
            f"{timedelta(seconds=round(self.seconds_left))} left",
        ]
        if (spent := self.cost(self.seconds)) is not None:
            whole = self.cost(self.seconds + self.seconds_left)
            parts.append(f"{spent:,.2f} of about {whole:,.2f} spent")
        if self.reasons:
            told = ", ".join(f"{kind} ({n})" for kind, n in self.reasons.most_common(3))
            parts.append(f"{self.reasons.total()} failed: {told}")
        return ", ".join(parts)

    def _say(self) -> None:
        line, self._line = self._line, self.line()
        if line == self._line:
            return
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{self._line}")
            self._stream.flush()
        else:
            say(self._line, self._stream)

    def end(self) -> None:
        """Print the last line."""
        self._say()
        if self._stream.isatty():
            self._stream.write("\n")


def report_of(store: CorpusStore, listed: Listed, progress: Progress) -> Report:
    """The report, counted from the manifest with one shard in memory at a time."""
    pages: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    failed = tokens = 0
    for shard in range(listed.shards):
        for row in store.manifest(shard, "documents"):
            pages.update({status: row[status] for status in STATUSES if row.get(status)})
            failed += row["error"] is not None
            tokens += row["output_tokens"]
        reasons.update(kind_of(row["error"]) for row in store.manifest(shard, "failures"))
    return Report(
        documents=listed.documents,
        documents_failed=failed,
        pages={status: pages[status] for status in STATUSES if pages[status]},
        reasons=dict(reasons.most_common(MOST_REASONS)),
        output_tokens=tokens,
        seconds=round(progress.seconds, 3),
        pages_per_s=round(progress.pages_per_s, 3),
        cost=progress.cost(progress.seconds),
    )
