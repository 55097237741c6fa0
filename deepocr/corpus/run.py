"""A whole run over a corpus: listed, read by the cluster, reported."""

import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TextIO

from deepocr.corpus.listing import Entry, find_entries
from deepocr.corpus.options import ClusterOptions, CorpusOptions
from deepocr.corpus.progress import Progress, Report, report_of
from deepocr.corpus.reading import PartOutcome
from deepocr.corpus.samples import sample_store, write_samples
from deepocr.corpus.store import CorpusStore, Listed
from deepocr.errors import DeepOCRError, EngineError, reason
from deepocr.settings import Settings
from deepocr.storage import open_folder

log = logging.getLogger(__name__)

MAX_IN_VAIN = 2
"""Most failures of the cluster in a row without a single page read; then the run is given up."""

ReadShards = Callable[[Sequence[int]], Iterator[PartOutcome]]
"""Reads the missing parts of the shards with these numbers; yields parts as they are committed."""

THREADS = 16
"""Number of concurrent requests to an object store."""


def read_corpus(
    options: CorpusOptions,
    out: str,
    settings: Settings,
    cluster: ClusterOptions | None = None,
    stream: TextIO | None = None,
) -> Report:
    """Read every page of the sources into `out`, a folder or an address such as s3://bucket/folder.

    Blocking. To continue a run that was stopped, call it again with the same options. With a
    sample, the pages are read into `out`/sample, and samples.html there shows them. Raises
    InvalidInput, WorkspaceError (`out` holds another run), StorageError and EngineError.
    """
    from deepocr.corpus.on_ray import RunMetrics, ray_session, read_shards

    cluster = cluster or ClusterOptions()
    store = sample_store(out, options) if options.sample else CorpusStore(open_folder(out), options)
    store.claim(settings)
    listed = store.listed() or store.keep_listing(*_chosen(options))
    progress = Progress(listed, cluster.price_per_hour, stream)
    with ray_session(cluster):
        metrics = RunMetrics()

        def read(shards: Sequence[int]) -> Iterator[PartOutcome]:
            for outcome in read_shards(store.folder.address, shards, options, settings, cluster):
                yield outcome
                metrics.tell(progress)

        read_all(store, listed, progress, read)
    report = report_of(store, listed, progress)
    store.folder.write("report.json", json.dumps(report.plain(), indent=2).encode())
    if options.sample:
        write_samples(store, listed, options, settings)
    return report


def read_all(store: CorpusStore, listed: Listed, progress: Progress, read: ReadShards) -> None:
    """Have the shards read until all of them are finished.

    After a failure that Ray could not recover from, the missing parts are started again. Raises a
    reader's own DeepOCRError, and EngineError if starting again does not help.
    """
    in_vain = 0
    _survey(store, progress)
    while shards := sorted(set(range(listed.shards)) - store.finished()):
        before, failure = progress.pages, None
        try:
            for outcome in read(shards):
                if not progress.knows(outcome.shard):
                    progress.learn(replace(store.done(outcome.shard), done=0))
                progress.part_done(outcome.statuses.total(), outcome.reasons)
        except DeepOCRError:
            raise
        except Exception as error:  # clusters fail in many ways; only commits count
            log.warning("the cluster failed; what is missing is begun again", exc_info=True)
            failure = error
        in_vain = 0 if progress.pages > before else in_vain + 1
        if in_vain > MAX_IN_VAIN:
            why = reason(failure) if failure else "no reason is known"
            raise EngineError(
                f"the cluster ends before a page is read: {why}; look at its logs, then run the "
                "same command again: finished pages are kept"
            ) from failure
        _survey(store, progress)
    progress.end()


def _survey(store: CorpusStore, progress: Progress) -> None:
    """Learn about opened shards without outcomes: read by earlier runs, or without pages."""
    unknown = [shard for shard in store.opened_shards() if not progress.knows(shard)]
    with ThreadPoolExecutor(THREADS) as pool:
        for shard in pool.map(store.done, unknown):
            progress.learn(shard)


def _chosen(options: CorpusOptions) -> tuple[Iterable[Entry], int]:
    """The documents to read, and of how many documents they are a sample (0: no sample)."""
    entries = find_entries(options.sources)
    limited = islice(entries, options.limit) if options.limit else entries
    if not options.sample:
        return limited, 0
    chosen: list[tuple[int, Entry]] = []
    found, dice = 0, random.Random(0)
    for found, entry in enumerate(limited, 1):
        if len(chosen) < options.sample:
            chosen.append((found, entry))
        elif (place := dice.randrange(found)) < options.sample:
            chosen[place] = (found, entry)
    return [entry for _, entry in sorted(chosen, key=lambda one: one[0])], found
