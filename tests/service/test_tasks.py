"""The task API of the embedded service, through real processes."""

import json

import pymupdf
import pytest

from tests.service.stack import Stack, book, eventually, picture


def test_a_picture_is_read(embedded: Stack) -> None:
    answer = embedded.http.post("/api/v1/ocr/process", files={"file": ("a.png", picture())})
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == "pending"
    assert answer.headers["location"].endswith(accepted["task_id"])
    done = embedded.finished(accepted["task_id"])
    assert done["status"] == "SUCCESS"
    assert done["progress"] == {"done": 1, "total": 1, "statuses": {"1": "ok"}}
    assert done["result"]["complete"] is True
    title = done["result"]["detections"][0]
    assert title["text"] == "# Page 1"
    assert title["page_number"] == 1
    assert len(title["box"]) == 4
    assert title["box"][0] == [10, 15]
    assert 0 < title["confidence"] <= 1
    assert "Read with Convert to Markdown" in done["result"]["markdown"]


def test_a_book_is_split_and_stitched_in_order(embedded: Stack) -> None:
    done = embedded.finished(embedded.submit(book(6), task="Free OCR", preset="tiny"))
    assert done["status"] == "SUCCESS"
    assert [page["number"] for page in done["result"]["pages"]] == [1, 2, 3, 4, 5, 6]
    numbers = [page["markdown"].split()[2] for page in done["result"]["pages"]]
    assert numbers == ["1", "2", "3", "4", "5", "6"]
    assert "Free OCR, Tiny" in done["result"]["markdown"]


def test_pages_and_partial_results(embedded: Stack) -> None:
    task_id = embedded.submit(book(9), pages="2,5-7")

    def others_done() -> bool:
        return len(embedded.task(task_id)["progress"]["statuses"]) == 3

    eventually(others_done, 20)
    part = embedded.task(task_id)
    assert part["status"] == "STARTED"
    assert part["result"]["complete"] is False
    assert [page["status"] for page in part["result"]["pages"]] == ["ok", "ok", "ok", "waiting"]
    waiting = embedded.http.get(f"/api/v1/ocr/results/{task_id}/pages/7").json()
    assert waiting["status"] == "waiting"
    assert embedded.finished(task_id)["status"] == "SUCCESS"


def test_a_failed_page_fails_the_task_and_the_others_stay(embedded: Stack) -> None:
    done = embedded.finished(embedded.submit(book(8), pages="1,8"))
    assert done["status"] == "FAILURE"
    assert "lamp" in done["result"]["error"]
    assert done["result"]["pages"][1]["status"] == "failed"
    assert "# Page 1" in done["result"]["markdown"]
    assert "lamp" not in done["result"]["markdown"]


def test_cancel_stops_the_page(embedded: Stack) -> None:
    task_id = embedded.submit(book(8), pages="7")
    eventually(lambda: embedded.task(task_id)["status"] == "STARTED", 10)
    answer = embedded.http.post(f"/api/v1/ocr/tasks/{task_id}/cancel")
    assert answer.json()["status"] == "CANCELED"
    metrics = eventually(lambda: _running(embedded) == 0, 20)
    assert metrics
    assert embedded.task(task_id)["status"] == "CANCELED"
    assert embedded.task(task_id)["progress"]["done"] == 0
    # the next one is read as if nothing had been
    assert embedded.finished(embedded.submit(picture()))["status"] == "SUCCESS"


def _running(stack: Stack) -> float:
    for line in stack.http.get("/metrics").text.splitlines():
        if line.startswith("deepocr_pages_running{"):
            return float(line.split()[-1])
    return -1


def test_delete_removes_everything(embedded: Stack) -> None:
    task_id = embedded.submit(picture())
    embedded.finished(task_id)
    folder = embedded.folder / "data" / "tasks" / task_id
    assert (folder / "upload").exists()
    assert embedded.http.delete(f"/api/v1/ocr/results/{task_id}").status_code == 204
    assert not folder.exists()
    assert embedded.http.get(f"/api/v1/ocr/results/{task_id}").status_code == 404


def test_downloads(embedded: Stack) -> None:
    task_id = embedded.submit(book(2), name="../../Ein Büch.pdf")
    embedded.finished(task_id)
    where = f"/api/v1/ocr/results/{task_id}/download"
    markdown = embedded.http.get(where, params={"format": "markdown"})
    assert markdown.text.count("<--- Page Split --->") == 2
    assert "filename*=UTF-8''Ein%20B%C3%BCch.pdf.md" in markdown.headers["content-disposition"]
    document = json.loads(embedded.http.get(where, params={"format": "json"}).text)
    assert document["name"] == "Ein Büch.pdf"
    assert [page["number"] for page in document["pages"]] == [1, 2]
    assert "<|ref|>" in embedded.http.get(where, params={"format": "raw"}).text
    alto = embedded.http.get(where, params={"format": "alto"})
    assert alto.headers["content-disposition"].endswith("B%C3%BCch.pdf.alto.xml")
    assert alto.text.count("<Page ") == 2
    assert embedded.http.get(where, params={"format": "hocr"}).text.count('"ocr_page"') == 2
    chunks = embedded.http.get(where, params={"format": "chunks"}).text.splitlines()
    assert json.loads(chunks[1])["metadata"]["headings"] == ["Page 2"]
    assert embedded.http.get(where, params={"format": "exe"}).status_code == 422
    answer = embedded.http.get(where, params={"format": "pdf"})
    with pymupdf.open(stream=answer.content, filetype="pdf") as pdf:
        assert pdf.page_count == 2
        assert "Read with" in pdf[1].get_text()
    assert "<html" in embedded.http.get(where, params={"format": "html"}).text


def test_page_and_its_picture(embedded: Stack) -> None:
    task_id = embedded.submit(picture(size=(640, 480)))
    embedded.finished(task_id)
    page = embedded.http.get(f"/api/v1/ocr/results/{task_id}/pages/1").json()
    assert page["size_px"] == {"width": 640, "height": 480}
    assert page["regions"][0]["boxes_px"] == [[16, 24, 320, 96]]
    image = embedded.http.get(f"/api/v1/ocr/results/{task_id}/pages/1/image")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.content.startswith(b"\xff\xd8")
    assert embedded.http.get(f"/api/v1/ocr/results/{task_id}/pages/2").status_code == 404


def test_idempotency_key(embedded: Stack) -> None:
    headers = {"Idempotency-Key": "once-only"}
    first = embedded.submit(picture(), headers=headers)
    assert embedded.submit(picture(), headers=headers) == first
    embedded.submit(picture("another"), headers=headers, expect=422)
    embedded.submit(picture(), headers=headers, task="Free OCR", expect=422)
    assert embedded.submit(picture()) != first


def test_list_knows_its_client(embedded: Stack) -> None:
    mine = {"X-Client-Token": "a" * 32}
    task_id = embedded.submit(picture(), headers=mine)
    listed = embedded.http.get("/api/v1/ocr/tasks", headers=mine).json()["tasks"]
    assert [task["task_id"] for task in listed] == [task_id]
    others = embedded.http.get("/api/v1/ocr/tasks", headers={"X-Client-Token": "b" * 32}).json()
    assert others["tasks"] == []


def test_position_in_the_queue(embedded: Stack) -> None:
    blockers = [embedded.submit(book(8), pages="7") for _ in range(45)]
    try:
        first, second = embedded.submit(picture()), embedded.submit(picture())
        # the later one first: should the queue move in between, it only moves on
        later = embedded.task(second)
        assert later["position"] > embedded.task(first)["position"]
        assert later["pending_tasks"] >= 2
    finally:
        for task_id in blockers:
            embedded.http.delete(f"/api/v1/ocr/results/{task_id}")
    assert embedded.finished(second)["status"] == "SUCCESS"


def test_encrypted_pdf(embedded: Stack) -> None:
    secret = book(1, password="s3same")
    embedded.submit(secret, expect=422)
    embedded.submit(secret, expect=422, password="wrong")
    task_id = embedded.submit(secret, password="s3same")
    assert embedded.finished(task_id)["status"] == "SUCCESS"
    assert not (embedded.folder / "data" / "tasks" / task_id / "password").exists()
    assert "s3same" not in embedded.logs()


@pytest.mark.parametrize(
    ("content", "fields", "status", "slug"),
    [
        (b"", {}, 422, "unreadable-document"),
        (b"just some text", {}, 415, "unsupported-document"),
        (b"PK\x03\x04 an office file", {}, 415, "unsupported-document"),
        (b"\x89PNG\r\n\x1a\nbroken", {}, 422, "unreadable-document"),
        (b"%PDF-1.7 broken", {}, 422, "unreadable-document"),
        (picture(size=(4, 4)), {}, 422, "unreadable-document"),
        (picture(), {"task": "Sing"}, 422, "invalid-input"),
        (picture(), {"task": "locate"}, 422, "invalid-input"),
        (picture(), {"preset": "Huge"}, 422, "invalid-input"),
        (picture(), {"max_new_tokens": "0"}, 422, "invalid-request"),
        (picture(), {"webhook_url": "https://example.com"}, 422, "invalid-input"),
        (book(3), {"pages": "9-3"}, 422, "bad-page-range"),
        (book(3), {"pages": "0"}, 422, "bad-page-range"),
        (book(3), {"pages": "5-"}, 422, "bad-page-range"),
        (book(3), {"pages": "abc"}, 422, "bad-page-range"),
    ],
)
def test_bad_input(
    embedded: Stack, content: bytes, fields: dict[str, str], status: int, slug: str
) -> None:
    answer = embedded.http.post("/api/v1/ocr/process", files={"file": ("x", content)}, data=fields)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:deepocr:problem:{slug}"
    assert problem["status"] == status
    assert problem["detail"]


def test_neither_file_nor_url(embedded: Stack) -> None:
    answer = embedded.http.post("/api/v1/ocr/process", data={"task": "free"})
    assert answer.status_code == 422
    refused = embedded.http.post("/api/v1/ocr/process", data={"url": "https://example.com/a.png"})
    assert refused.status_code == 422
    assert "not fetched" in refused.json()["detail"]


def test_nothing_is_left_of_a_refused_upload(embedded: Stack) -> None:
    tasks = embedded.folder / "data" / "tasks"
    before = set(tasks.iterdir())
    embedded.submit(b"no picture", expect=415)
    assert set(tasks.iterdir()) == before


@pytest.mark.parametrize("task_id", ["0" * 32, "nonsense", "..", "%00", "a:attempts"])
def test_unknown_task(embedded: Stack, task_id: str) -> None:
    for method, path in (
        ("GET", "results/{}"),
        ("GET", "results/{}/pages/1"),
        ("GET", "results/{}/download"),
        ("DELETE", "results/{}"),
        ("POST", "tasks/{}/cancel"),
    ):
        answer = embedded.http.request(method, f"/api/v1/ocr/{path.format(task_id)}")
        assert answer.status_code in (404, 405), (method, path)


def test_health_and_metrics(embedded: Stack) -> None:
    assert embedded.http.get("/health/live").json() == {"live": True}
    assert embedded.http.get("/health/ready").status_code == 200
    health = embedded.http.get("/health").json()
    assert health["ready"] is True
    assert health["workers"] == 1
    embedded.finished(embedded.submit(picture()))
    text = embedded.http.get("/metrics").text
    for name in (
        'deepocr_pages_total{status="ok"}',
        'deepocr_tokens_total{kind="output"}',
        'deepocr_stage_seconds_total{stage="render"}',
        'deepocr_tasks_total{state="SUCCESS"}',
        "deepocr_device_memory_bytes",
        "deepocr_queue_up 1.0",
        'deepocr_requests_total{method="POST",route="/api/v1/ocr/process",status="202"}',
    ):
        assert name in text, name


def test_health_tells_how_each_engine_came_up(embedded: Stack) -> None:
    [engine] = embedded.health()["engines"].values()
    assert engine == {
        "engine": "scripted",
        "notes": {"graphs": "plain, as their capture fails"},
        "start_s": {"read": 2.5},
    }
    metrics = embedded.http.get("/metrics").text
    assert 'deepocr_start_seconds{engine="scripted",stage="read"' in metrics
