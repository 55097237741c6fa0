"""Chaos for a running service: faults at random pages, kills, restarts, a full disk; figures."""

import contextlib
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.service.stack import Stack, book

TEXT = "Page {page} of {task}"

EXCEPTIONS = ("index", "key", "runtime", "unicode", "recursion", "foreign", "os")

# one in five ends the process: each costs seconds until the next one is ready
FAULTS: tuple[dict[str, Any], ...] = (
    *({"fault": kind} for kind in 2 * EXCEPTIONS),
    {"fault": "memory", "memory_mb": 64},
    {"fault": "broken"},
    {"fault": "exit"},
    {"fault": "kill"},
    {"fault": "hang", "hang_s": 60},
    {"fault": "freeze", "hang_s": 60},
    {"error": "the scripted engine says no"},
)

SCRIPT: dict[str, Any] = {
    "default": {"text": TEXT, "delay_s": 0.1},
    "rate": 0.05,
    "sometimes": FAULTS,
    "concurrency": 8,
}

PROBE_PAUSE_S = 0.02
DISTURB_PAUSE_S = 5.0
HAND_IN_PAUSE_S = 0.25
FULL_DISK_S = 2.0


@dataclass
class Tally:
    """What was done to the service and what came of it."""

    documents: int = 0
    pages: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    disturbances: Counter[str] = field(default_factory=Counter)
    live_ms: list[float] = field(default_factory=list)
    unanswered: int = 0
    refused: int = 0

    def summary(self) -> dict[str, Any]:
        """One line's worth, for docs/reliability.md."""
        cuts = statistics.quantiles(self.live_ms, n=1000) if len(self.live_ms) > 1 else [0.0] * 999
        return {
            "documents": self.documents,
            "pages": self.pages,
            "statuses": dict(self.statuses),
            "disturbances": dict(self.disturbances),
            "refused_submits": self.refused,
            "live_asked": len(self.live_ms),
            "live_unanswered": self.unanswered,
            "live_p50_ms": round(cuts[499], 1),
            "live_p99_ms": round(cuts[989], 1),
            "live_max_ms": round(max(self.live_ms, default=0.0), 1),
        }


class Prober:
    """Asks for a sign of life all the time; what it asks while the API is down on purpose is not
    counted."""

    def __init__(self, stack: Stack, tally: Tally) -> None:
        self._http = httpx.Client(base_url=stack.url, timeout=10)
        self._tally = tally
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.down = threading.Event()

    def __enter__(self) -> "Prober":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._http.close()

    def _run(self) -> None:
        while not self._stop.wait(PROBE_PAUSE_S):
            down = self.down.is_set()
            began_s = time.perf_counter()
            try:
                self._http.get("/health/live").raise_for_status()
            except httpx.HTTPError:
                self._tally.unanswered += not (down or self.down.is_set())
                continue
            if not (down or self.down.is_set()):
                self._tally.live_ms.append(1000 * (time.perf_counter() - began_s))


class Disturber:
    """Does one harm after the other, in random order, until told to stop."""

    def __init__(self, stack: Stack, disk: Path | None, prober: Prober, tally: Tally) -> None:
        self._stack, self._disk, self._prober, self._tally = stack, disk, prober, tally
        self._random = random.Random(7)
        embedded = stack.redis is None
        self._harms: dict[str, Callable[[], None]] = {"worker killed": self._kill_worker}
        if embedded:
            self._harms["everything killed"] = lambda: self._restart("all")
        else:
            self._harms["supervisor killed"] = lambda: self._restart("worker")
            self._harms["API killed"] = lambda: self._restart("api")
            self._harms["Redis restarted"] = self._restart_redis
        if disk is not None:
            self._harms["disk full"] = self._fill_disk

    def run(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            time.sleep(DISTURB_PAUSE_S)
            what = self._random.choice(sorted(self._harms))
            self._harms[what]()
            self._tally.disturbances[what] += 1

    def _kill_worker(self) -> None:
        pid = self._stack.worker_pid("all" if self._stack.redis is None else "worker")
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)

    def _restart(self, part: str) -> None:
        serves = part != "worker"
        if serves:
            self._prober.down.set()
        self._stack.processes[part].kill()
        self._stack.processes[part].wait()
        self._stack.start(part)
        if serves:
            self._wait_live()
            self._prober.down.clear()

    def _restart_redis(self) -> None:
        assert self._stack.redis is not None
        self._stack.redis.stop()
        time.sleep(1)
        self._stack.redis.start()

    def _fill_disk(self) -> None:
        assert self._disk is not None
        filler = self._disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 65536):
                pass
        time.sleep(FULL_DISK_S)
        filler.unlink()

    def _wait_live(self) -> None:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self._stack.url}/health/live", timeout=5).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError("the API does not come back")


def submit_for(stack: Stack, until_s: float, tally: Tally) -> dict[str, int]:
    """Hand in documents of 1 to 12 pages, one after the other; task id to its pages."""
    chance = random.Random(3)
    handed_in: dict[str, int] = {}
    while time.monotonic() < until_s:
        pages = chance.randint(1, 12)
        handed_in[submit(stack, book(pages), f"document {len(handed_in)}", tally)] = pages
        time.sleep(HAND_IN_PAUSE_S)
    return handed_in


def submit(stack: Stack, content: bytes, key: str, tally: Tally) -> str:
    """Ask until it is taken; the key makes sure that it is taken once."""
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = stack.http.post(
                "/api/v1/ocr/process",
                files={"file": ("book.pdf", content)},
                headers={"Idempotency-Key": key},
            )
            if answer.status_code == 202:
                return str(answer.json()["task_id"])
            # a store or disk that is away is told as such, never by a bare 500
            assert answer.status_code in (429, 503, 507), answer.text
        tally.refused += 1
        time.sleep(0.2)


def check(done: dict[str, Any], pages: int, tally: Tally) -> None:
    """Every page once and with the truth: its own text, or failed with a reason."""
    found = done["result"]["pages"]
    assert [page["number"] for page in found] == list(range(1, pages + 1)), done
    for page in found:
        tally.statuses[page["status"]] += 1
        if page["status"] == "ok":
            assert page["markdown"] == f"Page {page['number']} of Convert to Markdown", page
        else:
            assert page["status"] == "failed", page
            assert page["error"], page
            tally.reasons[page["error"]] += 1
    failed = any(page["status"] == "failed" for page in found)
    assert (done["status"] == "FAILURE") == failed, done
    tally.documents += 1
    tally.pages += pages


def left_running(marker: str) -> Iterator[str]:
    """Processes whose environment names the folder of the service."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker.encode() in (entry / "environ").read_bytes():
                yield f"{entry.name} {(entry / 'cmdline').read_bytes().decode(errors='replace')}"
