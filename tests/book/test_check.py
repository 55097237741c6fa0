"""Pages held against a witness: which are read again, how that is told, and how shown."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import jsonschema
import pymupdf
import pytest

from deepocr.book.options import ReadingOptions
from deepocr.book.page_reading import CheckOptions, prepare, read_prepared
from deepocr.documents import DocumentLimits, open_document
from deepocr.engines.scripted import Script, ScriptedEngine
from deepocr.render.json import load_schema
from deepocr.types import Event, Job, Page, PageDone, TextDelta
from tests.book.helper import Ended, document, run, write_script
from tests.book.papers import pictures_to_pdf, text_page

LINES = (
    "The road from the coast to the high market was never",
    "a single track. Carters chose their way by the season,",
    "by the price of fodder and by the temper of whoever kept",
    "the bridge. Tolls were paid in kind: in 1742 a sack in",
    "forty was usual, and Marten Okafor took no other coin.",
)
TEXT = " ".join(LINES)
OTHER = "Six hives now stand on the flat roof above the office of the mayor, and nobody was stung."


def book(path: Path) -> Path:
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=500, height=300)
        for number, line in enumerate(LINES):
            page.insert_text((40, 60 + 16 * number), line)
        pdf.save(path)
    return path


def read(folder: Path, *options: object, reply: dict[str, Any], default: str = TEXT) -> Ended:
    script = write_script(folder / "script.json", pages={"1": reply}, default={"text": default})
    pdf = folder / "book.pdf"
    if not pdf.exists():
        book(pdf)
    return run(
        pdf, "-o", folder / "out", "--engine", "scripted", *options, script=script, check=True
    )


def page_of(folder: Path) -> dict[str, Any]:
    page: dict[str, Any] = document(folder / "out" / "book")["pages"][0]
    return page


def test_a_confirmed_page_is_read_once(tmp_path: Path) -> None:
    ended = read(tmp_path, reply={"text": TEXT})
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == "1 page: 1 ok; checked: 1 confirmed"
    page = page_of(tmp_path)
    assert page["check"]["verdict"] == "confirmed"
    assert page["check"]["witness"] == "text layer"
    assert len(page["attempts"]) == 1
    schema = load_schema()
    jsonschema.validate(page["check"], {**schema["$defs"]["check"], "$defs": schema["$defs"]})


class ChangingEngine(ScriptedEngine):
    """Says one text after the other."""

    def __init__(self, *texts: str) -> None:
        super().__init__(Script())
        self._texts = iter(texts)

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        yield TextDelta(next(self._texts))
        yield PageDone()


def test_a_contradicted_page_is_read_again_and_the_better_reading_kept(tmp_path: Path) -> None:
    with open_document(book(tmp_path / "book.pdf"), DocumentLimits(), with_words=True) as pdf:
        engine = ChangingEngine(OTHER, TEXT)
        read_page = read_prepared(
            engine, pdf, prepare(pdf, 1), ReadingOptions(Job()), CheckOptions(wanted=True)
        )
        record = asyncio.run(read_page).record
    assert [(attempt.verdict, attempt.kept) for attempt in record.attempts] == [
        ("contradicted", False),
        ("confirmed", True),
    ]
    assert record.status == "retried"
    assert record.result.check is not None
    assert record.result.check.verdict == "confirmed"


def test_a_page_that_stays_contradicted_is_in_the_document_and_marked(tmp_path: Path) -> None:
    ended = read(tmp_path, "--fail-on", "contradicted", reply={"text": OTHER})
    assert ended.returncode == 5
    assert ended.stdout.splitlines()[-1] == "1 page: 1 contradicted; checked: 1 contradicted"
    page = page_of(tmp_path)
    assert page["status"] == "contradicted"
    assert document(tmp_path / "out" / "book")["statuses"] == {"contradicted": 1}
    # what is kept is kept: it is not read a fourth time
    again = read(tmp_path, "--html", reply={"error": "not asked"}, default="")
    assert again.stdout.splitlines()[-1] == "1 page: 1 contradicted; checked: 1 contradicted"
    shown = (tmp_path / "out" / "book" / "document.html").read_text()
    assert 'data-status="contradicted"' in shown
    # another preset, another prompt; it is not turned for that
    assert [(attempt["turned"], attempt["verdict"]) for attempt in page["attempts"]] == [
        (0, "contradicted")
    ] * 3
    markdown = (tmp_path / "out" / "book" / "document.mmd").read_text()
    assert (
        "<!-- page 1: contradicted by the PDF's own text: 5 missing, 1 unsupported -->" in markdown
    )
    assert OTHER in markdown


@pytest.mark.parametrize(("wanted", "code"), [("contradicted", 0), ("doubtful", 5)])
def test_a_doubtful_page_is_not_read_again(tmp_path: Path, wanted: str, code: int) -> None:
    ended = read(tmp_path, "--fail-on", wanted, reply={"text": TEXT.replace("1742", "1724")})
    assert ended.returncode == code
    page = page_of(tmp_path)
    assert len(page["attempts"]) == 1
    finding = next(f for f in page["check"]["findings"] if f["kind"] == "differs")
    assert (finding["witness"], finding["text"]) == ("1742", "1724")


def test_what_is_missing_is_inserted_where_it_belongs(tmp_path: Path) -> None:
    reply = {"text": " ".join((*LINES[:2], *LINES[3:]))}
    plain = read(tmp_path, reply=reply)
    page = page_of(tmp_path)
    assert "<ins>" not in (tmp_path / "out" / "book" / "document.mmd").read_text()
    # nothing is read again for it
    ended = read(tmp_path, "--repair", "--html", "--docx", reply={"error": "not asked"})
    assert ended.stdout == plain.stdout
    folder = tmp_path / "out" / "book"
    whole = " ".join((*LINES[:2], f"<ins>{LINES[2]}</ins>", *LINES[3:]))
    assert whole in (folder / "document.mmd").read_text()
    assert f"<ins>{LINES[2]}</ins>" in (folder / "document.html").read_text()
    assert page_of(tmp_path) == page
    refused = read(tmp_path, "--repair", "--no-check", reply=reply)
    assert refused.returncode == 2
    assert "leave --no-check out" in refused.stderr


def test_without_checks_nothing_is_compared(tmp_path: Path) -> None:
    ended = read(tmp_path, "--no-check", reply={"text": OTHER})
    assert "checked" not in ended.stdout
    page = page_of(tmp_path)
    assert "check" not in page
    assert len(page["attempts"]) == 1


def test_a_later_run_counts_the_verdicts_of_the_first(tmp_path: Path) -> None:
    first = read(tmp_path, reply={"text": TEXT})
    assert read(tmp_path, reply={"text": TEXT}).stdout == first.stdout


def test_the_viewer_shows_what_was_found(tmp_path: Path) -> None:
    wrong = " ".join((*LINES[:2], *LINES[3:])).replace("Okafor", "Lindqvist")
    read(tmp_path, "--html", reply={"text": wrong})
    shown = (tmp_path / "out" / "book" / "document.html").read_text()
    assert '<rect class="finding"' in shown
    assert "not in the text: by the price of fodder" in shown
    assert '<u class="doubtful">Lindqvist</u>' in shown


def test_a_scan_is_checked_by_the_cpu_reader_when_asked(tmp_path: Path) -> None:
    scan = pictures_to_pdf(tmp_path / "scan.pdf", [text_page(TEXT)])
    script = write_script(tmp_path / "script.json", default={"text": TEXT})
    call = (scan, "--engine", "scripted")
    free = run(*call, "-o", tmp_path / "free", script=script, check=True)
    assert free.stdout.splitlines()[-1].endswith("checked: 1 no witness")
    ended = run(*call, "-o", tmp_path / "out", "--check", script=script, check=True)
    check = document(tmp_path / "out" / "scan")["pages"][0]["check"]
    assert check["witness"] == "ppocr", json.dumps(check)
    assert check["verdict"] == "confirmed", json.dumps(check)
    assert ended.stdout.splitlines()[-1].endswith("checked: 1 confirmed")
