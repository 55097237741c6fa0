"""Killed at any moment, the same command goes on and ends in the same bytes."""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from deepocr.files import PART_SUFFIX, remove_leftovers
from tests.book import helper
from tests.book.papers import numbered_pdf, tag

OUTPUTS = (
    "--raw",
    "--html",
    "--overlay",
    "--searchable-pdf",
    "--join-pages",
    "--front-matter",
    "--docx",
)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return numbered_pdf(tmp_path / "book.pdf", 24)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    text = (
        tag("title", (50, 50, 900, 150), "# Page {page}")
        + tag("text", (50, 160, 900, 400), "Words of page {page}, read as {task} at {preset}")
        + tag("image", (100, 500, 900, 900))
    )
    return helper.write_script(
        tmp_path / "script.json",
        default={"text": text, "delay_s": 0.04},
        pages={"3": {"text": text, "finish_reason": "length"}, "5": {"error": "torn page"}},
        concurrency=3,
    )


def check_kills(kills: int, book: Path, script: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    arguments = (book, "--engine", "scripted", *OUTPUTS)
    undisturbed = helper.run(*arguments, "-o", tmp_path / "whole", script=script)
    assert undisturbed.returncode == 3, undisturbed.stderr
    expected = helper.tree(tmp_path / "whole")
    out = tmp_path / "killed"
    in_work = 0

    def finish() -> None:
        # twice: a page that was in hand at two kills in a row is failed, and read by the run after
        for _ in range(2):
            last = helper.run(*arguments, "-o", out, script=script)
            assert last.returncode == 3, last.stderr
        assert helper.tree(out) == expected

    while in_work < kills:
        process = helper.start(*arguments, "-o", out, script=script)
        assert process.stderr is not None
        process.stderr.readline()
        time.sleep(chance.uniform(0, 0.9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            in_work += 1
        else:
            finish()
            shutil.rmtree(out)
    finish()


def test_killed_a_few_times(book: Path, script: Path, tmp_path: Path) -> None:
    check_kills(3, book, script, tmp_path, seed=1)


@pytest.mark.slow
def test_killed_fifty_times(book: Path, script: Path, tmp_path: Path) -> None:
    check_kills(50, book, script, tmp_path, seed=2)


def test_interrupted_it_says_how_to_go_on(book: Path, script: Path, tmp_path: Path) -> None:
    slow = helper.write_script(tmp_path / "slow.json", default={"delay_s": 0.3}, concurrency=2)
    process = helper.start(book, "-o", tmp_path / "out", "--engine", "scripted", script=slow)
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "same command goes on" in error
    assert "Traceback" not in error
    kept = sorted((tmp_path / "out" / "book").glob("page_*.mmd"))
    assert 0 < len(kept) < 24

    again = helper.run(book, "-o", tmp_path / "out", "--engine", "scripted", script=slow)
    assert again.returncode == 0
    assert f"{len(kept)} of them read earlier" in again.stderr


def test_other_settings_are_not_mixed_in(book: Path, tmp_path: Path) -> None:
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--pages", "1-2")
    assert helper.run(*arguments).returncode == 0
    before = helper.tree(tmp_path / "out")
    refused = helper.run(*arguments, "--task", "free")
    assert refused.returncode == 1
    assert "task was 'Convert to Markdown', now 'Free OCR'" in refused.stderr
    assert helper.tree(tmp_path / "out") == before
    anew = helper.run(*arguments, "--task", "free", "--restart")
    assert anew.returncode == 0
    assert "Free OCR" in (tmp_path / "out" / "book" / "page_0001.mmd").read_text()


def test_another_document_of_the_same_name_is_not_mixed_in(book: Path, tmp_path: Path) -> None:
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--pages", "1")
    assert helper.run(*arguments).returncode == 0
    numbered_pdf(book, 5)
    refused = helper.run(*arguments)
    assert refused.returncode == 1
    assert "holds another job" in refused.stderr


def test_more_outputs_need_no_reading(book: Path, tmp_path: Path) -> None:
    script = helper.write_script(tmp_path / "once.json", default={"text": "read once"})
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--pages", "1-3")
    assert helper.run(*arguments, script=script).returncode == 0
    other = helper.write_script(tmp_path / "twice.json", default={"text": "read twice"})
    assert helper.run(*arguments, "--html", script=other).returncode == 0
    html = (tmp_path / "out" / "book" / "document.html").read_text()
    assert "read once" in html
    assert "read twice" not in html


def test_failed_pages_are_tried_again(book: Path, tmp_path: Path) -> None:
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--pages", "1-3")
    torn = helper.write_script(tmp_path / "torn.json", pages={"2": {"error": "torn"}})
    first = helper.run(*arguments, script=torn)
    assert first.returncode == 3
    assert first.stdout.splitlines()[-1] == "3 pages: 2 ok, 1 failed"
    second = helper.run(*arguments)
    assert second.returncode == 0
    assert second.stdout.splitlines()[-1] == "3 pages: 3 ok"


def test_a_second_run_into_the_folder_is_refused(book: Path, tmp_path: Path) -> None:
    slow = helper.write_script(tmp_path / "slow.json", default={"delay_s": 2}, concurrency=1)
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted")
    first = helper.start(*arguments, script=slow)
    assert first.stderr is not None
    first.stderr.readline()
    second = helper.run(*arguments)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert "another run is writing" in second.stderr


def test_a_damaged_record_is_read_again(book: Path, tmp_path: Path) -> None:
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--pages", "1-3")
    assert helper.run(*arguments).returncode == 0
    expected = helper.tree(tmp_path / "out")
    (tmp_path / "out" / "book" / "pages" / "page_0002.json").write_text("{")
    (tmp_path / "out" / "book" / "page_0003.mmd").unlink()
    assert helper.run(*arguments).returncode == 0
    assert helper.tree(tmp_path / "out") == expected


def test_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".text-abc{PART_SUFFIX}").write_text("half")
    pictures = tmp_path / f".pictures-abc{PART_SUFFIX}"
    pictures.mkdir()
    (pictures / "1.pdf").write_text("half")
    (tmp_path / "kept").write_text("whole")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
