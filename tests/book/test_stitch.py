"""Pages to a document: order, running heads, what runs over a page, front matter."""

from pathlib import Path

import pytest

from deepocr.book.joining import joined
from deepocr.book.running_heads import RunningHeads
from deepocr.render.json import load_schema
from deepocr.types import PageResult, Region
from tests.book import helper
from tests.book.papers import numbered_pdf, pictures_to_pdf, tag, text_page


def page(number: int, *regions: tuple[str, str]) -> PageResult:
    return PageResult(
        number, "ok", (100, 100), regions=tuple(Region(label, text) for label, text in regions)
    )


def texts(pages: list[PageResult]) -> list[list[str]]:
    return [[region.text for region in result.regions] for result in joined(pages)]


def test_a_paragraph_goes_on() -> None:
    pages = [page(1, ("text", "It went on and")), page(2, ("text", "on."), ("text", "New."))]
    assert texts(pages) == [["It went on and on."], ["New."]]


def test_a_divided_word_is_put_together() -> None:
    assert texts([page(1, ("text", "an exam-")), page(2, ("text", "ple of it"))]) == [
        ["an example of it"],
        [],
    ]


def test_a_paragraph_over_three_pages() -> None:
    pages = [page(1, ("text", "one")), page(2, ("text", "two")), page(3, ("text", "three."))]
    assert texts(pages) == [["one two three."], [], []]


def test_what_has_ended_or_begins_anew_is_left() -> None:
    for first, second in (
        ("It ended.", "then more"),
        ("no stop", "A capital"),
        ("(see there.)", "more"),
    ):
        assert texts([page(1, ("text", first)), page(2, ("text", second))]) == [[first], [second]]


def test_a_failed_or_blank_page_between_keeps_them_apart() -> None:
    failed = PageResult(2, "failed", (0, 0), error="torn")
    pages = [page(1, ("text", "one")), failed, page(3, ("text", "two"))]
    assert texts(pages) == [["one"], [], ["two"]]


def test_a_table_goes_on_and_its_head_is_said_once() -> None:
    head = "<tr><th>a</th><th>b</th></tr>"
    first = f"<table>{head}<tr><td>1</td><td>2</td></tr></table>"
    second = f"<table>{head}<tr><td>3</td><td>4</td></tr></table>"
    (joint,), rest = texts([page(1, ("table", first)), page(2, ("table", second))])
    assert joint == (
        f"<table>{head}<tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>"
    )
    assert rest == []


def test_a_table_with_a_marked_heading_goes_on_in_its_body() -> None:
    head = "<thead><tr><th rowspan='2'>a</th><th>b</th></tr><tr><th>per year</th></tr></thead>"
    first = f"<table>{head}<tbody><tr><td>1</td><td>2</td></tr></tbody></table>"
    whole = first.replace("</tbody>", "<tr><td>3</td><td>4</td></tr></tbody>")
    for lower_head in (head, ""):
        second = f"<table>{lower_head}<tbody><tr><td>3</td><td>4</td></tr></tbody></table>"
        assert texts([page(1, ("table", first)), page(2, ("table", second))]) == [[whole], []]


def test_tables_of_other_widths_are_left() -> None:
    first = "<table><tr><td colspan='2'>a</td></tr></table>"
    second = "<table><tr><td>1</td><td>2</td><td>3</td></tr></table>"
    pages = [page(1, ("table", first)), page(2, ("table", second))]
    assert texts(pages) == [[first], [second]]


def placed(number: int, *regions: tuple[str, str, int]) -> PageResult:
    """Regions of label, text and upper edge, 20 px high, on a page of 1000."""
    return PageResult(
        number,
        "ok",
        (700, 1000),
        regions=tuple(Region(label, text, ((50, y, 650, y + 20),)) for label, text, y in regions),
    )


def test_running_heads_and_page_numbers() -> None:
    heads = RunningHeads()
    pages = [
        placed(
            n,
            ("text", f"Chapter 3  The Lamp {n}", 20),
            ("text", "The Lamp is in the text too", 500),
            ("text", f"only here, on page {'abcd'[n]}", 30),
            ("footer", "labeled as such", 400),
            ("text", f"- {n + 40} -", 960),
        )
        for n in range(4)
    ]
    for result in pages:
        heads.see(result)
    assert [heads.find(result) for result in pages] == [(0, 3, 4)] * 4


def test_a_line_on_two_pages_is_no_running_head() -> None:
    heads = RunningHeads()
    pages = [placed(n, ("text", "Contents", 20)) for n in (1, 2)]
    for result in pages:
        heads.see(result)
    assert heads.find(pages[0]) == ()


def test_the_whole_document(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "A Book.pdf", 4)
    replies = {
        str(n): {
            "text": tag("text", (100, 20, 900, 50), f"The Book {n}")
            + tag("title", (100, 60, 900, 90), f"# Chapter {n}")
            + tag("text", (100, 100, 900, 900), f"begins on {n} and")
        }
        for n in (1, 2, 3)
    }
    replies["2"]["text"] += tag("table", (100, 910, 900, 940), "<table></table>")
    script = helper.write_script(
        tmp_path / "s.json", pages={**replies, "4": {"text": "x", "error": "torn --> out"}}
    )
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--front-matter")
    ended = helper.run(*arguments, "--drop-headers", script=script)
    assert ended.returncode == 3
    folder = tmp_path / "out" / "A Book"
    markdown = (folder / "document.mmd").read_text()
    assert markdown.startswith(
        '---\ntitle: "Chapter 1"\npages: 4\nsource: "A Book.pdf"\nengine: "scripted"\n---\n'
    )
    parts = markdown.split("<--- Page Split --->")
    assert len(parts) == 5
    assert "The Book" not in markdown
    assert "# Chapter 3" in parts[2]
    assert parts[3].strip().startswith("<!-- page 4 ")
    assert parts[3].count("-->") == 1
    pages = helper.document(folder)["pages"]
    assert pages[0]["regions"][0]["text"] == "The Book 1"
    assert [entry["running_heads"] for entry in pages] == [[0], [0], [0], []]
    assert "The Book 2" in (folder / "page_0002.mmd").read_text()


def test_every_page_has_its_number_and_order(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 12)
    # later pages are done first
    script = helper.write_script(
        tmp_path / "s.json",
        pages={str(n): {"text": f"page {n}", "delay_s": 0.3 - n * 0.02} for n in range(1, 13)},
        concurrency=12,
    )
    ended = helper.run(
        book, "-o", tmp_path, "--engine", "scripted", "--pages", "2,5-12", script=script
    )
    assert ended.returncode == 0
    wanted = [2, *range(5, 13)]
    folder = tmp_path / "book"
    assert [entry["number"] for entry in helper.document(folder)["pages"]] == wanted
    parts = (folder / "document.mmd").read_text().split("<--- Page Split --->")
    assert [part.strip() for part in parts[:-1]] == [f"page {n}" for n in wanted]
    assert sorted(path.name for path in folder.glob("page_*.mmd")) == [
        f"page_{n:04d}.mmd" for n in wanted
    ]


def test_truncated_and_blank_pages_are_named(tmp_path: Path) -> None:
    from PIL import Image

    pages = [text_page("some words " * 30, (600, 400)), Image.new("RGB", (600, 400), "white")]
    book = pictures_to_pdf(tmp_path / "book.pdf", pages)
    script = helper.write_script(
        tmp_path / "s.json", default={"text": "cut", "finish_reason": "length"}
    )
    ended = helper.run(book, "-o", tmp_path, "--dpi", "144", "--engine", "scripted", script=script)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == "2 pages: 1 truncated, 1 blank"
    markdown = (tmp_path / "book" / "document.mmd").read_text()
    assert "<!-- page 1: cut off" in markdown
    assert "<!-- page 2: blank -->" in markdown
    assert len(helper.document(tmp_path / "book")["pages"][0]["attempts"]) == 4


def test_pages_of_the_json_follow_the_documented_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    book = numbered_pdf(tmp_path / "book.pdf", 2)
    text = tag("title", (50, 50, 900, 200), "# A") + tag("image", (50, 300, 400, 600))
    script = helper.write_script(
        tmp_path / "s.json", default={"text": text}, pages={"2": {"error": "torn"}}
    )
    helper.run(book, "-o", tmp_path, "--engine", "scripted", script=script)
    schema = load_schema()
    own = {"turned", "ink", "note", "running_heads", "figures", "attempts"}
    for page in helper.document(tmp_path / "book")["pages"]:
        assert own <= set(page)
        plain = {key: value for key, value in page.items() if key not in own}
        jsonschema.validate(plain, {**schema["$defs"]["page"], "$defs": schema["$defs"]})
