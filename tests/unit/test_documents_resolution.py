"""How finely pages of PDFs are drawn when `dpi` is `auto`."""

import io

import pymupdf
import pytest
from PIL import Image

from deepocr.documents import DocumentLimits, open_document
from deepocr.documents.resolution import auto_zoom
from deepocr.errors import InvalidInput
from deepocr.tasks import parse_dpi

A4_PT = (595.0, 842.0)
LIMITS = DocumentLimits()


def pdf_with(
    *pictures: tuple[tuple[int, int], tuple[float, float, float, float]],
    page_pt: tuple[float, float] = A4_PT,
    turned: int = 0,
) -> bytes:
    """A page with pictures, each of so many pixels in such a rectangle."""
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=page_pt[0], height=page_pt[1])
        for number, (size_px, rectangle) in enumerate(pictures):
            file = io.BytesIO()
            # no two alike, or the PDF would hold one of them
            Image.new("1", size_px, number % 2).save(file, "PNG")
            page.insert_image(pymupdf.Rect(rectangle), stream=file.getvalue())
        page.set_rotation(turned)
        return bytes(pdf.tobytes())


def dpi_of(pdf: bytes, limits: DocumentLimits = LIMITS) -> float:
    with open_document(pdf, limits, dpi="auto") as document:
        page = document.page(1)
        # MuPDF rounds a side that is whole but for its last digits down
        assert document.size_px(1) == pytest.approx(page.size_px, abs=1)
        assert page.dpi is not None
        return page.dpi


@pytest.mark.parametrize("turned", [0, 90])
def test_a_scan_is_drawn_at_its_own_resolution(turned: int) -> None:
    scan = pdf_with(((1653, 2339), (0, 0, *A4_PT)), turned=turned)
    assert dpi_of(scan) == pytest.approx(200, abs=0.2)


def test_a_scan_that_is_small_in_points_gets_the_pixels_that_it_holds() -> None:
    assert dpi_of(pdf_with(((1653, 2339), (0, 0, 149, 210)), page_pt=(149, 210))) == pytest.approx(
        800, rel=0.01
    )


def test_a_scan_in_strips_counts_as_a_whole() -> None:
    strips = [((1653, 117), (0, 42.1 * n, 595, 42.1 * (n + 1))) for n in range(20)]
    assert dpi_of(pdf_with(*strips)) == pytest.approx(200, abs=1)


def test_letters_in_a_layer_of_their_own_count_more_than_the_paper_behind_them() -> None:
    paper, letters = ((413, 585), (0, 0, *A4_PT)), ((1653, 2339), (0, 0, *A4_PT))
    assert dpi_of(pdf_with(paper, letters)) == pytest.approx(200, abs=0.2)


def test_a_picture_in_a_text_changes_nothing() -> None:
    assert dpi_of(pdf_with(((2000, 2000), (100, 100, 300, 300)))) == pytest.approx(144)


def test_the_longer_side_has_1600_pixels() -> None:
    pdf = pdf_with(page_pt=(300, 400))
    with open_document(pdf, LIMITS, dpi="auto") as document:
        assert document.page(1).size_px == (1200, 1600)


def test_more_than_letters_need_is_not_drawn() -> None:
    assert dpi_of(pdf_with(((9920, 14032), (0, 0, *A4_PT)))) == pytest.approx(300, abs=0.1)


@pytest.mark.parametrize("max_pixels", [3_000_000, 10_000_000])
def test_a_scan_is_no_larger_than_the_limits_allow(max_pixels: int) -> None:
    scan = [(300 / 72, 595.0 * 842.0)]
    zoom = auto_zoom(595.0, 842.0, scan, max_pixels)
    assert 2 < zoom <= 300 / 72
    assert (595 * zoom + 1) * (842 * zoom + 1) <= max_pixels * 1.000001 or zoom == 300 / 72


def test_the_resolution_stands_in_the_result_and_mistakes_are_told() -> None:
    assert (parse_dpi("auto"), parse_dpi("200"), parse_dpi(200)) == ("auto", 200, 200)
    for wrong in ("automatic", "35", "1201", "-200", "2e2", "²00", "", "9" * 5000):
        with pytest.raises(InvalidInput, match="from 36 to 1200 dpi"):
            parse_dpi(wrong)
