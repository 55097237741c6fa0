#!/usr/bin/env python
"""Many clients at once against a service: are answers right, and how long does handing in take.

    python scripts/bench_service.py --clients 200 --tasks 5 [--url http://host:8000]

Without a URL it starts a service of its own with the scripted engine, on Redis where REDIS_URL is
set and embedded otherwise. Every client hands in pictures of its own size, waits for each result,
and checks that it is the one of its own document. One JSON line at the end.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

START_S = 60.0
STOP_S = 120.0

TEXT = "<|ref|>text<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>\nread\n\n"
"""Its box is the whole page, so a result tells the size of the picture it was made from."""


@dataclass
class Figures:
    """Seconds of every submit, from the request to the 202, and of every task."""

    submit_s: list[float] = field(default_factory=list)
    task_s: list[float] = field(default_factory=list)
    wrong: int = 0
    failed: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=5, help="of each client, one after another")
    parser.add_argument("--think-s", type=float, default=10.0, help="mean pause between two tasks")
    parser.add_argument("--delay-s", type=float, default=0.5, help="what a page takes to read")
    parser.add_argument("--url", help="a service with the scripted engine that runs already")
    options = parser.parse_args()
    if options.url:
        figures, seconds = asyncio.run(run_clients(options.url, options))
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures, seconds = with_own_service(Path(folder), options)
    print(json.dumps(summary(figures, seconds, options)))
    return 1 if figures.wrong or figures.failed else 0


def with_own_service(folder: Path, options: argparse.Namespace) -> tuple[Figures, float]:
    script = {"default": {"text": TEXT, "delay_s": options.delay_s}, "concurrency": 64}
    with own_service(folder, script, DEEPOCR_MAX_CLIENT_TASKS="100000") as port:
        return asyncio.run(run_clients(f"http://127.0.0.1:{port}", options))


@contextlib.contextmanager
def own_service(folder: Path, script: Mapping[str, Any], **settings: str) -> Iterator[int]:
    """The port of a service with the scripted engine, ready; it is stopped when the block ends."""
    (folder / "script.json").write_text(json.dumps(script))
    port = 8000 + os.getpid() % 1000
    env = {
        **os.environ,
        "DEEPOCR_ENGINE": "scripted",
        "DEEPOCR_SCRIPT": str(folder / "script.json"),
        "DEEPOCR_DATA_DIR": str(folder / "data"),
        **settings,
    }
    command = [sys.executable, "-m", "deepocr.service", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        wait_ready(f"http://127.0.0.1:{port}")
        yield port
    finally:
        process.terminate()
        process.wait(STOP_S)


def wait_ready(url: str) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the service at {url} is not ready after {START_S:g} s")


async def run_clients(url: str, options: argparse.Namespace) -> tuple[Figures, float]:
    figures = Figures()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=options.clients)
    started_s = time.perf_counter()
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        await asyncio.gather(
            *(client(http, number, options, figures) for number in range(options.clients))
        )
    return figures, time.perf_counter() - started_s


async def client(
    http: httpx.AsyncClient, number: int, options: argparse.Namespace, figures: Figures
) -> None:
    """Its pictures are of a size that no other client's have, so its results can be told."""
    chance = random.Random(number)
    size_px = (100 + number, 80)
    content = picture(size_px)
    headers = {"X-Client-Token": f"client-{number}"}
    await asyncio.sleep(chance.uniform(0, options.think_s))
    for task in range(options.tasks):
        began_s = time.perf_counter()
        name = f"client {number} task {task}"
        answer = await http.post(
            "/api/v1/ocr/process", files={"file": (name, content)}, headers=headers
        )
        figures.submit_s.append(time.perf_counter() - began_s)
        if answer.status_code != 202:
            figures.failed += 1
            continue
        done = await finished(http, answer.json()["task_id"])
        figures.task_s.append(time.perf_counter() - began_s)
        check(done, name, size_px, figures)
        await asyncio.sleep(chance.expovariate(1 / options.think_s) if options.think_s else 0)


async def finished(http: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    while True:
        query: dict[str, str | int] = {"wait_s": 50, "wait_for": "end"}
        answer = await http.get(f"/api/v1/ocr/results/{task_id}", params=query)
        found: dict[str, Any] = answer.json()
        if found["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            return found


def check(done: dict[str, Any], name: str, size_px: tuple[int, int], figures: Figures) -> None:
    if done["status"] != "SUCCESS":
        figures.failed += 1
        return
    corner = tuple(done["result"]["detections"][0]["box"][2])
    if (done["name"], corner) != (name, size_px):
        figures.wrong += 1


def picture(size_px: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size_px, "white").save(buffer, format="PNG")
    return buffer.getvalue()


def summary(figures: Figures, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    cuts = statistics.quantiles(figures.submit_s, n=100)
    return {
        "bench": "service",
        "broker": "redis" if os.environ.get("REDIS_URL") else "embedded",
        "clients": options.clients,
        "tasks": len(figures.submit_s),
        "wrong": figures.wrong,
        "failed": figures.failed,
        "submit_p50_ms": round(cuts[49] * 1000, 1),
        "submit_p99_ms": round(cuts[98] * 1000, 1),
        "submit_max_ms": round(max(figures.submit_s) * 1000, 1),
        "task_p50_s": round(statistics.median(figures.task_s), 2),
        "tasks_per_s": round(len(figures.task_s) / seconds, 1),
        "load_1min": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
