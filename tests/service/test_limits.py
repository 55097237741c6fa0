"""Limits, keys and lifetimes: the app in this process, workers where they are needed."""

import base64
import hashlib
import hmac
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from celery import Celery
from fastapi.testclient import TestClient
from PIL import Image

from deepocr.documents.pdf import PdfDocument
from deepocr.documents.pictures import PictureDocument
from deepocr.errors import PageTooCostly
from deepocr.service.http import context
from deepocr.service.http.app import create_app
from deepocr.service.http.context import Service
from deepocr.service.http.json_documents import MAX_REST_BYTES
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import TEMPORARY_S
from deepocr.service.state.store import WORKER_TTL_S, StoreUnavailableError
from deepocr.service.work.queue import make_celery, waiting_messages
from deepocr.service.work.sweeper import STUCK_S, Sweeper
from tests.service.stack import Redis, book, eventually, free_port, picture, running
from tests.service.test_store import record


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[TestClient]:
    with TestClient(
        create_app(ServiceSettings(data_dir=folder, **settings)), raise_server_exceptions=False
    ) as client:
        yield client


def inside(client: TestClient) -> Service:
    found = client.app.state.service  # type: ignore[attr-defined]
    assert isinstance(found, Service)
    return found


def sweeper_of(found: Service, store: Any) -> Sweeper:
    return Sweeper(make_celery(found.settings), found.settings, store, found.files)


def hand_in(client: TestClient, content: bytes | None = None, **more: Any) -> Any:
    files = {"file": ("a.png", content or picture())}
    return client.post("/api/v1/ocr/process", files=files, **more)


# --- size


def test_too_many_bytes(tmp_path: Path) -> None:
    with service(tmp_path, max_upload_bytes=5000, max_json_bytes=1000) as client:
        assert hand_in(client).status_code == 202
        refused = hand_in(client, b"\x89PNG" + b"x" * 6000)
        assert refused.status_code == 413
        assert refused.headers["content-type"] == "application/problem+json"
        assert "5,000 bytes" in refused.json()["detail"]
        assert client.post("/v1/ocr", json={"document": "x" * 2000}).status_code == 413


def test_bytes_are_counted_without_a_length(tmp_path: Path) -> None:
    boundary = "b"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    ).encode()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(10):
            yield b"x" * 1000

    with service(tmp_path, max_upload_bytes=5000) as client:
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = client.post("/api/v1/ocr/process", content=body(), headers=headers)
        assert answer.status_code == 413
        assert answer.json()["status"] == 413


def test_too_many_pixels_and_pages(tmp_path: Path) -> None:
    with service(tmp_path, max_pixels=10_000, max_pages=2) as client:
        refused = hand_in(client, picture(size=(101, 100)))
        assert (refused.status_code, "pixels" in refused.json()["detail"]) == (413, True)
        assert hand_in(client, book(3)).status_code == 413
        assert hand_in(client, book(3), data={"pages": "2-3"}).status_code == 202


@pytest.mark.parametrize("content", [picture(), book(2)], ids=["picture", "PDF"])
def test_documents_are_opened_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("opened in the process that answers")

    monkeypatch.setattr(PdfDocument, "__init__", refuse)
    monkeypatch.setattr(PictureDocument, "__init__", refuse)
    with service(tmp_path) as client:
        assert hand_in(client, content).status_code == 202
        pids = inside(client).documents.pids()
        assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_document_that_opens_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_for_ever(*_: Any, **__: Any) -> None:
        raise PageTooCostly("opening the document took more than 60 s and was stopped")

    with service(tmp_path) as client:
        monkeypatch.setattr(inside(client).documents, "open", open_for_ever)
        refused = hand_in(client, book(1))
        assert refused.status_code == 422
        assert refused.json()["type"].endswith("page-too-costly")
        assert "60 s" in refused.json()["detail"]
    assert not list((tmp_path / "tasks").iterdir())


# --- JSON


@pytest.fixture
def small_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process fails where it reads much JSON itself: its loop would stand still meanwhile."""
    loads = json.loads

    def loads_little(text: Any, *arguments: Any, **options: Any) -> Any:
        assert len(text) <= MAX_REST_BYTES, "much JSON in the API's process"
        return loads(text, *arguments, **options)

    monkeypatch.setattr(json, "loads", loads_little)


def large_picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((700, 500), 60).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.usefixtures("small_json")
def test_large_json_is_read_elsewhere(tmp_path: Path) -> None:
    good = base64.b64encode(large_picture()).decode()
    images = [good, "!" + good, good[:80_000], "AAAA"]
    with service(tmp_path, sync_timeout_s=0.1) as client:
        answer = client.post("/predict/ocr_system", json={"images": images[1:]}).json()
        assert answer["status"] == "000"
        assert answer["results"] == [[], [], []]
        first, second, third = answer["msg"].split("; images")
        assert first.startswith("images[0]: the document is not valid base64")
        assert second.startswith("[1]: the picture is damaged")
        assert third.startswith("[2]: the file is no picture")
        # what is good is queued, and no worker is here to read it
        late = client.post("/predict/ocr_system", json={"images": images}).json()
        assert (late["status"], late["msg"]) == ("101", "the document took too long")
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.usefixtures("small_json")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 200_000, 422),
        (b'{"messages": "' + b"x" * 200_000, 422),
        (b'{"messages": [' + b"{}," * 200_000 + b"{}]}", 413),
        (b'{"messages": [' + b"{}," * 50_000 + b"{}]}", 422),
        (json.dumps({"messages": [{"role": "user", "content": [{}] * 30_000}]}).encode(), 422),
    ],
    ids=["deep", "cut off", "too many", "many", "many parts"],
)
def test_hostile_json(tmp_path: Path, body: bytes, status: int) -> None:
    with service(tmp_path) as client:
        headers = {"Content-Type": "application/json"}
        answer = client.post("/v1/chat/completions", content=body, headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 5000
        paddle = client.post("/predict/ocr_system", content=body, headers=headers)
        assert paddle.status_code in (200, 413)


# --- how many


def test_tasks_of_one_client(tmp_path: Path) -> None:
    with service(tmp_path, max_client_tasks=2, api_keys="a,b") as client:
        for _ in range(2):
            assert hand_in(client, headers={"X-API-Key": "a"}).status_code == 202
        refused = hand_in(client, headers={"X-API-Key": "a"})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["type"].endswith("too-many-tasks")
        assert hand_in(client, headers={"X-API-Key": "b"}).status_code == 202


def test_a_full_queue(tmp_path: Path) -> None:
    with service(tmp_path, max_pending_tasks=1) as client:
        assert hand_in(client).status_code == 202
        refused = hand_in(client)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0


def test_bytes_that_are_kept(tmp_path: Path) -> None:
    content = large_picture()
    with service(tmp_path, max_client_bytes=2 * len(content) + 400_000) as client:
        first = hand_in(client, content).json()["task_id"]
        assert hand_in(client, content).status_code == 413
        client.post(f"/api/v1/ocr/tasks/{first}/cancel")
        # what is final counts as well, by what its files really are
        second = hand_in(client, content).json()["task_id"]
        client.post(f"/api/v1/ocr/tasks/{second}/cancel")
        refused = hand_in(client, content)
        assert refused.status_code == 413
        assert refused.json()["type"].endswith("too-many-bytes")
        client.delete(f"/api/v1/ocr/results/{first}")
        assert hand_in(client, content).status_code == 202
        assert len(list((tmp_path / "tasks").iterdir())) == 2
    with service(tmp_path / "all", max_data_bytes=400_000) as client:
        assert hand_in(client).status_code == 202
        assert hand_in(client).status_code == 507
    with service(tmp_path / "full", min_free_bytes=1 << 60) as client:
        refused = hand_in(client)
        assert (refused.status_code, refused.json()["type"][-12:]) == (503, "storage-full")


def test_redis_that_is_not_there(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with service(tmp_path, redis_url=url) as client:
        refused = hand_in(client)
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("queue-unavailable")
        assert client.get("/health").json()["queue"] == "unreachable"
        assert not list((tmp_path / "tasks").iterdir())


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/ocr", "POST"), (f"/api/v1/ocr/results/{'0' * 32}", "DELETE, GET"), ("/health", "GET")],
)
def test_a_wrong_method_is_told_the_right_ones(tmp_path: Path, path: str, allowed: str) -> None:
    with service(tmp_path) as client:
        refused = client.put(path)
        assert refused.status_code == 405
        assert refused.headers["allow"] == allowed
        assert refused.headers["content-type"] == "application/problem+json"


class Stuck(threading.Event):
    """Keeps whoever asks a store until it is set."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.wait(30)
        raise StoreUnavailableError("late")


def test_health_waits_for_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "ASK_S", 0.1)
    stuck = Stuck()
    with service(tmp_path) as client:
        monkeypatch.setattr(inside(client).store, "workers", stuck)
        try:
            for _ in range(3):
                assert client.get("/health/live").json() == {"live": True}
                assert client.get("/health/ready").status_code == 503
            assert client.get("/health").json()["queue"] == "unreachable"
        finally:
            stuck.set()


def test_no_question_waits_for_a_stuck_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "ASK_S", 0.1)
    stuck = Stuck()
    with service(tmp_path) as client:
        where = f"/api/v1/ocr/results/{hand_in(client).json()['task_id']}"
        for name in ("task", "tasks", "tasks_of", "workers", "pending", "counters", "read_live"):
            monkeypatch.setattr(inside(client).store, name, stuck)
        try:
            pages = [f"{where}/pages/1", f"{where}/pages/1/image", f"{where}/download"]
            for path in (where, *pages, "/api/v1/ocr/tasks", "/api/v1/ocr/options"):
                assert client.get(path).status_code == 503, path
            assert client.post(f"/api/v1/ocr/tasks/{where[-32:]}/cancel").status_code == 503
            assert client.delete(where).status_code == 503
            # Prometheus still gets what this process counts itself
            assert "deepocr_queue_up 0.0" in client.get("/metrics").text
        finally:
            stuck.set()


# --- who


def test_api_keys(tmp_path: Path) -> None:
    with service(tmp_path, api_keys="first, second") as client:
        for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer firs"}):
            for method, path in (
                ("POST", "/api/v1/ocr/process"), ("GET", "/api/v1/ocr/tasks"),
                ("POST", "/ocr_batch"), ("POST", "/predict/ocr_system"), ("POST", "/v1/ocr"),
                ("POST", "/v1/chat/completions"), ("GET", "/v1/models"),
                ("GET", f"/api/v1/ocr/results/{'0' * 32}"),
            ):  # fmt: skip
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
        task_id = hand_in(client, headers={"Authorization": "Bearer first"}).json()["task_id"]
        where = f"/api/v1/ocr/results/{task_id}"
        assert client.get(where, headers={"X-API-Key": "first"}).status_code == 200
        for path in (where, f"{where}/pages/1", f"{where}/download"):
            assert client.get(path, headers={"X-API-Key": "second"}).status_code == 404
        assert client.delete(where, headers={"X-API-Key": "second"}).status_code == 404
        listed = client.get("/api/v1/ocr/tasks", headers={"X-API-Key": "second"})
        assert listed.json() == {"tasks": []}
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/ocr/process", "multipart/form-data; boundary=b"),
        ("/ocr_batch", "multipart/form-data; boundary=b"),
        ("/predict/ocr_system", "application/json"),
        ("/v1/chat/completions", "application/json"),
        ("/v1/ocr", "application/json"),
    ],
)
async def test_keys_are_checked_before_a_body_is_read(tmp_path: Path, path: str, kind: str) -> None:
    told: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        told.append(message)

    headers = [(b"content-type", kind.encode()), (b"content-length", b"400000000")]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": headers, "client": ("1.2.3.4", 5),
    }  # fmt: skip
    settings = ServiceSettings(data_dir=tmp_path, api_keys="k", max_json_bytes=500_000_000)
    app = create_app(settings)
    await app(scope, receive, send)
    assert told[0]["status"] == 401


def test_cors_is_off_unless_asked_for(tmp_path: Path) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    with service(tmp_path) as client:
        assert "access-control-allow-origin" not in client.get("/health", headers=origin).headers
    with service(tmp_path, cors_origins="https://elsewhere.example") as client:
        answer = client.get("/health", headers=origin)
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]


def test_logs_hold_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="deepocr")
    with service(tmp_path, api_keys="k3y-s3cret") as client:
        hand_in(client, book(1), headers={"X-API-Key": "k3y-s3cret"}, data={"password": "p4ss"})
    assert "s3cret" not in caplog.text
    assert "p4ss" not in caplog.text


# --- how long


def test_results_are_deleted_after_their_time(tmp_path: Path) -> None:
    with service(tmp_path, result_ttl_s=100) as client:
        task_id = hand_in(client).json()["task_id"]
        orphan = tmp_path / "tasks" / ("0" * 32)
        orphan.mkdir()
        found = inside(client)
        sweeper = sweeper_of(found, found.store)
        sweeper.sweep(time.time())
        assert found.store.task(task_id) is not None
        later = sweeper_of(found, _always(found.store))
        later.sweep(time.time() + 101)
        assert found.store.task(task_id) is None
        assert not list((tmp_path / "tasks").iterdir())
        assert client.get(f"/api/v1/ocr/results/{task_id}").status_code == 404


def test_what_a_killed_request_left_is_swept(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        files = inside(client).files
        folder, file = files.temporary(), files.temporary()
        folder.mkdir()
        (folder / "body").write_bytes(b"x")
        file.write_bytes(b"x")
        sweeper = sweeper_of(inside(client), _always(inside(client).store))
        sweeper.sweep(time.time() + TEMPORARY_S - 60)
        assert {folder, file} == set((tmp_path / "temporary").iterdir())
        sweeper.sweep(time.time() + TEMPORARY_S + 60)
        assert not list((tmp_path / "temporary").iterdir())


def test_a_task_has_a_time_limit(tmp_path: Path) -> None:
    with service(tmp_path, task_timeout_s=50) as client:
        task_id = hand_in(client).json()["task_id"]
        found = inside(client)
        found.store.begin_page(task_id, 1, "w")
        sweeper = sweeper_of(found, _always(found.store))
        sweeper.sweep(time.time())
        assert client.get(f"/api/v1/ocr/results/{task_id}").json()["status"] == "STARTED"
        sweeper.sweep(time.time() + 51)
        answer = client.get(f"/api/v1/ocr/results/{task_id}").json()
        assert answer["status"] == "FAILURE"
        assert "50 s" in answer["error"]


def lost_in_the_queue(client: TestClient) -> tuple[str, Service, Celery]:
    """A task of one page whose page job is gone, the service, and its queue."""
    task_id = hand_in(client).json()["task_id"]
    found = inside(client)
    app = make_celery(found.settings)
    with app.connection_for_read() as connection, connection.channel() as channel:
        assert channel._purge("short") == 1
    return task_id, found, app


def test_what_got_stuck_is_queued_again(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        task_id, found, app = lost_in_the_queue(client)
        sweeper = sweeper_of(found, _always(found.store))
        now_s = time.time()
        sweeper.sweep(now_s)
        sweeper.sweep(now_s + STUCK_S + 1)
        assert waiting_messages(app) == 0  # it may only be slow
        sweeper.sweep(now_s + found.settings.redelivery_s() + 1)
        assert waiting_messages(app) == 1
        # all pages there, and nobody stitched them
        found.store.begin_page(task_id, 1, "w")
        found.store.settle_page(task_id, 1, "ok")
        sweeper.sweep(now_s)
        sweeper.sweep(now_s + STUCK_S + 1)
        assert waiting_messages(app) == 2


def test_a_book_is_queued_though_the_api_was_lost_meanwhile(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        found = inside(client)
        app = make_celery(found.settings)
        numbers = tuple(range(1, 121))
        task = record(task_id="a" * 32, numbers=numbers, num_pages=120)
        found.store.create(task, found.settings)
        # the API that took it was killed before it queued a page; another one sees to it
        eventually(lambda: waiting_messages(app) == 120, 20, "all pages")
        assert found.store.unsent() == []


def test_pages_of_a_machine_that_is_gone_are_queued_again(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        task_id, found, app = lost_in_the_queue(client)
        found.store.begin_page(task_id, 1, "gone")
        sweeper = sweeper_of(found, _always(found.store))
        now_s = time.time()
        sweeper.sweep(now_s)
        sweeper.sweep(now_s + WORKER_TTL_S - 1)
        assert waiting_messages(app) == 0
        sweeper.sweep(now_s + WORKER_TTL_S + 1)
        assert waiting_messages(app) == 1
        suspicion = found.store.take_page(task_id, 1, "w9")
        assert suspicion is not None
        assert (suspicion.strikes, suspicion.together) == (1, 1)


def _always(store: Any) -> Any:
    """A store that gives every turn, so that a test need not wait for the next."""

    class Eager:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def once(self, name: str, seconds: float) -> bool:
            return True

    return Eager()


# --- webhooks


class Hook(BaseHTTPRequestHandler):
    """Fails once, then takes the message. `/endless` answers without an end."""

    received: ClassVar[list[tuple[dict[str, str], bytes]]] = []
    endless: ClassVar[list[bool]] = []
    answers = (503, 204)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/endless":
            self._write_until_cut()
            return
        self.received.append((dict(self.headers), body))
        self.send_response(self.answers[min(len(self.received), 2) - 1])
        self.end_headers()

    def _write_until_cut(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 65536)
        except OSError:
            self.endless.append(True)

    def log_message(self, *_: object) -> None:
        pass


def test_webhooks_are_signed_and_sent_again(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_port}"
    settings = {"webhook_secret": "w3bh00k", "webhook_hosts": "localhost"}
    try:
        with running(tmp_path, **settings) as stack:
            stack.submit(picture(), webhook_url="http://169.254.169.254/", expect=422)
            stack.submit(picture(), webhook_url="http://127.0.0.1/", expect=422)
            endless = stack.submit(picture(), webhook_url=f"{url}/endless")
            task_id = stack.submit(picture(), webhook_url=f"{url}/done")
            stack.finished(endless)
            stack.finished(task_id)
            eventually(lambda: Hook.received, 20, "the first try")
            # its next try is due: a service that is killed and started again still knows it
            stack.processes["all"].kill()
            stack.processes["all"].wait()
            stack.start("all")
            eventually(lambda: len(Hook.received) == 2, 40, "the second try")
            eventually(lambda: Hook.endless == [True], 20, "the end of the endless answer")
            assert "w3bh00k" not in stack.logs()
    finally:
        server.shutdown()
    headers, body = Hook.received[1]
    stamp, digest = (part.split("=")[1] for part in headers["X-DeepOCR-Signature"].split(","))
    expected = hmac.new(b"w3bh00k", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(digest, expected)
    assert headers["webhook-id"] == task_id
    assert headers["webhook-signature"].startswith("v1,")
    content = json.loads(body)
    assert (content["task_id"], content["status"], content["pages"]) == (task_id, "SUCCESS", 1)


def test_redis_is_a_store_too(tmp_path: Path) -> None:
    redis = Redis(tmp_path / "redis")
    redis.start()
    try:
        with service(tmp_path / "data", redis_url=redis.url, max_client_tasks=1) as client:
            task_id = hand_in(client).json()["task_id"]
            assert hand_in(client).status_code == 429
            assert client.post(f"/api/v1/ocr/tasks/{task_id}/cancel").json()["status"] == "CANCELED"
            assert hand_in(client).status_code == 202
    finally:
        redis.stop()
