"""`import deepocr`: readers, results, what they promise."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from PIL import Image

import deepocr
from deepocr.engines import registry
from deepocr.settings import Settings, make_settings

ROOT = Path(__file__).resolve().parents[2]
LINE = "<|ref|>text<|/ref|><|det|>[[100, 100, 900, 200]]<|/det|>\nline of page\n\n"
FIGURE = "<|ref|>image<|/ref|><|det|>[[100, 300, 900, 800]]<|/det|>\n"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Page 2 fails."""
    path = tmp_path / "script.json"
    pages = {"2": {"text": LINE, "error": "out of luck"}}
    path.write_text(json.dumps({"default": {"text": LINE + FIGURE}, "pages": pages}))
    return path


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.pdf"
    with pymupdf.open() as document:
        for number in (1, 2, 3):
            page = document.new_page(width=300, height=400)
            page.insert_text((30, 60), f"line of page {number}")
            page.draw_rect((30, 120, 270, 320), fill=(0.2, 0.4, 0.4))
        document.save(path)
    return path


def run(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEEPOCR_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for 20 s in vain")


def test_a_document_is_three_lines(script: Path, book: Path) -> None:
    with deepocr.Reader("scripted", script=script, dpi=144) as reader:
        result = reader.read(book)
    assert [page.status for page in result.pages] == ["ok", "failed", "ok"]
    assert result.markdown.count("<--- Page Split --->") == 3
    assert "line of page" in result.pages[0].markdown
    assert "out of luck" in result.pages[1].markdown
    assert result.raw.startswith("<|ref|>text")
    assert result.pages[0].regions[0].boxes_px == ((60, 80, 541, 160),)
    assert "ocr_page" in result.hocr
    assert "<alto" in result.alto
    assert json.loads(result.chunks.splitlines()[0])["text"] == "line of page"
    plain = json.loads(result.json())
    assert (plain["name"], len(plain["pages"])) == ("book.pdf", 3)
    assert "task" not in plain["pages"][0]  # the schema's form, nothing of ours beside it


@pytest.mark.parametrize("form", ["str", "bytes", "picture"])
def test_what_a_document_may_be(script: Path, tmp_path: Path, form: str) -> None:
    picture, path = Image.new("RGBA", (80, 60), "white"), tmp_path / "page.png"
    picture.save(path)
    source: Any = {"str": str(path), "bytes": path.read_bytes(), "picture": picture}[form]
    with deepocr.Reader("scripted", script=script) as reader:
        result = reader.read(source)
    assert (result.pages[0].size_px, result.name) == ((80, 60), "page.png" if form == "str" else "")
    assert "Page Split" not in result.markdown


@pytest.mark.parametrize(
    ("source", "asked", "kind", "said"),
    [
        ("/nowhere.pdf", {}, "InvalidInput", "'/nowhere.pdf' is no file; check the path"),
        (b"nothing", {}, "UnreadableDocument", "no picture or PDF"),
        (7, {}, "InvalidInput", "not int"),
        ("x" * 5000, {}, "InvalidInput", "is no file; check the path"),
        ("a\0b", {}, "InvalidInput", "is no file; check the path"),
        (None, {"pages": "9"}, "PageRangeError", "3 pages"),
        (None, {"task": "sing"}, "InvalidInput", "unknown task 'sing'"),
        (None, {"pages": "2"}, "EngineError", "out of luck"),
        (None, {"pages": 9}, "PageRangeError", "3 pages"),
        (None, {"pages": [1]}, "InvalidInput", "pages is [1]; give"),
        (None, {"pages": b"1"}, "InvalidInput", "pages is b'1'; give"),
        (None, {"password": b"x"}, "InvalidInput", "the password is of type bytes; give text"),
    ],
)
def test_errors_are_typed(
    script: Path, book: Path, source: Any, asked: Any, kind: str, said: str
) -> None:
    with (
        deepocr.Reader("scripted", script=script) as reader,
        pytest.raises(getattr(deepocr, kind), match=re.escape(said)),
    ):
        reader.read(source or book, **asked)


def broken_picture(kind: str, folder: Path) -> Image.Image:
    if kind == "empty":
        return Image.new("RGB", (0, 10))
    picture = Image.effect_noise((200, 200), 90)
    if kind == "closed":
        picture.close()
        return picture
    path = folder / "whole.png"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:9000])
    return Image.open(path)


@pytest.mark.parametrize("kind", ["truncated", "closed", "empty"])
def test_a_picture_that_cannot_be_read(script: Path, tmp_path: Path, kind: str) -> None:
    picture = broken_picture(kind, tmp_path)
    with (
        deepocr.Reader("scripted", script=script) as reader,
        pytest.raises(deepocr.UnreadableDocument, match="the picture"),
    ):
        reader.read(picture)


def test_a_picture_that_is_too_large_is_not_decoded(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.new("1", (400, 400))
    monkeypatch.setattr(picture, "convert", None)
    with (
        deepocr.Reader("scripted", script=script, max_pixels=90_000) as reader,
        pytest.raises(deepocr.DocumentTooLarge, match="400 x 400 pixels"),
    ):
        reader.read(picture)


class BytesPath(os.PathLike[bytes]):
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self._path)


def test_a_path_may_be_made_of_bytes(script: Path, book: Path) -> None:
    source: Any = BytesPath(book)
    with deepocr.Reader("scripted", script=script) as reader:
        assert reader.read(source).name == "book.pdf"


def test_a_page_may_be_a_number_and_none_is_no_choice(script: Path, book: Path) -> None:
    with deepocr.Reader("scripted", script=script) as reader:
        assert [page.number for page in reader.read(book, pages=3).pages] == [3]
        assert len(reader.read(book, pages=None, password=None).pages) == 3


def test_settings_are_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPOCR_DPI", "200")
    monkeypatch.setenv("DEEPOCR_MISSPELLED", "1")
    assert make_settings(engine="ppocr").dpi == Settings.model_fields["dpi"].default
    with pytest.raises(deepocr.SettingsError, match="unknown setting dpy; did you mean dpi"):
        deepocr.AsyncReader("ppocr", dpy=100)
    with pytest.raises(deepocr.SettingsError, match="page_window=0: "):
        deepocr.AsyncReader("ppocr", page_window=0)
    with pytest.raises(deepocr.SettingsError, match="DEEPOCR_MISSPELLED"):
        deepocr.AsyncReader("ppocr", environment=True)
    monkeypatch.delenv("DEEPOCR_MISSPELLED")
    assert deepocr.AsyncReader("ppocr", environment=True).settings.dpi == 200
    assert deepocr.AsyncReader("ppocr", environment=True, dpi=90).settings.dpi == 90


@pytest.mark.parametrize(
    ("present", "cuda", "expected"),
    [
        ({"torch", "rapidocr"}, True, ("deepseek", "there is a CUDA device")),
        ({"torch", "rapidocr"}, False, ("ppocr", "there is no CUDA device")),
        ({"rapidocr"}, True, ("ppocr", "torch is not installed")),
        ({"torch"}, False, "there is no CUDA device, and the CPU reader is not installed"),
        (set(), False, "torch is not installed, and the CPU reader is not installed"),
    ],
)
def test_the_engine_that_suits_the_machine(
    monkeypatch: pytest.MonkeyPatch, present: set[str], cuda: bool, expected: Any
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True if name in present else None)
    monkeypatch.setattr(registry, "_has_cuda", lambda: cuda)
    if isinstance(expected, str):
        with pytest.raises(deepocr.EngineUnavailable, match=expected):
            deepocr.AsyncReader()
    else:
        assert registry.best_here() == expected
        assert deepocr.AsyncReader().settings.engine == expected[0]


async def test_streams_text_and_pages(script: Path, book: Path) -> None:
    async with deepocr.AsyncReader("scripted", script=script) as reader:
        events = [event async for event in reader.stream(book)]
        pages = [event for event in events if isinstance(event, deepocr.ResultPage)]
        assert [(page.number, page.status) for page in pages] == [
            (1, "ok"),
            (2, "failed"),
            (3, "ok"),
        ]
        for page in pages:
            before = events[: events.index(page)]
            texts = [event for event in before if isinstance(event, deepocr.Text)]
            assert "".join(text.text for text in texts if text.page == page.number) == page.raw
        # one that is left is stopped, and the reader goes on
        async for _ in reader.stream(book):
            break
        one, other = await asyncio.gather(reader.read(book), reader.read(book, pages="3"))
        assert (len(one.pages), len(other.pages)) == (3, 1)


async def test_the_plain_reader_works_where_a_loop_runs(script: Path, book: Path) -> None:
    """As in a notebook."""
    reader = deepocr.Reader("scripted", script=script)
    assert len(reader.read(book).pages) == 3
    pages = [event for event in reader.stream(book) if isinstance(event, deepocr.ResultPage)]
    assert len(pages) == 3
    for _ in reader.stream(book):
        break
    reader.close()
    reader.close()
    with pytest.raises(deepocr.EngineError, match="the reader is closed"):
        reader.read(book)


def test_close_ends_what_is_under_way(
    tmp_path: Path,
    book: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = tmp_path / "hang.json"
    script.write_text(json.dumps({"default": {"text": LINE, "fault": "hang", "times": 9}}))
    reader = deepocr.Reader("scripted", script=script)
    events = iter(reader.stream(book, pages="1"))
    assert isinstance(next(events), deepocr.Text)
    told: list[BaseException] = []

    def read() -> None:
        try:
            reader.read(book, pages="3")
        except BaseException as error:  # noqa: BLE001 - looked at below
            told.append(error)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    wait_for(lambda: (tmp_path / "hang.json.page3").exists())
    submit = asyncio.run_coroutine_threadsafe

    def submit_slowly(*work: Any) -> Any:
        future = submit(*work)
        time.sleep(0.2)  # the reading is canceled before `close` knows that it has begun
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", submit_slowly)
    closing = [threading.Thread(target=reader.close, daemon=True) for _ in range(3)]
    for thread in closing:
        thread.start()
    for thread in (*closing, reading):
        thread.join(20)
        assert not thread.is_alive()
    assert [(type(error), str(error)) for error in told] == [
        (deepocr.EngineError, "the reader is closed; make a new one")
    ]
    with pytest.raises(deepocr.EngineError, match="the reader is closed"):
        for _ in events:
            pass
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_stream_that_is_left_open_ends_with_the_reader(
    script: Path, book: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with deepocr.Reader("scripted", script=script) as reader:
        events = iter(reader.stream(book))
        next(events)
    del events
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_an_engine_that_cannot_be_had_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(deepocr.EngineUnavailable, match="cannot be used"):
        deepocr.Reader("scripted", script=tmp_path / "nothing.json")


def test_what_is_made_of_a_result(script: Path, book: Path, tmp_path: Path) -> None:
    with deepocr.Reader("scripted", script=script) as reader:
        result = reader.read(book.read_bytes(), pages="3,2")
    result.save_searchable_pdf(tmp_path / "out.pdf")
    with pymupdf.open(tmp_path / "out.pdf") as pdf:
        assert ["line of page" in page.get_text() for page in pdf] == [True, True]
    result.save_html(str(tmp_path / "out.html"))
    assert "data:image/webp" in (tmp_path / "out.html").read_text()
    result.save_docx(tmp_path / "out.docx")
    result.save_overlay(tmp_path / "overlay.pdf")
    with pymupdf.open(tmp_path / "overlay.pdf") as pdf:
        assert len(pdf) == 2
    with pytest.raises(deepocr.StorageError, match="name too long; make room or choose another"):
        result.save_overlay(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'' is no file's name"),
        ("a\0b", "is no file's name"),
        ("{folder}", "it is a folder; add a file's name"),
        ("{folder}/no/out.pdf", "its folder is missing; make it first"),
    ],
)
def test_where_a_result_cannot_be_saved(
    script: Path, book: Path, tmp_path: Path, name: str, said: str
) -> None:
    with deepocr.Reader("scripted", script=script) as reader:
        result = reader.read(book)
    book.unlink()  # the path is looked at before the document
    for save in (result.save_overlay, result.save_searchable_pdf):
        with pytest.raises(deepocr.StorageError, match=re.escape(said)):
            save(name.format(folder=tmp_path))


def test_a_reader_that_is_not_closed_does_not_hold_the_program(script: Path, book: Path) -> None:
    code = (
        f"import deepocr; reader = deepocr.Reader('scripted', script={str(script)!r})\n"
        f"print(len(reader.read({str(book)!r}).pages))"
    )
    assert run(code) == "3\n"


def test_the_import_loads_nothing() -> None:
    code = "import sys, deepocr; print({'PIL', 'pydantic', 'numpy', 'asyncio'} & set(sys.modules))"
    assert run(code) == "set()\n"


def test_public_names_are_there_and_documented() -> None:
    told = (ROOT / "docs" / "library.md").read_text()
    for name in deepocr.__all__:
        assert getattr(deepocr, name) is not None
        assert name == "__version__" or f"`{name}`" in told or f"deepocr.{name}" in told
    assert set(deepocr.__all__) <= set(dir(deepocr))
    with pytest.raises(AttributeError, match="has no attribute 'Raeder'"):
        deepocr.Raeder  # noqa: B018
