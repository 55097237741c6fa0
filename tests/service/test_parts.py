"""Parts of the service by themselves."""

import asyncio
import base64
import hashlib
import hmac
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from PIL import Image

from deepocr.errors import DocumentTooLarge, InvalidInput
from deepocr.service.http import fetch
from deepocr.service.http.fetch import AddressRefused, is_public, pin
from deepocr.service.http.openai_chat import task_of
from deepocr.service.http.uploads import clean_name
from deepocr.service.http.watcher import Watcher
from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import DiskTaskFiles, NoRoomError, new_task_id
from deepocr.service.state.records import TaskProgress
from deepocr.service.state.store import StoreUnavailableError
from deepocr.service.work import broker
from deepocr.service.work.gate import Gate
from deepocr.service.work.queue import make_celery
from deepocr.service.work.webhooks import headers_of
from deepocr.types import PageResult
from tests.service.stack import eventually

# --- addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::127.0.0.1", "::ffff:0:127.0.0.1", "::8.8.8.8",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:a9fe:a9fe::",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def resolver(*addresses: str) -> fetch.Resolver:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://a.example/x", "http://", "http:///x", "http://u:p@a.example/",
        "http://a.example:99999/", "http://[::1", "gopher://a.example", "x" * 5000, "",
    ],
)  # fmt: skip
async def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        await pin(url, resolver=resolver("93.184.216.34"))


async def test_every_address_of_a_name_must_be_public() -> None:
    with pytest.raises(AddressRefused, match="private"):
        await pin("http://a.example/", resolver=resolver("93.184.216.34", "10.0.0.1"))
    trusted = await pin(
        "http://hooks.lan:81/x?y#z",
        trusted_hosts=frozenset({"hooks.lan"}),
        resolver=resolver("10.0.0.1"),
    )
    assert trusted == ("http://10.0.0.1:81/x?y", "hooks.lan")


async def test_the_numbers_that_browsers_take_for_addresses() -> None:
    for host in ("127.1", "0x7f000001", "2130706433", "localhost"):
        with pytest.raises(AddressRefused):
            await pin(f"http://{host}/")


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[httpx.Request]:
    """All of fetch's requests go to `answer` and are kept."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        found: httpx.Response = answer(request)
        return found

    transport = httpx.MockTransport(handle)
    monkeypatch.setattr(fetch, "_client", lambda: httpx.AsyncClient(transport=transport))
    return seen


async def test_download_goes_to_the_checked_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = answering(monkeypatch, lambda _: httpx.Response(200, content=b"document"))
    path = tmp_path / "file"
    found = resolver("93.184.216.34")
    size = await fetch.download("https://a.example/d?e=1", path, max_bytes=8, resolver=found)
    assert (size, path.read_bytes()) == (8, b"document")
    assert seen[0].url == "https://93.184.216.34/d?e=1"
    assert seen[0].headers["host"] == "a.example"
    assert seen[0].extensions["sni_hostname"] == "a.example"
    with pytest.raises(DocumentTooLarge):
        await fetch.download("https://a.example/d", path, max_bytes=7, resolver=found)


async def test_redirects_are_checked_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def by_name(host: str, port: int) -> list[str]:
        return ["10.0.0.1"] if host == "inside.example" else ["93.184.216.34"]

    def redirect(_: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "http://inside.example/secret"})

    seen = answering(monkeypatch, redirect)
    with pytest.raises(AddressRefused):
        await fetch.download("http://a.example/", tmp_path / "f", max_bytes=9, resolver=by_name)
    assert len(seen) == 1
    answering(monkeypatch, lambda _: httpx.Response(302, headers={"location": "/again"}))
    with pytest.raises(InvalidInput, match="redirects more"):
        await fetch.download("http://a.example/", tmp_path / "f", max_bytes=9, resolver=by_name)
    answering(monkeypatch, lambda _: httpx.Response(404))
    with pytest.raises(InvalidInput, match="404"):
        await fetch.download("http://a.example/", tmp_path / "f", max_bytes=9, resolver=by_name)


# --- files


def test_names_are_only_shown() -> None:
    assert clean_name("../../etc/pass\x00wd") == "passwd"
    assert clean_name("C:\\Users\\me\\scan\n1.pdf") == "scan1.pdf"
    assert clean_name(None) == "document"
    assert len(clean_name("x" * 999)) == 200


@pytest.mark.parametrize("task_id", ["..", "a/b", "", "0" * 31, "G" * 32, "0" * 32 + "\n"])
def test_no_path_from_what_is_no_task_id(tmp_path: Path, task_id: str) -> None:
    with pytest.raises(ValueError, match="no task id"):
        DiskTaskFiles(tmp_path).folder(task_id)


def test_a_deleted_task_does_not_come_back(tmp_path: Path) -> None:
    files = DiskTaskFiles(tmp_path)
    task_id = new_task_id()
    files.create(task_id)
    files.write_page(task_id, PageResult(1, "ok", (10, 10), raw="text"))
    assert files.page(task_id, 1) == PageResult(1, "ok", (10, 10), raw="text")
    files.delete(task_id)
    with pytest.raises(FileNotFoundError):
        files.write_page(task_id, PageResult(1, "ok", (10, 10)))
    assert not files.folder(task_id).exists()


def test_no_room_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    files = DiskTaskFiles(tmp_path)
    task_id = new_task_id()
    files.create(task_id)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NoRoomError, match="No space left"):
        files.write(task_id, "x", b"content")
    assert list(files.folder(task_id).iterdir()) == []


def test_a_picture_that_no_jpeg_holds_is_no_full_disk(tmp_path: Path) -> None:
    files = DiskTaskFiles(tmp_path)
    task_id = new_task_id()
    files.create(task_id)
    folder = files.folder(task_id)
    with pytest.raises(DocumentTooLarge, match="100000 x 8 pixels"):
        files.write_picture(task_id, 1, Image.new("RGB", (100_000, 8)))
    assert list(folder.iterdir()) == []


# --- the gate


class Inside:
    """Threads in a gate, each until it is told to leave."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.names: set[str] = set()
        self._leave: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def enter(self, name: str, most: int | None) -> None:
        self._leave[name] = threading.Event()

        def stay() -> None:
            with self.gate.enter(most):
                self.names.add(name)
                self._leave[name].wait(30)
                self.names.remove(name)

        self._threads[name] = threading.Thread(target=stay, daemon=True)
        self._threads[name].start()

    def leave(self, *names: str) -> None:
        for name in names:
            self._leave[name].set()
            self._threads[name].join(10)

    def become(self, *names: str) -> None:
        eventually(lambda: self.names == set(names), 10, f"{names}, not {self.names},")
        time.sleep(0.05)
        assert self.names == set(names)


def test_suspects_are_among_themselves_and_half_as_many() -> None:
    inside = Inside()
    inside.enter("a", None)
    inside.enter("b", None)
    inside.become("a", "b")
    for name in ("s1", "s2", "s3"):
        inside.enter(name, 2)
    inside.enter("c", None)  # waits until no suspect is left
    inside.become("a", "b")
    inside.leave("a", "b")
    eventually(lambda: len(inside.names) == 2, 10)
    first = sorted(inside.names)
    assert set(first) < {"s1", "s2", "s3"}
    inside.enter("alone", 1)
    inside.leave(first[0])
    eventually(lambda: len(inside.names) == 2, 10)
    inside.leave(*inside.names)
    inside.become("alone")
    inside.leave("alone")
    inside.become("c")
    inside.leave("c")


# --- waiting


class OneTask:
    """A store with one task, whose progress is set by hand."""

    def __init__(self) -> None:
        self.done = 0
        self.changed = threading.Event()

    def wait_for_change(self, timeout_s: float) -> None:
        self.changed.wait(timeout_s)
        self.changed.clear()

    def progress(self, task_ids: Any) -> dict[str, TaskProgress]:
        return {task_id: TaskProgress("STARTED", self.done) for task_id in task_ids}

    def settle(self) -> None:
        self.done += 1
        self.changed.set()


async def test_a_long_poll_waits_though_another_one_was_answered() -> None:
    store = OneTask()
    watcher = Watcher(store)  # type: ignore[arg-type]
    stop = threading.Event()
    run = asyncio.to_thread(watcher.run, asyncio.get_running_loop(), stop)
    running = asyncio.create_task(run)
    try:
        first = asyncio.create_task(watcher.changed("t", TaskProgress("STARTED", 0), 20))
        await asyncio.sleep(0.2)
        store.settle()
        assert await first == TaskProgress("STARTED", 1)
        store.done = 2  # and nobody was waiting
        # what the watcher saw for the first request says nothing about the next
        poll = asyncio.create_task(watcher.changed("t", TaskProgress("STARTED", 2), 1))
        done, _ = await asyncio.wait((poll,), timeout=0.5)
        assert not done
        assert await poll == TaskProgress("STARTED", 2)
        # and a change before it begins to wait is seen at once
        assert await watcher.changed("t", TaskProgress("STARTED", 1), 20) == TaskProgress(
            "STARTED", 2
        )
    finally:
        stop.set()
        store.changed.set()
        await running


# --- the embedded broker


def app_on(folder: Path) -> Celery:
    return make_celery(ServiceSettings(data_dir=folder))


def test_messages_outlive_whoever_took_them(tmp_path: Path) -> None:
    app = app_on(tmp_path)
    for number in range(3):
        app.signature("job", args=(number,), queue="short").apply_async()
    with app.connection_for_read() as connection, connection.channel() as channel:
        first = channel.basic_get("short")
        second = channel.basic_get("short")
        assert channel.basic_get("long") is None
        channel.basic_ack(first.delivery_tag)
        channel.basic_reject(second.delivery_tag, requeue=True)
        assert channel._size("short") == 2
        taken = channel.basic_get("short")
        assert taken.delivery_tag == second.delivery_tag
    assert broker.restore_delivered(tmp_path / "queue.db") == 1
    with app.connection_for_read() as connection, connection.channel() as channel:
        assert channel._size("short") == 2
        assert channel.basic_get("short").delivery_tag == second.delivery_tag
        assert channel._purge("short") == 1


def test_a_full_disk_costs_no_place_in_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, tag: str) -> None:
        raise StoreUnavailableError("database or disk is full")

    app = app_on(tmp_path)
    for number in range(2):
        app.signature("job", args=(number,), queue="short").apply_async()
    with app.connection_for_read() as connection, connection.channel() as channel:
        channel.basic_qos(0, 1, False)
        first = channel.basic_get("short")
        channel.qos.append(first, first.delivery_tag)
        assert not channel.qos.can_consume()
        with monkeypatch.context() as patched:
            patched.setattr(broker.Channel, "forget", full)
            with pytest.raises(StoreUnavailableError):
                channel.basic_ack(first.delivery_tag)
        assert channel.qos.can_consume()
        assert channel.basic_get("short") is not None


# --- the rest


def test_neither_api_nor_worker_loads_mupdf() -> None:
    code = (
        "import sys, deepocr.service.http.app, deepocr.service.work.worker\n"
        "sys.exit('pymupdf' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("secret", ["plain secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_signature_of_a_webhook(secret: str) -> None:
    body = b'{"test": 2432232314}'
    headers = headers_of(secret, "msg_1", 1700000000, body)
    key = secret.encode()
    if secret.startswith("whsec_"):
        key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, b"msg_1.1700000000." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")
    own = hmac.new(secret.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["X-DeepOCR-Signature"] == f"t=1700000000,v1={own}"


def test_signature_as_in_the_published_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    headers = headers_of(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("", "Convert to Markdown"),
        ("<image>\n<|grounding|>Convert the document to markdown. ", "Convert to Markdown"),
        ("<image>\nFree OCR.", "Free OCR"),
        ("free ocr", "Free OCR"),
        ("OCR this image.", "OCR with Boxes"),
        ("describe", "Describe Image"),
        ("Parse the figure.", "Parse Figure"),
    ],
)
def test_prompts(prompt: str, task: str) -> None:
    assert task_of(prompt) == (task, "")


def test_prompt_to_locate() -> None:
    prompt = "<image>\nLocate <|ref|>the total<|/ref|> in the image."
    assert task_of(prompt) == ("Locate Object by Reference", "the total")
    with pytest.raises(InvalidInput, match="no task's"):
        task_of("Free OCRs")


def test_no_secret_is_shown() -> None:
    settings = ServiceSettings(
        api_keys="k1,k2", webhook_secret="w3bh00k", redis_url="redis://:pw@h"
    )
    shown = repr(settings) + str(settings)
    assert not any(secret in shown for secret in ("k1", "w3bh00k", "pw@"))
    assert len(settings.key_digests()) == 2
