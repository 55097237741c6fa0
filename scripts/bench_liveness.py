#!/usr/bin/env python
"""Does /health/live answer whatever else is asked? Worst requests, one kind after the other.

    python scripts/bench_liveness.py [--rounds 3] [hostile.pdf ...]

Starts a service with the scripted engine. While requests of one kind run, another process asks
/health/live every 20 ms. One JSON line for each kind, times in milliseconds; 1 is returned where
the slowest answer took more than --limit-ms.
"""

import argparse
import base64
import http.client
import json
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx
import pymupdf
from bench_service import own_service, picture

Request = Callable[[httpx.Client], httpx.Response]

MANY = 48_000_000
PAGE = (
    "<|ref|>text<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>\n"
    + "\\[" * 3000
    + "<div>" * 3000
    + "".join(f"\\( x_{{{i}}} \\) " for i in range(2000))
)


BOOK_PAGES = 2000
BOOK_PAGE = "".join(
    f"<|ref|>text<|/ref|><|det|>[[50, {y}, 950, {y + 40}]]<|/det|>\n{'a word or two ' * 12}\n\n"
    for y in range(50, 900, 50)
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit-ms", type=float, default=100)
    parser.add_argument("pdfs", nargs="*", type=Path, help="hostile documents to hand in")
    options = parser.parse_args()
    slowest_ms = 0.0
    script = {"default": {"text": BOOK_PAGE}, "pages": {"1": {"text": PAGE}}}
    settings = {"DEEPOCR_MAX_CLIENT_TASKS": "10000", "DEEPOCR_STOP_TIMEOUT_S": "2"}
    with (
        tempfile.TemporaryDirectory() as folder,
        own_service(Path(folder), script, **settings) as port,
    ):
        for name, requests in worst(port, options.pdfs).items():
            figures = measure(port, requests * options.rounds)
            print(json.dumps({"bench": "liveness", "while": name, **figures}), flush=True)
            slowest_ms = max(slowest_ms, figures["max_ms"])
    return 1 if slowest_ms > options.limit_ms else 0


def worst(port: int, pdfs: list[Path]) -> dict[str, list[Request]]:
    """Requests of each kind, sent at the same time."""
    noise = random.Random(1).randbytes(MANY * 3 // 4)
    data_url = "data:image/png;base64," + base64.b64encode(noise).decode()
    part = {"type": "image_url", "image_url": {"url": data_url}}
    chat = {"model": "deepocr", "messages": [{"role": "user", "content": [part]}]}
    images = [
        base64.b64encode(picture((1500, 1000 + i)) + noise[:500_000]).decode() for i in range(64)
    ]
    results = read(port, picture((300, 200)))
    book = read(port, blank_pdf(BOOK_PAGES))
    return {
        "nothing": [ask_after_a_while],
        "chat, 48 MB picture": [post_json("/v1/chat/completions", json.dumps(chat).encode())],
        "chat, 48 MB of numbers": [
            post_json("/v1/chat/completions", b"[" + b"1," * (MANY // 2) + b"1]")
        ],
        "chat, 48 MB of lists": [post_json("/v1/ocr", b"[" + b"[]," * (MANY // 3) + b"[]]")],
        "paddle, 64 images": [
            post_json("/predict/ocr_system", json.dumps({"images": images}).encode())
        ],
        "upload, 300 MB": [hand_in(noise * 8)],
        "page as HTML": [lambda http: http.get(f"{results}/pages/1")] * 4,
        "results": [lambda http: http.get(results)] * 16,
        "download": [lambda http: http.get(f"{results}/download?format=html")] * 4,
        f"results, {BOOK_PAGES} pages": [lambda http: http.get(book)] * 4,
        **{
            f"{kind}, {BOOK_PAGES} pages": [download(f"{book}/download?format={kind}")] * 2
            for kind in ("markdown", "json", "html")
        },
        **{path.name: [hand_in(path.read_bytes())] * 3 for path in pdfs},
    }


def blank_pdf(pages: int) -> bytes:
    with pymupdf.open() as document:
        for _ in range(pages):
            document.new_page(width=100, height=140)
        return bytes(document.tobytes())


def read(port: int, content: bytes) -> str:
    """The path of its results."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90) as http:
        path = f"/api/v1/ocr/results/{hand_in(content)(http).json()['task_id']}"
        wait = "?wait_s=60&wait_for=end&include_result=false"
        while http.get(path + wait).raise_for_status().json()["status"] != "SUCCESS":
            pass
    return path


def download(path: str) -> Request:
    def ask(http: httpx.Client) -> httpx.Response:
        while (answer := http.get(path)).status_code == 202:
            time.sleep(1)
        return answer

    return ask


def post_json(path: str, body: bytes) -> Request:
    return lambda http: http.post(path, content=body, headers={"Content-Type": "application/json"})


def ask_after_a_while(http: httpx.Client) -> httpx.Response:
    time.sleep(2)
    return http.get("/health")


def hand_in(content: bytes) -> Request:
    return lambda http: http.post("/api/v1/ocr/process", files={"file": ("a", content)})


def measure(port: int, requests: list[Request]) -> dict[str, Any]:
    """Percentiles of /health/live from the first request to the last answer, and the statuses."""
    done, ready = multiprocessing.Event(), multiprocessing.Event()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    prober = multiprocessing.Process(target=probe, args=(port, ready, done, sender))
    prober.start()
    ready.wait()
    statuses: list[int] = []
    started_s = time.perf_counter()
    threads = [threading.Thread(target=send, args=(port, r, statuses)) for r in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started_s
    done.set()
    times_ms = sorted(receiver.recv())
    prober.join()
    return {
        "seconds": round(seconds, 1),
        "statuses": sorted(statuses),
        "asked": len(times_ms),
        "p50_ms": round(times_ms[len(times_ms) // 2], 1),
        "p99_ms": round(times_ms[len(times_ms) * 99 // 100], 1),
        "max_ms": round(times_ms[-1], 1),
    }


def send(port: int, request: Request, statuses: list[int]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as http:
        statuses.append(request(http).status_code)


def probe(
    port: int, ready: Event, done: Event, sender: "multiprocessing.connection.Connection"
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times_ms = []
    ready.set()
    while not done.wait(0.02):
        began_s = time.perf_counter()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        times_ms.append((time.perf_counter() - began_s) * 1000)
    sender.send(times_ms)


if __name__ == "__main__":
    sys.exit(main())
