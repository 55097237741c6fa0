"""The helper and a real Cog server with the scripted engine."""

import argparse
import contextlib
from pathlib import Path

import pytest

from tests.book import helper
from tests.book.papers import numbered_pdf

pytestmark = pytest.mark.server


def test_a_book_through_a_real_server(tmp_path: Path) -> None:
    """More requests than slots: 409s are waited out, every page comes."""
    pytest.importorskip("cog", reason="cog is not installed")
    from measure.bench.book import cog_server

    book = numbered_pdf(tmp_path / "book.pdf", 12)
    chosen = argparse.Namespace(port=0, slots=2, delay=0.2)
    with contextlib.chdir(tmp_path), cog_server(tmp_path, chosen) as url:
        ended = helper.run(
            book, "-o", tmp_path / "out", "--url", url, "--jobs", "5", "--dpi", "144"
        )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "12 pages: 12 ok"
    pages = helper.document(tmp_path / "out" / "book")["pages"]
    # regions and confidence come over the wire, in pixels of the page that was sent
    assert all(len(page["regions"]) == 12 for page in pages)
    assert pages[0]["confidence"] == pytest.approx(0.9)
    assert pages[0]["regions"][0]["boxes_px"][0][2] == round(900 / 999 * 600)
