"""Documents in processes of their own: what a file does to its process costs its page alone."""

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from deepocr.documents import Document, DocumentLimits, DocumentProcesses, open_document
from deepocr.documents.child import OPEN_IN_ONE
from deepocr.documents.drawing_process import KEEP_BYTES
from deepocr.errors import (
    DocumentTooLarge,
    PageTooCostly,
    PasswordNeeded,
    UnreadableDocument,
)
from deepocr.render.placed_text import PlacedText
from deepocr.render.searchable_pdf import SearchablePage, write_searchable_pdf
from deepocr.settings import Settings
from tests.unit.document_samples import corners, noise, pdf_bytes, pdf_with, png, save
from tests.unit.hostile_documents import endless_pdf, hungry_pdf

ROOT = Path(__file__).resolve().parents[2]
LIMITS = DocumentLimits()
WAIT_S = 60.0
MEMORY_BYTES = 1 << 30


def processes(
    count: int = 1, timeout_s: float = WAIT_S, memory_bytes: int = MEMORY_BYTES
) -> DocumentProcesses:
    return DocumentProcesses(
        LIMITS, count=count, page_timeout_s=timeout_s, memory_bytes=memory_bytes
    )


@pytest.fixture
def pool() -> Iterator[DocumentProcesses]:
    with processes() as opened:
        yield opened


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s, f"waited in vain until {what}"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether there is such a process, a zombie included."""
    return Path(f"/proc/{pid}").exists()


def is_busy(pid: int) -> bool:
    """Whether it uses the processor, as one that draws does and one that waits does not."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"


def start_drawing(pool: DocumentProcesses, document: Document) -> Future[object]:
    """Page 1, in a thread; returns when its process is at it."""
    threads = ThreadPoolExecutor(1)
    future: Future[object] = threads.submit(document.page, 1)
    threads.shutdown(wait=False)
    wait_until(lambda: any(is_busy(pid) for pid in pool.pids()), "a page is being drawn")
    return future


SOURCES = {
    "pdf": pdf_bytes(3, rotate=90),
    "png": save(corners(), "PNG"),
    "jpeg": save(noise(), "JPEG", dpi=(300, 300)),
    "tiff": save(
        corners(), "TIFF", save_all=True, append_images=[corners((90, 70)), corners((40, 50))]
    ),
    "large": save(corners((4000, 3000)), "PNG"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_pages_are_those_that_are_drawn_in_line(pool: DocumentProcesses, name: str) -> None:
    source = SOURCES[name]
    options = {"dpi": 100.0, "with_words": True, "max_side_px": 150}
    with (
        open_document(source, LIMITS, **options) as inline,
        pool.open(source, **options) as document,
    ):
        assert (document.kind, document.num_pages) == (inline.kind, inline.num_pages)
        assert document.select("1-") == inline.select("1-")
        for number in (*range(1, inline.num_pages + 1), 1):
            for dpi in (None, 200.0):
                expected, page = inline.page(number, dpi), document.page(number, dpi)
                assert page.image.tobytes() == expected.image.tobytes()
                assert (page.number, page.size_px) == (number, expected.size_px)
                assert (page.image.mode, page.dpi) == ("RGB", expected.dpi)
                assert page.words == expected.words
            assert document.size_px(number) == document.page(number).size_px
        with pytest.raises(IndexError):
            document.page(inline.num_pages + 1)


BAD = {
    "empty": b"",
    "text": b"hello",
    "cut": SOURCES["jpeg"][:2000],
    "bomb": png(100_000, 100_000),
    "garbage": b"%PDF-1.7 garbage",
    "locked": pdf_bytes(encryption=5, user_pw="u", owner_pw="o"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_those_of_opening_in_line(
    pool: DocumentProcesses, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(BAD[name])
    expected: Exception | None = None
    try:
        open_document(path, LIMITS)
    except (UnreadableDocument, DocumentTooLarge, PasswordNeeded) as error:
        expected = error
    with pytest.raises(type(expected)) as raised:
        pool.open(BAD[name])
    assert str(raised.value) == str(expected)
    assert "/" not in str(raised.value)


def test_a_page_that_takes_too_long_costs_itself_alone() -> None:
    with processes(timeout_s=2) as pool, pool.open(endless_pdf()) as document:
        with pytest.raises(PageTooCostly, match=r"page 1 took more than 2 s .*DRAW_TIMEOUT_S"):
            document.page(1)
        assert document.page(2).size_px == (400, 200)
        with pytest.raises(PageTooCostly):
            document.page(1)
        assert document.page(2).size_px == (400, 200)


def test_a_page_that_takes_too_much_memory_costs_itself_alone() -> None:
    with processes(memory_bytes=1 << 28) as pool, pool.open(hungry_pdf()) as document:
        assert document.page(2).size_px == (400, 200)
        with pytest.raises(PageTooCostly, match=r"page 1 needs more than .*DRAW_MEMORY_BYTES"):
            document.page(1)
        assert document.page(2).size_px == (400, 200)


def test_a_picture_that_takes_too_much_memory() -> None:
    with (
        processes(memory_bytes=1 << 26) as pool,
        pytest.raises(PageTooCostly, match="opening the document needs more than"),
    ):
        pool.open(save(corners((8000, 8000)), "PNG"))


def test_a_process_that_was_killed_is_replaced(pool: DocumentProcesses) -> None:
    with pool.open(pdf_bytes(3)) as document:
        first = document.page(1).image.tobytes()
        killed = pool.pids()
        os.kill(killed[0], signal.SIGKILL)
        assert document.page(1).image.tobytes() == first
        assert pool.pids() != killed
        assert not runs(killed[0])


def test_a_page_that_ends_two_processes_is_to_blame(pool: DocumentProcesses) -> None:
    with pool.open(endless_pdf()) as document:
        future = start_drawing(pool, document)
        first = pool.pids()[0]
        os.kill(first, signal.SIGSEGV)
        wait_until(
            lambda: any(pid != first and is_busy(pid) for pid in pool.pids()), "it is tried again"
        )
        # it may only be starting yet: that, too, is a process that ended
        os.kill(pool.pids()[0], signal.SIGSEGV)
        with pytest.raises(UnreadableDocument, match=r"page 1 ended .* twice \(signal 11\)"):
            future.result(WAIT_S)
        assert document.page(2).size_px == (400, 200)


def test_a_document_stays_open_from_page_to_page(pool: DocumentProcesses, tmp_path: Path) -> None:
    path = tmp_path / "book.tif"
    path.write_bytes(SOURCES["tiff"])
    with pool.open(path) as document:
        path.unlink()
        assert [document.page(number).size_px for number in (1, 2, 3)] == [
            (60, 40),
            (90, 70),
            (40, 50),
        ]


def test_a_file_that_changed_between_two_processes(pool: DocumentProcesses, tmp_path: Path) -> None:
    path = tmp_path / "book.pdf"
    path.write_bytes(pdf_bytes(3))
    with pool.open(path) as document:
        document.page(1)
        path.write_bytes(pdf_bytes(2))
        os.kill(pool.pids()[0], signal.SIGKILL)
        with pytest.raises(UnreadableDocument, match="changed"):
            document.page(2)


def test_many_open_documents_are_few_in_the_process(
    pool: DocumentProcesses, tmp_path: Path
) -> None:
    documents = []
    for number in range(2 * OPEN_IN_ONE):
        path = tmp_path / f"{number}.pdf"
        path.write_bytes(pdf_bytes(number + 1))
        documents.append(pool.open(path))
    for document in documents:
        assert document.page(document.num_pages).size_px == (400, 200)
    files = [
        path.resolve()
        for path in Path(f"/proc/{pool.pids()[0]}/fd").iterdir()
        if tmp_path in path.resolve().parents
    ]
    assert len(files) <= OPEN_IN_ONE
    for document in documents:
        document.close()
        document.close()
    with pytest.raises(UnreadableDocument, match="closed"):
        documents[0].page(1)


def test_many_threads_many_documents() -> None:
    def read(pages: int) -> list[tuple[str, ...]]:
        with pool.open(pdf_bytes(pages), with_words=True) as document:
            drawn = [document.page(number) for number in range(1, pages + 1)]
        return [tuple(word.text for word in page.words) for page in drawn]

    with processes(count=3) as pool, ThreadPoolExecutor(12) as threads:
        for pages, words in zip(range(1, 25), threads.map(read, range(1, 25)), strict=True):
            assert words == [("page", str(number)) for number in range(1, pages + 1)]
        assert len(pool.pids()) <= 3


def test_pages_of_one_document_from_many_threads() -> None:
    with (
        processes(count=3) as pool,
        pool.open(pdf_bytes(30), with_words=True) as document,
        ThreadPoolExecutor(8) as threads,
    ):
        for number, page in enumerate(threads.map(document.page, range(1, 31)), start=1):
            assert [word.text for word in page.words] == ["page", str(number)]


def test_closing_a_document_frees_the_process_that_draws_it(pool: DocumentProcesses) -> None:
    """As when its reader is canceled: others do not wait until its page has run out of time."""
    with pool.open(pdf_bytes(1)) as other:
        with pool.open(endless_pdf()) as document:
            drawing = start_drawing(pool, document)
            (pid,) = pool.pids()
        with pytest.raises(UnreadableDocument, match="closed"):
            drawing.result(timeout=WAIT_S / 2)
        assert other.page(1).image.size
        assert not runs(pid)


def test_closing_ends_what_is_being_drawn() -> None:
    with processes() as pool:
        document = pool.open(endless_pdf())
        future = start_drawing(pool, document)
        pids = pool.pids()
        pool.close()
        with pytest.raises(UnreadableDocument, match="stopping"):
            future.result(WAIT_S)
        wait_until(lambda: not any(runs(pid) for pid in pids), "no process is left")
        with pytest.raises(UnreadableDocument, match="stopping"):
            pool.open(pdf_bytes())
    document.close()


SCRIPT = """
import sys
from pathlib import Path
from deepocr.documents import DocumentLimits, DocumentProcesses
pool = DocumentProcesses(DocumentLimits(), count=1, page_timeout_s=600, memory_bytes=1 << 30)
with pool, pool.open(Path(sys.argv[1])) as document:
    print(pool.pids()[0], flush=True)
    document.page(1)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_hangs_neither_outlives_nor_holds_its_parent(
    how: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "endless.pdf"
    path.write_bytes(endless_pdf())
    command = [sys.executable, "-c", SCRIPT, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_until(lambda: is_busy(child), "the page is being drawn")
        parent.send_signal(how)
        assert parent.wait(WAIT_S) != 0
        wait_until(lambda: not runs(child), "the child is gone")


def test_ctrl_c_of_the_terminal_does_not_reach_it(pool: DocumentProcesses) -> None:
    with pool.open(pdf_bytes()) as document:
        document.page(1)
        (pid,) = pool.pids()
        assert os.getpgid(pid) != os.getpgid(0)


def test_secrets_do_not_reach_it(pool: DocumentProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPOCR_API_KEYS", "s3cret")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "s3cret")
    with pool.open(pdf_bytes()):
        (pid,) = pool.pids()
        assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_warnings_reach_the_log(pool: DocumentProcesses, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pool.open(pdf_with()) as document:
        assert document.page(1).size_px == (400, 200)
    assert "has been repaired" in caplog.text


def sheet_of(pool: DocumentProcesses) -> Path:
    """The file that both sides share."""
    files = Path(f"/proc/{pool.pids()[0]}/fd").iterdir()
    (sheet,) = (file for file in files if "memfd:" in str(file.readlink()))
    return sheet


def test_what_a_large_page_took_is_given_back(pool: DocumentProcesses) -> None:
    with pool.open(SOURCES["pdf"]) as document, pool.open(SOURCES["large"]) as large:
        assert large.page(1).size_px == (4000, 3000)
        assert sheet_of(pool).stat().st_blocks == 0
        assert document.page(1).image.getpixel((0, 0)) == (255, 255, 255)
        assert 0 < 512 * sheet_of(pool).stat().st_blocks < KEEP_BYTES


def test_a_process_cannot_cut_the_memory_that_its_parent_reads(pool: DocumentProcesses) -> None:
    with pool.open(SOURCES["pdf"]) as document:
        with pytest.raises(PermissionError):
            os.truncate(sheet_of(pool), 0)
        assert document.page(1).size_px == document.size_px(1)


def test_functions_that_are_not_meant_for_it_are_refused(pool: DocumentProcesses) -> None:
    with pytest.raises(UnreadableDocument, match=r"'os\.system' is not for"):
        pool.call("os.system", "true", timeout_s=WAIT_S)


def test_a_pdf_that_cannot_be_written_is_not_the_documents_fault(
    pool: DocumentProcesses, tmp_path: Path
) -> None:
    source, target = tmp_path / "source.pdf", tmp_path / "searchable.pdf"
    source.write_bytes(SOURCES["pdf"])
    pages = [SearchablePage(1, (400, 200), [PlacedText("x", ((1, 1), (9, 1), (9, 9), (1, 9)))])]
    write_searchable_pdf(pool, source, pages, target)
    resource.prlimit(pool.pids()[0], resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(OSError, match="File too large"):
        write_searchable_pdf(pool, source, pages, target)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_a_picture_at_the_limit_opens_within_the_memory_limit(mode: str) -> None:
    """At a tenth of both defaults, lying on its side."""
    settings = Settings()
    picture = Image.new(mode, (4500, settings.max_pixels // 10 // 4500))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    limits = DocumentLimits(max_pixels=settings.max_pixels // 10)
    with (
        DocumentProcesses(
            limits,
            count=1,
            page_timeout_s=WAIT_S,
            memory_bytes=settings.draw_memory_bytes // 10,
        ) as pool,
        pool.open(save(picture, "PNG", exif=exif)) as document,
    ):
        assert document.page(1).size_px == (picture.height, picture.width)


def test_no_thread_is_left(pool: DocumentProcesses) -> None:
    before = threading.active_count()
    with pool.open(pdf_bytes()) as document:
        document.page(1)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "module",
    [
        "predict",
        "deepocr.pipeline",
        "deepocr.cli.read",
        "deepocr.service.http.app",
        "deepocr.service.work.worker",
    ],
)
def test_mupdf_is_loaded_in_those_processes_alone(module: str) -> None:
    code = f"import {module}, sys; sys.exit('pymupdf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
