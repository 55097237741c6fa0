"""Starts the real Cog server on a free port, in a folder of its own, without Docker."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Path(__file__).with_name("openapi_schema.json")


@dataclass(frozen=True)
class CogServer:
    """A running server; `log` is where its output goes."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def predict(self, timeout_s: float = 120, **inputs: Any) -> dict[str, Any]:
        """The answer to one prediction, whatever its status. A 409 (no free slot) is retried,
        as every client of Cog has to."""
        for _ in range(200):
            answer = httpx.post(
                f"{self.url}/predictions", json={"input": inputs}, timeout=timeout_s
            )
            if answer.status_code != 409:
                return {"http_status": answer.status_code, **answer.json()}
            time.sleep(0.05)
        raise AssertionError("no free slot in ten seconds")

    def output(self, **inputs: Any) -> str:
        """The output of a prediction that succeeds."""
        answer = self.predict(**inputs)
        assert answer.get("status") == "succeeded", answer
        output = answer["output"]
        assert isinstance(output, str)
        return output

    def health(self, timeout_s: float = 10) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{self.url}/health-check", timeout=timeout_s).json()
        return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def cog_server(
    folder: Path, *, slots: int = 16, ready: bool = True, **settings: str
) -> Iterator[CogServer]:
    """A server with predict.py and the schema that `cog build` would bake in.

    `settings` become the environment. With `ready=False` it is enough that the server answers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "predict.py", folder / "predict.py")
    (folder / ".cog").mkdir(exist_ok=True)
    shutil.copy(SCHEMA, folder / ".cog" / "openapi_schema.json")
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DEEPOCR_")},
        # the worker is started as plain `python`
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COG_PREDICT_TYPE_STUB": "predict.py:Predictor",
        "COG_MAX_CONCURRENCY": str(slots),
        "PORT": str(port),
        "LOG_FORMAT": "console",
        **settings,
    }
    log = folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
            cwd=folder,
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        server = CogServer(f"http://127.0.0.1:{port}", log, process)
        try:
            wait_until_up(server, process, {"READY"} if ready else {"READY", "SETUP_FAILED"})
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(
    server: CogServer, process: subprocess.Popen[bytes], wanted: set[str], timeout_s: float = 180
) -> None:
    """Until /health-check says one of `wanted`; fails with the server's log."""
    deadline_s = time.monotonic() + timeout_s
    status = "no answer"
    while time.monotonic() < deadline_s and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            status = server.health()["status"]
        if status in wanted:
            return
        if status == "SETUP_FAILED":
            break
        time.sleep(0.2)
    raise AssertionError(f"server is {status}, wanted {wanted}:\n{server.log.read_text()}")
