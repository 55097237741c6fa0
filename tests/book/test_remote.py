"""Reading at servers that misbehave: no page is lost, none is tried more than allowed."""

import asyncio
import copy
import json
import math
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepocr.engines.remote import CogServer, RemoteEngine, Retries
from deepocr.errors import EngineBroken
from deepocr.pipeline import read_page
from deepocr.tasks import make_job
from deepocr.types import Page
from tests.book import helper
from tests.book.faulty_server import HOSTILE, ODD, SCHEMA, WIDTH_0, FaultyServer
from tests.book.papers import pictures_to_pdf, text_page


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return make_book(tmp_path / "book.pdf", 8)


def make_book(path: Path, num_pages: int) -> Path:
    pages = [text_page("word " * 40, (WIDTH_0 + n, 300)) for n in range(1, num_pages + 1)]
    return pictures_to_pdf(path, pages, dpi=72)


def read(
    book: Path, out: Path, *servers: FaultyServer | str, more: tuple[object, ...] = ()
) -> helper.Ended:
    urls = [
        part
        for server in servers
        for part in ("--url", server if isinstance(server, str) else server.url)
    ]
    return helper.run(book, "-o", out, "--dpi", "72", *urls, *more)


def statuses(out: Path) -> list[str]:
    return [page["status"] for page in helper.document(out / "book")["pages"]]


def test_every_kind_of_trouble(book: Path, tmp_path: Path) -> None:
    plan = {
        1: ("409", "409", "ok"),
        2: ("500", "503", "ok"),
        3: ("garbage", "no document", "ok"),
        4: ("half", "ok"),
        5: ("silence", "ok"),
        6: ("loop unless large",),
        7: ("loop",),
        8: ("failed",),
    }
    with FaultyServer(plan) as server:
        ended = read(book, tmp_path, server, more=("--timeout", "1.5"))
        assert ended.returncode == 3, ended.stderr
        assert ended.stdout.splitlines()[-1] == "8 pages: 5 ok, 1 retried, 1 repetition, 1 failed"
        assert statuses(tmp_path) == [*["ok"] * 5, "retried", "repetition", "failed"]
        assert len(server.tries[8]) == 2
        # gundam, large, free OCR, upside down
        assert len(server.tries[7]) == 4
    pages = helper.document(tmp_path / "book")["pages"]
    assert pages[7]["error"].startswith("bad page")
    assert [attempt["kept"] for attempt in pages[5]["attempts"]] == [False, True]
    markdown = (tmp_path / "book" / "document.mmd").read_text()
    assert markdown.count("<--- Page Split --->") == 8
    assert [f"text of page {n}" in markdown for n in range(1, 9)] == [True] * 6 + [False] * 2
    assert "<!-- page 7: " in markdown
    assert "<!-- page 8 " in markdown


def test_hostile_answers_cost_their_page_and_no_other(tmp_path: Path) -> None:
    """Every kind of them in one run, with every output: pages that can be read come out."""
    # one that can be read between them: a server that only fails is given a rest
    kinds = [kind for hostile in HOSTILE for kind in (hostile, "ok")] + [*ODD]
    book = make_book(tmp_path / "book.pdf", len(kinds))
    outputs = ("--searchable-pdf", "--html", "--docx", "--overlay", "pdf")
    with FaultyServer({number: (kind,) for number, kind in enumerate(kinds, 1)}) as server:
        ended = read(
            book, tmp_path, server, more=("--timeout", "4", "--tries", "2", "--jobs", "2", *outputs)
        )
    assert ended.returncode == 3, ended.stderr
    pages = helper.document(tmp_path / "book")["pages"]
    failed = {kind for kind, page in zip(kinds, pages, strict=True) if page["status"] == "failed"}
    assert failed == set(HOSTILE)
    for page in pages:
        error = page["error"] or ""
        assert len(error) < 1000
        assert error.isprintable()
        # no name of a class, of this project's or of a library's
        assert not re.search(r"\b_|[a-z][A-Z]|Error", error), error
    for name in ("searchable.pdf", "document.html", "document.docx", "overlay.pdf"):
        assert (tmp_path / "book" / name).stat().st_size > 0


@pytest.mark.parametrize("charset", ["hex", "UTF-16"])
async def test_trouble_told_in_an_odd_charset_is_trouble(charset: str) -> None:
    with FaultyServer({1: (f"500 in {charset}", "ok")}) as server:
        engine = RemoteEngine([CogServer(server.url, 10)], 1)
        result = await read_page(engine, Page(1, Image.new("RGB", (WIDTH_0 + 1, 9))), make_job())
        await engine.close()
    assert (result.status, result.raw) == ("ok", "text of page 1")


@pytest.mark.parametrize("kind", ODD)
async def test_what_is_odd_is_left_out(kind: str) -> None:
    with FaultyServer(default=(kind,)) as server:
        engine = RemoteEngine([CogServer(server.url, 10)], jobs=1)
        page = Page(1, text_page("word", (WIDTH_0 + 1, 300)))
        result = await read_page(engine, page, make_job())
        await engine.close()
    assert result.status == "ok"
    for region in result.regions:
        for x1, y1, x2, y2 in region.boxes_px:
            assert 0 <= x1 <= x2 <= WIDTH_0 + 1
            assert 0 <= y1 <= y2 <= 300
    assert all(math.isfinite(seconds) for seconds in result.seconds.values())


@pytest.mark.parametrize(
    "schema",
    [
        {"components": []},
        {"components": {"schemas": {"Input": []}}},
        {"components": {"schemas": {"Input": {"properties": ["image"]}}}},
        [],
        "no schema",
    ],
)
def test_schemas_that_are_none(book: Path, tmp_path: Path, schema: object) -> None:
    with FaultyServer(schema=schema) as server:
        ended = read(book, tmp_path, server)
        assert ended.returncode == 1, ended.stderr
        assert "Traceback" not in ended.stderr
        assert not server.tries


@pytest.mark.parametrize("enum", [3, "Markdown", [["JSON"], {}], {"JSON": 1}])
def test_choices_that_are_none(book: Path, tmp_path: Path, enum: object) -> None:
    """What cannot be understood of them does not stop a reading."""
    schema = copy.deepcopy(SCHEMA)
    schemas: dict[str, Any] = schema["components"]["schemas"]
    schemas["task_type"] = schemas["resolution_size"] = {"enum": enum}
    with FaultyServer(schema=schema) as server:
        assert read(book, tmp_path, server, more=("--pages", "1")).returncode == 0


def test_a_state_that_is_none(book: Path, tmp_path: Path) -> None:
    with FaultyServer() as server:
        server.health = ["READY"]
        ended = read(book, tmp_path, server)
    assert ended.returncode == 1
    assert "no Cog predictor" in ended.stderr


@pytest.mark.parametrize("address", ["http://me:secret@{}", "http://{}?token=secret"])
def test_an_address_is_told_without_its_secrets(book: Path, tmp_path: Path, address: str) -> None:
    with FaultyServer(default=("500",)) as server:
        url = address.format(server.url.removeprefix("http://"))
        ended = read(book, tmp_path, url, more=("--tries", "1", "--pages", "1"))
    everything = ended.stdout + ended.stderr
    for file in (tmp_path / "book").rglob("*.*"):
        everything += file.read_text(errors="replace")
    assert "secret" not in everything


def test_a_page_is_not_tried_more_than_allowed(book: Path, tmp_path: Path) -> None:
    with FaultyServer({2: ("500",)}) as server:
        ended = read(book, tmp_path, server, more=("--tries", "3"))
        assert ended.returncode == 3
        assert len(server.tries[2]) == 3
        assert "try 3 of 3" in helper.document(tmp_path / "book")["pages"][1]["error"]
        assert statuses(tmp_path).count("ok") == 7


def test_a_refused_request_is_not_repeated(book: Path, tmp_path: Path) -> None:
    with FaultyServer({2: ("422",)}) as server:
        assert read(book, tmp_path, server).returncode == 3
        assert len(server.tries[2]) == 1


def test_requests_in_flight_are_bounded(book: Path, tmp_path: Path) -> None:
    with FaultyServer(default=("slow",)) as server:
        assert read(book, tmp_path, server, more=("--jobs", "3")).returncode == 0
        assert server.most_at_once == 3


def test_more_jobs_than_slots(book: Path, tmp_path: Path) -> None:
    with FaultyServer(default=("slow",), slots=2) as server:
        assert read(book, tmp_path, server, more=("--jobs", "8")).returncode == 0
        assert statuses(tmp_path) == ["ok"] * 8


def test_pages_of_a_dead_server_go_to_the_other(book: Path, tmp_path: Path) -> None:
    with FaultyServer(default=("crash",)) as dying, FaultyServer() as living:
        ended = read(book, tmp_path, dying, living, more=("--jobs", "4"))
        assert ended.returncode == 0, ended.stderr
        assert statuses(tmp_path) == ["ok"] * 8
        assert sum(map(len, dying.tries.values())) >= 1
        assert set(living.tries) == set(range(1, 9))


def test_a_server_dies_in_the_middle(book: Path, tmp_path: Path) -> None:
    with FaultyServer(default=("slow",)) as living:
        dying = FaultyServer(default=("slow",))

        def kill() -> None:
            while not dying.tries:
                time.sleep(0.01)
            dying.stop()

        killer = threading.Thread(target=kill)
        killer.start()
        ended = read(book, tmp_path, dying, living, more=("--jobs", "2"))
        killer.join()
    assert ended.returncode == 0, ended.stderr
    assert statuses(tmp_path) == ["ok"] * 8
    assert len(dying.tries) < 8


def test_a_server_that_is_not_there_is_done_without(book: Path, tmp_path: Path) -> None:
    with FaultyServer() as living:
        gone = FaultyServer()
        gone.stop()
        assert read(book, tmp_path, gone, living).returncode == 0


def test_no_server_at_all(book: Path, tmp_path: Path) -> None:
    gone = FaultyServer()
    gone.stop()
    ended = read(book, tmp_path, gone)
    assert ended.returncode == 1
    assert "cannot be reached" in ended.stderr
    assert not (tmp_path / "book").exists()


@pytest.mark.parametrize(
    ("schema", "health", "words"),
    [
        ({"components": {"schemas": {"Input": {"properties": {"prompt": {}}}}}}, "READY", "image"),
        ({}, "READY", "no predictor for pages"),
        (None, "SETUP_FAILED", "SETUP_FAILED"),
        (None, "fine, thanks", "no Cog predictor"),
    ],
)
def test_what_is_no_predictor_is_said_before_any_page(
    book: Path, tmp_path: Path, schema: object, health: str, words: str
) -> None:
    with FaultyServer(schema=schema) as server:
        server.health = health
        ended = read(book, tmp_path, server)
        assert ended.returncode == 1
        assert words in ended.stderr
        assert not server.tries


def test_no_address(book: Path, tmp_path: Path) -> None:
    assert "is no address" in read(book, tmp_path, "localhost:5000").stderr


def test_an_older_predictor_that_knows_no_json(book: Path, tmp_path: Path) -> None:
    schema = {"components": {"schemas": {"Input": {"properties": {"image": {}, "task_type": {}}}}}}
    with FaultyServer(schema=schema) as server:
        assert read(book, tmp_path, server, more=("--pages", "1")).returncode == 0
        assert server.tries[1] == [{"task_type": "Convert to Markdown"}]
    # its answer is taken as raw text
    assert json.loads((tmp_path / "book" / "page_0001.mmd").read_text())["schema_version"] == 1


async def test_when_no_server_answers_for_long_the_engine_is_broken() -> None:
    """At once for every page, and for none as its own failure."""
    gone = FaultyServer()
    engine = RemoteEngine([CogServer(gone.url, 5)], jobs=4, retries=Retries(patience_s=0.5))
    await engine.check()
    gone.stop()
    async with asyncio.timeout(20):
        results = await asyncio.gather(*(events_of(engine) for _ in range(40)))
    assert all("no server has answered for" in result for result in results)
    await engine.close()


async def events_of(engine: RemoteEngine) -> str:
    """What a page ends with."""
    try:
        page = Page(1, text_page("word " * 40, (WIDTH_0, 300)))
        return str([event async for event in engine.read(page, make_job())])
    except EngineBroken as error:
        return str(error)


async def test_a_server_that_is_not_there_at_the_first_page_is_no_fault_of_the_page() -> None:
    gone = FaultyServer()
    gone.stop()
    engine = RemoteEngine([CogServer(gone.url, 5)], jobs=4)
    assert "cannot be reached" in await events_of(engine)
    await engine.close()


async def test_a_refused_key_is_no_fault_of_the_page() -> None:
    with FaultyServer(default=("401",)) as server:
        engine = RemoteEngine([CogServer(server.url, 5)], jobs=4)
        assert "check the key" in await events_of(engine)
        await engine.close()


async def test_pages_in_hand_of_an_engine_that_is_closed_are_no_failures() -> None:
    with FaultyServer(default=("500",)) as server:
        engine = RemoteEngine([CogServer(server.url, 5)], jobs=1, retries=Retries(longest_wait_s=1))
        waiting = [asyncio.create_task(events_of(engine)) for _ in range(3)]
        while not server.tries:
            await asyncio.sleep(0.02)
        await engine.close()
        async with asyncio.timeout(20):
            assert all("was closed" in said for said in await asyncio.gather(*waiting))
            assert "was closed" in await events_of(engine)


def test_a_key_that_is_refused_once_costs_its_page(book: Path, tmp_path: Path) -> None:
    with FaultyServer({3: ("401",)}) as server:
        ended = read(book, tmp_path, server, more=("--jobs", "4"))
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.splitlines()[-1] == "8 pages: 7 ok, 1 failed"


def test_a_key_that_is_refused_ends_the_run(book: Path, tmp_path: Path) -> None:
    with FaultyServer(default=("401",)) as server:
        ended = read(book, tmp_path, server)
    assert ended.returncode not in (0, 3), ended.stderr
    assert "check the key" in ended.stderr


async def test_a_server_that_comes_back_is_used_again() -> None:
    with FaultyServer(default=("500",)) as server:
        engine = RemoteEngine([CogServer(server.url, 5)], jobs=1, retries=Retries(patience_s=0.2))
        assert "no server has answered for" in await events_of(engine)
        server.default = ("ok",)
        async with asyncio.timeout(20):
            while "text of page" not in await events_of(engine):
                await asyncio.sleep(0.2)
        await engine.close()


async def test_a_canceled_page_gives_its_place_back() -> None:
    with FaultyServer({1: ("silence",)}) as server:
        engine = RemoteEngine([CogServer(server.url, 30)], jobs=1)
        await engine.check()
        stuck = asyncio.create_task(
            read_page(engine, Page(1, text_page("word", (WIDTH_0 + 1, 300))), make_job())
        )
        while not server.tries[1]:
            await asyncio.sleep(0.02)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        after = Page(1, text_page("word", (WIDTH_0 + 2, 300)))
        async with asyncio.timeout(20):
            assert (await read_page(engine, after, make_job())).raw == "text of page 2"
        await engine.close()


def test_a_blank_page_is_not_sent(tmp_path: Path) -> None:
    blank = Image.new("RGB", (WIDTH_0 + 1, 300), "white")
    book = pictures_to_pdf(tmp_path / "book.pdf", [blank], dpi=72)
    with FaultyServer() as server:
        assert read(book, tmp_path / "out", server).returncode == 0
        assert statuses(tmp_path / "out") == ["blank"]
        assert not server.tries
