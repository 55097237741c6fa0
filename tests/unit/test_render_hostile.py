"""Whatever stands in a page's text, every output is made, and in linear time."""

import io
import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from docx import Document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deepocr.render.docx import write_docx_form
from deepocr.render.form_document import of_result
from deepocr.render.html import ShownPage, write_html
from deepocr.render.overlay import draw_overlay
from deepocr.render.safe_html import MAX_MARKDOWN_CHARS, to_safe_html
from deepocr.render.text_forms import FORMATS, render_document
from deepocr.types import DocumentResult, Job, PageResult, Region

SIZE = (60, 40)
PARTS = [
    *("\ue000", "\ue001", "0", "&#xE000;0&#xE001;", "\ud800", "\udfff", "\x00", "\x0b", "\ufffe"),
    *("\\(", "\\)", "\\[", "\\]", "$$", "{", "}", "\\frac", "\\left(", "x^2", "&", "&#0;", "&lt;"),
    *(
        "<table>",
        "</table>",
        "<tr>",
        "<td>",
        "<td rowspan=9999 colspan=-1>",
        "</td>",
        "<th",
        "<td ",
    ),
    *(
        "<b>",
        "</i>",
        "<div>",
        "</div>",
        "<li>",
        "<p>",
        '<a href="',
        '">',
        "<!--",
        "-->",
        "<script>",
    ),
    *(
        "[",
        "](",
        "![",
        "`",
        "```\n",
        "~~~",
        "*",
        "_",
        "#",
        "> ",
        "- ",
        "1. ",
        "|",
        "|-|",
        "\n",
        "\n\n",
    ),
    *("<|ref|>", "<|/ref|>", "<|det|>[[0, 0, 9, 9]]<|/det|>", "<--- Page Split --->", "\U0010ffff"),
]
texts = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=25).map("".join)
labels = st.sampled_from(["text", "title", "table", "image", "equation"]) | texts
boxes = st.just(((1, 1, 30, 20),)) | st.just(())
regions = st.builds(Region, label=labels, text=texts, boxes_px=boxes)


def page_with(*regions: Region, raw: str = "") -> PageResult:
    return PageResult(1, "ok", SIZE, raw, regions)


def html_of(*pages: PageResult, title: str = "title") -> str:
    file = io.BytesIO()
    write_html(file, title, len(pages), [ShownPage(page, None, {}) for page in pages])
    return file.getvalue().decode()


def docx_of(*pages: PageResult, title: str = "title") -> Any:
    file = io.BytesIO()
    write_docx_form(of_result(DocumentResult(title, "scripted", Job(), pages), paged=True), file)
    file.seek(0)
    return Document(file)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(regions, max_size=4), texts, texts)
def test_every_output_is_made_of_any_text(found: list[Region], raw: str, title: str) -> None:
    page = page_with(*found, raw=raw)
    failed = PageResult(2, "failed", (0, 0), error=title)
    whole = DocumentResult(title, "scripted", Job(), (page, failed))
    for name in FORMATS:
        text = render_document(whole, name, paged=True)
        text.encode()
        if name == "JSON":
            json.loads(text)
        elif name in ("hOCR", "ALTO"):
            ElementTree.fromstring(text.encode())
        elif name == "Chunks":
            assert all(json.loads(row)["text"] is not None for row in text.split("\n")[:-1])
        assert "cannot be written" not in text.replace(title, "")
    assert "cannot be written" not in html_of(page, failed, title=title).replace(title, "")
    paragraphs = docx_of(page, failed, title=title).paragraphs
    assert not any("cannot be written" in paragraph.text for paragraph in paragraphs)
    draw_overlay(Image.new("RGB", SIZE), page.regions)


REPEATED = {
    "formula": "\\(",
    "block": "\\[x",
    "formulas": "\\(x_1\\)",
    "div": "<div>",
    "list": "<ul><li>",
    "crossed": "<b></i>",
    "tables": "<table><tr><td>",
    "whole tables": "<table><tr><td>a</td></tr></table>\n",
    "cells": "<td>",
    "attributes": "<b a=1 a=2 ",
    "styles": '<b a="1"><i><p>',
    "quotes": "<a b=\"<a c='",
    "comments": "<!--",
    "entities": "&",
    "brackets": "[",
    "backticks": "`a",
    "stars": "*a **b ",
    "rows": "|a|b|\n",
    "quoted": "> ",
}


# quadratic time takes minutes to hours on these, linear time a second
@pytest.mark.timeout(60)
@pytest.mark.parametrize("num_chars", [MAX_MARKDOWN_CHARS, 1_000_000])
@pytest.mark.parametrize("name", REPEATED)
def test_html_takes_linear_time(name: str, num_chars: int) -> None:
    to_safe_html(REPEATED[name] * (num_chars // len(REPEATED[name])))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["tables", "whole tables", "cells", "rows", "list"])
def test_docx_takes_linear_time(name: str) -> None:
    docx_of(page_with(Region("text", REPEATED[name] * 100_000)))


def test_no_text_of_a_table_is_lost_in_docx() -> None:
    inner = "<table><tr><td>inner</td></tr></table>"
    text = (
        "<table><caption>Coots &amp; ducks</caption>stray<tr>loose<td>a</td></tr>"
        f"<tr><td>b{inner}after</td></tr></table>behind"
    )
    document = docx_of(page_with(Region("table", text)))
    cells = [cell.text for row in document.tables[0].rows for cell in row.cells]
    written = " ".join([*cells, *(paragraph.text for paragraph in document.paragraphs)])
    for word in ("Coots & ducks", "stray", "loose", "a", "b", "inner", "after", "behind"):
        assert word in written, word


@pytest.mark.timeout(60)
def test_a_large_table_in_docx() -> None:
    row = "<tr>" + "<td>1</td>" * 18 + "<td colspan=2>2</td></tr>"
    (table,) = docx_of(page_with(Region("table", f"<table>{row * 300}</table>"))).tables
    assert (len(table.rows), len(table.columns)) == (300, 20)


def test_text_around_tables_in_docx() -> None:
    text = (
        "# Bill\n\nbefore\n\n<table><tr><td>one</td></tr></table>\n\nbetween\n\n<table><tr><td>two"
    )
    document = docx_of(page_with(Region("text", text + "</td></tr></table>\n\nafter")))
    texts = [paragraph.text.strip("# \n") for paragraph in document.paragraphs]
    assert [text for text in texts if text] == ["Bill", "before", "between", "after"]
    assert [table.cell(0, 0).text for table in document.tables] == ["one", "two"]


def test_spans_in_docx() -> None:
    html = (
        "<table><tr><td rowspan=2>a</td><td colspan='2'>b</td></tr>"
        "<tr><td>c<br>d</td><td>&lt;<b><i>e</b></i></td></tr></table>"
    )
    (table,) = docx_of(page_with(Region("table", html))).tables
    texts = [[cell.text for cell in row.cells] for row in table.rows]
    assert texts == [["a", "b", "b"], ["a", "c\nd", "<e"]]


def test_a_long_text_is_shown_without_markdown() -> None:
    html = to_safe_html("*a* <b>b\nc \\(x\\)" + " d" * MAX_MARKDOWN_CHARS)
    assert html.startswith("*a* <b>b<br>\nc <math")


def test_one_page_that_cannot_be_rendered_is_told_in_its_place() -> None:
    good = page_with(Region("text", "good one"))
    bad = replace(page_with(Region("text", "lost"), Region("text", 4)), number=2)  # type: ignore[arg-type]
    html = html_of(good, bad, good)
    assert html.count("good one") == 2
    assert "cannot be written as HTML" in html
    assert "lost" not in html
    texts = [paragraph.text for paragraph in docx_of(good, bad, good).paragraphs if paragraph.text]
    assert [text.strip() for text in texts if "good one" in text] == ["good one", "good one"]
    assert any("page 2 failed: it cannot be written as DOCX" in text for text in texts)
    assert "lost" not in " ".join(texts)
