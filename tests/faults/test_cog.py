"""Fault by fault, what the Cog server does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


@contextmanager
def bad_second_page(folder: Path, fault: str) -> Iterator[CogServer]:
    script = folder / "script.json"
    script.write_text(json.dumps({"pages": {"2": {"fault": fault, "hang_s": 60}}}))
    settings = {"DEEPOCR_ENGINE": "scripted", "DEEPOCR_SCRIPT": str(script)}
    with cog_server(folder, DEEPOCR_DATA_DIR=str(folder), **settings) as server:
        yield server


def predict_later(server: CogServer) -> threading.Thread:
    """Page 2 in the background, as the prediction `bad`; not waited for."""
    document = data_url(pdf(2), "application/pdf")

    def ask() -> None:
        with suppress(httpx.TransportError):
            inputs = {"image": document, "pages": "2"}
            httpx.put(f"{server.url}/predictions/bad", json={"input": inputs}, timeout=90)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    return asking


@pytest.mark.parametrize("fault", ["exit", "kill"])
def test_a_dead_process_fails_the_health_check(tmp_path: Path, fault: str) -> None:
    document = data_url(pdf(2), "application/pdf")
    with bad_second_page(tmp_path, fault) as server:
        answer = server.predict(image=document)
        assert answer["status"] == "failed"
        assert answer["error"] == "Worker crashed"
        eventually(lambda: server.health()["status"] == "UNHEALTHY", 30, "the health check")
        # its host replaces the server; who asks until then is told
        assert server.predict(image=document, pages="1")["status"] == "failed"


@pytest.mark.parametrize("fault", ["block", "freeze"])
def test_a_held_process_fails_the_health_check(tmp_path: Path, fault: str) -> None:
    with bad_second_page(tmp_path, fault) as server:
        assert server.health()["status"] == "READY"
        predict_later(server)
        eventually(lambda: server.health(30)["status"] == "UNHEALTHY", 90, "the health check")


def test_a_page_that_hangs_can_be_canceled_and_holds_up_no_other(tmp_path: Path) -> None:
    document = data_url(pdf(2), "application/pdf")
    with bad_second_page(tmp_path, "hang") as server:
        asking = predict_later(server)
        assert "page 1" in server.output(image=document, pages="1")
        assert asking.is_alive()
        cancel = f"{server.url}/predictions/bad/cancel"
        eventually(lambda: httpx.post(cancel, timeout=10).status_code == 200, 30, "the canceling")
        asking.join(30)
        assert not asking.is_alive()
        assert server.health()["status"] == "READY"
