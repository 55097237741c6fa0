"""`deepocr read` without a folder: standard input and output."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from deepocr.book.options import RunOptions
from deepocr.book.stitch import Book, Records, write_json
from deepocr.cli import main
from tests.book import helper
from tests.book.helper import ROOT, environment, write_script
from tests.book.papers import numbered_pdf, text_page

FIGURE = "<|ref|>image<|/ref|><|det|>[[100, 300, 900, 800]]<|/det|>\n"
TEXT = "<|ref|>text<|/ref|><|det|>[[100, 100, 900, 200]]<|/det|>\nfive hives \u2713\n\n"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    pages = {"2": {"text": "", "error": "out of luck"}}
    return write_script(tmp_path / "s.json", default={"text": TEXT + FIGURE}, pages=pages)


def read(script: Path, *arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """With an output that is not UTF-8 by itself, as on Windows."""
    settings = {"DEEPOCR_ENGINE": "scripted", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-m", "deepocr", "read", *arguments, "--no-check", "--readings", "1"],
        env={**environment(script), **settings},
        input=given,
        capture_output=True,
    )


def test_markdown_goes_to_standard_output_and_all_else_does_not(
    tmp_path: Path, script: Path
) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 2)
    ended = read(script, str(book), "-", given=book.read_bytes())
    assert ended.returncode == 3
    out, err = ended.stdout.decode(), ended.stderr.decode()
    assert out.count("five hives \u2713") == 2
    assert out.count("<--- Page Split --->") == 4
    assert out.count("out of luck") == 2
    assert out.count("<!-- image 1 of page 1: a file, with -o -->") == 2
    assert "4 pages: 2 ok, 2 failed" in err
    assert "4 pages" not in out
    assert "stdin" in err


def test_what_is_no_document_is_told(script: Path) -> None:
    ended = read(script, "-", given=b"nothing")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(b"error: standard input: the file is no picture or PDF")


def test_standard_input_has_a_bound(tmp_path: Path, script: Path) -> None:
    with_bound = {**environment(script), "DEEPOCR_MAX_BYTES": "1000"}
    command = [sys.executable, "-m", "deepocr", "read", "-", "--engine", "scripted"]
    ended = subprocess.run(command, env=with_bound, input=b"%PDF-" * 300, capture_output=True)
    assert ended.returncode == 2
    assert b"standard input has more than 1,000 bytes; raise DEEPOCR_MAX_BYTES" in ended.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--html", "--format html"),
        ("--raw", "--format raw"),
        ("--format=hocr,alto", "--format hocr,alto"),
        ("--restart", "--restart"),
        ("--overlay", "--overlay"),
    ],
)
def test_files_need_a_folder(tmp_path: Path, script: Path, option: str, said: str) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    ended = helper.run(book, option, "--engine", "scripted", script=script)
    assert ended.returncode == 2
    assert f"{said} is about files; say where with -o FOLDER" in ended.stderr


def test_one_form_of_text_goes_to_standard_output(tmp_path: Path, script: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    ended = helper.run(book, "--format", "json", "--engine", "scripted", script=script)
    assert json.loads(ended.stdout)["num_pages"] == 1


def test_a_name_that_is_no_text(tmp_path: Path, script: Path) -> None:
    """Linux takes any bytes as a name."""
    odd, plain = tmp_path / "bad\udcff.png", numbered_pdf(tmp_path / "plain.pdf", 1)
    text_page("odd").save(odd)
    ended = read(script, str(odd), str(plain), "--format", "json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(b'"num_pages": 1') == 2
    assert b'"name": "bad?.png"' in ended.stdout
    ended = read(script, str(odd), str(plain), "--front-matter", "-o", str(tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "bad_" / "document.mmd").exists()


def test_a_form_that_is_not_written_does_not_stop_the_others(
    tmp_path: Path,
    script: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(path: Path, book: Book, records: Records, options: RunOptions) -> None:
        if book.name == "bad":
            raise OSError("no luck")
        write_json(path, book, records, options)

    monkeypatch.setattr("deepocr.book.outputs.write_json", write)
    books = [numbered_pdf(tmp_path / f"{name}.pdf", 1) for name in ("bad", "good")]
    ended = helper.run(*books, "--format", "json", "--engine", "scripted", script=script)
    assert ended.returncode == 1
    assert "bad.pdf: document.json is not written" in ended.stderr
    assert json.loads(ended.stdout)["name"] == "good"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_empty(tmp_path: Path, script: Path, closed: str) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    source = "-" if closed == "<&-" else str(book)
    words = [sys.executable, "-m", "deepocr", "read", source, "--engine", "scripted", "--no-check"]
    ended = subprocess.run(
        f"{shlex.join(words)} {closed}",
        shell=True,
        env=environment(script),
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ended.stderr
    if source == "-":
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: standard input: the file is empty")
    else:
        assert ended.returncode == 0


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path, script: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    seen, unread = os.pipe()
    os.close(seen)
    command = [sys.executable, "-m", "deepocr", "read", str(book), "--engine", "scripted"]
    ended = subprocess.run(
        command, env=environment(script), stdout=unread, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    os.close(unread)
    assert ended.returncode == 141
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


@pytest.mark.parametrize("named", [True, False])
def test_the_engine_that_suits_the_machine_is_told(
    tmp_path: Path,
    script: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: bool,
) -> None:
    monkeypatch.setattr("deepocr.cli.engines.best_here", lambda: ("scripted", "it is a test"))
    monkeypatch.setenv("DEEPOCR_SCRIPT", str(script))
    if named:
        monkeypatch.setenv("DEEPOCR_ENGINE", "scripted")
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    assert main(["read", str(book), "--no-check"]) == 0
    told = capsys.readouterr().err
    line = "engine scripted: it is a test; --engine or DEEPOCR_ENGINE names another\n"
    assert (line in told) == (not named)
