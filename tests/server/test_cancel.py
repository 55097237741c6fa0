"""Cancel by request and by hanging up, failing pages, and a setup that cannot work."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest

from tests.server.cog_server import CogServer, cog_server
from tests.server.inputs import data_url, pdf

THREE_PAGES = data_url(pdf(3), "application/pdf")


def wait_for(server: CogServer, prediction_id: str, timeout_s: float = 15) -> None:
    """Until all four slots are free again: four fast predictions at once succeed."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        answer = httpx.post(f"{server.url}/predictions/{prediction_id}/cancel", timeout=10)
        if answer.status_code == 404:
            return
        time.sleep(0.1)
    raise AssertionError(f"{prediction_id} is still running")


async def four_slots_work(server: CogServer) -> None:
    answers = await asyncio.gather(
        *(asyncio.to_thread(server.predict, image=THREE_PAGES, pages="3") for _ in range(4))
    )
    assert [answer["output"].splitlines()[0] for answer in answers] == ["page 3"] * 4


async def test_cancel_by_request(slow_server: CogServer) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        started_s = time.monotonic()
        running = asyncio.create_task(
            client.put(
                f"{slow_server.url}/predictions/to-cancel",
                json={"input": {"image": THREE_PAGES, "pages": "1"}},
            )
        )
        await asyncio.sleep(1)
        answer = await client.post(f"{slow_server.url}/predictions/to-cancel/cancel")
        assert answer.status_code == 200
        assert (await running).json()["status"] == "canceled"
        assert time.monotonic() - started_s < 15, "the page was read to its end"
    await four_slots_work(slow_server)


async def test_cancel_by_closing_the_connection(slow_server: CogServer) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.put(
                f"{slow_server.url}/predictions/hung-up",
                json={"input": {"image": THREE_PAGES, "pages": "1"}},
                timeout=1,
            )
    await asyncio.to_thread(wait_for, slow_server, "hung-up")
    await four_slots_work(slow_server)


def test_a_failed_page_stands_in_its_place(slow_server: CogServer) -> None:
    output = slow_server.output(image=THREE_PAGES, pages="2-3")
    assert "<!-- page 2 failed: the second page is cursed -->" in output
    assert "page 3" in output
    pages = json.loads(slow_server.output(image=THREE_PAGES, pages="2-3", output_format="JSON"))
    assert [page["status"] for page in pages["pages"]] == ["failed", "ok"]


def test_no_page_read_is_a_failure(slow_server: CogServer) -> None:
    answer = slow_server.predict(image=THREE_PAGES, pages="2")
    assert answer["status"] == "failed"
    assert answer["error"].endswith("could not read the page: the second page is cursed")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DEEPOCR_ENGIN": "ppocr"}, "did you mean DEEPOCR_ENGINE"),
        ({"DEEPOCR_ENGINE": "tesseract"}, "DEEPOCR_ENGINE='tesseract'"),
    ],
)
def test_setup_says_what_is_wrong(tmp_path: Path, settings: dict[str, str], expected: str) -> None:
    with cog_server(tmp_path, ready=False, **settings) as server:
        health = server.health()
        assert health["status"] == "SETUP_FAILED"
        assert expected in health["setup"]["logs"]
        assert httpx.post(f"{server.url}/predictions", json={"input": {}}).status_code == 503
