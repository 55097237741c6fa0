import struct
from pathlib import Path

import pytest
from PIL import Image

from deepocr.documents import Document, DocumentLimits, open_document
from deepocr.errors import DocumentTooLarge, UnreadableDocument
from tests.unit.document_samples import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    corners,
    noise,
    png,
    save,
)

LIMITS = DocumentLimits()


def read(content: bytes) -> Image.Image:
    with open_document(content, LIMITS) as document:
        image = document.page(1).image
        assert image.mode == "RGB"
        return image


def near(color: object, expected: tuple[int, int, int], by: int = 12) -> bool:
    assert isinstance(color, tuple)
    return all(abs(a - b) <= by for a, b in zip(color, expected, strict=True))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_formats_told_by_content(
    tmp_path: Path, file_format: str, options: dict[str, object]
) -> None:
    content = save(corners(), file_format, **options)
    path = tmp_path / "misnamed.pdf"
    path.write_bytes(content)
    for source in (content, path):
        with open_document(source, LIMITS) as document:
            assert document.kind == ("tiff" if file_format == "TIFF" else "picture")
            assert document.num_pages == 1
            page = document.page(1)
        assert page.size_px == (60, 40)
        assert near(page.image.getpixel((5, 5)), RED)
        assert near(page.image.getpixel((55, 5)), BLUE)
        assert near(page.image.getpixel((30, 30)), WHITE)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(file_format: str, orientation: int) -> None:
    lying = corners().transpose(TURNS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if file_format == "JPEG" else {}
    image = read(save(lying, file_format, exif=exif.tobytes(), **options))
    assert image.size == (60, 40)
    assert near(image.getpixel((5, 5)), RED, 40)
    assert near(image.getpixel((55, 5)), BLUE, 40)


def test_sixteen_bit_gray_is_scaled_not_clipped() -> None:
    for file_format in ("PNG", "TIFF"):
        gray = Image.new("I;16", (20, 10))
        for x in range(20):
            for y in range(10):
                gray.putpixel((x, y), (0, 0x8080, 0xFFFF)[x // 7])
        image = read(save(gray, file_format))
        assert [image.getpixel((x, 5)) for x in (1, 10, 18)] == [(0,) * 3, (128,) * 3, (255,) * 3]


def test_sixteen_bit_rgb_takes_the_high_byte() -> None:
    row = b"\0" + struct.pack(">HHH", 0xFFFF, 0x8080, 0x0000) * 10
    assert read(png(10, 10, row * 10, depth=16)).getpixel((5, 5)) == (255, 128, 0)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(file_format: str) -> None:
    options = {"quality": 95} if file_format == "JPEG" else {}
    image = read(save(corners().convert("CMYK"), file_format, **options))
    assert near(image.getpixel((30, 30)), WHITE)
    assert near(image.getpixel((5, 5)), RED, 40)


def test_transparency_goes_over_white() -> None:
    rgba = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    rgba.paste((0, 255, 0, 128), (0, 0, 10, 20))
    image = read(save(rgba, "PNG"))
    assert image.getpixel((15, 5)) == WHITE
    assert near(image.getpixel((5, 5)), (127, 255, 127))

    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, 0, 255, 0])
    palette.paste(0, (10, 0, 20, 20))
    image = read(save(palette, "PNG", transparency=0))
    assert image.getpixel((15, 5)) == WHITE
    assert image.getpixel((5, 5)) == GREEN

    gray = Image.new("LA", (20, 20), (0, 0))
    assert read(save(gray, "PNG")).getpixel((5, 5)) == WHITE


def test_one_bit_and_palette() -> None:
    assert read(save(corners().convert("1"), "PNG")).getpixel((30, 30)) == WHITE
    assert read(save(corners().convert("1"), "TIFF", compression="group4")).size == (60, 40)
    assert read(save(corners().convert("P"), "PNG")).getpixel((5, 5)) == RED


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in (RED, BLUE)]
    for file_format in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if file_format == "WEBP" else {}
        content = save(
            frames[0], file_format, save_all=True, append_images=frames[1:], duration=50, **options
        )
        with open_document(content, LIMITS) as document:
            assert document.num_pages == 1
            assert document.page(1).image.getpixel((5, 5)) == RED


def tiff_of_three(sizes: tuple[tuple[int, int], ...] = ((30, 20), (40, 30), (20, 50))) -> bytes:
    pages = [Image.new("RGB", size, c) for size, c in zip(sizes, (RED, GREEN, BLUE), strict=True)]
    return save(pages[0], "TIFF", save_all=True, append_images=pages[1:])


def test_multi_page_tiff_in_any_order() -> None:
    with open_document(tiff_of_three(), LIMITS) as document:
        assert document.kind == "tiff"
        assert document.num_pages == 3
        for number, color in ((3, BLUE), (1, RED), (2, GREEN), (2, GREEN)):
            page = document.page(number)
            assert page.number == number
            assert page.image.getpixel((5, 5)) == color
        assert document.page(3).size_px == (20, 50)
        for number in (0, 4, -1):
            with pytest.raises(IndexError):
                document.page(number)


def test_tiff_pages_are_held_to_the_limits_one_by_one() -> None:
    with open_document(tiff_of_three(), DocumentLimits(max_pixels=1000)) as document:
        assert document.page(1).size_px == (30, 20)
        with pytest.raises(DocumentTooLarge, match="page 2 has 40 x 30 pixels"):
            document.page(2)
        assert document.page(3).size_px == (20, 50)
    with pytest.raises(DocumentTooLarge, match="more than 2 pages"):
        open_document(tiff_of_three(), DocumentLimits(max_pages=2))


def test_too_many_pixels_are_refused_before_decoding() -> None:
    with pytest.raises(DocumentTooLarge, match=r"30000 x 30000 pixels; at most 180,000,000"):
        open_document(png(30_000, 30_000), LIMITS)
    with pytest.raises(DocumentTooLarge, match="2147483647"):
        open_document(png(2**31 - 1, 2**31 - 1), LIMITS)
    # the same file within the limit is decoded, and then found to be cut off
    with pytest.raises(UnreadableDocument, match="damaged"):
        open_document(png(300, 300), LIMITS)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 7)])
def test_too_small(size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableDocument, match="each side needs at least 8"):
        open_document(save(Image.new("RGB", size), "PNG"), LIMITS)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
def test_a_cut_file_is_an_error_never_gray(file_format: str, part: float) -> None:
    content = save(noise(), file_format)
    with pytest.raises(UnreadableDocument):
        open_document(content[: int(len(content) * part)], LIMITS)


def test_a_cut_progressive_jpeg_is_an_error() -> None:
    content = save(noise(), "JPEG", progressive=True)
    for part in (0.1, 0.5, 0.9, 0.99):
        with pytest.raises(UnreadableDocument, match="truncated"):
            open_document(content[: int(len(content) * part)], LIMITS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Dear reader, this is text", "begins with b'Dear reader,'"),
        (b"BMW is a company", "damaged or something else"),
        (b"\x89PNG\r\n\x1a\n", "damaged or something else"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"PK\x03\x04" + b"\0" * 50, "ZIP archive or an Office document"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "HTML, SVG or XML"),
        (b"P6 10 10 255\n" + b"\0" * 300, "no picture or PDF"),
    ],
)
def test_what_is_no_document(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(UnreadableDocument, match=says) as caught:
            open_document(source, LIMITS)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"'none.png' cannot be opened: No such file"):
        open_document(tmp_path / "none.png", LIMITS)
    with pytest.raises(UnreadableDocument, match="directory"):
        open_document(tmp_path, LIMITS)


def test_too_many_bytes() -> None:
    with pytest.raises(DocumentTooLarge, match="at most 100 are read"):
        open_document(save(noise(), "PNG"), DocumentLimits(max_bytes=100))


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(UnreadableDocument, match="mode 'F'"):
        open_document(save(Image.new("F", (20, 20), 0.5), "TIFF"), LIMITS)


def test_a_smaller_side_on_request() -> None:
    content = save(Image.new("RGB", (400, 100)), "PNG", dpi=(300, 300))
    with open_document(content, LIMITS, max_side_px=100) as document:
        small, full = document.page(1), document.page(1, dpi=300)
    assert small.size_px == (100, 25)
    assert small.dpi == pytest.approx(75, abs=0.1)
    assert full.size_px == (400, 100)
    assert full.dpi == pytest.approx(300, abs=0.1)


def test_closing_twice_is_fine() -> None:
    document: Document = open_document(save(corners(), "PNG"), LIMITS)
    document.close()
    document.close()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_pictures_never_raise_anything_else() -> None:
    """Bytes changed at places spread over each file: read, or refused with a typed error."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for file_format in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        content = save(noise((40, 30)), file_format, exif=exif.tobytes())
        step = max(1, min(len(content), 400) // 130)
        for place in range(0, min(len(content), 400), step):
            for value in (0x00, 0xFF):
                damaged = content[:place] + bytes([value]) + content[place + 1 :]
                try:
                    open_document(damaged, DocumentLimits(max_pixels=10_000_000)).close()
                except (UnreadableDocument, DocumentTooLarge):
                    pass


def test_a_broken_exif_block_does_not_make_a_good_picture_unreadable(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Image.Image) -> Image.Exif:
        raise SyntaxError("not a TIFF file (header b'junk' not valid)")

    monkeypatch.setattr(Image.Image, "getexif", broken)
    assert read(save(noise((40, 30)), "PNG")).size == (40, 30)
    assert "EXIF ignored" in caplog.text
