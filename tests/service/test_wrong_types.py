"""Values of wrong types everywhere: a sentence, and nothing of the inside of the service."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.service.stack import picture
from tests.service.test_limits import service

WRONG: tuple[Any, ...] = (
    5, -1, 1.5, "x", "", "\ud800", True, None, [], [5], [[]], {}, {"a": 5}, {"url": 5}, 10**40,
    "/etc/passwd", "data:,x", "data:image/png;base64,AAAA", "file:///x", "http://[", "é" * 300,
)  # fmt: skip

URL = "data:image/png;base64," + base64.b64encode(picture()).decode()
MESSAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "deepocr", "messages": [MESSAGE], "stream": False, "max_tokens": 5,
        "stream_options": {"include_usage": True}, "n": 1, "reference_text": "x",
        "max_new_tokens": 5, "pages": "1", "tools": [], "stop": [],
    },
    "/v1/ocr": {
        "model": "deepocr", "document": {"type": "image_url", "image_url": URL}, "pages": [0],
        "include_image_base64": True, "image_limit": 1, "image_min_size": 1, "extract_header": True,
        "include_blocks": True, "reference_text": "x", "max_new_tokens": 5,
    },
    "/predict/ocr_system": {"images": [URL.partition(",")[2]]},
}  # fmt: skip
FORM = (
    "task", "preset", "reference_text", "max_new_tokens", "pages", "password", "dpi", "webhook_url",
    "live", "url",
)  # fmt: skip
QUERIES = ("wait_s", "wait_for", "include_result", "format", "limit")

INSIDE = re.compile(
    r"\b[A-Z]\w+(Error|Exception)\b|Traceback|site-packages|\.py\b|"
    r"ImageUrl|DocumentUrl|PictureUrl|ChatRequest|MistralRequest|BaseModel|instance of|list\["
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hidden-data-folder")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    settings = {"max_client_tasks": 1000, "sync_timeout_s": 0.01, "webhook_secret": "s3cret-v4lue"}
    with service(folder, **settings) as found:
        yield found


def check(answer: Any, folder: Path, sent: str) -> None:
    text = answer.text
    assert answer.status_code < 500 or "took too long" in text, (sent, text)
    assert str(folder) not in text, sent
    assert "hidden-data-folder" not in text, sent
    assert "s3cret-v4lue" not in text, sent
    found = INSIDE.search(text)
    assert found is None, (sent, found, text)
    if answer.status_code == 422:
        assert len(answer.json()["detail"]) > 10, sent


def changed(body: Any) -> Iterator[Any]:
    """The body with each of its values, at any depth, replaced by each wrong one."""
    yield from WRONG
    if isinstance(body, dict | list):
        for key in list(body) if isinstance(body, dict) else range(len(body)):
            for other in changed(body[key]):
                copy = dict(body) if isinstance(body, dict) else list(body)
                copy[key] = other
                yield copy


@pytest.mark.parametrize("path", BODIES)
def test_json(client: TestClient, folder: Path, path: str) -> None:
    for body in changed(BODIES[path]):
        sent = json.dumps(body)
        headers = {"Content-Type": "application/json"}
        check(client.post(path, content=sent, headers=headers), folder, sent[:300])


@pytest.mark.parametrize("path", ["/api/v1/ocr/process", "/ocr_batch"])
def test_forms(client: TestClient, folder: Path, path: str) -> None:
    field = "files" if path == "/ocr_batch" else "file"
    for name in FORM:
        for value in (str(v).encode("utf-8", "replace").decode() for v in WRONG):
            files = {field: ("a.png", b"no picture")}
            check(client.post(path, files=files, data={name: value}), folder, f"{name}={value}")
        # a file where a text belongs, a text where a file belongs, JSON instead of a form
        files = {field: ("a.png", picture()), name: ("b", b"x")}
        refused = client.post(path, files=files)
        check(refused, folder, f"{name} as a file")
        check(client.post(path, data={field: "x", name: "y"}), folder, f"{name} without a file")
        check(client.post(path, json={name: 5}), folder, f"{name} in JSON")


def test_queries(client: TestClient, folder: Path) -> None:
    files = {"file": ("a.png", picture())}
    task_id = client.post("/api/v1/ocr/process", files=files).json()["task_id"]
    where = f"/api/v1/ocr/results/{task_id}"
    for value in (str(v).encode("utf-8", "replace").decode() for v in WRONG):
        for name in QUERIES:
            for path in (where, f"{where}/download", "/api/v1/ocr/tasks"):
                if name != "wait_s" or not value.isdigit():
                    check(client.get(path, params={name: value}), folder, f"{name}={value}")
        for path in (f"{where}/pages/", "/api/v1/ocr/results/", "/v1/models/", "/static/"):
            check(client.get(path + value.replace("/", "%2F")), folder, path + value)


@pytest.mark.parametrize(
    ("path", "more", "told"),
    [
        ("/v1/chat/completions", {"max_tokens": "x"}, "body.max_tokens: "),
        ("/v1/chat/completions", {"messages": [5]}, "body.messages.0: Input should be an object"),
        ("/v1/ocr", {"pages": 3}, "body.pages: "),
        ("/v1/ocr", {"document": {"document_url": 5}}, "body.document.document_url: "),
        ("/v1/ocr", {"document": 5}, "body.document: Input should be an object"),
    ],
)
def test_the_field_is_named(client: TestClient, path: str, more: Any, told: str) -> None:
    refused = client.post(path, json={**BODIES[path], **more})
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(told), refused.text


def test_a_form_field_that_is_no_number(client: TestClient) -> None:
    files = {"file": ("a.png", picture())}
    refused = client.post("/api/v1/ocr/process", files=files, data={"max_new_tokens": "x"})
    assert refused.status_code == 422
    assert "max_new_tokens" in refused.json()["detail"]
