"""What goes in, and what is wrong with it: said in a sentence, the others read nevertheless."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pymupdf
import pytest

from deepocr.book.files import WorkspaceError, new_file, write_file
from deepocr.book.inputs import find_sources, folder_name
from deepocr.errors import InvalidInput
from tests.book import helper
from tests.book.papers import numbered_pdf, text_page

ENGINE = ("--engine", "scripted")


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.pdf", "a.PNG", "notes.txt", ".hidden.pdf"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.pdf").write_bytes(b"x")
    found = find_sources([str(tmp_path), str(tmp_path / "b.pdf"), str(tmp_path / "*/*.pdf")])
    assert [(source.path.name, source.name) for source in found] == [
        ("a.PNG", "a"),
        ("b.pdf", "b"),
        ("b.pdf", "b-2"),
    ]
    for wrong in ("nothing.pdf", "*.nothing"):
        with pytest.raises(InvalidInput, match="nothing"):
            find_sources([str(tmp_path / wrong)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no documents"):
        find_sources([str(tmp_path / "empty")])


def test_a_pipe_with_a_name_is_no_document(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    with pytest.raises(InvalidInput, match=r"pipe\.pdf is no regular file; send it to standard"):
        find_sources([str(tmp_path / "pipe.pdf")])


@pytest.mark.parametrize("given", [("-o", ""), ("--out=--",), ("--pages=--",), ("",)])
def test_values_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]
) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    monkeypatch.chdir(tmp_path)
    ended = helper.run(book, *given, *ENGINE)
    assert ended.returncode == 2
    assert "it is empty" in ended.stderr or "-- is no value" in ended.stderr
    assert list(tmp_path.iterdir()) == [book]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Война и мир.pdf", "Война и мир"),
        ("v1.2 notes.pdf", "v1.2 notes"),
        ("a:b\\c|d.png", "a_b_c_d"),
        ("...", "document"),
        ("x" * 200 + ".pdf", "x" * 100),
    ],
)
def test_names_of_folders(name: str, folder: str) -> None:
    assert folder_name(Path(name)) == folder


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(10):
        text_page(f"picture {number}", (600, 400)).save(tmp_path / "in" / f"p{number}.png")
    ended = helper.run(tmp_path / "in", "-o", tmp_path / "out", *ENGINE)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "10 pages: 10 ok"
    assert len(list((tmp_path / "out").glob("p*/document.mmd"))) == 10


def test_a_bad_document_does_not_stop_the_others(tmp_path: Path) -> None:
    good = numbered_pdf(tmp_path / "good.pdf", 1)
    (tmp_path / "bad.pdf").write_text("no document")
    (tmp_path / "zero.png").write_bytes(b"")
    ended = helper.run(
        tmp_path / "bad.pdf", tmp_path / "zero.png", good, "-o", tmp_path / "o", *ENGINE
    )
    assert ended.returncode == 2
    assert "bad.pdf: the file is no picture or PDF" in ended.stderr
    assert "zero.png: the file is empty" in ended.stderr
    assert (tmp_path / "o" / "good" / "document.mmd").exists()
    assert ended.stdout.splitlines()[-1] == "1 page: 1 ok"


@pytest.mark.parametrize("pages", ["9-3", "0", "4-", "abc", "1-4"])
def test_bad_page_ranges(tmp_path: Path, pages: str) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 3)
    ended = helper.run(book, "-o", tmp_path / "out", "--pages", pages, *ENGINE)
    assert ended.returncode == 2
    assert "pages" in ended.stderr
    assert not (tmp_path / "out" / "book").exists()


def test_passwords(tmp_path: Path) -> None:
    with pymupdf.open() as pdf:
        pdf.new_page().insert_text((50, 50), "a secret of many words")
        pdf.save(
            tmp_path / "secret.pdf",
            encryption=pymupdf.PDF_ENCRYPT_AES_256,
            user_pw="open",
            owner_pw="x",
        )
    arguments = (tmp_path / "secret.pdf", "-o", tmp_path / "out", *ENGINE)
    for more, words in (((), "encrypted"), (("--password", "no"), "does not open")):
        ended = helper.run(*arguments, *more)
        assert ended.returncode == 2
        assert words in ended.stderr
    ended = helper.run(*arguments, "--password", "open", "--searchable-pdf")
    assert ended.returncode == 0, ended.stderr
    # as it was locked before, it is locked after
    with pymupdf.open(tmp_path / "out" / "secret" / "searchable.pdf") as pdf:
        assert pdf.needs_pass
        assert pdf.authenticate("open")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "sing"), "unknown task 'sing'"),
        (("--resolution", "huge"), "unknown resolution 'huge'"),
        (("--task", "locate"), "needs a reference_text"),
        (("--dpi", "5"), "not from 36 to 1200"),
        (("--jobs", "0"), "not from 1"),
        (("--timeout", "-1"), "no number of seconds"),
        (("--max-new-tokens", "33000"), "must be from 1 to 32768"),
        (("--replicate", "nonsense"), "REPLICATE_API_TOKEN"),
    ],
)
def test_bad_arguments(
    tmp_path: Path, arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    ended = helper.run(book, "-o", tmp_path / "out", *arguments)
    assert ended.returncode in (1, 2)
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_misspelled_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    monkeypatch.setattr(helper, "environment", lambda _script: {"DEEPOCR_ENGIN": "ppocr"})
    ended = helper.run(book, "-o", tmp_path / "out")
    assert ended.returncode == 2
    assert "DEEPOCR_ENGINE" in ended.stderr


def test_the_output_folder_is_a_file(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    (tmp_path / "out").write_text("mine")
    ended = helper.run(book, "-o", tmp_path / "out", *ENGINE)
    assert ended.returncode == 1
    assert "cannot be written" in ended.stderr
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    (tmp_path / "out").mkdir(mode=0o555)
    ended = helper.run(book, "-o", tmp_path / "out", *ENGINE)
    assert ended.returncode == 1
    assert "cannot be written" in ended.stderr


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, says so, and goes on once there is room."""
    book = numbered_pdf(tmp_path / "book.pdf", 6)
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ended = helper.run(book, "-o", tmp_path / "out", *ENGINE)
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "finished pages are kept" in ended.stderr
    assert not list((tmp_path / "out").rglob("*.part"))
    kept = list((tmp_path / "out" / "book" / "pages").glob("*.json"))
    assert 0 < len(kept) < 6
    again = helper.run(book, "-o", tmp_path / "out", *ENGINE)
    assert again.returncode == 0
    assert f"{len(kept)} of them read earlier" in again.stderr


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, "old")
    stopped = contextlib.suppress(KeyboardInterrupt)
    with stopped, new_file(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(WorkspaceError):
        write_file(tmp_path / "missing" / "file", "x")


@pytest.mark.parametrize("change", ["remove", "write"])
def test_an_input_that_does_not_stay_as_it_is(tmp_path: Path, change: str) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 20)
    original = book.read_bytes()
    other = numbered_pdf(tmp_path / "other.pdf", 2)
    script = helper.write_script(tmp_path / "s.json", default={"delay_s": 0.15}, concurrency=2)

    def disturb() -> None:
        folder = tmp_path / "out" / "book" / "pages"
        while not list(folder.glob("*.json")):
            time.sleep(0.02)
        if change == "remove":
            book.unlink()
        else:
            book.write_bytes(original + b"\n")

    thread = threading.Thread(target=disturb)
    thread.start()
    ended = helper.run(book, other, "-o", tmp_path / "out", *ENGINE, script=script)
    thread.join()
    assert ended.returncode == 2
    assert ("changed" if change == "write" else "not there") in ended.stderr
    assert not (tmp_path / "out" / "book" / "document.mmd").exists()
    assert (tmp_path / "out" / "other" / "document.mmd").exists()
    # put back, it goes on
    book.write_bytes(original)
    again = helper.run(book, "-o", tmp_path / "out", *ENGINE, script=script)
    assert again.returncode == 0
    assert "read earlier" in again.stderr


def test_one_damaged_page_fails_alone(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 3)
    with pymupdf.open(book) as pdf:
        pdf.update_object(pdf[1].xref, "(torn)")
        pdf.saveIncr()
    ended = helper.run(
        book, "-o", tmp_path / "out", *ENGINE, "--html", "--overlay", "--searchable-pdf"
    )
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.splitlines()[-1] == "3 pages: 2 ok, 1 failed"
    markdown = (tmp_path / "out" / "book" / "document.mmd").read_text()
    assert "<!-- page 2 " in markdown
    assert "is damaged" in markdown


def test_reading_in_this_process_needs_no_packages_for_servers_and_viewer(tmp_path: Path) -> None:
    extra = ("httpx", "replicate", "nh3", "markdown_it", "latex2mathml", "docx")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({extra!r}))\n"
        "from deepocr.cli import main; sys.exit(main(['read', *sys.argv[1:]]))"
    )
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    out = ("-o", str(tmp_path / "out"), helper.NO_CHECK)
    arguments = (sys.executable, "-c", code, str(book), *out)
    environment = helper.environment()
    for more, status, words in (
        (("--engine", "scripted"), 0, "1 page: 1 ok"),
        (("--engine", "scripted", "--html"), 1, "install deepocr[books]"),
        (("--url", "http://localhost:1"), 1, "install deepocr[books]"),
    ):
        ended = subprocess.run(
            (*arguments, *more), env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == status, ended.stderr
        assert words in ended.stdout + ended.stderr
