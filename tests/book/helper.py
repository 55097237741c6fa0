"""The helper as people run it: a process of its own, with the scripted engine."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from deepocr.cli import main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "ocr_pdf.py"

# differ from run to run, and say so in the documentation
NOT_COMPARED = {"timings.jsonl", ".lock"}


def environment(script: Path | None = None) -> dict[str, str]:
    """Without settings of the machine it runs on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEEPOCR_")}
    if script is not None:
        kept["DEEPOCR_SCRIPT"] = str(script)
    return {**kept, "PYTHONPATH": str(ROOT)}


def write_script(path: Path, **content: Any) -> Path:
    """A script for the scripted engine."""
    path.write_text(json.dumps(content))
    return path


NO_CHECK = "--no-check"
"""What scripted engines say has nothing to do with the page; only tests of checks want to know."""


def start(*arguments: object, script: Path | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments), NO_CHECK],
        env=environment(script),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, script: Path | None = None, check: bool = False) -> Ended:
    """In this process: a new one takes a second to start."""
    if not check:
        arguments = (*arguments, NO_CHECK)
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(script), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(["read", *map(str, arguments)])
        except SystemExit as ended:
            # how argparse says that the command line is wrong
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that must be the same from run to run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_COMPARED
    }


def document(folder: Path) -> dict[str, Any]:
    """document.json."""
    content: dict[str, Any] = json.loads((folder / "document.json").read_text())
    return content
