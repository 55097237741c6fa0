import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymupdf
import pytest

from deepocr.documents import DocumentLimits, open_document
from deepocr.errors import DeepOCRError, DocumentTooLarge, PasswordNeeded, UnreadableDocument
from deepocr.types import Page
from tests.unit.document_samples import RED, WHITE, pdf_bytes, pdf_with

LIMITS = DocumentLimits()
REAL_PDFS = sorted((Path(__file__).resolve().parents[3] / "shared" / "data" / "pdfs").glob("*.pdf"))


def red_share(page: Page, corner: tuple[int, int]) -> bool:
    """Is the square at this corner (0 or 1 for x and y) the red one?"""
    width, height = page.size_px
    x, y = (10 if corner[0] == 0 else width - 10), (10 if corner[1] == 0 else height - 10)
    return page.image.getpixel((x, y)) == RED


def test_pages_are_drawn_at_the_resolution_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(pdf_bytes(3))
    for source in (path, path.read_bytes()):
        with open_document(source, LIMITS) as document:
            assert (document.kind, document.num_pages) == ("pdf", 3)
            page = document.page(2)
            assert (page.number, page.size_px, page.dpi) == (2, (400, 200), 144)
            assert page.image.mode == "RGB"
            assert page.image.getpixel((395, 195)) == WHITE
            assert page.words == ()
            assert document.page(2, dpi=288).size_px == (800, 400)
            for number in (0, 4):
                with pytest.raises(IndexError):
                    document.page(number)


@pytest.mark.parametrize(
    ("rotate", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (270, (0, 1))]
)
def test_rotation_is_honored_by_picture_and_words(rotate: int, corner: tuple[int, int]) -> None:
    with open_document(pdf_bytes(1, rotate), LIMITS, with_words=True) as document:
        page = document.page(1)
    assert page.size_px == ((400, 200) if rotate % 180 == 0 else (200, 400))
    assert red_share(page, corner)
    assert [word.text for word in page.words] == ["page", "1"]
    for word in page.words:
        inked = page.image.crop(word.box_px).convert("L")
        assert inked.getextrema()[0] < 100, "a word's box holds its ink"
    blank = page.image.convert("L")
    for word in page.words:
        blank.paste(255, word.box_px)
    # beyond the words and the red square there is nothing
    assert sum(blank.histogram()[:60]) == 0


def test_crop_box_is_honored() -> None:
    pdf = pymupdf.open(stream=pdf_bytes(), filetype="pdf")
    pdf[0].set_cropbox((50, 20, 150, 80))
    with open_document(pdf.tobytes(), LIMITS, dpi=72, with_words=True) as document:
        page = document.page(1)
    assert page.size_px == (100, 60)
    assert not red_share(page, (0, 0))
    x1, y1, _, y2 = page.words[0].box_px
    assert abs(x1 - 10) <= 2
    assert y1 < 30 <= y2


def test_a_longest_side() -> None:
    with open_document(pdf_bytes(), LIMITS, max_side_px=100) as document:
        page = document.page(1)
        assert page.size_px == (100, 50)
        assert page.dpi == pytest.approx(36)
        assert document.page(1, dpi=144).size_px == (400, 200)
    with open_document(pdf_bytes(), LIMITS, max_side_px=1000) as document:
        assert document.page(1).size_px == (400, 200)


def test_passwords() -> None:
    locked = pdf_bytes(
        2, encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="owner", user_pw="sesame"
    )
    with pytest.raises(PasswordNeeded, match="encrypted; give its password"):
        open_document(locked, LIMITS)
    with pytest.raises(PasswordNeeded, match="password does not open"):
        open_document(locked, LIMITS, password="wrong")
    for password in ("sesame", "owner"):
        with open_document(locked, LIMITS, password=password) as document:
            assert document.page(2).size_px == (400, 200)
    # only the owner's rights are protected: anyone may read
    open_to_read = pdf_bytes(1, encryption=pymupdf.PDF_ENCRYPT_AES_128, owner_pw="owner")
    with open_document(open_to_read, LIMITS) as document:
        assert document.page(1).size_px == (400, 200)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"%PDF-1.7\n" + b"\x93nonsense" * 100, "PDF"),
        (b"%PDF-", "PDF"),
        (pdf_bytes()[:60], "PDF"),
        (pdf_with(kids="[]", count=0), r"no pages \(0\)"),
    ],
)
def test_damaged_or_empty(content: bytes, says: str) -> None:
    with pytest.raises(UnreadableDocument, match=says):
        open_document(content, LIMITS)


def test_a_damaged_cross_reference_is_repaired_and_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_document(pdf_with(), LIMITS) as document:
        assert document.page(1).size_px == (400, 200)
    assert "repaired; pages found: 1" in caplog.text
    assert capfd.readouterr().out == "", "MuPDF must not write into our output"


def test_a_lost_page_fails_alone() -> None:
    content = pdf_with(kids="[3 0 R 99 0 R 3 0 R]", count=3)
    with open_document(content, LIMITS) as document:
        assert document.num_pages == 3
        with pytest.raises(UnreadableDocument, match="page 2 of the PDF is damaged"):
            document.page(2)
        assert document.page(1).size_px == (400, 200)
        assert document.page(3).size_px == (400, 200)


@pytest.mark.parametrize(
    "box",
    [
        *("[0 0 9e9 9e9]", "[0 0 1e30 1e30]", "[0 0 20000 20000]", "[0 0 1e308 1]"),
        *("[0 0 0.01 0.01]", "[0 0 0 0]", "[0 0 -5 -5]", "[100 100 0 0]", "[0 0 1 1000000000]"),
        *("[]", "[/A /B /C /D]"),
    ],
)
def test_strange_media_boxes_are_drawn_within_limits_or_refused(box: str) -> None:
    with open_document(pdf_with(box), DocumentLimits(max_pixels=4_000_000)) as document:
        try:
            width, height = document.page(1).size_px
        except (UnreadableDocument, DocumentTooLarge):
            return
    assert 0 < width * height <= 4_000_000


def test_a_huge_page_is_refused_before_drawing() -> None:
    with (
        open_document(pdf_with("[0 0 14400 14400]"), LIMITS) as document,
        pytest.raises(DocumentTooLarge, match="page 1 has 28800 x 28800 pixels"),
    ):
        document.page(1)


def test_a_picture_bomb_inside_a_page_is_refused_before_decoding() -> None:
    side = 20_000
    pdf = pymupdf.open()
    page = pdf.new_page(width=200, height=100)
    xref = page.insert_image(
        page.rect, stream=pymupdf.Pixmap(pymupdf.csGRAY, (0, 0, 9, 9)).tobytes()
    )
    pdf.xref_set_key(xref, "Width", str(side))
    pdf.xref_set_key(xref, "Height", str(side))
    pdf.update_stream(xref, zlib.compress(bytes(1000)), compress=False)
    with (
        open_document(pdf.tobytes(), LIMITS) as document,
        pytest.raises(DocumentTooLarge, match="holds a picture of 20000 x 20000 pixels"),
    ):
        document.page(1)


def test_many_threads_and_documents_at_once() -> None:
    documents = [open_document(pdf_bytes(4), LIMITS, with_words=True) for _ in range(3)]
    barrier = threading.Barrier(6)

    def read(index: int) -> list[str]:
        barrier.wait()
        document = documents[index % 3]
        pages = [document.page(number) for number in (4, 1, 3, 2)]
        return [" ".join(word.text for word in page.words) for page in pages]

    with ThreadPoolExecutor(6) as pool:
        for texts in pool.map(read, range(6)):
            assert texts == ["page 4", "page 1", "page 3", "page 2"]
    for document in documents:
        document.close()
        document.close()
        with pytest.raises(UnreadableDocument):
            document.page(1)


def test_memory_stays_level_over_many_pages() -> None:
    """The store of MuPDF is emptied after each page: it would keep up to 256 MB of pictures."""
    with open_document(pdf_bytes(60), LIMITS, dpi=300) as document:
        sizes = []
        for number in range(1, 61):
            document.page(number)
            sizes.append(resident_mb())
    assert sizes[-1] - sizes[10] < 30


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(not REAL_PDFS, reason="the collection of real PDFs is not on this machine")
@pytest.mark.parametrize("path", REAL_PDFS, ids=lambda path: path.stem)
def test_real_pdfs(path: Path) -> None:
    with open_document(path, LIMITS, with_words=True) as document:
        for number in range(1, min(document.num_pages, 4) + 1):
            page = document.page(number)
            width, height = page.size_px
            assert min(width, height) > 400
            for word in page.words:
                x1, y1, x2, y2 = word.box_px
                assert 0 <= x1 < x2 <= width
                assert 0 <= y1 < y2 <= height


def test_damaged_pdfs_never_raise_anything_else(caplog: pytest.LogCaptureFixture) -> None:
    content = pdf_bytes()
    for place in range(0, len(content), max(1, len(content) // 150)):
        damaged = content[:place] + b"\xff" + content[place + 2 :]
        try:
            with open_document(damaged, DocumentLimits(max_pixels=4_000_000)) as document:
                document.page(1)
        except DeepOCRError as error:
            str(error).encode()
    caplog.text.encode()
