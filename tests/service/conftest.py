import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.stack import Stack, running

REPLY = (
    "<|ref|>title<|/ref|><|det|>[[25, 50, 500, 200]]<|/det|>\n# Page {page}\n\n"
    "<|ref|>text<|/ref|><|det|>[[25, 300, 900, 600]]<|/det|>\nRead with {task}, {preset}\n\n"
    "<|ref|>image<|/ref|><|det|>[[100, 650, 600, 950]]<|/det|>\n"
)
SLOW_S = 6.0


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One service for many tests: page 7 is slow, page 8 fails."""
    script = {
        "default": {"text": REPLY},
        "pages": {
            "7": {"text": REPLY, "delay_s": SLOW_S},
            "8": {"text": "", "error": "the lamp went out"},
        },
        "notes": {"graphs": "plain, as their capture fails"},
        "start_s": {"read": 2.5},
    }
    with running(tmp_path_factory.mktemp("embedded"), script=script, max_batch_files=8) as stack:
        yield stack


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own; its size is the fixture's parameter, if the test gives one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={getattr(request, 'param', '32m')}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("mount is not there")
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
