"""Blank pages by their ink, orientation by its lines, boxes turned back."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from deepocr.book.orientation import look_at
from deepocr.documents.ink import ink_mask, ink_share, is_blank
from deepocr.documents.turning import turn, turn_back, turn_upright
from deepocr.types import Line, Page, PageResult, Region, Word
from tests.book import helper
from tests.book.papers import pictures_to_pdf, tag, text_page

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pdfs"


def test_white_paper_is_blank() -> None:
    assert is_blank(ink_mask(Image.new("RGB", (1190, 1684), "white")))


def test_gray_noise_specks_and_dark_edges_are_blank() -> None:
    page = Image.effect_noise((1190, 1684), 12).convert("RGB").point(lambda v: min(255, v + 90))
    draw = ImageDraw.Draw(page)
    for x, y in ((100, 100), (500, 900), (800, 1200)):
        draw.point((x, y), fill="black")
    draw.rectangle((0, 0, 8, 1684), fill="black")
    assert is_blank(ink_mask(page))


def test_a_shadow_over_the_page_is_no_ink() -> None:
    shadow = Image.linear_gradient("L").resize((1190, 1684)).point(lambda v: 120 + v // 2)
    assert is_blank(ink_mask(shadow.convert("RGB")))


@pytest.mark.parametrize("text", ["7", "12", "a word"])
def test_a_page_number_is_ink(text: str) -> None:
    page = Image.new("RGB", (1190, 1684), "white")
    page.paste(text_page(text, (1190, 400)), (0, 1200))
    assert not is_blank(ink_mask(page))


def test_a_narrow_page_keeps_its_text() -> None:
    page = Image.new("RGB", (460, 12_000), "white")
    page.paste(text_page("some words here", (460, 300)), (0, 6000))
    assert not is_blank(ink_mask(page))


def test_white_on_black_is_ink() -> None:
    page = text_page().point(lambda value: 255 - value)
    assert ink_share(ink_mask(page)) > 0.01


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_the_way_back_is_found(degrees: int) -> None:
    page = turn(Page(1, text_page()), degrees)
    look = look_at(ink_mask(page.image))
    assert look.has_lines
    assert look.turns[0] == (360 - degrees) % 360


@pytest.mark.parametrize("degrees", [90, 270])
def test_words_on_end_say_sideways(degrees: int) -> None:
    words = tuple(Word("standing", (10 * n, 10, 10 * n + 8, 90)) for n in range(12))
    mask = Image.new("L", (500, 700), 0)
    assert look_at(mask, words).turns == (90, 270)


def test_a_picture_is_not_turned() -> None:
    page = Image.radial_gradient("L").resize((1000, 1400)).convert("RGB")
    assert look_at(ink_mask(page)).turns == (0,)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared PDFs are not here")
def test_real_pages_in_all_orientations() -> None:
    from deepocr.documents import DocumentLimits, open_document

    wrong = judged = 0
    for name in ("bws_book_ch2.pdf", "edgar.pdf", "newspaper.pdf"):
        with open_document(SHARED / name, DocumentLimits()) as document:
            for number in range(1, min(document.num_pages, 10) + 1):
                for degrees in (0, 90, 180, 270):
                    page = turn(document.page(number), degrees)
                    turns = look_at(ink_mask(page.image)).turns
                    judged += 1
                    wrong += turns[0] != (360 - degrees) % 360
    assert judged == 48
    assert wrong <= 1


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_boxes_are_turned_back(degrees: int) -> None:
    image = Image.new("RGB", (300, 200), "white")
    image.paste((255, 0, 0), (30, 40, 90, 60))
    turned = turn(Page(1, image), degrees)
    box = turned.image.convert("HSV").getchannel("S").getbbox()
    assert box is not None
    quad = ((box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]))
    region = Region("text", "", (box,), lines=(Line("", quad, 1.0),))
    result = PageResult(1, "ok", turned.size_px, regions=(region,))
    back = turn_back(result, degrees)
    assert back.size_px == (300, 200)
    assert back.regions[0].boxes_px == ((30, 40, 90, 60),)
    assert set(back.regions[0].lines[0].quad_px) == {(30, 40), (90, 40), (90, 60), (30, 60)}
    assert turn_upright(back, degrees) == result


def test_a_book_of_pages_in_four_orientations(tmp_path: Path) -> None:
    """The text's first line is drawn at the top: its box must come back to where it lies."""
    turns = (0, 90, 180, 270)
    pages = [turn(Page(1, text_page()), degrees).image for degrees in turns]
    book = pictures_to_pdf(tmp_path / "book.pdf", pages)
    script = helper.write_script(
        tmp_path / "script.json", default={"text": tag("text", (100, 60, 900, 95), "first line")}
    )
    ended = helper.run(book, "-o", tmp_path / "out", "--engine", "scripted", script=script)
    assert ended.returncode == 0, ended.stderr
    read = helper.document(tmp_path / "out" / "book")["pages"]
    assert [page["turned"] for page in read] == [0, 270, 180, 90]
    assert [page["attempts"][0]["turned"] for page in read] == [0, 270, 180, 90]
    for page, image in zip(read, pages, strict=True):
        assert (page["size_px"]["width"], page["size_px"]["height"]) == image.size
        (box,) = page["regions"][0]["boxes_px"]
        ink = image.convert("L").point(lambda value: 255 - value)
        assert ink.crop(tuple(box)).getbbox() is not None
        # the strip between the line and the paper's edge it begins at holds nothing
        width, height = image.size
        beyond = {
            0: (0, 0, width, box[1]),
            90: (box[2], 0, width, height),
            180: (0, box[3], width, height),
            270: (0, 0, box[0], height),
        }[(360 - page["turned"]) % 360]
        assert ink.crop(beyond).getbbox() is None
