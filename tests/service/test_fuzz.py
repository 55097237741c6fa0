"""Every endpoint against its own OpenAPI description: whatever is sent, never a 5xx."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.stack import Stack, picture, running

pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    limits = {"max_client_tasks": 100_000, "sync_timeout_s": 20}
    with running(tmp_path_factory.mktemp("fuzz"), **limits) as found:
        found.finished(found.submit(picture()))
        yield found


@pytest.mark.parametrize(
    "examples", [3, pytest.param(100, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_server_error(stack: Stack, tmp_path: Path, examples: int) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{stack.url}/openapi.json",
        "--checks", "not_a_server_error", "--max-examples", str(examples), "--mode", "all",
        "--phases", "examples,coverage,fuzzing", "--seed", "7", "--no-color",
        "--request-timeout", "60", "--generation-database", "none",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:] + stack.logs()
    assert stack.health()["ready"] is True
