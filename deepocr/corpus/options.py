"""What a run over a corpus was asked to do."""

from dataclasses import dataclass, fields
from typing import Any

from deepocr.book.options import ReadingOptions
from deepocr.book.workspace import Identity
from deepocr.copies import address_of
from deepocr.settings import Settings

PART_PAGES = 128
SHARD_DOCUMENTS = 256

CHANGES_PAGES = (
    "engine", "model", "dtype", "quantize", "ngram_size", "ngram_window", "ppocr_text_layer",
)  # fmt: skip
"""Settings that change the result of a page."""


@dataclass(frozen=True)
class CorpusOptions:
    """`sources` as on the command line.

    Only the first `limit` documents are taken, all if 0. If `sample` is not 0, so many documents
    are chosen at random, and one random page of each. A part, which is one file, has at most
    `part_pages` pages. A page fails once `tries` processes have died while they read nothing else.
    """

    sources: tuple[str, ...]
    reading: ReadingOptions
    limit: int = 0
    sample: int = 0
    markdown: bool = False
    part_pages: int = PART_PAGES
    shard_documents: int = SHARD_DOCUMENTS
    tries: int = 2

    def identity(self, settings: Settings) -> Identity:
        """What a resumed run must have in common with the first one."""
        source: dict[str, Any] = {
            name: getattr(self, name)
            for name in (field.name for field in fields(self))
            if name not in ("sources", "reading", "tries")
        }
        reading = self.reading.identity(settings.engine)
        changes = {name: getattr(settings, name) for name in CHANGES_PAGES}
        sources = [address_of(source) for source in self.sources]
        return Identity({"sources": sources, **source}, {**reading, **changes})


@dataclass(frozen=True)
class ClusterOptions:
    """The cluster and its readers: `readers` engines (0: as many as fit) with `cpus` and `gpus`
    each (None: as the engine needs). `price_per_hour` is for the whole cluster."""

    address: str | None = None
    readers: int = 0
    cpus: float | None = None
    gpus: float | None = None
    price_per_hour: float | None = None
