"""Replicate's API and the project's own service, spoken to as they speak."""

import base64
import json
import re
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deepocr.engines.remote import RemoteEngine, Retries
from deepocr.engines.remote.replicate_api import ReplicateModel
from deepocr.engines.remote.service_api import TaskService
from deepocr.errors import RemoteError
from deepocr.pipeline import read_page
from deepocr.tasks import make_job
from deepocr.types import Page
from tests.book import helper
from tests.book.faulty_server import SCHEMA, WIDTH_0, answer
from tests.book.papers import pictures_to_pdf, text_page

VERSION = {
    "id": "v123",
    "created_at": "2026-01-01T00:00:00Z",
    "cog_version": "0.23.1",
    "openapi_schema": SCHEMA,
}
MODEL = {
    "url": "https://replicate.com/someone/ocr",
    "owner": "someone",
    "name": "ocr",
    "description": None,
    "visibility": "public",
    "github_url": None,
    "paper_url": None,
    "license_url": None,
    "run_count": 1,
    "cover_image_url": None,
    "default_example": None,
    "latest_version": VERSION,
}


class Hosted:
    """Both APIs; `faults` are status codes that the first requests to create get."""

    def __init__(self) -> None:
        self.faults: list[int] = []
        self.running_polls = 1
        self.predictions: dict[str, dict[str, Any]] = {}
        self.canceled: list[str] = []
        self.deleted: list[str] = []
        self.tokens: set[str | None] = set()
        self.outcome = "succeeded"
        self.page: object = None
        self.changes: dict[str, Any] = {}
        """What answers have instead, by key; `body` stands for a whole answer."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def create(self, page: int, inputs: dict[str, Any]) -> str:
        name = f"p{len(self.predictions)}"
        self.predictions[name] = {"polls": 0, "page": page, "input": inputs}
        return name

    def prediction(self, name: str) -> dict[str, Any]:
        state = self.predictions[name]
        state["polls"] += 1
        status = self.outcome if state["polls"] > self.running_polls else "processing"
        output = answer(state["page"]) if status == "succeeded" else None
        error = "CUDA out of memory" if status == "failed" else None
        return {
            "id": name,
            "model": "someone/ocr",
            "version": "v123",
            "status": status,
            "input": {},
            "output": output,
            "logs": "",
            "error": error,
            "metrics": None,
            "created_at": "2026-01-01T00:00:00Z",
            "started_at": None,
            "completed_at": None,
            "urls": {},
            **self.changes,
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _page_of(png: bytes) -> int:
    return struct.unpack(">I", png[16:20])[0] - WIDTH_0


def _handler(hosted: Hosted) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, code: int, content: Any) -> None:
            body = json.dumps(content).encode() if code != 204 else b""
            body = hosted.changes.get("body", body)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            hosted.tokens.add(self.headers.get("Authorization"))
            path = self.path.partition("?")[0].split("/")[1:]
            match path:
                case ["v1", "models", "someone", "ocr"]:
                    self.reply(200, MODEL)
                case ["v1", "predictions", name]:
                    self.reply(200, hosted.prediction(name))
                case ["openapi.json"]:
                    self.reply(200, {"paths": {"/api/v1/ocr/process": {}}})
                case ["api", "v1", "ocr", "results", name]:
                    status = {"processing": "STARTED", "succeeded": "SUCCESS", "failed": "FAILURE"}
                    found = hosted.prediction(name)
                    told = {"status": status[found["status"]], "error": found["error"]}
                    self.reply(200, {**told, **hosted.changes})
                case ["api", "v1", "ocr", "results", name, "pages", "1"]:
                    state = hosted.predictions[name]
                    self.reply(200, hosted.page or json.loads(answer(state["page"]))["pages"][0])
                case _:
                    self.reply(404, {"detail": "not found"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/cancel"):
                name = self.path.split("/")[-2]
                hosted.canceled.append(name)
                self.reply(200, hosted.prediction(name))
            elif hosted.faults:
                self.reply(hosted.faults.pop(0), {"detail": "try later"})
            elif self.path == "/api/v1/ocr/process":
                start = body.index(b"\x89PNG")
                name = hosted.create(_page_of(body[start:]), {})
                self.reply(202, {"task_id": name, **hosted.changes})
            else:
                content = json.loads(body)
                png = base64.b64decode(content["input"]["image"].partition(",")[2])
                name = hosted.create(_page_of(png), content["input"])
                self.reply(201, {**hosted.prediction(name), "version": content.get("version")})

        def do_DELETE(self) -> None:
            hosted.deleted.append(self.path.rpartition("/")[2])
            self.reply(204, None)

        def log_message(self, *_: object) -> None:
            pass

    return _Handler


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.01")
    server = Hosted()
    yield server
    server.close()


def page(number: int = 1) -> Page:
    return Page(number, text_page("word " * 30, (WIDTH_0 + number, 300)))


async def test_replicate(hosted: Hosted) -> None:
    hosted.faults = [429, 500]
    model = ReplicateModel("someone/ocr", "secret", 30, base_url=hosted.url)
    engine = RemoteEngine([model], jobs=2)
    await engine.check()
    result = await read_page(engine, page(3), make_job())
    assert (result.status, result.raw) == ("ok", "text of page 3")
    assert result.confidence == pytest.approx(0.9)
    (prediction,) = hosted.predictions.values()
    assert prediction["input"]["resolution_size"] == "Gundam (Recommended)"
    assert prediction["input"]["output_format"] == "JSON"
    assert hosted.tokens == {"Bearer secret"}


async def test_replicate_prediction_that_fails(hosted: Hosted) -> None:
    hosted.outcome = "failed"
    model = ReplicateModel("someone/ocr", "secret", 30, base_url=hosted.url)
    engine = RemoteEngine([model], jobs=2)
    result = await read_page(engine, page(), make_job())
    assert result.status == "failed"
    assert "CUDA out of memory" in (result.error or "")
    assert len(hosted.predictions) == 2


async def test_replicate_prediction_that_takes_too_long_is_canceled(hosted: Hosted) -> None:
    hosted.running_polls = 10_000
    model = ReplicateModel("someone/ocr", "secret", 0.2, base_url=hosted.url)
    engine = RemoteEngine([model], jobs=2, retries=Retries(tries=1))
    result = await read_page(engine, page(), make_job())
    assert result.status == "failed"
    assert hosted.canceled == ["p0"]


async def test_replicate_model_that_is_not_there(hosted: Hosted) -> None:
    model = ReplicateModel("someone/else", "secret", 30, base_url=hosted.url)
    with pytest.raises(RemoteError, match="404"):
        await RemoteEngine([model], jobs=1).check()


@pytest.mark.parametrize("name", ["ocr", "a/b/c", "/ocr", "someone/"])
def test_names_that_are_no_models(name: str) -> None:
    with pytest.raises(RemoteError, match="no model"):
        ReplicateModel(name, "secret", 30)


async def test_the_service(hosted: Hosted) -> None:
    hosted.faults = [503]
    engine = RemoteEngine([TaskService(hosted.url, 30, "secret")], jobs=2)
    await engine.check()
    result = await read_page(engine, page(5), make_job())
    assert (result.status, result.raw) == ("ok", "text of page 5")
    assert hosted.deleted == ["p0"]
    assert hosted.tokens == {"Bearer secret"}


async def test_a_task_that_fails(hosted: Hosted) -> None:
    hosted.outcome = "failed"
    engine = RemoteEngine([TaskService(hosted.url, 30)], jobs=2)
    result = await read_page(engine, page(), make_job())
    assert result.status == "failed"
    assert hosted.deleted == ["p0", "p1"]


DEEP = b"[" * 200_000
ODD_PREDICTIONS: dict[str, dict[str, Any]] = {
    "deep": {"body": b'{"output": ' + DEEP},
    "deep output": {"output": DEEP.decode()},
    "half a pair": {"output": '{"pages": "\ud800"}'},
    "no JSON": {"body": b"<html>\xff"},
    "a list": {"body": b"[]"},
    "half an answer": {"body": b'{"id": "p0"}'},
    "a state that is none": {"status": ["succeeded"]},
    "an output that is none": {"output": {"pages": 3}},
    "an odd error": {"status": "failed", "error": {"why": "\ud800\x1b[2J" * 9999}},
    "too long": {"logs": "x" * (9 << 20)},
}


@pytest.mark.parametrize("kind", ODD_PREDICTIONS)
async def test_replicate_answers_what_nobody_expects(hosted: Hosted, kind: str) -> None:
    model = ReplicateModel("someone/ocr", "secret", 30, base_url=hosted.url)
    engine = RemoteEngine([model], jobs=2, retries=Retries(tries=2))
    await engine.check()
    hosted.changes = ODD_PREDICTIONS[kind]
    await assert_failed_with_words(engine)
    hosted.changes = {}
    assert (await read_page(engine, page(2), make_job())).status == "ok"


ODD_TASKS: dict[str, dict[str, Any]] = {
    "deep": {"body": b'{"task_id": ' + DEEP},
    "no JSON": {"body": b"<html>\xff"},
    "a list": {"body": b"[]"},
    "no task": {"task_id": None},
    "a way out": {"task_id": "../../admin?x="},
    "a state that is none": {"status": {"a": 1}},
    "an odd error": {"status": "FAILURE", "error": ["\ud800\x1b[2J" * 9999]},
    "too long": {"error": "x" * (9 << 20)},
}


@pytest.mark.parametrize("kind", ODD_TASKS)
async def test_the_service_answers_what_nobody_expects(hosted: Hosted, kind: str) -> None:
    engine = RemoteEngine([TaskService(hosted.url, 30)], jobs=2, retries=Retries(tries=2))
    await engine.check()
    hosted.changes = ODD_TASKS[kind]
    await assert_failed_with_words(engine)
    assert not any("/" in name or "?" in name for name in hosted.deleted)
    hosted.changes = {}
    assert (await read_page(engine, page(2), make_job())).status == "ok"


@pytest.mark.parametrize("odd", [[1, 2], {"status": "ok"}, {"status": "ok", "raw": 3}])
async def test_a_page_of_the_service_that_is_none(hosted: Hosted, odd: object) -> None:
    engine = RemoteEngine([TaskService(hosted.url, 30)], jobs=2, retries=Retries(tries=2))
    hosted.page = odd
    await assert_failed_with_words(engine)


async def assert_failed_with_words(engine: RemoteEngine) -> None:
    result = await read_page(engine, page(), make_job())
    assert result.status == "failed"
    assert result.error
    assert len(result.error) < 1000
    assert result.error.isprintable()
    assert not re.search(r"\b_|[a-z][A-Z]|Error", result.error), result.error


@pytest.mark.parametrize("key", ["secret\n", "se\u0107ret", "secret\x7f"])
def test_a_key_that_cannot_be_sent_is_not_told(key: str) -> None:
    for server in (
        lambda: TaskService("http://127.0.0.1:9", 30, key),
        lambda: ReplicateModel("someone/ocr", key, 30),
    ):
        with pytest.raises(RemoteError, match="the API key") as caught:
            server()
        assert "ret" not in str(caught.value).replace("letters", "")


def test_a_book_through_the_service(hosted: Hosted, tmp_path: Path) -> None:
    pages = [text_page("word " * 40, (WIDTH_0 + n, 300)) for n in range(1, 4)]
    book = pictures_to_pdf(tmp_path / "book.pdf", pages, dpi=72)
    ended = helper.run(book, "-o", tmp_path / "out", "--dpi", "72", "--service", hosted.url)
    assert ended.returncode == 0, ended.stderr
    assert "text of page 2" in (tmp_path / "out" / "book" / "page_0002.mmd").read_text()


def test_what_is_no_service(tmp_path: Path) -> None:
    from tests.book.faulty_server import FaultyServer

    book = pictures_to_pdf(tmp_path / "book.pdf", [text_page(size_px=(400, 300))], dpi=72)
    with FaultyServer() as server:
        ended = helper.run(book, "-o", tmp_path / "out", "--service", server.url)
    assert ended.returncode == 1
    assert "is no OCR service" in ended.stderr
