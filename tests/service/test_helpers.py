"""Work that a hostile text or request makes long, in processes that may be ended."""

import asyncio
import html
import time
from pathlib import Path
from typing import Any

import pytest

from deepocr.service.http import answers
from deepocr.service.work.helpers import HelperFailed, Helpers
from deepocr.types import PageResult, Region
from tests.service.test_limits import hand_in, inside, service


def grow() -> int:
    return len(bytearray(8 << 30))


def fail(*_: Any) -> bytes:
    raise ZeroDivisionError("a secret place: /srv/data")


async def test_what_takes_too_long_is_ended() -> None:
    helpers = Helpers(1)
    with pytest.raises(HelperFailed, match=r"more than 0\.2 s"):
        await helpers.run(0.2, time.sleep, 60)
    # nobody stands in the way of the next
    async with asyncio.timeout(60):
        assert await helpers.run(60, abs, -3) == 3


async def test_what_takes_too_much_memory_fails() -> None:
    helpers = Helpers(1)
    with pytest.raises(HelperFailed, match="bytes of memory"):
        await helpers.run(60, grow)
    with pytest.raises(ZeroDivisionError):
        await helpers.run(60, fail)
    assert await helpers.run(60, abs, -3) == 3


def test_a_page_that_cannot_be_rendered_shows_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = "<b>bold & \\(x"
    page = PageResult(1, "ok", (400, 300), raw=raw, regions=(Region("text", raw),))
    with service(tmp_path) as client:
        task_id = hand_in(client).json()["task_id"]
        found = inside(client)
        found.files.write_page(task_id, page)
        found.store.settle_page(task_id, 1, "ok")
        where = f"/api/v1/ocr/results/{task_id}/pages/1"
        good = client.get(where).json()
        assert good["text_html"].count("page-error") == 0
        monkeypatch.setattr(answers, "page_json", fail)
        plain = client.get(where).json()
        assert plain["raw"] == plain["markdown"] == raw
        assert "rendering it failed" in plain["text_html"]
        assert html.escape(raw) in plain["text_html"]
        assert "secret" not in plain["text_html"]
        assert {key for key in good if key not in plain} == set()
