"""The stages of a run as operators of Ray Data.

    shards → open (tasks: count pages, cut parts) → read (an actor for each engine)

Only the numbers of parts pass between them. A reader draws its documents on the engine's machine
and writes its parts itself: a page's picture takes megabytes and its row a few kilobytes, and only
the process that has the rows can commit them. Ray repeats the work that a lost machine had in
progress; committed parts are not read again.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deepocr import errors
from deepocr.corpus.options import ClusterOptions, CorpusOptions
from deepocr.corpus.progress import Progress
from deepocr.corpus.reading import PartOutcome
from deepocr.corpus.stages import OpenShard, Reader, outcome_from
from deepocr.errors import DeepOCRError, EngineError, InvalidInput
from deepocr.settings import Settings

# Ray reads these when it is imported. Only a few parts may wait for each that is being read: the
# driver holds the list of waiting parts.
os.environ.setdefault("RAY_DATA_DOWNSTREAM_CAPACITY_OBJECT_STORE_BUDGET_UTIL_THRESHOLD", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.util.metrics import Gauge

PARTS_AT_ONCE = 3
"""Number of parts that a reader reads at once, so that its engine stays busy when one part ends."""

WAITING_PARTS = 8
"""Number of waiting parts for each part that is being read."""

OBJECT_STORE_BYTES = 200 << 20
"""Size in bytes of the object store of a Ray started here; only numbers of parts pass through it.
"""

SPARE_CPUS = 2
"""Number of CPUs for the stages before the readers."""


@contextmanager
def ray_session(cluster: ClusterOptions) -> Iterator[None]:
    """Connects to the cluster, or starts a Ray on this machine alone, until the block ends."""
    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = (
        {"address": address}
        if address
        else {
            "address": "local",
            "num_cpus": (os.cpu_count() or 1) + SPARE_CPUS,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    )
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    try:
        yield
    finally:
        ray.shutdown()


def read_shards(
    address: str,
    shards: Sequence[int],
    options: CorpusOptions,
    settings: Settings,
    cluster: ClusterOptions,
) -> Iterator[PartOutcome]:
    """Yields parts as they are committed. Raises the error that ended a reader, and Ray's own
    errors."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\.")  # about its own settings and few parts
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.downstream_capacity_backpressure_ratio = WAITING_PARTS
    needs = reader_needs(settings, cluster)
    size = cluster.readers or _how_many(needs)
    settings = _fit(settings, needs)
    listed = ray.data.from_items([{"shard": n} for n in shards], override_num_blocks=len(shards))
    opened = listed.flat_map(
        OpenShard(address, options, settings),
        num_cpus=1,
        compute=TaskPoolStrategy(size=max(1, size // 4)),
    )
    read = opened.repartition(target_num_rows_per_block=1).map(
        Reader,  # type: ignore[arg-type]  # a class whose instances are such functions
        fn_constructor_args=(address, options, settings),
        compute=ActorPoolStrategy(
            size=size,
            max_concurrent_calls_per_actor=PARTS_AT_ONCE,
            max_tasks_in_flight_per_actor=PARTS_AT_ONCE + 1,
            enable_true_multi_threading=True,
        ),
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
    )
    for row in read.iter_rows():
        if row["error"]:
            raise _as_ours(row["error"], row["reason"])
        yield outcome_from(row["outcome"])


@dataclass(frozen=True)
class Needs:
    """The CPUs and GPUs that one reader needs."""

    cpus: float
    gpus: float


def reader_needs(settings: Settings, cluster: ClusterOptions) -> Needs:
    """The needs that the cluster's options state, else those of the engine."""
    on_gpu = settings.engine == "deepseek" and settings.device != "cpu"
    cpus = {"deepseek": 4.0, "ppocr": 2.0}.get(settings.engine, 1.0)
    return Needs(
        cpus if cluster.cpus is None else cluster.cpus,
        float(on_gpu) if cluster.gpus is None else cluster.gpus,
    )


def _how_many(needs: Needs) -> int:
    """The number of readers that fit on the cluster. Raises InvalidInput if not even one fits."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    fits = [(there.get("CPU", 0) - SPARE_CPUS) / needs.cpus] if needs.cpus else []
    if needs.gpus:
        fits.append(there.get("GPU", 0) / needs.gpus)
    size = int(min(fits, default=1))
    if size < 1:
        raise InvalidInput(
            f"the cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs; a "
            f"reader takes {needs.cpus:g} and {needs.gpus:g}, the other stages "
            f"{SPARE_CPUS} CPUs: add machines, or give --readers where they come later"
        )
    return size


def _fit(settings: Settings, needs: Needs) -> Settings:
    """The settings, with threads and drawing processes for the reader's CPUs unless given."""
    cpus = max(1, round(needs.cpus))
    return settings.model_copy(
        update={
            "draw_processes": settings.draw_processes or min(4, cpus),
            "ppocr_threads": settings.ppocr_threads or cpus,
        }
    )


class RunMetrics:
    """The driver's metrics for Prometheus, exported by Ray."""

    def __init__(self) -> None:
        self._left = Gauge("deepocr_corpus_pages_left", "pages not read yet, about")
        self._rate = Gauge("deepocr_corpus_pages_per_second", "pages read a second")
        self._seconds = Gauge("deepocr_corpus_seconds_left", "seconds until the end, about")
        self._cost = Gauge("deepocr_corpus_cost", "spent so far, where a price was given")

    def tell(self, progress: Progress) -> None:
        self._left.set(progress.left)
        self._rate.set(progress.pages_per_s)
        self._seconds.set(progress.seconds_left)
        if (cost := progress.cost(progress.seconds)) is not None:
            self._cost.set(cost)


def _as_ours(name: str, reason: str) -> DeepOCRError:
    kind = getattr(errors, name, EngineError)
    return kind(reason) if issubclass(kind, DeepOCRError) else EngineError(reason)
