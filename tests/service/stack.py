"""The service as real processes: API, workers and, where asked for, a Redis of its own."""

import contextlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pymupdf
from PIL import Image, ImageDraw

from tests.needs import need_binary

START_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """Below those that systems give to connections: nobody takes it before the service does."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randint(15000, 30000)))
            return int(probe.getsockname()[1])


def picture(text: str = "hello", size: tuple[int, int] = (400, 300)) -> bytes:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((20, 20), text, fill="black")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def book(pages: int, password: str = "", lines: Sequence[str] = ()) -> bytes:
    document = pymupdf.open()
    for number in range(1, pages + 1):
        page = document.new_page(width=200, height=150)
        page.insert_text((20, 40), [f"page {number}", *lines], fontsize=7 if lines else 11)
    if password:
        return bytes(
            document.tobytes(
                encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw=password, owner_pw=password
            )
        )
    return bytes(document.tobytes())


def eventually(check: Callable[[], Any], timeout_s: float = 30, what: str = "") -> Any:
    """The first true answer."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what or check} did not come true within {timeout_s} s")


class Redis:
    """A redis-server with an append-only file."""

    def __init__(self, folder: Path) -> None:
        self._binary = need_binary("redis-server")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binary, "--port", str(self.port), "--dir", str(self._folder),
                    "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                    "--bind", "127.0.0.1",
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        eventually(self._answers, 10, "redis")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe,
        ):
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")
        return False


class Stack:
    """Processes of one service and a client to it."""

    def __init__(self, folder: Path, redis: Redis | None = None, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.redis = redis
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.script = folder / "script.json"
        if not self.script.exists():
            self.say({})
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DEEPOCR_", "REDIS_"))},
            "DEEPOCR_ENGINE": "scripted",
            "DEEPOCR_SCRIPT": str(self.script),
            "DEEPOCR_DATA_DIR": str(folder / "data"),
            "PYTHONPATH": str(ROOT),
            **({"REDIS_URL": redis.url} if redis else {}),
            **{f"DEEPOCR_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def say(self, script: Mapping[str, Any]) -> None:
        """What the scripted engine of the next worker process says."""
        self.script.write_text(json.dumps(script))

    def start(self, part: str, **more_env: str) -> subprocess.Popen[bytes]:
        """`all`, `api` or `worker`."""
        arguments = [] if part == "worker" else ["--port", str(self.port)]
        with (self.folder / f"{part}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "deepocr.service", part, *arguments],
                env={**self.env, **more_env},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        self.processes[part] = process
        return process

    def wait_ready(self, workers: int = 1) -> None:
        eventually(lambda: self.health().get("workers", -1) >= workers, START_S, "the service")

    def health(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.http.get("/health").json()
        except httpx.HTTPError:
            return {}
        return found

    def worker_pid(self, part: str) -> int:
        """The worker process under a supervisor."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.processes[part].pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        return int(found[0]) if found else 0

    def submit(self, content: bytes, expect: int = 202, **fields: Any) -> str:
        headers = fields.pop("headers", {})
        answer = self.http.post(
            "/api/v1/ocr/process",
            files={"file": (fields.pop("name", "document"), content)},
            data=fields,
            headers=headers,
        )
        assert answer.status_code == expect, answer.text
        return str(answer.json().get("task_id"))

    def task(self, task_id: str, **query: Any) -> dict[str, Any]:
        answer = self.http.get(f"/api/v1/ocr/results/{task_id}", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def finished(self, task_id: str, timeout_s: float = 40) -> dict[str, Any]:
        def final() -> dict[str, Any] | None:
            found = self.task(task_id, wait_s=2)
            return found if found["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        try:
            found: dict[str, Any] = eventually(final, timeout_s, f"the end of task {task_id}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.task(task_id)}\n{self.logs()}") from error
        return found

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-4000:]}" for path in self.folder.glob("*.log")
        )

    def stop(self, *parts: str) -> None:
        for part in parts or tuple(self.processes):
            process = self.processes.pop(part)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def close(self) -> None:
        self.stop()
        self.http.close()


@contextlib.contextmanager
def running(
    folder: Path, *parts: str, redis: bool = False, script: Any = None, **settings: Any
) -> Iterator[Stack]:
    """A service that is ready, stopped when the block ends."""
    server = Redis(folder / "redis") if redis else None
    if server is not None:
        server.start()
    stack = Stack(folder, server, **settings)
    if script is not None:
        stack.say(script)
    try:
        for part in parts or ("all",):
            stack.start(part)
        stack.wait_ready()
        yield stack
    except (AssertionError, httpx.HTTPError) as error:
        raise AssertionError(f"{error!r}\n{stack.logs()}") from error
    finally:
        stack.close()
        if server is not None:
            server.stop()
