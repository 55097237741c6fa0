"""Pages drawn in line, in one drawing process and in two, and who waits meanwhile.

One JSON line. `wall_ms` and `cpu_ms` are medians a page over the rounds, the drawing processes'
own time included; the ways take turns, so that other work on the machine falls on all.
`loop_ms` and `thread_ms` tell how late an asyncio loop and a busy Python thread of this process go
on while pages are drawn by other threads of it. The first pages of each way are not counted.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median, quantiles

from deepocr.documents import Document, DocumentProcesses, open_document
from deepocr.errors import InvalidInput
from deepocr.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]

TICK_S = 0.001

WORK = 50_000
"""What the busy thread counts to at a time: about a tick."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py documents`."""
    parser.add_argument("documents", nargs="*", type=Path, help="default: samples/labeled")
    parser.add_argument("--rounds", type=int, default=9, help="turns; medians are told")


def run(options: argparse.Namespace) -> int:
    """Writes one JSON line; returns the exit status."""
    paths = options.documents or sorted((ROOT / "samples" / "labeled").glob("*.pdf"))
    if not paths:
        raise InvalidInput("there is no page to measure with; name a document")
    report = _measure(paths, options.rounds, load_settings())
    sys.stdout.write(json.dumps({"bench": "documents", **report}) + "\n")
    return 0


def _measure(paths: Sequence[Path], rounds: int, settings: Settings) -> dict[str, object]:
    pools = {"one_process": _pool(1, settings), "two_processes": _pool(2, settings)}
    with ExitStack() as opened:
        # in line: the way that pages would go without processes
        ways: dict[str, tuple[list[Document], int]] = {
            "in_line": ([opened.enter_context(open_document(p, settings)) for p in paths], 1)
        }
        for count, (name, pool) in enumerate(pools.items(), start=1):
            opened.enter_context(pool)
            ways[name] = ([opened.enter_context(pool.open(path)) for path in paths], count)
        pids = {name: pool.pids for name, pool in pools.items()}
        report: dict[str, dict[str, object]] = {name: {} for name in ways}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        num_pages = sum(document.num_pages for document in ways["in_line"][0])
        for turn in range(rounds + 1):
            for name, (documents, threads) in ways.items():
                started_s, cpu_s = time.perf_counter(), _cpu_s(pids.get(name, list)())
                _draw_all(documents, threads)
                took_s = time.perf_counter() - started_s
                if turn:
                    times[name].append((took_s, _cpu_s(pids.get(name, list)()) - cpu_s))
        for name, (documents, threads) in ways.items():
            walls, cpus = zip(*times[name], strict=True)
            report[name] = {
                "wall_ms": round(1000 * median(walls) / num_pages, 1),
                "cpu_ms": round(1000 * median(cpus) / num_pages, 1),
                "loop_ms": _late(documents, threads, rounds, _watch_loop),
                "thread_ms": _late(documents, threads, rounds, _watch_thread),
            }
    machine = {"cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 1)}
    return {**machine, "pages": num_pages, **report}


def _pool(count: int, settings: Settings) -> DocumentProcesses:
    return DocumentProcesses(
        settings,
        count=count,
        page_timeout_s=settings.draw_timeout_s,
        memory_bytes=settings.draw_memory_bytes,
    )


def _draw_all(documents: Sequence[Document], threads: int) -> None:
    asked = [(document, n) for document in documents for n in range(1, document.num_pages + 1)]
    with ThreadPoolExecutor(threads) as executor:
        for page in executor.map(lambda one: one[0].page(one[1]), asked):
            del page


def _cpu_s(pids: Sequence[int]) -> float:
    """User and system time of this process and of `pids` up to now."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _late(
    documents: Sequence[Document],
    threads: int,
    rounds: int,
    watch: Callable[[threading.Event], list[float]],
) -> dict[str, float]:
    """How late `watch` was, in ms, while every page is drawn `rounds` times."""
    done = threading.Event()

    def draw() -> None:
        for _ in range(rounds):
            _draw_all(documents, threads)
        done.set()

    drawing = threading.Thread(target=draw)
    drawing.start()
    late_ms = [1000 * seconds for seconds in watch(done)]
    drawing.join()
    cuts = quantiles(late_ms, n=100)
    figures = {"mean": mean(late_ms), "p50": cuts[49], "p99": cuts[98], "max": max(late_ms)}
    return {name: round(value, 1) for name, value in figures.items()}


def _watch_loop(done: threading.Event) -> list[float]:
    async def watch() -> list[float]:
        late_s = []
        while not done.is_set():
            due_s = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            late_s.append(time.perf_counter() - due_s)
        return late_s

    return asyncio.run(watch())


def _watch_thread(done: threading.Event) -> list[float]:
    took_s = []
    while not done.is_set():
        started_s = time.perf_counter()
        for _ in range(WORK):
            pass
        took_s.append(time.perf_counter() - started_s)
    alone_s = min(took_s)
    return [seconds - alone_s for seconds in took_s]
