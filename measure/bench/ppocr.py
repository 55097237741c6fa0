"""The `ppocr` engine against rapidocr called directly, on the same pages in the same run.

One JSON line. `one_page.ratio` is our time for a page, from picture to Markdown with layout, over
the library's for its lines alone; `plain` is the same for the task OCR with Boxes; `many_pages`
compares pages a second of a document with the library page after page, rendering included on both
sides. Turns are taken page by page, so that other work on the machine falls on both. `--start`
times the PDF helper from its command line to its first page instead.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from deepocr.documents import open_document
from deepocr.engines.base import Engine
from deepocr.engines.registry import create_engine
from deepocr.errors import InvalidInput
from deepocr.evaluation.checks import CHECK_TYPES
from deepocr.evaluation.run import LabeledSet, Outputs, evaluate, load_set, score
from deepocr.pipeline import read_page, read_pages
from deepocr.render.markdown import render_markdown
from deepocr.settings import Settings, load_settings
from deepocr.tasks import make_job
from deepocr.types import Job, Page
from measure.bench.peers import Reader, rapidocr_reader, tesseract_reader
from measure.bench.server import server_seconds
from measure.bench.start import SAMPLES, start_seconds

ROOT = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py ppocr`."""
    parser.add_argument("documents", nargs="*", type=Path, help="default: samples/labeled")
    parser.add_argument("--pages", type=int, default=8, help="at most so many pages in all")
    parser.add_argument("--rounds", type=int, default=3, help="turns; medians are told")
    parser.add_argument("--start", action="store_true", help="only time to the first page's file")
    parser.add_argument("--server", action="store_true", help="through the Cog server too")
    parser.add_argument("--quality", type=Path, help="JSONL of checks: compare what is read too")


def run(options: argparse.Namespace) -> int:
    """Writes one JSON line; returns the exit status."""
    if options.start:
        times = start_seconds(options.documents or SAMPLES, "ppocr", options.rounds)
        report = {"bench": "ppocr", "machine": _machine(), "start": times}
    else:
        paths = options.documents or sorted((ROOT / "samples" / "labeled").glob("*.pdf"))
        settings = load_settings().model_copy(update={"engine": "ppocr"})
        report = asyncio.run(_measure(paths, options, settings))
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


async def _measure(
    paths: Sequence[Path], options: argparse.Namespace, settings: Settings
) -> dict[str, Any]:
    engine = create_engine(settings)
    library = rapidocr_reader()
    try:
        pages = _load(paths, options.pages, settings)
        report: dict[str, Any] = {
            "bench": "ppocr",
            "engine": engine.capabilities.engine,
            "machine": _machine(),
            "pages": len(pages),
            "one_page": await _one_page(engine, library, pages, options.rounds),
            "many_pages": await _many_pages(engine, library, paths, options, settings),
        }
        if options.server:
            server = server_seconds([page.image for page in pages], options.rounds)
            ratio = server["mean_s"] / report["one_page"]["library_s"]
            report["server"] = {**server, "ratio": round(ratio, 3)}
        if options.quality:
            report["quality"] = await _quality(engine, library, options.quality, settings)
    finally:
        await engine.close()
    return report


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def _load(paths: Sequence[Path], most: int, settings: Settings) -> list[Page]:
    pages: list[Page] = []
    for path in paths:
        with open_document(path, limits=settings, dpi=settings.dpi) as document:
            for number in range(1, document.num_pages + 1):
                if len(pages) < most:
                    pages.append(document.page(number))
    if not pages:
        raise InvalidInput("there is no page to measure with; name a document")
    return pages


async def _one_page(
    engine: Engine, library: Reader, pages: Sequence[Page], rounds: int
) -> dict[str, float]:
    """Seconds a page, one page at a time, and ratios of pairs measured right after each other."""
    markdown, boxes = make_job("markdown"), make_job("boxes")
    await read_page(engine, pages[0], markdown)
    library(pages[0].image)
    times: dict[str, list[float]] = {"library": [], "ours": [], "plain": []}
    for _ in range(rounds):
        for page in pages:
            times["library"].append(_seconds(partial(library, page.image)))
            for name, job in (("ours", markdown), ("plain", boxes)):
                started_s = time.perf_counter()
                result = await read_page(engine, page, job)
                render_markdown(result, task=job.task)
                times[name].append(time.perf_counter() - started_s)
    ratios = {
        name: [a / b for a, b in zip(times[name], times["library"], strict=True)]
        for name in ("ours", "plain")
    }
    return {
        "library_s": round(sum(times["library"]) / len(times["library"]), 3),
        "ours_s": round(sum(times["ours"]) / len(times["ours"]), 3),
        "plain_s": round(sum(times["plain"]) / len(times["plain"]), 3),
        "ratio": round(sum(times["ours"]) / sum(times["library"]), 3),
        "plain_ratio": round(sum(times["plain"]) / sum(times["library"]), 3),
        "ratio_median": round(median(ratios["ours"]), 3),
        "plain_ratio_median": round(median(ratios["plain"]), 3),
    }


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


async def _many_pages(
    engine: Engine,
    library: Reader,
    paths: Sequence[Path],
    options: argparse.Namespace,
    settings: Settings,
) -> dict[str, float]:
    """Pages a second, several in flight, against the library page after page."""
    job = make_job()
    speedups, ours, theirs = [], [], []
    library_cpu_s = our_cpu_s = count = 0.0
    for _ in range(options.rounds):
        started_s, cpu_s = time.perf_counter(), time.process_time()
        count = _library_documents(library, paths, options.pages, settings)
        library_s = time.perf_counter() - started_s
        library_cpu_s += time.process_time() - cpu_s
        started_s, cpu_s = time.perf_counter(), time.process_time()
        await _our_documents(engine, paths, options.pages, job, settings)
        our_s = time.perf_counter() - started_s
        our_cpu_s += time.process_time() - cpu_s
        theirs.append(count / library_s)
        ours.append(count / our_s)
        speedups.append(library_s / our_s)
    return {
        "library_pages_a_s": round(median(theirs), 3),
        "our_pages_a_s": round(median(ours), 3),
        "speedup": round(median(speedups), 3),
        # processor time does not depend on what else the machine does
        "library_cpu_s_a_page": round(library_cpu_s / options.rounds / count, 2),
        "our_cpu_s_a_page": round(our_cpu_s / options.rounds / count, 2),
    }


def _library_documents(
    library: Reader, paths: Sequence[Path], most: int, settings: Settings
) -> int:
    count = 0
    for path in paths:
        with open_document(path, limits=settings, dpi=settings.dpi) as document:
            for number in range(1, document.num_pages + 1):
                if count < most:
                    library(document.page(number).image)
                    count += 1
    return count


async def _our_documents(
    engine: Engine, paths: Sequence[Path], most: int, job: Job, settings: Settings
) -> None:
    left = most

    async def one(path: Path, count: int) -> None:
        with open_document(path, limits=settings, dpi=settings.dpi) as document:
            numbers = range(1, count + 1)
            window = engine.capabilities.concurrency
            async for page in read_pages(engine, document, numbers, job, window=window):
                render_markdown(page)

    waiting = []
    for path in paths:
        with open_document(path, limits=settings) as document:
            count = min(left, document.num_pages)
        left -= count
        if count:
            waiting.append((path, count))
    # documents of one page each would leave nothing to do side by side
    slots = asyncio.Semaphore(engine.capabilities.concurrency)

    async def slotted(path: Path, count: int) -> None:
        async with slots:
            await one(path, count)

    await asyncio.gather(*(slotted(path, count) for path, count in waiting))


async def _quality(
    engine: Engine, library: Reader, checks: Path, settings: Settings
) -> list[dict[str, Any]]:
    labeled = load_set([checks], None, None)
    ours = await evaluate(engine, labeled, make_job(), settings)
    scores = [ours]
    readers: dict[str, Reader | None] = {"rapidocr": library, "tesseract": tesseract_reader()}
    for name, reader in readers.items():
        if reader is not None:
            outputs, seconds = _read_all(reader, labeled, settings)
            scores.append(score(name, labeled, make_job(), outputs, seconds_a_page=seconds))
    return [
        {
            "reader": one.engine,
            **{kind: f"{one.passed[kind]}/{one.total[kind]}" for kind in CHECK_TYPES},
            "error_rate": one.error_rate,
            "seconds_a_page": round(one.seconds_a_page, 2),
        }
        for one in scores
    ]


def _read_all(reader: Reader, labeled: LabeledSet, settings: Settings) -> tuple[Outputs, float]:
    outputs: dict[tuple[str, int], str] = {}
    seconds = 0.0
    for name, path in labeled.documents.items():
        with open_document(path, limits=settings, dpi=settings.dpi) as document:
            for number in labeled.pages_of(name):
                image: Image.Image = document.page(number).image
                started_s = time.perf_counter()
                outputs[name, number] = reader(image)
                seconds += time.perf_counter() - started_s
    return outputs, seconds / max(1, len(outputs))
