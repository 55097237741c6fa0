"""Seconds from the command line to the first page's file, measured as whole processes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from deepocr.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = tuple(ROOT / "deepocr/samples" / name for name in ("letter.jpg", "report.pdf"))
LOOK_EVERY_S = 0.005
TIMEOUT_S = 300.0


def start_seconds(paths: Sequence[Path], engine: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Medians by document: until the first page's Markdown lies in the folder, and until the end.

    Raises EngineError.
    """
    times = {path.name: [_run(path, engine) for _ in range(rounds)] for path in paths}
    return {
        name: {
            "first_page_s": round(median(first_s for first_s, _ in runs), 2),
            "end_s": round(median(end_s for _, end_s in runs), 2),
            "first_page_runs_s": [round(first_s, 2) for first_s, _ in runs],
        }
        for name, runs in times.items()
    }


def _run(path: Path, engine: str) -> tuple[float, float]:
    """Seconds to the first page and to the end of one run in a new folder."""
    command = [sys.executable, str(ROOT / "scripts" / "ocr_pdf.py"), str(path.resolve())]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        started_s = time.perf_counter()
        with subprocess.Popen(
            [*command, "-o", folder, "--engine", engine],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        ) as process:
            first_s = None
            while process.poll() is None:
                now_s = time.perf_counter() - started_s
                if now_s > TIMEOUT_S:
                    process.kill()
                if first_s is None and any(Path(folder).glob("*/page_*.mmd")):
                    first_s = now_s
                time.sleep(LOOK_EVERY_S)
        end_s = time.perf_counter() - started_s
        if process.returncode:
            log.seek(0)
            said = log.read().decode(errors="replace").strip()
            raise EngineError(f"{path.name} was not read: {said}")
        return (end_s if first_s is None else first_s), end_s
