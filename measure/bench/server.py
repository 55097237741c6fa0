"""Seconds a prediction takes through the real Cog server, without Docker."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from deepocr.errors import EngineUnavailable

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 120
REQUEST_TIMEOUT_S = 300


def server_seconds(images: Sequence[Image.Image], rounds: int) -> dict[str, float]:
    """Median and mean seconds of a prediction, one at a time. Needs the package cog."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        # the worker is started as plain `python`
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "COG_PREDICT_TYPE_STUB": "predict.py:Predictor",
        "PORT": str(port),
        "DEEPOCR_ENGINE": "ppocr",
    }
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url)
            bodies = [_body(image) for image in images]
            # memory and caches, as for whoever else is measured
            _predict(url, bodies[0])
            seconds = [_predict(url, body) for _ in range(rounds) for body in bodies]
        finally:
            process.terminate()
    mean_s = sum(seconds) / len(seconds)
    return {"median_s": round(median(seconds), 3), "mean_s": round(mean_s, 3)}


def _wait_until_ready(url: str) -> None:
    until_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until_s:
        try:
            status = _get(f"{url}/health-check")["status"]
        except (urllib.error.URLError, ConnectionError, json.JSONDecodeError):
            status = "STARTING"
        if status == "READY":
            return
        if status == "SETUP_FAILED":
            break
        time.sleep(0.1)
    raise EngineUnavailable("the Cog server did not become ready; is the package cog installed?")


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def _body(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    data = base64.b64encode(buffer.getvalue()).decode()
    return json.dumps({"input": {"image": f"data:image/png;base64,{data}"}}).encode()


def _predict(url: str, body: bytes) -> float:
    request = urllib.request.Request(
        f"{url}/predictions", data=body, headers={"Content-Type": "application/json"}
    )
    started_s = time.perf_counter()
    while True:
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
                result = json.loads(answer.read())
            break
        except urllib.error.HTTPError as error:
            # no free slot yet: it is freed just after the answer before this was sent
            if error.code != 409:
                raise
            time.sleep(0.01)
    if result["status"] != "succeeded":
        raise EngineUnavailable(f"the prediction failed: {result.get('error')}")
    return time.perf_counter() - started_s
