"""What goes wrong in real life, done to real processes on a real Redis."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from deepocr.service.state.redis_store import PREFIX
from tests.service.stack import Stack, book, eventually, picture, running

FAST: dict[str, Any] = {
    "page_timeout_s": 3,
    "page_grace_s": 1,
    "visibility_timeout_s": 4,
    "max_client_tasks": 1000,
}
TEXT = "Page {page} of {task}"


@pytest.fixture(scope="module")
def queued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """API and worker on Redis, for all tests that leave them whole.

    A page takes a second; 13 crashes its process, 14 hangs it, 15 is too slow.
    """
    script = {
        "default": {"text": TEXT, "delay_s": 1},
        "pages": {
            "13": {"crash": True},
            "14": {"block_s": 60},
            "15": {"text": TEXT, "delay_s": 60},
        },
        "concurrency": 4,
    }
    folder = tmp_path_factory.mktemp("queued")
    with running(folder, "api", "worker", redis=True, script=script, **FAST) as stack:
        yield stack


def strikes(stack: Stack, task_id: str) -> dict[int, int]:
    """How often a worker was lost with the page in hand."""
    assert stack.redis is not None
    with redis.Redis.from_url(stack.redis.url, decode_responses=True) as connection:
        found: Any = connection.hgetall(f"{PREFIX}task:{task_id}:suspected")
    return {int(number): json.loads(known)[0] for number, known in found.items()}


def started(stack: Stack, task_id: str) -> None:
    eventually(lambda: stack.task(task_id)["status"] == "STARTED", 15, "the first page")


def assert_whole(done: dict[str, Any], pages: int) -> None:
    assert done["status"] == "SUCCESS", done
    markdown = [page["markdown"] for page in done["result"]["pages"]]
    assert markdown == [f"Page {n} of Convert to Markdown" for n in range(1, pages + 1)]


def ok_pages(stack: Stack) -> float:
    for line in stack.http.get("/metrics").text.splitlines():
        if line.startswith('deepocr_pages_total{status="ok"}'):
            return float(line.split()[-1])
    return 0


def test_killed_worker_reads_its_pages_once_more(queued: Stack) -> None:
    before = ok_pages(queued)
    task_id = queued.submit(book(12))
    started(queued, task_id)
    time.sleep(0.5)
    os.kill(queued.worker_pid("worker"), signal.SIGKILL)
    assert_whole(queued.finished(task_id, 60), 12)
    suspected = strikes(queued, task_id)
    assert 0 < len(suspected) <= 6  # only what was in hand
    assert set(suspected.values()) == {1}
    assert ok_pages(queued) == before + 12


@pytest.mark.slow
def test_poison_page_fails_its_task_and_nothing_else(queued: Stack) -> None:
    others = [queued.submit(book(2)) for _ in range(3)]
    poison = queued.submit(book(13), pages="13")
    others += [queued.submit(book(2)) for _ in range(3)]
    failed = queued.finished(poison, 100)
    assert failed["status"] == "FAILURE"
    assert re.search(r"worker was lost \d times", failed["result"]["error"])
    assert "code 134" in failed["result"]["error"]
    for task_id in others:
        assert_whole(queued.finished(task_id, 60), 2)
    assert 2 <= strikes(queued, poison)[13] <= 4  # of 6 pages in hand, halved until it was alone


@pytest.mark.slow
def test_hang_is_stopped_by_the_hard_limit(queued: Stack) -> None:
    slow = queued.submit(book(15), pages="15")
    assert "hard limit" in queued.finished(slow, 30)["result"]["error"]
    assert strikes(queued, slow) == {}
    worker = queued.worker_pid("worker")
    hung = queued.submit(book(14), pages="14")
    failed = queued.finished(hung, 90)
    assert failed["status"] == "FAILURE"
    assert "worker was lost" in failed["result"]["error"]
    assert queued.worker_pid("worker") != worker
    assert_whole(queued.finished(queued.submit(picture())), 1)


def test_redis_restarts_with_its_data(queued: Stack) -> None:
    assert queued.redis is not None
    task_id = queued.submit(book(10))
    started(queued, task_id)
    queued.redis.stop()
    time.sleep(2)
    refused = queued.http.post("/api/v1/ocr/process", files={"file": ("a", picture())})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert queued.http.get("/health").json()["ready"] is False
    assert queued.http.get("/health/ready").status_code == 503
    assert queued.http.get("/health/live").status_code == 200
    assert queued.http.get("/metrics").status_code == 200
    queued.redis.start()
    assert_whole(queued.finished(task_id, 60), 10)
    assert strikes(queued, task_id) == {}
    assert_whole(queued.finished(queued.submit(picture()), 60), 1)


@pytest.mark.slow
def test_broker_is_away_for_30_seconds(queued: Stack) -> None:
    assert queued.redis is not None
    before = ok_pages(queued)
    task_id = queued.submit(book(10))
    started(queued, task_id)
    queued.redis.stop()
    time.sleep(30)
    queued.redis.start()
    assert_whole(queued.finished(task_id, 90), 10)
    assert ok_pages(queued) == before + 10


def test_api_restarts(queued: Stack) -> None:
    before = queued.submit(book(4))
    queued.processes["api"].kill()
    queued.processes["api"].wait()
    queued.start("api")
    queued.wait_ready()
    assert_whole(queued.finished(before), 4)


def test_embedded_work_survives_being_killed(tmp_path: Path) -> None:
    script = {"default": {"text": TEXT, "delay_s": 1}, "concurrency": 2}
    with running(tmp_path, script=script) as stack:
        book_id, picture_id = stack.submit(book(6)), stack.submit(picture())
        started(stack, book_id)
        stack.processes["all"].kill()
        stack.processes["all"].wait()
        # at once: the old worker notices that nobody supervises it, and the new one waits for that
        stack.start("all")
        stack.wait_ready()
        assert_whole(stack.finished(book_id, 60), 6)
        assert_whole(stack.finished(picture_id), 1)
        os.kill(stack.worker_pid("all"), signal.SIGKILL)
        assert_whole(stack.finished(stack.submit(book(3)), 60), 3)


def test_embedded_poison_page(tmp_path: Path) -> None:
    script = {
        "default": {"text": TEXT, "delay_s": 1},
        "pages": {"3": {"crash": True}},
        "concurrency": 4,
    }
    with running(tmp_path, script=script) as stack:
        others = [stack.submit(book(2)) for _ in range(3)]
        poison = stack.submit(book(5))
        failed = stack.finished(poison, 60)
        assert failed["status"] == "FAILURE"
        error = failed["result"]["error"]
        assert re.search(r"page 3 was given up: its worker was lost \d times", error)
        statuses = [page["status"] for page in failed["result"]["pages"]]
        assert statuses == ["ok", "ok", "failed", "ok", "ok"]
        for task_id in others:
            assert_whole(stack.finished(task_id, 30), 2)


def test_stopping_lets_pages_finish(tmp_path: Path) -> None:
    script = {"default": {"text": TEXT, "delay_s": 2}}
    with running(tmp_path, script=script) as stack:
        task_id = stack.submit(picture())
        started(stack, task_id)
        stack.stop("all")
        stack.start("all")
        stack.wait_ready()
        assert_whole(stack.finished(task_id), 1)
        page = stack.http.get(f"/api/v1/ocr/results/{task_id}/pages/1").json()
        assert page["seconds"]["total"] < 10


def test_disk_full(tmp_path: Path, small_disk: Path) -> None:
    script = {"default": {"text": TEXT, "delay_s": 1}}
    data = {"data_dir": str(small_disk), "min_free_bytes": 0}
    with running(tmp_path, "api", "worker", redis=True, script=script, **data) as stack:
        waiting, canceled = stack.submit(book(2)), stack.submit(book(2))
        filler = small_disk / "filler"
        started(stack, waiting)
        fill(filler)
        eventually(lambda: "No space left" in stack.logs(), 30, "a result that cannot be kept")
        time.sleep(5)
        # no page's failure: what was read is held until there is room, or nobody wants it
        assert stack.task(waiting)["progress"]["statuses"] == {}
        assert stack.http.post(f"/api/v1/ocr/tasks/{canceled}/cancel").status_code == 200
        assert stack.finished(canceled)["status"] == "CANCELED"
        refused = stack.http.post("/api/v1/ocr/process", files={"file": ("a", picture())})
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("storage-full")
        filler.unlink()
        assert_whole(stack.finished(waiting), 2)
        assert_whole(stack.finished(stack.submit(picture())), 1)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def test_work_goes_on_when_a_full_disk_has_room_again(tmp_path: Path, small_disk: Path) -> None:
    script = {"default": {"text": TEXT, "delay_s": 0.3}, "concurrency": 2}
    data = {"data_dir": str(small_disk), "min_free_bytes": 0}
    with running(tmp_path, script=script, **data) as stack:
        # queue, states and results are all on the disk
        tasks = [stack.submit(book(80)), stack.submit(book(3)), stack.submit(picture())]
        started(stack, tasks[0])
        fill(small_disk / "filler")
        time.sleep(10)
        (small_disk / "filler").unlink()
        for task_id, pages in zip(tasks, (80, 3, 1), strict=True):
            assert_whole(stack.finished(task_id, 60), pages)
        assert_whole(stack.finished(stack.submit(picture())), 1)


def test_workers_share_a_book(tmp_path: Path) -> None:
    script = {"default": {"text": TEXT, "delay_s": 0.5}, "concurrency": 2}
    with running(tmp_path, "api", "worker", redis=True, script=script) as stack:
        # a second machine: nothing but the broker's address and the shared folder
        second = Stack(tmp_path / "second", stack.redis, data_dir=tmp_path / "data")
        second.say(script)
        try:
            second.start("worker")
            stack.wait_ready(workers=2)
            assert_whole(stack.finished(stack.submit(book(16))), 16)
            metrics = stack.http.get("/metrics").text
            assert metrics.count("deepocr_pages_at_once{") == 2
        finally:
            second.close()


def test_hanging_up_cancels(tmp_path: Path) -> None:
    script = {"default": {"text": TEXT, "delay_s": 30}}
    with running(tmp_path, script=script) as stack:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{stack.url}/ocr_batch", files=[("files", ("a.png", picture()))], timeout=2)
        tasks = tmp_path / "data" / "tasks"
        eventually(lambda: not list(tasks.iterdir()), 10, "the upload's end")


def test_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.script.write_text("{not json")
    process = stack.start("all")
    assert process.wait(60) == 78
    assert "script" in stack.logs()
    assert "cannot be used" in stack.logs()


def test_embedded_queue_has_one_worker(embedded: Stack) -> None:
    second = Stack(embedded.folder / "second", data_dir=embedded.folder / "data")
    assert second.start("worker").wait(60) == 78
    assert "more than one needs REDIS_URL" in second.logs()


def test_unknown_setting_is_refused(tmp_path: Path) -> None:
    stack = Stack(tmp_path, api_key="typo")
    assert stack.start("all").wait(60) == 78
    assert "DEEPOCR_API_KEYS" in stack.logs()
