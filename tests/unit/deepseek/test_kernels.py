"""Runs interpreted_*.py where Triton is installed."""

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest


def no_interpreter() -> str:
    """Why the interpreter cannot run here, or nothing."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    triton, numpy = (
        tuple(int(part) for part in version(name).split(".")[:2]) for name in ("triton", "numpy")
    )
    if triton < (3, 3) and numpy >= (2, 4):
        return "the interpreter of Triton 3.2 needs numpy below 2.4"
    return ""


@pytest.mark.skipif(bool(no_interpreter()), reason=no_interpreter())
def test_kernels_agree_with_the_plain_versions() -> None:
    folder = Path(__file__).parent
    files = [str(folder / f"interpreted_{name}.py") for name in ("kernels", "fused")]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
