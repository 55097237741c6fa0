"""Fault by fault, what the book helper does: one page is lost at most, and it is told."""

import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepocr.book import outputs, page_reading
from deepocr.render.forms import FORMS
from tests.book import helper
from tests.book.papers import numbered_pdf
from tests.service.stack import eventually
from tests.unit.hostile_documents import endless_pdf

PAGES = 4
BAD = "2"

EXCEPTIONS = {
    "index": "an internal error: list index out of range",
    "key": "an internal error: 'a key'",
    "runtime": "an internal error: a step failed",
    "memory": "out of memory: no more after 64 MB",
    "unicode": "text that cannot be encoded",
    "recursion": "nested too deeply",
    "os": "a file or a connection failed: Input/output error",
    "foreign": "an internal error: resize.cpp",
    "endless": "4,000,000 characters",
}


@pytest.fixture
def two_books(tmp_path: Path) -> tuple[Path, Path]:
    return numbered_pdf(tmp_path / "a.pdf", PAGES), numbered_pdf(tmp_path / "b.pdf", PAGES)


def read(tmp_path: Path, *more: object, concurrency: int = 2, **bad: Any) -> helper.Ended:
    script = bad_script(tmp_path, concurrency, bad)
    return helper.run(*more, "-o", tmp_path / "out", "--engine", "scripted", script=script)


def start(
    tmp_path: Path, *more: object, concurrency: int = 2, **bad: Any
) -> "subprocess.Popen[str]":
    """The same in a process of its own, for what ends it."""
    script = bad_script(tmp_path, concurrency, bad)
    return helper.start(*more, "-o", tmp_path / "out", "--engine", "scripted", script=script)


def read_apart(tmp_path: Path, *more: object, **bad: Any) -> helper.Ended:
    process = start(tmp_path, *more, **bad)
    out, error = process.communicate(timeout=120)
    return helper.Ended(process.returncode, out, error)


def bad_script(tmp_path: Path, concurrency: int, bad: dict[str, Any]) -> Path:
    """One page of each document is bad."""
    return helper.write_script(
        tmp_path / "script.json",
        default={"text": "words of page {page}"},
        pages={BAD: {"text": "so far", **bad}},
        concurrency=concurrency,
    )


def statuses(tmp_path: Path, name: str) -> list[str]:
    pages = helper.document(tmp_path / "out" / name)["pages"]
    return [str(page["status"]) for page in pages]


@pytest.mark.parametrize("fault", EXCEPTIONS)
def test_any_exception_costs_its_page(
    tmp_path: Path, two_books: tuple[Path, Path], fault: str
) -> None:
    ended = read(tmp_path, *two_books, fault=fault)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.splitlines()[-1] == "8 pages: 6 ok, 2 failed"
    for name in ("a", "b"):
        assert statuses(tmp_path, name) == ["ok", "failed", "ok", "ok"]
        (told,) = [p["error"] for p in helper.document(tmp_path / "out" / name)["pages"][1:2]]
        assert EXCEPTIONS[fault] in told


def test_an_engine_that_breaks_once_is_started_again(
    tmp_path: Path, two_books: tuple[Path, Path]
) -> None:
    ended = read(tmp_path, two_books[0], fault="broken", times=1, concurrency=4)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "4 pages: 4 ok"


def test_a_page_that_breaks_the_engine_twice_is_failed(
    tmp_path: Path, two_books: tuple[Path, Path]
) -> None:
    ended = read(tmp_path, *two_books, fault="broken", concurrency=3)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.splitlines()[-1] == "8 pages: 6 ok, 2 failed"
    page = helper.document(tmp_path / "out" / "b")["pages"][1]
    assert page["error"] == "the engine broke twice while it read this page"


def test_an_engine_that_stays_broken_stops_the_run_and_everything_is_kept(
    tmp_path: Path, two_books: tuple[Path, Path]
) -> None:
    script = helper.write_script(
        tmp_path / "script.json",
        default={"fault": "broken"},
        pages={"1": {"text": "one"}},
        concurrency=1,
    )
    arguments = (two_books[0], "-o", tmp_path / "out", "--engine", "scripted")
    ended = helper.run(*arguments, script=script)
    assert ended.returncode == 4, ended.stderr
    assert "error: the scripted engine broke" in ended.stderr
    assert ended.stdout.splitlines()[-1] == "2 pages: 1 ok, 1 failed"
    again = helper.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert "1 of them read earlier" in again.stderr
    assert again.stdout.splitlines()[-1] == "4 pages: 4 ok"


@pytest.mark.parametrize("where", ["draw", "look", "figures", "judge"])
def test_any_exception_around_the_reading_costs_its_page(
    tmp_path: Path, two_books: tuple[Path, Path], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise MemoryError

    calls = iter(range(1000))
    places: dict[str, tuple[Any, str]] = {
        "draw": (page_reading, "ink_mask"),
        "look": (page_reading, "look_at"),
        "figures": (page_reading, "cut_figures"),
        "judge": (page_reading, "_judge"),
    }
    module, name = places[where]
    whole = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a: (fail if next(calls) == 2 else whole)(*a))
    ended = read(tmp_path, *two_books)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.splitlines()[-1] == "8 pages: 7 ok, 1 failed"


OUTPUTS = {
    "--raw": "page_0001.raw.txt",
    "--overlay": "overlay/page_0001.png",
    "--searchable-pdf": "searchable.pdf",
    "--html": "document.html",
    "--docx": "document.docx",
    "--format=hocr": "document.hocr",
}


@pytest.mark.parametrize(
    ("option", "writer"),
    [
        ("--raw", "write_raw"),
        ("--overlay", "write_overlay_pngs"),
        ("--searchable-pdf", "pdf"),
        ("--html", "html"),
        ("--docx", "docx"),
        ("--format=hocr", "hocr"),
    ],
)
def test_an_output_that_fails_takes_no_other_with_it(
    tmp_path: Path, two_books: tuple[Path, Path], option: str, writer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise ValueError("all strings must be XML compatible")

    if writer in FORMS:
        failing = {**FORMS, writer: replace(FORMS[writer], write=fail)}
        monkeypatch.setattr(outputs, "FORMS", failing)
    else:
        monkeypatch.setattr(outputs, writer, fail)
    ended = read(tmp_path, two_books[0], *OUTPUTS)
    assert ended.returncode == 1
    assert "is not written: an internal error: all strings" in ended.stderr
    assert ended.stdout.splitlines()[-1] == "4 pages: 4 ok"
    folder = tmp_path / "out" / "a"
    there = {name for name, file in OUTPUTS.items() if (folder / file).exists()}
    assert there == set(OUTPUTS) - {option}
    assert (folder / "document.mmd").exists()


def test_a_full_disk_ends_its_document_and_pages_are_counted(
    tmp_path: Path, two_books: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.replace

    def full(path: Path, target: Path) -> Path:
        if "a/page_0003" in str(target):
            raise OSError(28, "No space left on device")
        return whole(path, target)

    monkeypatch.setattr(Path, "replace", full)
    ended = read(tmp_path, *two_books, concurrency=1)
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert ended.stdout.splitlines()[-1] == "6 pages: 6 ok"
    assert statuses(tmp_path, "b") == ["ok"] * PAGES


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fault", ["hang", "draw"])
def test_a_signal_ends_it_whatever_hangs(tmp_path: Path, how: signal.Signals, fault: str) -> None:
    book = tmp_path / "book.pdf"
    if fault == "draw":
        book.write_bytes(endless_pdf())
    else:
        numbered_pdf(book, 3)
    script = helper.write_script(tmp_path / "s.json", default={"fault": "hang"})
    process = helper.start(book, "-o", tmp_path / "out", "--engine", "scripted", script=script)
    assert process.stderr is not None
    process.stderr.readline()  # the book's name: pages are in work
    time.sleep(0.5)
    process.send_signal(how)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert "same command goes on" in error


@pytest.mark.parametrize("fault", ["exit", "kill"])
def test_a_page_that_ends_the_process_once_is_read_alone(
    tmp_path: Path, two_books: tuple[Path, Path], fault: str
) -> None:
    ended = read_apart(tmp_path, *two_books, fault=fault, times=1)
    assert ended.returncode in (134, -signal.SIGKILL)
    again = read_apart(tmp_path, *two_books, fault=fault, times=1)
    assert again.returncode == 0, again.stderr
    assert "read first, alone" in again.stderr
    assert again.stdout.splitlines()[-1] == "8 pages: 8 ok"
    assert not list((tmp_path / "out").rglob("*.in_hand"))


@pytest.mark.parametrize("fault", ["exit", "kill"])
def test_a_page_that_ends_the_process_twice_is_failed(
    tmp_path: Path, two_books: tuple[Path, Path], fault: str
) -> None:
    for _ in range(2):
        ended = read_apart(tmp_path, two_books[0], fault=fault)
        assert ended.returncode in (134, -signal.SIGKILL), ended.stderr
    ended = read_apart(tmp_path, two_books[0], fault=fault)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.splitlines()[-1] == "4 pages: 3 ok, 1 failed"
    assert statuses(tmp_path, "a") == ["ok", "failed", "ok", "ok"]
    error = helper.document(tmp_path / "out" / "a")["pages"][1]["error"]
    assert error.startswith("2 runs ended without a word while they read this page")
    assert "WARNING a: page 2 failed: 2 runs" in ended.stderr
    assert not list((tmp_path / "out").rglob("*.in_hand"))


def test_a_page_that_takes_too_long_is_failed(tmp_path: Path, two_books: tuple[Path, Path]) -> None:
    ended = read(tmp_path, two_books[0], "--page-timeout", 2, fault="hang")
    assert ended.returncode == 3, ended.stderr
    assert statuses(tmp_path, "a") == ["ok", "failed", "ok", "ok"]
    page = helper.document(tmp_path / "out" / "a")["pages"][1]
    assert page["error"] == "the page took more than 2 s to read; raise --page-timeout"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fault", ["block", "freeze"])
def test_a_signal_ends_a_process_that_cannot_heed_it(
    tmp_path: Path, two_books: tuple[Path, Path], how: signal.Signals, fault: str
) -> None:
    process = start(tmp_path, two_books[0], concurrency=1, fault=fault, times=1)
    eventually((tmp_path / "script.json.page2").exists, 60, "the page that hangs")
    time.sleep(0.5)
    process.send_signal(how)
    _, error = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert "same command goes on" in error
    again = read(tmp_path, two_books[0], fault=fault, times=1)
    assert again.stdout.splitlines()[-1] == "4 pages: 4 ok"
