"""Answers made of pages: large ones elsewhere, and no page that cannot be rendered costs more."""

import base64
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from fastapi.testclient import TestClient

from deepocr.errors import StorageError
from deepocr.service.http import answers, made, page_view
from deepocr.service.http.routes import mistral
from deepocr.service.state.records import FINAL
from deepocr.service.work.exports import write_export
from deepocr.service.work.stitching import stitch
from deepocr.types import PageResult, Region
from tests.service.stack import book, eventually, picture
from tests.service.test_limits import hand_in, inside, service

TEXT = "word \\(x^2\\) é𝕊 " * 20


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with service(tmp_path) as found:
        yield found


def settle(client: TestClient, task_id: str) -> None:
    """As a worker would, with a text of its own on each page."""
    found = inside(client)
    snapshot = found.store.task(task_id)
    assert snapshot is not None
    for number in snapshot.record.numbers:
        text = f"page {number} {TEXT}"
        region = Region("text", text, boxes_px=((10, 10, 200, 100),))
        page = PageResult(number, "ok", (400, 300), raw=text, regions=(region,))
        found.files.write_page(task_id, page)
        found.store.settle_page(task_id, number, "ok")
    stitch(found.store, found.files, task_id, "scripted")


def read_book(client: TestClient, pages: int) -> str:
    task_id = str(hand_in(client, book(pages)).json()["task_id"])
    settle(client, task_id)
    return f"/api/v1/ocr/results/{task_id}"


@pytest.fixture
def worker(client: TestClient) -> Iterator[None]:
    """Settles whatever is handed in."""
    stop = threading.Event()

    def work() -> None:
        store = inside(client).store
        while not stop.wait(0.02):
            for task_id in store.unfinished():
                if not (snapshot := store.task(task_id)) or snapshot.state in FINAL:
                    continue
                try:
                    settle(client, task_id)
                except (FileNotFoundError, StorageError):
                    continue

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def requests(client: TestClient) -> dict[str, Any]:
    """Each way to ask for pages, with a document of its own where that is the way."""
    data_url = "data:application/pdf;base64," + base64.b64encode(book(3)).decode()
    message = {"type": "image_url", "image_url": {"url": data_url}}
    chat = {"model": "deepocr", "messages": [{"role": "user", "content": [message]}]}
    document = {"type": "document_url", "document_url": data_url}
    where = read_book(client, 3)
    return {
        "results": client.get(where),
        **{
            kind: client.get(f"{where}/download?format={kind}")
            for kind in ("markdown", "json", "raw")
        },
        "batch": client.post("/ocr_batch", files=[("files", ("a.pdf", book(3)))] * 2),
        "paddle": client.post(
            "/predict/ocr_system", json={"images": [data_url.partition(",")[2], "AAAA"]}
        ),
        "mistral": client.post("/v1/ocr", json={"document": document, "include_blocks": True}),
        "chat": client.post("/v1/chat/completions", json=chat),
        "stream": client.post("/v1/chat/completions", json={**chat, "stream": True}),
    }


@pytest.mark.usefixtures("worker")
def test_large_answers_are_the_same_as_small_ones(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = requests(client)
    monkeypatch.setattr(made, "NEAR_BYTES", 0)
    large = requests(client)
    for name, answer in small.items():
        assert answer.status_code == 200, (name, answer.text)
        assert large[name].status_code == 200, (name, large[name].text)
        assert large[name].headers["content-type"] == answer.headers["content-type"]
        assert _without_ids(large[name].text) == _without_ids(answer.text), name
    assert [text.count("page ") for text in small["batch"].json()["texts"]] == [3, 3]
    assert [len(lines) for lines in small["paddle"].json()["results"]] == [3, 0]
    assert small["paddle"].json()["msg"].startswith("images[1]: the file is no picture")
    assert small["chat"].json()["choices"][0]["message"]["content"].count("page ") == 3
    assert not list((tmp_path / "temporary").iterdir())


def _without_ids(text: str) -> Any:
    changing = {"id", "created", "task_id", "created_at", "finished_at", "expires_at", "started_at"}
    lines = [line.removeprefix("data: ") for line in text.split("\n")]
    try:
        found = json.loads(text)
    except ValueError:
        found = [json.loads(line) if line.startswith("{") else line for line in lines]
    if isinstance(found, dict):
        return {key: value for key, value in found.items() if key not in changing}
    return [
        {k: v for k, v in one.items() if k not in changing} if isinstance(one, dict) else one
        for one in found
    ]


def test_a_large_answer_is_not_made_in_the_process_that_answers(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = read_book(client, 3)
    monkeypatch.setattr(made, "NEAR_BYTES", 0)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a page was read in the process that answers")

    monkeypatch.setattr(type(inside(client).files), "page", refuse)
    monkeypatch.setattr(type(inside(client).files), "document", refuse)
    for path in (where, f"{where}/download", f"{where}/download?format=json"):
        assert client.get(path).status_code == 200
    assert client.get(where).json()["result"]["markdown"].count("page ") == 3


@pytest.mark.usefixtures("worker")
def test_a_page_that_cannot_be_rendered_costs_itself(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = made.render_markdown

    def fail(page: PageResult, *arguments: Any, **options: Any) -> str:
        if page.number == 2 and page.status != "failed":
            raise IndexError("list index out of range in /srv/secret/place.py")
        return render(page, *arguments, **options)

    for module in (made, answers, mistral, page_view):
        monkeypatch.setattr(module, "render_markdown", fail)
    monkeypatch.setattr("deepocr.render.text_forms.render_markdown", fail)
    monkeypatch.setattr(made, "NEAR_BYTES", 1 << 30)
    found = requests(client)
    for name in ("results", "markdown", "batch", "mistral", "chat", "stream"):
        text = found[name].text
        assert found[name].status_code == 200, name
        assert all(part in text for part in ("page 1 word", "page 3 word")), name
        assert "cannot be written as" in text, name
        assert "secret" not in text, name
        assert "IndexError" not in text, name
    assert found["results"].json()["result"]["pages"][1]["error"]


def test_a_picture_that_cannot_be_opened_costs_its_page(client: TestClient) -> None:
    where = read_book(client, 2)
    task_id = where.rpartition("/")[2]
    files = inside(client).files
    files.picture(task_id, 1).write_bytes(b"no picture")
    files.picture(task_id, 2).write_bytes(picture())
    for kind in ("html", "pdf", "docx"):
        write_export(files, task_id, kind)
    html = (files.folder(task_id) / "document.html").read_text()
    assert "its picture cannot be shown" in html
    assert html.count("<img ") == 1
    with pymupdf.open(files.folder(task_id) / "document.pdf") as pdf:
        (note,) = pdf[0].annots()
        assert "could not be laid over it" in note.info["content"]
        assert not list(pdf[1].annots())
    with zipfile.ZipFile(files.folder(task_id) / "document.docx") as docx:
        assert "page 2" in docx.read("word/document.xml").decode()


def test_bytes_that_are_kept_are_counted_in_the_end(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed = {}
    weigh = inside(client).store.weigh

    def note(task_id: str, num_bytes: int) -> None:
        weighed[task_id] = num_bytes
        weigh(task_id, num_bytes)

    monkeypatch.setattr(inside(client).store, "weigh", note)
    where = read_book(client, 2)
    task_id = where.rpartition("/")[2]
    folder = inside(client).files.folder(task_id)
    read_bytes = weighed[task_id]
    assert read_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert client.get(f"{where}/download?format=html").status_code == 200
    assert weighed[task_id] == read_bytes + (folder / "document.html").stat().st_size


def test_all_documents_of_a_request_are_opened_side_by_side(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = inside(client).documents
    both, open_one = threading.Barrier(2), documents.open

    def open_both(path: Path, **options: Any) -> Any:
        both.wait(30)
        return open_one(path, **options)

    monkeypatch.setattr(documents, "open", open_both)
    files = [("files", ("a.png", picture())), ("files", ("b.png", picture()[:60]))]
    refused = client.post("/ocr_batch", files=files)
    assert refused.status_code == 422
    assert "damaged" in refused.json()["detail"]
    eventually(lambda: not list((tmp_path / "tasks").iterdir()), 10)
    assert inside(client).store.unfinished() == []
