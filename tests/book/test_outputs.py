"""Figures where they were drawn, text that pdftotext finds where it stands, raw and overlay."""

import re
import subprocess
from pathlib import Path

import pymupdf
import pytest
from PIL import Image, ImageDraw

from deepocr.documents.turning import turn
from deepocr.types import Page
from tests.book import helper
from tests.book.papers import numbered_pdf, pictures_to_pdf, tag, text_page
from tests.needs import need_binary

RED = (220, 20, 30)


def raw_box(box_px: tuple[int, int, int, int], size_px: tuple[int, int]) -> tuple[int, ...]:
    """Pixels to the model's 0 to 999."""
    return tuple(round(value / size_px[axis % 2] * 999) for axis, value in enumerate(box_px))


def near(found: tuple[float, ...], wanted: tuple[float, ...], by: float) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def test_figures_of_a_pdf_are_cut_at_300_dpi(tmp_path: Path) -> None:
    drawn_pt = (100, 150, 300, 450)
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=500, height=700)
        page.insert_text((60, 60), "A page with a figure", fontsize=14)
        page.draw_rect(pymupdf.Rect(drawn_pt), color=None, fill=(0.86, 0.08, 0.12))
        pdf.save(tmp_path / "book.pdf")
    text = "words\n\n" + tag("image", raw_box(drawn_pt, (500, 700)), "") + "after it"
    script = helper.write_script(tmp_path / "s.json", default={"text": text})
    ended = helper.run(
        tmp_path / "book.pdf",
        "-o",
        tmp_path / "out",
        "--dpi",
        "144",
        "--engine",
        "scripted",
        script=script,
    )
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "out" / "book"
    (figure,) = helper.document(folder)["pages"][0]["figures"]
    assert near(figure["box_px"], tuple(2 * value for value in drawn_pt), by=2)
    with Image.open(folder / figure["file"]) as image:
        # 200 x 300 points at 300 dpi; the model's grid is 0.5 points wide here
        assert near(image.size, (200 * 300 / 72, 300 * 300 / 72), by=5)
        inner = image.convert("RGB").crop((8, 8, image.width - 8, image.height - 8))
        assert near([low for low, _ in inner.getextrema()], (219, 20, 30), by=1)
        assert near([high for _, high in inner.getextrema()], (219, 20, 30), by=1)
    assert f"]({figure['file']})" in (folder / "page_0001.mmd").read_text()
    assert f"]({figure['file']})" in (folder / "document.mmd").read_text()


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_figures_of_a_large_turned_picture(tmp_path: Path, degrees: int) -> None:
    """Read small, cut at the picture's own pixels, upright, with the box where it lies."""
    upright = text_page(size_px=(1800, 2400))
    box = (400, 1500, 1000, 2100)
    ImageDraw.Draw(upright).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=RED)
    ImageDraw.Draw(upright).rectangle((400, 1500, 500, 1600), fill="blue")
    lying = turn(Page(1, upright), degrees).image
    lying.save(tmp_path / "scan.png")
    text = tag("text", (60, 40, 940, 600), "words") + tag("image", raw_box(box, upright.size))
    script = helper.write_script(tmp_path / "s.json", default={"text": text})
    arguments = (tmp_path / "scan.png", "-o", tmp_path / "out", "--max-side", "1200")
    ended = helper.run(*arguments, "--engine", "scripted", script=script)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "out" / "scan"
    page = helper.document(folder)["pages"][0]
    assert page["turned"] == (360 - degrees) % 360
    (figure,) = page["figures"]
    saturation = lying.resize((lying.width // 2, lying.height // 2)).convert("HSV")
    assert near(figure["box_px"], saturation.getchannel("S").getbbox() or (), by=3)
    with Image.open(folder / figure["file"]) as image:
        assert near(image.size, (600, 600), by=6)
        assert image.getpixel((50, 50)) == (0, 0, 255)
        assert image.getpixel((500, 500)) == RED


def words_of(pdf: Path) -> dict[str, tuple[float, ...]]:
    """Words and boxes in points, as pdftotext finds them."""
    need_binary("pdftotext")
    shown = subprocess.run(
        ["pdftotext", "-bbox", str(pdf), "-"], capture_output=True, text=True, check=True
    ).stdout
    pattern = r'<word xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</word>'
    return {
        word: (float(x1), float(y1), float(x2), float(y2))
        for x1, y1, x2, y2, word in re.findall(pattern, shown)
    }


LINES = ("Ein Tag wie jeder", "Łódź naïve Ωμέγα", "Война и мир", "漢字とかな交じり", "نص عربي")


def scan(tmp_path: Path, degrees: int = 0) -> tuple[Path, Path]:
    """A scanned page without text, and a script that knows its lines."""
    image = text_page()
    rows = [120 + 40 * n for n in range(len(LINES))]
    text = "".join(
        tag("text", raw_box((120, y, 1060, y + 34), image.size), line)
        for y, line in zip(rows, LINES, strict=True)
    )
    pages = [turn(Page(1, image), degrees).image]
    book = pictures_to_pdf(tmp_path / "scan.pdf", pages)
    return book, helper.write_script(tmp_path / "s.json", default={"text": text})


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_text_is_found_where_it_stands(tmp_path: Path, degrees: int) -> None:
    book, script = scan(tmp_path, degrees)
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--searchable-pdf")
    ended = helper.run(*arguments, script=script)
    assert ended.returncode == 0, ended.stderr
    path = tmp_path / "out" / "scan" / "searchable.pdf"
    words = words_of(path)
    for line in LINES[:4]:
        assert set(line.split()) <= set(words)
    # the first line begins at (60, 60) points of the upright page of 595 x 842
    x1, y1, x2, y2 = words["Ein"]
    center = ((x1 + x2) / 2, (y1 + y2) / 2)
    upright = {
        0: center,
        90: (center[1], 842 - center[0]),
        180: (595 - center[0], 842 - center[1]),
        270: (595 - center[1], center[0]),
    }[degrees]
    assert 55 < upright[0] < 130
    assert 55 < upright[1] < 85


def test_the_page_looks_as_before(tmp_path: Path) -> None:
    book, script = scan(tmp_path)
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--searchable-pdf")
    helper.run(*arguments, script=script)
    with (
        pymupdf.open(book) as before,
        pymupdf.open(tmp_path / "out" / "scan" / "searchable.pdf") as after,
    ):
        assert before[0].get_pixmap().samples == after[0].get_pixmap().samples
        assert after[0].search_for("Война")


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_rotate_and_crop_box_are_honored(tmp_path: Path, rotate: int) -> None:
    book, script = scan(tmp_path)
    with pymupdf.open(book) as pdf:
        # the margins are cut; what is seen is turned and read upright
        pdf[0].set_cropbox(pymupdf.Rect(20, 30, 580, 820))
        pdf[0].set_rotation(rotate)
        pdf.save(tmp_path / "cut.pdf")
    script = helper.write_script(
        tmp_path / "t.json", default={"text": tag("text", (71, 38, 930, 57), "Found it")}
    )
    arguments = (tmp_path / "cut.pdf", "-o", tmp_path / "out", "--engine", "scripted")
    assert helper.run(*arguments, "--searchable-pdf", script=script).returncode == 0
    with pymupdf.open(tmp_path / "out" / "cut" / "searchable.pdf") as pdf:
        page = pdf[0]
        (found,) = page.search_for("Found it")
        # unrotated: 0.071 * 560 and 0.038 * 790 points from the crop box's corner
        assert found.x0 == pytest.approx(40, abs=6)
        assert found.y0 == pytest.approx(30, abs=8)


def test_good_text_of_the_pdf_itself_is_kept_alone(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 1)
    text = "page 1 line 0 of the book\npage 1 line 1 of the book\npage 1 line 2 of the book"
    script = helper.write_script(
        tmp_path / "s.json", default={"text": tag("text", (50, 50, 950, 950), text)}
    )
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--searchable-pdf")
    helper.run(*arguments, script=script)
    with pymupdf.open(tmp_path / "out" / "book" / "searchable.pdf") as pdf:
        assert len(pdf[0].search_for("line 2 of the book")) == 1


def with_old_layer(book: Path, path: Path, how: str) -> None:
    """The scan with a text layer that says something else, a visible stamp and a link."""
    with pymupdf.open(book) as pdf:
        page = pdf[0]
        hidden = how == "behind"
        page.insert_text(
            (60, 100), "Obsolete layer of words", render_mode=0 if hidden else 3, overlay=not hidden
        )
        if not hidden:
            page.insert_text((60, 800), "Visible stamp", fontsize=12)
        page.insert_link(
            {"kind": pymupdf.LINK_URI, "from": pymupdf.Rect(50, 80, 300, 120), "uri": "http://a.b/"}
        )
        pdf.save(path)


@pytest.mark.parametrize("how", ["invisible", "behind"])
def test_an_old_layer_that_says_something_else_goes(tmp_path: Path, how: str) -> None:
    book, script = scan(tmp_path)
    with_old_layer(book, tmp_path / "old.pdf", how)
    with pymupdf.open(tmp_path / "old.pdf") as pdf:
        assert "Obsolete layer" in pdf[0].get_text()
        before = pdf[0].get_pixmap().samples
    arguments = (tmp_path / "old.pdf", "-o", tmp_path / "out", "--engine", "scripted")
    ended = helper.run(*arguments, "--searchable-pdf", script=script)
    assert ended.returncode == 0, ended.stderr
    with pymupdf.open(tmp_path / "out" / "old" / "searchable.pdf") as pdf:
        text = pdf[0].get_text()
        assert "Obsolete" not in text
        assert "Ein Tag wie jeder" in text
        assert ("Visible stamp" in text) == (how == "invisible")
        assert pdf[0].get_pixmap().samples == before
        assert len(pdf[0].get_links()) == 1


def test_a_picture_becomes_a_pdf_page(tmp_path: Path) -> None:
    text_page().save(tmp_path / "scan.png", dpi=(144, 144))
    _, script = scan(tmp_path)
    arguments = (tmp_path / "scan.png", "-o", tmp_path / "out", "--engine", "scripted")
    assert helper.run(*arguments, "--searchable-pdf", script=script).returncode == 0
    with pymupdf.open(tmp_path / "out" / "scan" / "searchable.pdf") as pdf:
        assert pdf[0].rect.width == pytest.approx(595, abs=1)
        assert pdf[0].search_for("jeder")


def test_a_jpeg_goes_into_the_pdf_as_it_is(tmp_path: Path) -> None:
    text_page().save(tmp_path / "scan.jpg", quality=50)
    _, script = scan(tmp_path)
    arguments = (tmp_path / "scan.jpg", "-o", tmp_path / "out", "--engine", "scripted")
    assert helper.run(*arguments, "--searchable-pdf", script=script).returncode == 0
    with pymupdf.open(tmp_path / "out" / "scan" / "searchable.pdf") as pdf:
        (image,) = pdf[0].get_images()
        assert pdf.extract_image(image[0])["image"] == (tmp_path / "scan.jpg").read_bytes()
        assert pdf[0].search_for("jeder")


def test_pages_asked_for_only(tmp_path: Path) -> None:
    book = numbered_pdf(tmp_path / "book.pdf", 5)
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--pages", "2,4")
    assert helper.run(*arguments, "--searchable-pdf", "--overlay", "pdf", "--raw").returncode == 0
    folder = tmp_path / "out" / "book"
    with pymupdf.open(folder / "searchable.pdf") as pdf:
        assert [page.get_text().split()[1] for page in pdf] == ["2", "4"]
    with pymupdf.open(folder / "overlay.pdf") as pdf:
        assert pdf.page_count == 2
        assert pdf[0].rect.width == pytest.approx(300, abs=1)
    assert (folder / "page_0004.raw.txt").read_text().startswith("page 4")


def test_overlay_pngs(tmp_path: Path) -> None:
    book, script = scan(tmp_path)
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--overlay")
    assert helper.run(*arguments, script=script).returncode == 0
    with Image.open(tmp_path / "out" / "scan" / "overlay" / "page_0001.png") as overlay:
        assert overlay.convert("HSV").getchannel("S").getextrema()[1] > 100


def test_word(tmp_path: Path) -> None:
    docx = pytest.importorskip("docx", reason="python-docx is not installed")
    book = pictures_to_pdf(tmp_path / "book.pdf", [text_page(), text_page()])
    table = (
        "<table><tr><th rowspan=\"2\">a</th><th colspan='2'>b &amp; c</th></tr>"
        "<tr><td>1</td><td>2<br>3</td></tr></table>"
    )
    raw = (
        tag("text", (100, 5, 900, 20), "- 1 -")
        + tag("title", (100, 30, 900, 60), "# The <b>Lamp</b>")
        + tag("image", (100, 70, 900, 200))
        + tag("text", (100, 210, 900, 300), "Words \x07of {page}")
        + tag("table", (100, 310, 900, 500), table)
        + tag("table", (100, 510, 900, 600), "<table><tr><td colspan=9999999>x</td></tr></table>")
    )
    script = helper.write_script(tmp_path / "s.json", default={"text": raw})
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted", "--docx", "--drop-headers")
    ended = helper.run(*arguments, script=script)
    assert ended.returncode == 0, ended.stderr
    path = tmp_path / "out" / "book" / "document.docx"
    document = docx.Document(str(path))
    texts = [paragraph.text for paragraph in document.paragraphs if paragraph.text.strip()]
    assert texts == ["The Lamp", "Words of 1", "The Lamp", "Words of 2"]
    assert document.paragraphs[0].style.name == "Heading 1"
    assert len(document.inline_shapes) == 2
    rows = [[cell.text for cell in row.cells] for row in document.tables[0].rows]
    assert rows == [["a", "b & c", "b & c"], ["a", "1", "2\n3"]]
    before = path.read_bytes()
    assert helper.run(*arguments, script=script).returncode == 0
    assert path.read_bytes() == before


def test_forms_by_name(tmp_path: Path) -> None:
    book, script = scan(tmp_path)
    arguments = (book, "-o", tmp_path / "out", "--engine", "scripted")
    ended = helper.run(*arguments, "--format", "hocr,alto", "--format=chunks", script=script)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "out" / "scan"
    assert "Łódź naïve" in (folder / "document.hocr").read_text()
    assert 'CONTENT="Война"' in (folder / "document.alto.xml").read_text()
    assert "漢字とかな交じり" in (folder / "document.chunks.jsonl").read_text()
    refused = helper.run(*arguments, "--format", "hocr,exe", script=script)
    assert refused.returncode == 2
    assert "'exe'; choose from: raw, markdown" in refused.stderr


def test_a_page_without_its_text_says_so_in_the_pdf(tmp_path: Path) -> None:
    text_page().save(tmp_path / "scan.png", dpi=(144, 144))
    script = helper.write_script(
        tmp_path / "s.json", default={"text": "", "error": "the lamp went out"}
    )
    arguments = (tmp_path / "scan.png", "-o", tmp_path / "out", "--engine", "scripted")
    assert helper.run(*arguments, "--format", "pdf", script=script).returncode == 3
    with pymupdf.open(tmp_path / "out" / "scan" / "searchable.pdf") as pdf:
        (note,) = pdf[0].annots()
        assert "could not be read: " in note.info["content"]
        assert "the lamp went out" in note.info["content"]
