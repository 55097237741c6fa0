"""Memory does not grow with the number of pages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.book import helper
from tests.book.papers import numbered_pdf, tag

MEASURE = """
import json, sys
from pathlib import Path
from deepocr.cli import main
code = main(["read", *sys.argv[1:]])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"code": code, "peak_mib": int(status["VmHWM"].split()[0]) / 1024}))
"""
"""Not getrusage's ru_maxrss: a new process inherits that from the one that started it."""


def peak_mib(book: Path, out: Path, *more: str) -> float:
    """Of a process of its own that reads the book with 16 pages at once."""
    text = tag("title", (50, 50, 900, 200), "# Page {page}") + tag("image", (50, 300, 400, 600))
    script = helper.write_script(out.parent / "s.json", default={"text": text}, concurrency=16)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, str(book), "-o", str(out), "--engine", "scripted", *more],
        env=helper.environment(script),
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(ended.stdout.splitlines()[-1])
    assert measured["code"] == 0, ended.stderr
    return float(measured["peak_mib"])


def test_five_times_the_pages_take_no_more_memory(tmp_path: Path) -> None:
    few = peak_mib(numbered_pdf(tmp_path / "few.pdf", 40), tmp_path / "a", "--html")
    many = peak_mib(numbered_pdf(tmp_path / "many.pdf", 200), tmp_path / "b", "--html")
    assert many < few + 60
    assert many < 600


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_pages(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 2000)
    more = ("--html", "--searchable-pdf", "--overlay", "pdf", "--raw", "--join-pages")
    assert peak_mib(book, tmp_path / "out", "--dpi", "300", *more) < 600
    document = helper.document(tmp_path / "out" / "book")
    assert [page["number"] for page in document["pages"]] == list(range(1, 2001))
    markdown = (tmp_path / "out" / "book" / "document.mmd").read_text()
    assert markdown.count("<--- Page Split --->") == 2000
