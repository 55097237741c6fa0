"""One server per engine for all tests of a module."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.server.cog_server import CogServer, cog_server


def scripted_server(folder: Path, script: Path) -> AbstractContextManager[CogServer]:
    """A Cog server whose engine says what the script says."""
    return cog_server(
        folder,
        slots=4,
        DEEPOCR_ENGINE="scripted",
        DEEPOCR_SCRIPT=str(script),
        DEEPOCR_WARM_UP="false",
    )


@pytest.fixture(scope="session")
def ppocr_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CogServer]:
    folder = tmp_path_factory.mktemp("ppocr")
    with cog_server(folder, DEEPOCR_ENGINE="ppocr", DEEPOCR_MAX_PIXELS="50000000") as server:
        yield server


@pytest.fixture(scope="session")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CogServer]:
    """Page 1 takes 20 s unless canceled; page 2 fails; other pages answer at once."""
    folder = tmp_path_factory.mktemp("scripted")
    script = folder / "script.json"
    script.write_text(
        json.dumps(
            {
                "default": {"text": "page {page}"},
                "pages": {
                    "1": {"text": "slow words", "delay_s": 20},
                    "2": {"error": "the second page is cursed"},
                },
                "concurrency": 4,
            }
        )
    )
    with scripted_server(folder, script) as server:
        yield server


@pytest.fixture(scope="session")
def wrong_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CogServer]:
    """Whatever the page, it writes the same words."""
    folder = tmp_path_factory.mktemp("wrong")
    script = folder / "script.json"
    script.write_text(json.dumps({"default": {"text": "Nothing of this stands on any page."}}))
    with scripted_server(folder, script) as server:
        yield server


@pytest.fixture(scope="session")
def samples() -> Path:
    return Path(__file__).resolve().parents[2] / "deepocr" / "samples"
