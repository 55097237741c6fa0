"""Text that is found and copied but not seen, laid over the pages of a PDF.

The font, `invisible.ttf`, has one empty glyph; its ToUnicode map takes every code for the UTF-16
unit of the same number, so any script can be searched and copied, and nothing depends on fonts of
the reader's machine.
"""

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

import pymupdf
from PIL import Image

from deepocr.types import Box, Region

Point = tuple[float, float]
Corners = tuple[Point, Point, Point, Point]
"""Of a line of text, clockwise from the start of its first letter's top."""

GLYPH_WIDTH = 0.5
"""Of every glyph of the font, in parts of its size."""

DESCENT = 0.2
"""How far the baseline lies above a line's lower edge, in parts of its height."""

FONT_NAME = "OcrText"

_TAG = re.compile(r"<[^<>]{1,300}>")
_CELL_END = re.compile(r"</t[dh]\s*>", re.IGNORECASE)
_ROW_END = re.compile(r"</(?:tr|caption|p|h[1-6]|li)\s*>|<br\s*/?>", re.IGNORECASE)
_MARKDOWN = re.compile(r"^\s{0,3}(?:#{1,6}\s+|[*+-]\s+)|\*\*|\\[()\[\]]", re.MULTILINE)


@dataclass(frozen=True)
class PlacedText:
    """A line of text and its corners, in pixels of some picture of the page."""

    text: str
    corners: Corners


def plain_text(text: str) -> str:
    """Words without Markdown and HTML marks; cells and rows of tables as words and lines."""
    spaced = _ROW_END.sub("\n", _CELL_END.sub(" ", text))
    return html.unescape(_MARKDOWN.sub("", _TAG.sub("", spaced)))


def place_lines(region: Region, ink: Image.Image, size_px: tuple[int, int]) -> list[PlacedText]:
    """A region's text, line by line where it stands on the page of `size_px`.

    An engine's own lines are taken as they are. Otherwise the words go to the rows of ink found in
    the region's boxes, to each as many as its length has room for. `ink` is the page at any scale,
    mode L, 255 where there is ink.
    """
    if region.lines:
        return [PlacedText(line.text, line.quad_px) for line in region.lines if line.text.strip()]
    words = plain_text(region.text).split()
    if not words or not region.boxes_px:
        return []
    rows = [row for box in region.boxes_px for row in _rows(box, ink, size_px)]
    return [
        PlacedText(" ".join(part), ((x1, y1), (x2, y1), (x2, y2), (x1, y2)))
        for part, (x1, y1, x2, y2) in zip(_share_out(words, rows), rows, strict=True)
        if part
    ]


def _share_out(words: Sequence[str], rows: Sequence[Box]) -> list[list[str]]:
    """Words to rows in order, each row as much of the text as it has of the rows' width."""
    widths = [x2 - x1 for x1, _, x2, _ in rows]
    total_width = sum(widths)
    total_chars = sum(len(word) + 1 for word in words)
    parts: list[list[str]] = [[] for _ in rows]
    row, row_end, done = 0, widths[0] / total_width, 0.0
    for word in words:
        middle = (done + len(word) / 2) / total_chars
        while middle > row_end and row < len(rows) - 1:
            row += 1
            row_end += widths[row] / total_width
        parts[row].append(word)
        done += len(word) + 1
    return parts


def _rows(box: Box, ink: Image.Image, size_px: tuple[int, int]) -> list[Box]:
    """The rows of ink in a box, top to bottom; the box itself when none can be told apart."""
    scale_x, scale_y = ink.width / size_px[0], ink.height / size_px[1]
    left, top = int(box[0] * scale_x), int(box[1] * scale_y)
    right, bottom = math.ceil(box[2] * scale_x), math.ceil(box[3] * scale_y)
    if right - left < 2 or bottom - top < 2:
        return [_at_least_a_pixel(box)]
    part = ink.crop((left, top, right, bottom))
    profile = part.convert("F").resize((1, part.height), Image.Resampling.BOX).tobytes()
    rows = []
    start: int | None = None
    for y, value in enumerate((*memoryview(profile).cast("f"), 0.0)):
        if value > 0.5:
            start = y if start is None else start
        elif start is not None:
            extent = part.crop((0, start, part.width, y)).getbbox()
            # an accent or a dot by itself is no row
            if y - start >= 4 and extent is not None:
                rows.append(
                    (
                        round((left + extent[0]) / scale_x),
                        round((top + start) / scale_y),
                        round((left + extent[2]) / scale_x),
                        round((top + y) / scale_y),
                    )
                )
            start = None
    return [_at_least_a_pixel(row) for row in rows or [box]]


def _at_least_a_pixel(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


class TextLayer:
    """Adds invisible text to the pages of one PDF that is open for writing."""

    def __init__(self, pdf: pymupdf.Document) -> None:
        self._pdf = pdf
        self._font_xref = _add_font(pdf)

    def add(
        self, page: pymupdf.Page, lines: Iterable[PlacedText], size_px: tuple[int, int]
    ) -> None:
        """Put `lines` on a page; their corners are pixels of the page as it is shown, drawn with
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
        """Enter the font in the page's resources, wherever these stand."""
        pdf, xref, path = self._pdf, page.xref, "Resources"
        kind, value = pdf.xref_get_key(xref, path)
        if kind == "null":
            # resources may come from a node above: the page gets a copy of its own
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
    """From the page before /Rotate, its crop box's upper left corner being 0, to the PDF's own
    space, where y goes upward. (`page.transformation_matrix` forgets the crop box under /Rotate.)
    """
    crop, media = page.cropbox, page.mediabox
    sideways = page.rotation % 180 != 0
    # other than 1 where the page has a UserUnit
    unit = crop.width / (page.rect.height if sideways else page.rect.width)
    return pymupdf.Matrix(unit, 0, 0, -unit, crop.x0, media.y1 - crop.y0)


def _inherited(pdf: pymupdf.Document, xref: int, key: str) -> tuple[str, str]:
    """A key of the nearest node above a page that has it; ("null", "null") when none does."""
    for _ in range(64):
        kind, value = pdf.xref_get_key(xref, "Parent")
        if kind != "xref":
            break
        xref = int(value.split()[0])
        kind, value = pdf.xref_get_key(xref, key)
        if kind != "null":
            return kind, value
    return "null", "null"


def _show(line: PlacedText, to_pdf: pymupdf.Matrix) -> str | None:
    """The commands that write a line: its size, stretch, place and direction, and its codes."""
    text = " ".join(line.text.split())
    top_start, _, bottom_end, bottom_start = (
        pymupdf.Point(*corner) * to_pdf for corner in line.corners
    )
    along, up = bottom_end - bottom_start, top_start - bottom_start
    length, height = abs(along), abs(up)
    if not text or length < 0.1 or height < 0.1:
        return None
    # a word of space at the end keeps words of neighboring lines apart
    codes = f"{text} ".encode("utf-16-be", "replace")
    stretch = 100 * length / (len(codes) / 2 * GLYPH_WIDTH * height)
    base = bottom_start + up * DESCENT
    a, b = along.x / length, along.y / length
    place = f"{a:.5f} {b:.5f} {-b:.5f} {a:.5f} {base.x:.2f} {base.y:.2f} Tm"
    return f"/{FONT_NAME} {height:.2f} Tf {stretch:.2f} Tz {place} <{codes.hex()}> Tj\n"


def _add_font(pdf: pymupdf.Document) -> int:
    """The font's objects; returns the number of the one that pages name."""
    font = resources.files("deepocr.render").joinpath("invisible.ttf").read_bytes()
    file = _add(pdf, f"<</Length1 {len(font)}>>", font)
    descriptor = _add(
        pdf,
        "<</Type/FontDescriptor/FontName/Invisible/Flags 4/FontBBox[0 -200 500 800]"
        f"/ItalicAngle 0/Ascent 800/Descent -200/CapHeight 700/StemV 80/FontFile2 {file} 0 R>>",
    )
    # every code is drawn with the one glyph
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
    """A CMap that takes each code for itself; a range may not cross a code's first byte."""
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
