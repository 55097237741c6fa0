"""hOCR, ALTO and chunks: held against their schema and specification, nothing invented."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hocr_spec import HocrValidator
from lxml import etree

import deepocr
from deepocr.documents import DocumentProcesses
from deepocr.engines.registry import create_engine
from deepocr.pipeline import read_document
from deepocr.render.chunks import MAX_CHARS, split
from deepocr.render.forms import FORMS
from deepocr.render.text_forms import FORMATS, render_document
from deepocr.settings import Settings
from deepocr.types import DocumentResult, Job, Line, PageResult, Region

DATA = Path(__file__).parent / "data"
SAMPLES = Path(deepocr.__file__).parent / "samples"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"
XHTML = "{http://www.w3.org/1999/xhtml}"

XLINK = b"""<schema xmlns="http://www.w3.org/2001/XMLSchema"
targetNamespace="http://www.w3.org/1999/xlink"><attributeGroup name="simpleLink"/></schema>"""
"""ALTO's schema takes it from the network; we write no links."""


class XLink(etree.Resolver):
    def resolve(self, url: str, _: Any, context: Any) -> Any:
        return self.resolve_string(XLINK, context) if "xlink" in url else None


@pytest.fixture(scope="module")
def alto_schema() -> Any:
    parser = etree.XMLParser()
    parser.resolvers.add(XLink())
    return etree.XMLSchema(etree.parse(DATA / "alto-4-4.xsd", parser))


def line(text: str, x: int, y: int, *, lean: int = 0) -> Line:
    return Line(text, ((x, y + lean), (x + 100, y), (x + 100, y + 10), (x, y + 10 + lean)), 0.9)


TABLE = (
    "<table><caption>Birds &amp; beasts</caption><tr><th>Name</th><th>Count</th></tr>"
    "<tr><td>Coot</td><td>12</td></tr></table>"
)
ALL_THE = replace(line("All the", 20, 50), word_spans=((0.0, 0.4), (0.5, 1.0)))
PAGES = (
    PageResult(
        1,
        "ok",
        (400, 600),
        regions=(
            Region("header", "running head", ((0, 0, 400, 10),)),
            Region("title", "# The Pond", ((20, 20, 200, 40),), confidence=0.8),
            Region(
                "text",
                'All <b>the</b> "birds" & \x07beasts',
                ((20, 50, 380, 80),),
                confidence=0.9,
                lines=(
                    ALL_THE,
                    line('"birds" & \x07beasts', 20, 65, lean=9),
                ),
            ),
            Region("sub_title", "Numbers", ((20, 90, 200, 110),)),
            Region("table", TABLE, ((20, 120, 380, 200),)),
            Region("table_caption", "Table 1. Counted.", ((20, 205, 380, 215),)),
            Region("image", "", ((20, 300, 200, 400),)),
            Region("image_caption", "Figure 1. A coot.", ((20, 405, 200, 415),)),
            Region("image", "", ((220, 300, 380, 400),)),
            Region("text", "no box"),
        ),
        confidence=0.87,
    ),
    PageResult(2, "failed", (0, 0), error='the lamp -- > "went" out & on'),
    PageResult(3, "truncated", (400, 600), regions=(Region("text", "The end.", ((1, 2, 3, 4),)),)),
)


def written(title: str, pages: tuple[PageResult, ...] = PAGES, job: Job | None = None) -> str:
    document = DocumentResult('Ein "Büch"; 1.pdf', "scripted", job or Job(), pages)
    return render_document(document, title, paged=True)


def check_hocr(text: str) -> Any:
    """The tree; held against the specification by its editor's own program."""
    tree = etree.fromstring(text.encode())
    report = HocrValidator("standard").validate(BytesIO(text.encode()))
    assert report.is_valid(), report.format("text")
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    capabilities = tree.find(f".//{XHTML}meta[@name='ocr-capabilities']").get("content").split()
    for element in tree.iter():
        kind = element.get("class") if isinstance(element.tag, str) else None
        if kind is not None:
            assert kind in capabilities
            # only a paragraph may be without a box
            assert kind == "ocr_par" or "bbox" in element.get("title")
    return tree


def check_alto(text: str, schema: Any) -> Any:
    tree = etree.fromstring(text.encode())
    schema.assertValid(tree)
    return tree


def test_hocr() -> None:
    tree = check_hocr(written("hOCR"))
    pages = tree.findall(f".//{XHTML}div[@class='ocr_page']")
    assert [page.get("title") for page in pages] == [
        'bbox 0 0 400 600; ppageno 0; image "Ein _B_ch__ 1.pdf"',
        'bbox 0 0 0 0; ppageno 1; image "Ein _B_ch__ 1.pdf"',
        'bbox 0 0 400 600; ppageno 2; image "Ein _B_ch__ 1.pdf"',
    ]
    lines = tree.findall(f".//{XHTML}span[@class='ocr_line']")
    assert [("".join(found.itertext()), found.get("title")) for found in lines] == [
        ("All the", "bbox 20 50 120 60; x_wconf 90"),
        ('"birds" & beasts', "bbox 20 65 120 84; x_wconf 90; textangle 5.1"),
    ]
    assert [word.get("title") for word in lines[0]] == ["bbox 20 50 60 60", "bbox 70 50 120 60"]
    assert len(lines[1]) == 0
    (table,) = tree.findall(f".//{XHTML}div[@class='ocr_table']")
    assert " ".join("".join(table.itertext()).split()) == "Birds & beasts Name Count Coot 12"
    assert len(tree.findall(f".//{XHTML}div[@class='ocr_image']")) == 2
    assert "page 2 failed: the lamp - - &gt;" in written("hOCR")
    free = [p for p in tree.iter(f"{XHTML}p") if p.get("title") is None]
    assert [p.text.strip() for p in free] == ["no box"]


def test_alto(alto_schema: Any) -> None:
    tree = check_alto(written("ALTO"), alto_schema)
    assert tree.findtext(f".//{ALTO}fileName") == 'Ein "Büch"; 1.pdf'
    first, failed, cut = tree.findall(f".//{ALTO}Page")
    assert (first.get("WIDTH"), first.get("PC")) == ("400", "0.8700")
    assert failed.get("QUALITY_DETAIL") == 'failed: the lamp -- > "went" out & on'
    assert cut.get("QUALITY_DETAIL") == "truncated"
    lines = first.findall(f".//{ALTO}TextLine[@HPOS]")
    assert [[word.get("CONTENT") for word in found.iter(f"{ALTO}String")] for found in lines] == [
        ["All", "the"],
        ['"birds"', "&", "beasts"],
    ]
    assert [word.get("HPOS") for found in lines for word in found.iter(f"{ALTO}String")] == [
        *("20", "70"),
        *[None] * 3,
    ]
    assert lines[1].find(f"{ALTO}Shape/{ALTO}Polygon").get("POINTS") == "20,74 120,65 120,75 20,84"
    assert len(first.findall(f".//{ALTO}Illustration")) == 2
    # lines that the engine did not give have no place of their own
    (table,) = first.findall(f".//{ALTO}TextBlock[@TAGREFS='label_table']")
    assert all(found.get("HPOS") is None for found in table)
    assert (table.get("VPOS"), table.get("HEIGHT")) == ("120", "80")


def chunks_of(text: str) -> list[Any]:
    return [json.loads(row) for row in text.splitlines()]


def test_chunks() -> None:
    chunks = chunks_of(written("Chunks"))
    assert [(c["id"], c["metadata"]["kind"], c["text"]) for c in chunks] == [
        ("1-1", "text", 'The Pond\n\nAll the "birds" & \x07beasts'),
        ("1-2", "text", "Numbers"),
        (
            "1-3",
            "table",
            "Birds & beasts\nName | Count\nCoot | 12\n\nTable 1. Counted.",
        ),
        ("1-4", "figure", "Figure 1. A coot."),
        ("1-5", "text", "no box"),
        ("2-1", "failed", ""),
        ("3-1", "text", "The end."),
    ]
    first, _, table, figure, free, failed, last = (chunk["metadata"] for chunk in chunks)
    assert first["headings"] == ["The Pond"]
    assert first["boxes_px"] == [[20, 20, 200, 40], [20, 50, 380, 80]]
    assert first["confidence"] == pytest.approx((8 * 0.8 + 25 * 0.9) / 33, abs=1e-4)
    assert (table["headings"], table["html"]) == (["The Pond", "Numbers"], TABLE)
    assert figure["boxes_px"] == [[20, 300, 200, 400], [20, 405, 200, 415]]
    assert (free["boxes_px"], free["confidence"]) == ([], None)
    assert (failed["page"], failed["error"]) == (2, PAGES[1].error)
    assert (last["page"], last["headings"]) == (3, ["The Pond", "Numbers"])


@pytest.mark.parametrize("title", ["hOCR", "ALTO", "Chunks"])
def test_what_was_found_at_several_places(title: str, alto_schema: Any) -> None:
    found = Region("the lamp", "", ((1, 2, 30, 40), (50, 60, 70, 80)))
    pages = (PageResult(1, "ok", (100, 100), regions=(found,)),)
    text = written(title, pages, Job("Locate Object by Reference", "the lamp"))
    if title == "Chunks":
        (chunk,) = chunks_of(text)
        assert chunk["metadata"]["boxes_px"] == [list(box) for box in found.boxes_px]
        assert chunk["text"] == "the lamp"
    elif title == "hOCR":
        check_hocr(text)
        assert text.count('title="bbox 50 60 70 80"') == 2
    else:
        tree = check_alto(text, alto_schema)
        assert [b.get("HPOS") for b in tree.iter(f"{ALTO}TextBlock")] == ["1", "50"]


def test_what_xml_lacks_does_not_join_hyphens() -> None:
    failed = PageResult(1, "failed", (0, 0), error="torn -\x07- and ---\x00> mended")
    check_hocr(written("hOCR", (failed,)))


def test_an_unknown_confidence_does_not_fail_a_page() -> None:
    regions = tuple(replace(Region("text", "four"), confidence=c) for c in (float("nan"), 0.5))
    (chunk,) = chunks_of(written("Chunks", (PageResult(1, "ok", (9, 9), regions=regions),)))
    assert (chunk["text"], chunk["metadata"]["confidence"]) == ("four\n\nfour", 0.5)


@pytest.mark.parametrize("title", FORMATS)
def test_an_engine_whose_name_is_no_text(title: str) -> None:
    result = DocumentResult("a\udcff", "scripted \ud800", Job(reference_text="\ud800"), PAGES)
    assert "\ud800" not in render_document(result, title, paged=True)


def test_long_texts_are_split_where_a_sentence_ends() -> None:
    sentence = "Nobody counted the coots that day. "
    pieces = list(split(sentence * 200))
    assert all(piece.endswith("day.") and len(piece) <= MAX_CHARS for piece in pieces)
    assert " ".join(pieces) == (sentence * 200).strip()
    assert "".join(split("x" * 10_000)) == "x" * 10_000
    rows = "\n".join(f"{n} | a b c." for n in range(500))
    assert "\n".join(split(rows, "table")) == rows


@pytest.mark.timeout(60)
def test_chunks_take_linear_time() -> None:
    assert sum(map(len, split("a b" * 1_000_000))) > 2_900_000
    regions = (Region("image", "", ((1, 1, 2, 2),)),) + (Region("text", ""),) * 200_000
    written("Chunks", (PageResult(1, "ok", (9, 9), regions=regions),))


async def read_report() -> tuple[DocumentResult, dict[int, Any]]:
    """A page with a table and a figure as the CPU reader reads it, and its text layer's words."""
    settings = Settings(engine="ppocr")
    engine = create_engine(settings)
    with (
        DocumentProcesses.of(settings) as processes,
        processes.open(SAMPLES / "report.pdf", with_words=True) as document,
    ):
        numbers = (3,)
        result = await read_document(engine, document, numbers, Job(), window=2)
        words = {number: document.page(number).words for number in numbers}
    await engine.close()
    return result, words


async def test_a_real_document(alto_schema: Any) -> None:
    document, words = await read_report()
    check_hocr(render_document(document, "hOCR", paged=True))
    tree = check_alto(render_document(document, "ALTO", paged=True), alto_schema)
    assert len(tree.findall(f".//{ALTO}TextLine[@HPOS]")) > 30
    chunks = chunks_of(render_document(document, "Chunks", paged=True))
    assert {chunk["metadata"]["kind"] for chunk in chunks} == {"table", "figure"}
    for chunk in chunks:
        boxes = chunk["metadata"]["boxes_px"]
        there = {
            word.text
            for word in words[chunk["metadata"]["page"]]
            for x1, y1, x2, y2 in boxes
            if x1 < (word.box_px[0] + word.box_px[2]) / 2 < x2
            if y1 < (word.box_px[1] + word.box_px[3]) / 2 < y2
        }
        assert set(chunk["text"].replace(" | ", " ").split()) <= there, chunk


def test_names_of_forms() -> None:
    assert len({form.suffix for form in FORMS.values()}) == len(FORMS)
