"""Adds invisible text, which can be searched and copied, to the pages of a PDF.

Runs in a drawing process: it works on files of strangers with MuPDF. The font, `invisible.ttf`, has
one empty glyph; its ToUnicode map takes every code for the UTF-16 unit of the same number, so any
script can be searched and copied, and nothing depends on fonts of the reader's machine.
"""

import errno
import json
import logging
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import pymupdf
from PIL import Image, ImageChops

from deepocr.render.placed_text import Point

log = logging.getLogger(__name__)

GLYPH_WIDTH = 0.5
"""Width of every glyph of the font, relative to the font size."""

DESCENT = 0.2
"""Distance of the baseline from a line's lower edge, relative to the line's height."""

FONT_NAME = "OcrText"

COVERS = 0.95
"""Share of the page from which a picture hides the text that was drawn before it."""

SAME_BY = 64
"""Largest difference of pixels, of 255, between two drawings that look the same."""

NOTE_AT_PT = pymupdf.Point(12, 12)

_SHOWN_TEXT = ("fill-text", "stroke-text", "clip-text", "clip-stroke-text")

Line = tuple[str, Sequence[Point]]
"""A line's text, and its corners in pixels of a picture of the page."""


def add_text_layer(source: str, pages_file: str, target: str, password: str) -> None:
    """Write the pages of a PDF that `pages_file` names, with the lines it has for them.

    The file has one JSON object per line and page: `number` (from 1), `size_px`, `lines`, `note`. A
    page without lines is unchanged except for its note; the other pages lose the invisible text
    that they had. Raises OSError.
    """
    with (
        pymupdf.open(source, filetype="pdf") as pdf,
        Path(pages_file).open(encoding="utf-8") as pages,
    ):
        if pdf.needs_pass:
            pdf.authenticate(password)
        numbers = [json.loads(page)["number"] - 1 for page in pages]
        if len(numbers) < pdf.page_count:
            pdf.select(numbers)
        layer = TextLayer(pdf)
        pages.seek(0)
        for place, page in enumerate(map(json.loads, pages)):
            if page["lines"]:
                remove_unseen_text(pdf, place)
                layer.add(pdf[place], page["lines"], page["size_px"])
            if page["note"]:
                _add_note(pdf, place, page["note"])
        try:
            # no new id: the same pages give the same bytes
            pdf.save(
                target, garbage=1, deflate=True, no_new_id=True, encryption=pymupdf.PDF_ENCRYPT_KEEP
            )
        except pymupdf.mupdf.FzErrorSystem as error:  # a full disk is not the document's fault
            raise OSError(errno.EIO, str(error).rpartition(": ")[2]) from error
    with Path(target).open("rb") as file:
        os.fsync(file.fileno())  # here: MuPDF makes a new file, so who opened one holds another


def remove_unseen_text(pdf: pymupdf.Document, place: int) -> None:
    """Remove the text layer of a scan: invisible text, and text behind a picture of the page.

    If the page would look different without it, the page is left as it was.
    """
    page = pdf[place]
    which = _unseen_text(page)
    if which is None:
        return
    before = _look(page)
    kept = {key: pdf.xref_get_key(page.xref, key) for key in ("Annots", "Contents", "Resources")}
    # annotations are detached, or links over the removed text would be removed with it
    pdf.xref_set_key(page.xref, "Annots", "null")
    page = pdf.reload_page(page)
    page.add_redact_annot(page.rect, fill=False, cross_out=False)
    page.apply_redactions(
        images=pymupdf.PDF_REDACT_IMAGE_NONE, graphics=pymupdf.PDF_REDACT_LINE_ART_NONE, text=which
    )
    pdf.xref_set_key(page.xref, "Annots", kept["Annots"][1])
    page = pdf.reload_page(page)
    difference = ImageChops.difference(before, _look(page)).convert("L")
    if difference.point(lambda value: 255 * (value > SAME_BY)).getbbox() is not None:
        log.warning("page %d keeps its old text layer: it cannot be told from what is seen", place)
        for key, (_, value) in kept.items():
            pdf.xref_set_key(page.xref, key, value)


def _unseen_text(page: pymupdf.Page) -> int | None:
    """Which text MuPDF has to remove; None if all of it is visible."""
    kinds = [(kind, abs(pymupdf.Rect(box))) for kind, box in page.get_bboxlog()]
    shown = [place for place, (kind, _) in enumerate(kinds) if kind in _SHOWN_TEXT]
    least = COVERS * abs(page.rect)
    covers = [n for n, (kind, area) in enumerate(kinds) if kind == "fill-image" and area >= least]
    if shown and covers and shown[-1] < covers[-1]:
        return int(pymupdf.PDF_REDACT_TEXT_REMOVE)
    if any(kind == "ignore-text" for kind, _ in kinds):
        return int(pymupdf.PDF_REDACT_TEXT_REMOVE_INVISIBLE)
    return None


def _add_note(pdf: pymupdf.Document, place: int, text: str) -> None:
    """Add a sticky note in the upper left corner. A failure on a damaged page is only logged."""
    try:
        page = pdf[place]
        page.add_text_annot(NOTE_AT_PT * page.derotation_matrix, text)
    except pymupdf.mupdf.FzErrorBase:
        log.warning("page %d takes no note: %s", place + 1, text, exc_info=True)


def _look(page: pymupdf.Page) -> Image.Image:
    pixmap = page.get_pixmap(colorspace=pymupdf.csRGB, alpha=False)
    return Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)


class TextLayer:
    """Adds invisible text to the pages of one PDF that is open for writing."""

    def __init__(self, pdf: pymupdf.Document) -> None:
        self._pdf = pdf
        self._font_xref = _add_font(pdf)

    def add(self, page: pymupdf.Page, lines: Iterable[Line], size_px: Sequence[int]) -> None:
        """Add `lines` to a page. Their corners are pixels of the page as it is shown, drawn with
        `size_px`."""
        to_points = pymupdf.Matrix(page.rect.width / size_px[0], page.rect.height / size_px[1])
        to_pdf = to_points * page.derotation_matrix * _unrotated_to_pdf(page)
        commands = [command for line in lines if (command := _show(line, to_pdf))]
        if not commands:
            return
        self._name_font(page)
        content = f"q BT 3 Tr\n{''.join(commands)}ET Q\n"
        page.wrap_contents()
        self._append(page, content.encode("ascii"))

    def _append(self, page: pymupdf.Page, content: bytes) -> None:
        xref = self._pdf.get_new_xref()
        self._pdf.update_object(xref, "<<>>")
        self._pdf.update_stream(xref, content)
        streams = " ".join(f"{number} 0 R" for number in (*page.get_contents(), xref))
        self._pdf.xref_set_key(page.xref, "Contents", f"[{streams}]")

    def _name_font(self, page: pymupdf.Page) -> None:
        """Add the font to the page's resources, wherever these are stored."""
        pdf, xref, path = self._pdf, page.xref, "Resources"
        kind, value = pdf.xref_get_key(xref, path)
        if kind == "null":
            # resources may be inherited from a parent node: the page gets its own copy
            kind, value = _inherited(pdf, xref, path)
            pdf.xref_set_key(xref, path, value if kind in ("dict", "xref") else "<<>>")
        if kind == "xref":
            xref, path = int(value.split()[0]), ""
        font_path = f"{path}/Font".lstrip("/")
        kind, value = pdf.xref_get_key(xref, font_path)
        if kind == "xref":
            xref, font_path = int(value.split()[0]), ""
        pdf.xref_set_key(xref, f"{font_path}/{FONT_NAME}".lstrip("/"), f"{self._font_xref} 0 R")


def _unrotated_to_pdf(page: pymupdf.Page) -> pymupdf.Matrix:
    """Maps the page before /Rotate, with its origin at the crop box's upper left corner, to the
    PDF's own space, where y points up. (`page.transformation_matrix` ignores the crop box under
    /Rotate.)
    """
    crop, media = page.cropbox, page.mediabox
    sideways = page.rotation % 180 != 0
    # differs from 1 if the page has a UserUnit
    unit = crop.width / (page.rect.height if sideways else page.rect.width)
    return pymupdf.Matrix(unit, 0, 0, -unit, crop.x0, media.y1 - crop.y0)


def _inherited(pdf: pymupdf.Document, xref: int, key: str) -> tuple[str, str]:
    """The value of a key in the nearest parent node that has it; ("null", "null") if none has."""
    for _ in range(64):
        kind, value = pdf.xref_get_key(xref, "Parent")
        if kind != "xref":
            break
        xref = int(value.split()[0])
        kind, value = pdf.xref_get_key(xref, key)
        if kind != "null":
            return kind, value
    return "null", "null"


def _show(line: Line, to_pdf: pymupdf.Matrix) -> str | None:
    """The PDF commands that write a line: its size, stretch, position and direction, and its codes.
    None for an empty line."""
    text, corners = " ".join(line[0].split()), line[1]
    top_start, _, bottom_end, bottom_start = (pymupdf.Point(*corner) * to_pdf for corner in corners)
    along, up = bottom_end - bottom_start, top_start - bottom_start
    length, height = abs(along), abs(up)
    if not text or length < 0.1 or height < 0.1:
        return None
    # a space at the end keeps words of neighboring lines apart
    codes = f"{text} ".encode("utf-16-be", "replace")
    stretch = 100 * length / (len(codes) / 2 * GLYPH_WIDTH * height)
    base = bottom_start + up * DESCENT
    a, b = along.x / length, along.y / length
    place = f"{a:.5f} {b:.5f} {-b:.5f} {a:.5f} {base.x:.2f} {base.y:.2f} Tm"
    return f"/{FONT_NAME} {height:.2f} Tf {stretch:.2f} Tz {place} <{codes.hex()}> Tj\n"


def _add_font(pdf: pymupdf.Document) -> int:
    """Add the font's objects; returns the number of the object that pages refer to."""
    font = resources.files("deepocr.render").joinpath("invisible.ttf").read_bytes()
    file = _add(pdf, f"<</Length1 {len(font)}>>", font)
    descriptor = _add(
        pdf,
        "<</Type/FontDescriptor/FontName/Invisible/Flags 4/FontBBox[0 -200 500 800]"
        f"/ItalicAngle 0/Ascent 800/Descent -200/CapHeight 700/StemV 80/FontFile2 {file} 0 R>>",
    )
    # every code maps to the only glyph
    glyphs = _add(pdf, "<<>>", bytes(2 * 65536))
    descendant = _add(
        pdf,
        "<</Type/Font/Subtype/CIDFontType2/BaseFont/Invisible"
        "/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
        f"/FontDescriptor {descriptor} 0 R/DW {round(GLYPH_WIDTH * 1000)}"
        f"/CIDToGIDMap {glyphs} 0 R>>",
    )
    unicode_map = _add(pdf, "<<>>", _unicode_map())
    return _add(
        pdf,
        "<</Type/Font/Subtype/Type0/BaseFont/Invisible/Encoding/Identity-H"
        f"/DescendantFonts[{descendant} 0 R]/ToUnicode {unicode_map} 0 R>>",
    )


def _add(pdf: pymupdf.Document, dictionary: str, stream: bytes | None = None) -> int:
    xref: int = pdf.get_new_xref()
    pdf.update_object(xref, dictionary)
    if stream is not None:
        pdf.update_stream(xref, stream)
    return xref


def _unicode_map() -> bytes:
    """A CMap that maps each code to itself. A range may not span different first bytes."""
    ranges = [f"<{high:02x}00> <{high:02x}ff> <{high:02x}00>" for high in range(256)]
    blocks = [ranges[i : i + 100] for i in range(0, 256, 100)]
    body = "".join(
        f"{len(block)} beginbfrange\n" + "\n".join(block) + "\nendbfrange\n" for block in blocks
    )
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n"
        "/CMapName /Adobe-Identity-UCS def /CMapType 2 def\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{body}endcmap CMapName currentdict /CMap defineresource pop end end\n"
    ).encode("ascii")
