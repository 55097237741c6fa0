"""Every part in a process of its own, one JSON and one Markdown file of what they found.

A part that fails, crashes or hangs is told with the end of what it said, and the next one runs. The
files are written anew after each part, so what is there is kept whatever comes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure.gpu_report.markdown import to_markdown

ROOT = Path(__file__).resolve().parents[2]

NAMES = (
    *("machine", "probes", "parity-tiny", "bench-base", "bench-gundam", "steps", "cold-start"),
    *("parity-full", "tests"),
)
"""Of `parts.PARTS`, known without importing torch, which may be what fails."""

LIMIT_S = 460.0
TOLD_CHARS = 3000


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every part was sound, 1 otherwise; the report is written in any case."""
    parser = argparse.ArgumentParser(description="What a GPU shows of the DeepSeek engine.")
    parser.add_argument("--device", default="cuda", help="(cuda); cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="a small network: tries the report")
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="folder (gpu-report)")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be given again")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help=f"of all ({LIMIT_S:.0f})")
    parser.add_argument("--part", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part:
        _run_here(options)
        return 0
    return run_all(options)


def _run_here(options: argparse.Namespace) -> None:
    import torch

    from measure.gpu_report.parts import Setup, run_part

    run_part(options.part, Setup(torch.device(options.device), options.tiny, options.out))


def run_all(options: argparse.Namespace) -> int:
    """The parts one after the other, each with what is left of the time."""
    began_s = time.monotonic()
    report: dict[str, Any] = {"arguments": sys.argv[1:], "parts": {}}
    for name in options.only or NAMES:
        left_s = options.limit_s - (time.monotonic() - began_s)
        report["parts"][name] = found = _run_part(name, options, left_s)
        report["seconds"] = round(time.monotonic() - began_s, 1)
        print(f"{name}: {found['outcome']} after {found['seconds']} s", flush=True)
        (options.out / "gpu_report.json").write_text(json.dumps(report, indent=1))
        (options.out / "gpu_report.md").write_text(to_markdown(report))
    print(f"{options.out / 'gpu_report.md'} and .json, {report['seconds']} s")
    return int(any(part["outcome"] != "ok" for part in report["parts"].values()))


def _run_part(name: str, options: argparse.Namespace, left_s: float) -> dict[str, Any]:
    """Its outcome in a word or a sentence, what it found, and the end of what it said."""
    if left_s <= 0:
        return {"outcome": "not run: the time was up", "seconds": 0.0}
    answer, log = options.out / f"{name}.json", options.out / f"{name}.log"
    answer.unlink(missing_ok=True)
    command = [
        sys.executable, str(ROOT / "scripts" / "gpu_report.py"), "--part", name,
        "--device", options.device, "--out", str(options.out),
        *(["--tiny"] if options.tiny else []),
    ]  # fmt: skip
    began_s = time.monotonic()
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
        )
        try:
            status = process.wait(timeout=left_s)
            outcome = f"failed with status {status}"
        except subprocess.TimeoutExpired:
            outcome = f"ended after {left_s:.0f} s, when the time was up"
        finally:
            _end(process)
    found: dict[str, Any] = {"seconds": round(time.monotonic() - began_s, 1)}
    if answer.exists():
        found["found"] = json.loads(answer.read_text())
        answer.unlink()
        outcome = "ok" if found["found"].get("sound", True) else "NOT SOUND"
    if outcome != "ok":
        found["said"] = log.read_text(errors="replace")[-TOLD_CHARS:]
    return {"outcome": outcome, **found}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
