"""One table: what goes wrong with a page, and what the service makes of it. Every row a test."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.stack import Stack, book, eventually, picture, running
from tests.unit.hostile_documents import endless_pdf, hungry_pdf

TEXT = "Page {page} of {task}"
FAST: dict[str, Any] = {"page_timeout_s": 4, "page_grace_s": 1, "visibility_timeout_s": 600}
BAD = 9

# fault -> what its page's error says
RAISED = {
    "index": "list index out of range",
    "key": "a key",
    "runtime": "a step failed",
    "memory": "memory",
    "unicode": "encode",
    "recursion": "recursion",
    "os": "Input/output error",
    "foreign": "inv_scale_x",
    "hang": "hard limit of 4 s",
    "endless": "hard limit|4,000,000 characters",
}
LETHAL = {
    "broken": "the engine broke",
    "exit": "code 134",
    "kill": "killed",
    "block": "did not stop after its hard limit",
    "freeze": "did not stop after its hard limit",
}


def script(**pages: Any) -> dict[str, Any]:
    return {
        "default": {"text": TEXT, "delay_s": 0.2},
        "pages": {number.removeprefix("p"): reply for number, reply in pages.items()},
        "concurrency": 4,
    }


def read_with(stack: Stack, fault_page: int) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """A book of three whole pages around one with a fault, at its end."""
    task_id = stack.submit(book(fault_page), pages=f"1-2,{fault_page},3")
    done = stack.finished(task_id, 90)
    return done, {page["number"]: page for page in done["result"]["pages"]}


def assert_others_whole(pages: dict[int, dict[str, Any]]) -> None:
    for number in (1, 2, 3):
        assert pages[number]["markdown"] == f"Page {number} of Convert to Markdown", pages


@pytest.fixture(scope="module")
def raising(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Page 9 and the following have a fault of RAISED each."""
    faults = {f"p{BAD + place}": {"fault": fault} for place, fault in enumerate(RAISED)}
    folder = tmp_path_factory.mktemp("raising")
    with running(folder, script=script(**faults), **FAST) as stack:
        yield stack


@pytest.mark.parametrize("fault", RAISED)
def test_a_fault_fails_its_page(raising: Stack, fault: str) -> None:
    worker = raising.worker_pid("all")
    number = BAD + list(RAISED).index(fault)
    done, pages = read_with(raising, number)
    assert_others_whole(pages)
    assert (done["status"], pages[number]["status"]) == ("FAILURE", "failed")
    _assert_says(pages[number]["error"], RAISED[fault])
    assert raising.worker_pid("all") == worker


def _assert_says(error: str, words: str) -> None:
    assert any(word in error for word in words.split("|")), error
    assert "/srv" not in error
    assert "/build" not in error
    assert "Error(" not in error


@pytest.mark.parametrize(
    ("fault", "redis"),
    [
        ("broken", False),
        ("kill", False),
        # each waits for hard limits and for a worker that is started again: minutes in all
        pytest.param("exit", False, marks=pytest.mark.slow),
        pytest.param("block", False, marks=pytest.mark.slow),
        pytest.param("freeze", False, marks=pytest.mark.slow),
        pytest.param("broken", True, marks=pytest.mark.slow),
        pytest.param("kill", True, marks=pytest.mark.slow),
        pytest.param("freeze", True, marks=pytest.mark.slow),
    ],
)
def test_a_page_that_takes_its_worker_along_is_failed_alone(
    tmp_path: Path, fault: str, redis: bool
) -> None:
    parts = ("api", "worker") if redis else ("all",)
    said = script(p9={"fault": fault})
    with running(tmp_path, *parts, redis=redis, script=said, **FAST) as stack:
        done, pages = read_with(stack, BAD)
        assert_others_whole(pages)
        assert (done["status"], pages[BAD]["status"]) == ("FAILURE", "failed")
        assert "its worker was lost" in pages[BAD]["error"]
        assert LETHAL[fault] in pages[BAD]["error"]
        # and it goes on
        assert stack.finished(stack.submit(picture()), 60)["status"] == "SUCCESS"


@pytest.mark.parametrize("fault", ["broken", pytest.param("kill", marks=pytest.mark.slow)])
def test_what_happens_once_costs_nothing(tmp_path: Path, fault: str) -> None:
    said = script(p9={"fault": fault, "times": 1, "text": TEXT})
    with running(tmp_path, script=said, **FAST) as stack:
        done, pages = read_with(stack, BAD)
        assert done["status"] == "SUCCESS"
        assert_others_whole(pages)
        assert pages[BAD]["status"] == "ok"


def test_a_sick_worker_does_not_drain_the_queue(tmp_path: Path) -> None:
    sick = {"default": {"fault": "broken"}, "concurrency": 4}
    with running(tmp_path, script=sick, **FAST) as stack:
        tasks = [stack.submit(book(3)) for _ in range(5)]
        troubles = eventually(lambda: stack.health().get("troubles"), 30, "the reason in /health")
        assert "the engine broke" in next(iter(troubles.values()))
        # it is started again and again, finds itself broken, and takes nothing
        log = tmp_path / "all.log"
        eventually(lambda: log.read_text().count("the engine cannot read") >= 2, 40)
        assert stack.health()["ready"] is False
        states = [stack.task(task_id) for task_id in tasks]
        assert {state["status"] for state in states} <= {"PENDING", "STARTED"}
        assert all(state["progress"]["done"] == 0 for state in states)
        stack.say(script())
        for task_id in tasks:
            assert stack.finished(task_id, 60)["status"] == "SUCCESS"
        eventually(lambda: stack.health()["troubles"] == {}, 40, "the end of the trouble")


@pytest.mark.parametrize(
    ("content", "draw_s", "words"),
    [(endless_pdf(), 2, "more than 2 s"), (hungry_pdf(), 60, "memory")],
)
def test_a_hostile_pdf_costs_its_page(
    tmp_path: Path, content: bytes, draw_s: float, words: str
) -> None:
    limits = {"draw_timeout_s": draw_s, "draw_memory_bytes": 400 << 20}
    with running(tmp_path, script=script(), **FAST, **limits) as stack:
        worker = stack.worker_pid("all")
        task_id = stack.submit(content)
        while (done := stack.task(task_id))["status"] not in ("SUCCESS", "FAILURE"):
            asked_s = time.monotonic()
            assert stack.http.get("/health/live").status_code == 200
            assert time.monotonic() - asked_s < 5
            time.sleep(0.1)
        first, second = done["result"]["pages"]
        assert (first["status"], second["status"]) == ("failed", "ok")
        assert words in first["error"]
        assert stack.worker_pid("all") == worker


def test_stopping_has_a_limit_and_costs_pages_nothing(tmp_path: Path) -> None:
    slow = {"default": {"text": TEXT, "delay_s": 120}}
    with running(tmp_path, script=slow, stop_timeout_s=2) as stack:
        task_id = stack.submit(picture())
        eventually(lambda: stack.task(task_id)["status"] == "STARTED", 20)
        process = stack.processes["all"]
        process.terminate()
        assert process.wait(40) == 0
        stack.say(script())
        stack.start("all")
        stack.wait_ready()
        assert stack.finished(task_id)["status"] == "SUCCESS"
        assert "was lost" not in stack.logs()


def test_a_thread_that_dies_ends_its_process() -> None:
    code = (
        "import time\n"
        "from deepocr.service.work.threads import start_thread\n"
        "start_thread(lambda: 1 / 0, 'sweeper')\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 71
    assert "'sweeper' died" in done.stderr


def test_an_export_that_fails_says_why(tmp_path: Path) -> None:
    with running(tmp_path, script=script()) as stack:
        task_id = stack.submit(picture())
        stack.finished(task_id)
        folder = tmp_path / "data" / "tasks" / task_id
        (folder / "page_0001.jpg").write_bytes(b"\xff\xd8 no picture")
        (folder / "upload").write_bytes(b"no document")
        where = f"/api/v1/ocr/results/{task_id}/download"
        answer = stack.http.get(where, params={"format": "pdf"})
        assert answer.status_code == 500
        problem = answer.json()
        assert problem["type"].endswith("export-failed")
        assert "pdf" in problem["detail"]
        assert str(tmp_path) not in problem["detail"]
        # kept, and told at once
        assert stack.http.get(where, params={"format": "pdf"}).status_code == 500
        assert stack.http.get(where, params={"format": "markdown"}).status_code == 200
