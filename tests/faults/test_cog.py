"""Fault by fault, what the Cog server does."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.faults.test_helper import EXCEPTIONS
from tests.server.cog_server import CogServer, cog_server
from tests.server.inputs import data_url, pdf
from tests.service.stack import eventually

FAULTS = list(EXCEPTIONS)
BROKEN = len(FAULTS) + 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CogServer]:
    """Page 1 is fine, then one page for each fault, the next breaks the engine."""
    folder = tmp_path_factory.mktemp("faults")
    pages = {str(n): {"fault": fault, "text": "so far"} for n, fault in enumerate(FAULTS, 2)}
    script = folder / "script.json"
    script.write_text(json.dumps({"pages": {**pages, str(BROKEN): {"fault": "broken"}}}))
    settings = {"DEEPOCR_ENGINE": "scripted", "DEEPOCR_SCRIPT": str(script)}
    with cog_server(folder, DEEPOCR_DATA_DIR=str(folder), **settings) as server:
        yield server


def test_any_exception_costs_its_page(server: CogServer) -> None:
    document = data_url(pdf(BROKEN), "application/pdf")
    pages = f"1-{BROKEN - 1}"
    result = json.loads(server.output(image=document, pages=pages, output_format="JSON"))
    first, *failed = result["pages"]
    assert first["status"] == "ok"
    assert [page["status"] for page in failed] == ["failed"] * len(FAULTS)
    for fault, page in zip(FAULTS, failed, strict=True):
        assert EXCEPTIONS[fault] in page["error"]
        assert page["raw"].startswith("so far")
    assert server.health()["status"] == "READY"


@pytest.mark.parametrize(
    ("inputs", "told"),
    [({"reference_text": 5}, "reference_text"), ({"pages": 3}, "pages"), ({}, "password")],
)
def test_wrong_inputs_are_told(server: CogServer, inputs: dict[str, object], told: str) -> None:
    locked = data_url(pdf(1, password="secret"), "application/pdf")
    answer = server.predict(image=locked, **inputs)
    assert told in json.dumps(answer)
    assert answer.get("status") != "succeeded"
    assert "Traceback" not in json.dumps(answer.get("error", ""))
    assert "InvalidInput" not in json.dumps(answer)
    assert "PasswordNeeded" not in json.dumps(answer)


def test_a_password_opens(server: CogServer) -> None:
    locked = data_url(pdf(1, password="secret"), "application/pdf")
    assert "page 1" in server.output(image=locked, password="secret")


def test_a_broken_engine_is_told_and_ends_the_server(server: CogServer) -> None:
    document = data_url(pdf(BROKEN), "application/pdf")
    answer = server.predict(image=document, pages=f"1,{BROKEN}")
    assert answer["status"] == "failed"
    assert "the scripted engine broke" in answer["error"]

    def unhealthy() -> bool:
        try:
            return bool(server.health()["status"] == "UNHEALTHY")
        except httpx.TransportError:
            return server.process.poll() is not None

    eventually(unhealthy, 30, "the health check")
    eventually(lambda: server.process.poll() is not None, 60, "the server's end")
