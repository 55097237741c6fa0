"""A real engine behind the queue: the samples say what they say."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.stack import Stack, running

SAMPLES = Path(__file__).resolve().parents[2] / "deepocr" / "samples"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("ppocr"), engine="ppocr") as found:
        yield found


def words(name: str) -> set[str]:
    return set((SAMPLES / name).read_text().split())


def share_found(text: str, name: str) -> float:
    expected = words(name)
    return len(expected & set(text.split())) / len(expected)


def test_a_picture_and_a_book(stack: Stack) -> None:
    picture_id = stack.submit((SAMPLES / "invoice.png").read_bytes(), task="Free OCR")
    report_id = stack.submit((SAMPLES / "report.pdf").read_bytes(), task="Free OCR")
    picture, report = stack.finished(picture_id, 120), stack.finished(report_id, 120)
    assert picture["status"] == report["status"] == "SUCCESS"
    assert share_found(picture["result"]["markdown"], "invoice.txt") > 0.8
    assert share_found(report["result"]["markdown"], "report.txt") > 0.8


def test_paddle_lines_lie_on_the_page(stack: Stack) -> None:
    image = base64.b64encode((SAMPLES / "invoice.png").read_bytes()).decode()
    lines = stack.http.post("/predict/ocr_system", json={"images": [image]}).json()["results"][0]
    assert len(lines) > 5
    assert all(0 < line["confidence"] <= 1 and line["text"] for line in lines)
    assert share_found(" ".join(line["text"] for line in lines), "invoice.txt") > 0.8


def test_a_task_that_no_worker_can_do(stack: Stack) -> None:
    refused = stack.http.post(
        "/api/v1/ocr/process",
        files={"file": ("a.png", (SAMPLES / "invoice.png").read_bytes())},
        data={"task": "Describe Image"},
    )
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("unsupported-task")
    assert "Free OCR" in refused.json()["detail"]
