"""The PDF helper: its own work for a page, and how busy it keeps a server.

`bench.py book work` measures render, look, encode, parse and write, each by itself, one page after
the other. `bench.py book busy` starts a real Cog server with the scripted engine, reads a book of
our own making through it and says for which share of the time its slots were at work.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymupdf

from deepocr.book.engine_keeper import EngineKeeper
from deepocr.book.inputs import InputFile
from deepocr.book.options import ReadingOptions, RunOptions
from deepocr.book.page_reading import prepare
from deepocr.book.records import PageRecord
from deepocr.book.run import read_documents
from deepocr.book.stitch import page_markdown
from deepocr.book.workspace import Identity, Workspace
from deepocr.documents import DocumentLimits, DocumentProcesses, open_document
from deepocr.engines.base import Engine
from deepocr.engines.remote.answers import Abilities, encode_page, read_answer
from deepocr.engines.remote.cog_api import CogServer
from deepocr.engines.remote.engine import RemoteEngine
from deepocr.errors import EngineUnavailable
from deepocr.parsing.grounding import format_tag, parse_regions
from deepocr.render.json import render_json
from deepocr.settings import load_settings
from deepocr.tasks import make_job
from deepocr.types import DocumentResult, Page, PageResult

ROOT = Path(__file__).parents[2]
SENTENCE = "The keeper of the light wrote down the weather every morning and every night, line {}."
LINES = 46


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("work", "busy"))
    parser.add_argument("--pdf", type=Path, help="of one's own; else one is made")
    parser.add_argument("--pages", type=int, default=64)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--delay", type=float, default=4.0, help="seconds the engine takes a page")
    parser.add_argument("--port", type=int, default=0)


def run(chosen: argparse.Namespace) -> int:
    """One JSON line; returns the exit status."""
    sys.stdout.write(json.dumps(measure(chosen)) + "\n")
    return 0


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """The figures that were asked for."""
    with tempfile.TemporaryDirectory() as folder:
        pdf = chosen.pdf or make_book(Path(folder) / "book.pdf", chosen.pages)
        if chosen.what == "work":
            return measure_work(pdf, Path(folder) / "out", chosen.pages)
        return measure_busy(pdf, Path(folder), chosen)


def make_book(path: Path, num_pages: int) -> Path:
    """A4 pages full of text."""
    with pymupdf.open() as pdf:
        for number in range(num_pages):
            page = pdf.new_page()
            for line in range(LINES):
                page.insert_text((60, 70 + 15 * line), SENTENCE.format(number * LINES + line))
        pdf.save(path)
    return path


def sample_raw() -> str:
    """As much text as a full page gives, in 12 tagged regions."""
    return "\n\n".join(
        format_tag("text", [(100, 80 * n, 900, 80 * n + 70)])
        + "\n"
        + " ".join(SENTENCE.format(line) for line in range(4))
        for n in range(12)
    )


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self.add({name: time.perf_counter() - started_s})

    def add(self, seconds: Mapping[str, float]) -> None:
        for name, value in seconds.items():
            self.spent[name] = self.spent.get(name, 0.0) + value


def measure_work(pdf: Path, out: Path, pages: int) -> dict[str, Any]:
    """Milliseconds a page by stage, from the wall's clock and from the processor's."""
    watch = Stopwatch()
    workspace = Workspace(out, Identity({"name": pdf.name}, {"engine": "none"}))
    with open_document(pdf, DocumentLimits(), 144, with_words=True) as document:
        numbers = range(1, min(pages, document.num_pages) + 1)
        cpu_s = time.process_time()
        for number in numbers:
            prepared = prepare(document, number)
            watch.add(prepared.seconds)
            if prepared.page is not None:
                work_on(prepared.page, workspace, watch)
        cpu_s = time.process_time() - cpu_s
    count = len(numbers)
    return {
        "bench": "book work",
        "pages": count,
        "ms_per_page": {name: round(1000 * s / count, 1) for name, s in watch.spent.items()},
        "sum_ms_per_page": round(1000 * sum(watch.spent.values()) / count, 1),
        "cpu_ms_per_page": round(1000 * cpu_s / count, 1),
        "load": os.getloadavg()[0],
    }


def work_on(page: Page, workspace: Workspace, watch: Stopwatch) -> None:
    """All that is done for a page besides drawing and reading it."""
    job, raw = make_job(), sample_raw()
    result = PageResult(page.number, "ok", page.size_px, raw, parse_regions(raw, page.size_px))
    answer = render_json(DocumentResult("", "none", job, (result,)))
    with watch.stage("encode"):
        encode_page(page)
    with watch.stage("parse"):
        read_answer(answer, Abilities(), "here")
    with watch.stage("markdown"):
        markdown = page_markdown(result, job.task)
    with watch.stage("write"):
        workspace.commit(PageRecord(result), markdown, {})


def measure_busy(pdf: Path, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """The share of slots x time in which the server was at work on a page.

    `busy` counts what the server calls its predict time, `engine_busy` the engine's own time in
    it only, both from the first page drawn to the last file written. `steady_busy` is the first
    without the filling of the slots: from when as many pages are done as there are slots.
    """
    with cog_server(folder, chosen) as url:
        wall_s, counts, cpu_s = asyncio.run(_read(pdf, folder / "out", url, chosen.slots))
    pages = sum(counts.values())
    lines = (folder / "out" / "book" / "timings.jsonl").read_text().splitlines()
    timings = sorted((json.loads(line) for line in lines), key=lambda entry: entry["kept_at"])
    predict_s = sum(entry["readings"][0]["server"] for entry in timings)
    later = timings[chosen.slots :]
    later_s = later[-1]["kept_at"] - timings[chosen.slots - 1]["kept_at"] if later else 0.0
    later_predict_s = sum(entry["readings"][0]["server"] for entry in later)
    return {
        "bench": "book busy",
        "pages": pages,
        "slots": chosen.slots,
        "engine_s_per_page": chosen.delay,
        "wall_s": round(wall_s, 2),
        "pages_per_s": round(pages / wall_s, 2),
        "busy": round(predict_s / (chosen.slots * wall_s), 4),
        "steady_busy": round(later_predict_s / (chosen.slots * later_s), 4) if later_s else None,
        "engine_busy": round(pages * chosen.delay / (chosen.slots * wall_s), 4),
        "helper_cpu_ms_per_page": round(1000 * cpu_s / pages, 1),
        "statuses": counts,
        "load": os.getloadavg()[0],
    }


async def _not_again() -> Engine:
    raise EngineUnavailable("a bench starts no engine again")


async def _read(pdf: Path, out: Path, url: str, slots: int) -> tuple[float, dict[str, int], float]:
    engine = RemoteEngine([CogServer(url, timeout_s=600)], jobs=slots)
    options = RunOptions(ReadingOptions(make_job()), jobs=engine.capabilities.concurrency)
    try:
        await engine.check()
        cpu_s, started_s = time.process_time(), time.perf_counter()
        with DocumentProcesses.of(load_settings()) as processes:
            keeper = EngineKeeper(engine, _not_again)
            outcomes = read_documents(
                keeper, [InputFile(pdf, "book", str(pdf))], out, options, processes
            )
            (outcome,) = [outcome async for outcome in outcomes]
        wall_s = time.perf_counter() - started_s
        if outcome.error is not None:
            raise outcome.error
        counts = {str(status): count for status, count in outcome.counts.items()}
        return wall_s, counts, time.process_time() - cpu_s
    finally:
        await engine.close()


@contextmanager
def cog_server(folder: Path, chosen: argparse.Namespace) -> Iterator[str]:
    """A real Cog server with the scripted engine, in a process of its own."""
    home = folder / "server"
    home.mkdir()
    shutil.copy(ROOT / "predict.py", home / "predict.py")
    script = home / "script.json"
    script.write_text(
        json.dumps({"default": {"text": sample_raw(), "delay_s": chosen.delay}, "concurrency": 64})
    )
    port = chosen.port or _free_port()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "DEEPOCR_ENGINE": "scripted",
        "DEEPOCR_SCRIPT": str(script),
        "COG_MAX_CONCURRENCY": str(chosen.slots),
        "COG_PREDICT_TYPE_STUB": "predict.py:Predictor",
        "PORT": str(port),
    }
    command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(port)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"no server came up on port {port}")
