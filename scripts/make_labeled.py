"""Make the labeled pages in samples/labeled/: pages of many kinds, their texts, checks on them.

    python scripts/make_labeled.py [FOLDER]

Everything is invented and drawn here. NAME.pdf has one page, NAME.txt says what a perfect reader
would read of it, and checks.jsonl holds checks in olmOCR-bench's form.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
from PIL import Image, ImageFilter

TEXTS: Mapping[str, Any] = json.loads(
    Path(__file__).with_name("labeled_texts.json").read_text("utf-8")
)

A4 = (595, 842)
SERIF, SERIF_BOLD, SERIF_ITALIC = "tiro", "tibo", "tiit"
SANS, SANS_BOLD = "helv", "hebo"
CHINESE_FONT = "china-s"
JUSTIFY = pymupdf.TEXT_ALIGN_JUSTIFY
CENTER = pymupdf.TEXT_ALIGN_CENTER

Rows = Sequence[Sequence[str]]


class Sheet:
    """A page that remembers what was put on it, in the order in which it is to be read."""

    def __init__(self, name: str, size_pt: tuple[int, int] = A4) -> None:
        self.name = name
        self.document = pymupdf.open()
        self.page = self.document.new_page(width=size_pt[0], height=size_pt[1])
        self.texts: list[str] = []
        self.checks: list[dict[str, Any]] = []

    def furniture(self, x: float, y: float, text: str, size: float = 8.5, font: str = SANS) -> None:
        """A running head, foot or page number: not part of the text."""
        self.page.insert_text((x, y), text, fontsize=size, fontname=font)
        self._check("absent", text=text, max_diffs=0 if len(text) < 5 else 1)

    def block(
        self,
        box: tuple[float, float, float, float],
        text: str,
        size: float = 10,
        font: str = SERIF,
        align: int = JUSTIFY,
        present: bool = True,
    ) -> float:
        """Text in a box; returns where it ends. Raises ValueError when it does not fit."""
        rect = pymupdf.Rect(box)
        shape = self.page.new_shape()
        look = {"fontsize": size, "fontname": font, "align": align, "lineheight": 1.25}
        left = shape.insert_textbox(rect, text, **look)
        if left < 0:
            rect.y1 += 1 - left
            left = shape.insert_textbox(rect, text, **look)
        if left < 0 or rect.y1 > self.page.rect.y1:
            raise ValueError(f"{self.name}: {text[:30]!r} does not fit")
        shape.commit()
        self.texts.append(text)
        words = text.split()
        if present and len(words) > 9:
            self._check("present", text=" ".join(words[4:14]), max_diffs=2)
        return float(rect.y1 - left)

    def in_order(self, *pieces: str) -> None:
        """These stand in this order, and no two of them the other way round."""
        for before, after in pairwise(pieces):
            self._check("order", before=before, after=after, max_diffs=2)

    def in_table(self, cell: str, **around: str) -> None:
        """A cell and what stands around it."""
        self._check("table", cell=cell, max_diffs=0, **around)

    def row_texts(self, rows: Rows) -> None:
        """A table's rows as text."""
        self.texts += [" ".join(cell for cell in row if cell) for row in rows]

    def rule(self, x1: float, y1: float, x2: float, y2: float, width: float = 0.6) -> None:
        """A straight line."""
        self.page.draw_line((x1, y1), (x2, y2), width=width)

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Writes the page and its text; returns its checks."""
        self.document.save(folder / f"{self.name}.pdf", garbage=4, deflate=True, no_new_id=True)
        (folder / f"{self.name}.txt").write_text("\n".join(self.texts) + "\n", "utf-8")
        return self.checks

    def turn_into_scan(self, skew_deg: float, noise: float, dpi: int = 150) -> None:
        """What is on the page becomes a gray picture that leans a little."""
        pixmap = self.page.get_pixmap(dpi=dpi, colorspace=pymupdf.csGRAY)
        image = Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples)
        image = image.rotate(skew_deg, Image.Resampling.BICUBIC, fillcolor=255)
        image = image.filter(ImageFilter.GaussianBlur(0.7))
        gray = np.asarray(image, np.float32) * 0.82 + 30
        gray += np.random.default_rng(7).normal(0, noise, gray.shape)
        scan = Image.fromarray(gray.clip(0, 255).astype(np.uint8))
        self._replace(scan)

    def turn_quarter(self, quarters: int) -> None:
        """The page's content lies on its side."""
        pixmap = self.page.get_pixmap(dpi=144, colorspace=pymupdf.csGRAY)
        image = Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples)
        self._replace(image.rotate(90 * quarters, expand=True))

    def _replace(self, image: Image.Image) -> None:
        path = Path(f"{self.name}.jpg")
        width, height = sorted((self.page.rect.width, self.page.rect.height))
        if image.width > image.height:
            width, height = height, width
        self.document = pymupdf.open()
        self.page = self.document.new_page(width=width, height=height)
        image.save(path, quality=55)
        self.page.insert_image(self.page.rect, filename=path)
        path.unlink()

    def _check(self, kind: str, **fields: Any) -> None:
        number = sum(check["type"] == kind for check in self.checks) + 1
        head = {"pdf": f"{self.name}.pdf", "page": 1, "id": f"{self.name}_{kind}_{number}"}
        self.checks.append({**head, "type": kind, **fields})


def two_columns() -> Sheet:
    """A paper's page: running head, title over two columns, page number."""
    sheet = Sheet("two_columns")
    sheet.furniture(60, 40, "Letters on Quiet Machines, Vol. 12", font=SERIF_ITALIC)
    sheet.block((60, 60, 535, 90), TEXTS["paper"]["title"], 18, SERIF_BOLD, CENTER)
    sheet.block((60, 92, 535, 110), TEXTS["paper"]["author"], 10, SERIF, CENTER)
    sheet.block((100, 115, 495, 190), TEXTS["paper"]["abstract"], 9)
    columns = ((60, 287), (308, 535))
    for (left, right), parts in zip(columns, TEXTS["columns"], strict=True):
        y = 205.0
        for heading, text in parts:
            y = sheet.block((left, y, right, y + 30), heading, 11.5, SERIF_BOLD, 0) + 2
            y = sheet.block((left, y, right, 790), text, 10) + 9
    sheet.furniture(294, 815, "417", font=SERIF)
    sheet.in_order(
        TEXTS["paper"]["abstract"][:30],
        TEXTS["columns"][0][0][1][:40],
        TEXTS["columns"][0][-1][1][-40:],
        TEXTS["columns"][1][0][1][:40],
    )
    return sheet


def three_columns() -> Sheet:
    """A newsletter: three columns, a heading above each story."""
    sheet = Sheet("three_columns")
    sheet.block((40, 40, 555, 75), "The Harbor Street Bulletin", 24, SANS_BOLD, CENTER)
    sheet.rule(40, 80, 555, 80)
    for column, (heading, text) in enumerate(TEXTS["news"][:3]):
        left = 40 + column * 175
        y = sheet.block((left, 95, left + 163, 140), heading, 13, SANS_BOLD, 0)
        sheet.block((left, y + 5, left + 163, 560), text, 10, SANS, 0)
    y = sheet.block((40, 580, 555, 605), TEXTS["news"][3][0], 13, SANS_BOLD, 0)
    sheet.block((40, y + 5, 555, 760), TEXTS["news"][3][1], 10, SANS, 0)
    sheet.furniture(40, 815, "Printed on recycled paper - www.harborstreet.example")
    sheet.in_order(*(text[:40] for _, text in TEXTS["news"][:4]))
    return sheet


def newspaper() -> Sheet:
    """Four narrow columns with hardly any white between them, a headline across."""
    sheet = Sheet("newspaper")
    sheet.block((30, 30, 565, 62), "FERRY RETURNS AFTER NINE YEARS", 24, SERIF_BOLD, CENTER)
    for column in range(4):
        left = 30 + column * 135
        y = 80.0
        for heading, text in (TEXTS["news"][column], TEXTS["news"][(column + 1) % 4]):
            # a story stands twice, its checks once
            first = y < 100
            sheet.block(
                (left, y, left + 129, y + 40), heading, 10, SERIF_BOLD, CENTER, present=False
            )
            y = sheet.block((left, y + 27, left + 129, 800), text, 8, present=first) + 12
    sheet.in_order(*(text[:40] for _, text in TEXTS["news"][:4]))
    return sheet


def footnotes() -> Sheet:
    """A book's page: small notes below a short rule belong to the text."""
    sheet = Sheet("footnotes")
    sheet.furniture(85, 50, "CHAPTER 4. THE SALT ROADS", 9, SERIF)
    sheet.furniture(495, 50, "83", 9, SERIF)
    y = 75.0
    for text in TEXTS["footnotes"]["text"]:
        y = sheet.block((85, y, 510, 660), text, 11) + 8
    sheet.rule(85, 690, 200, 690)
    y = 698.0
    for note in TEXTS["footnotes"]["notes"]:
        y = sheet.block((85, y, 510, 790), note, 8.5) + 2
    sheet.in_order(
        TEXTS["footnotes"]["text"][0][:40],
        TEXTS["footnotes"]["text"][-1][:40],
        TEXTS["footnotes"]["notes"][0][:40],
    )
    return sheet


def old_print() -> Sheet:
    """A letter of the last century, scanned a little askew."""
    sheet = Sheet("old_print")
    sheet.block((90, 70, 500, 90), TEXTS["letter"][0], 12, SERIF_ITALIC, pymupdf.TEXT_ALIGN_RIGHT)
    y = 110.0
    for text in TEXTS["letter"][1:]:
        y = sheet.block((90, y, 500, 760), text, 12.5) + 10
    sheet.in_order(TEXTS["letter"][1], TEXTS["letter"][2][:40], TEXTS["letter"][-1])
    sheet.turn_into_scan(skew_deg=-1.1, noise=9)
    return sheet


def math() -> Sheet:
    """Running text with formulas on lines of their own."""
    sheet = Sheet("math")
    y = 70.0
    for kind, text in TEXTS["math"]:
        if kind == "formula":
            sheet.page.insert_textbox(
                pymupdf.Rect(90, y + 2, 505, y + 30),
                text,
                fontsize=12,
                fontname=SERIF_ITALIC,
                align=CENTER,
            )
            y += 30
        else:
            size, font = (14, SERIF_BOLD) if kind == "heading" else (11, SERIF)
            y = sheet.block((90, y, 505, 780), text, size, font) + 8
    sheet.furniture(290, 810, "27", font=SERIF)
    body = [text for kind, text in TEXTS["math"] if kind == "text"]
    sheet.in_order(*(text[:40] for text in body))
    return sheet


def slide() -> Sheet:
    """A slide: a heading, a few points, a number in the corner."""
    sheet = Sheet("slide", (720, 405))
    sheet.page.draw_rect(pymupdf.Rect(0, 0, 720, 70), color=None, fill=(0.88, 0.93, 0.97))
    sheet.block((40, 18, 680, 60), TEXTS["slide"][0], 26, SANS_BOLD, 0)
    y = 95.0
    for point in TEXTS["slide"][1:]:
        sheet.page.draw_circle((52, y + 13), 3, fill=(0, 0, 0))
        y = sheet.block((68, y, 660, 380), point, 17, SANS, 0) + 12
    sheet.furniture(680, 392, "14", 10)
    sheet.in_order(*(point[:30] for point in TEXTS["slide"]))
    return sheet


def lists() -> Sheet:
    """Numbered and unnumbered lists with a sentence before each."""
    sheet = Sheet("lists")
    y = 70.0
    for kind, text in TEXTS["list"]:
        indent = {"text": 0, "heading": 0, "item": 18, "inner": 36}[kind]
        size, font = (15, SANS_BOLD) if kind == "heading" else (11, SANS)
        y = sheet.block((70 + indent, y, 525, 800), text, size, font, 0) + 6
    sheet.in_order(*(text[:25] for kind, text in TEXTS["list"] if kind != "heading"))
    return sheet


def report() -> Sheet:
    """A report's page with a watermark, a head with a rule and `Page 3 of 12`."""
    sheet = Sheet("report")
    shape = sheet.page.new_shape()
    middle = pymupdf.Point(300, 420)
    shape.insert_text(
        (120, 450),
        "DRAFT COPY",
        fontsize=70,
        fontname=SANS_BOLD,
        color=(0.9, 0.9, 0.93),
        morph=(middle, pymupdf.Matrix(35)),
    )
    shape.commit()
    sheet._check("absent", text="DRAFT COPY", max_diffs=1)
    sheet.furniture(60, 45, "Coastal Works Authority")
    sheet.furniture(455, 45, "Annual report 2031")
    sheet.rule(60, 52, 535, 52)
    y = 75.0
    for heading, text in TEXTS["report"]:
        y = sheet.block((60, y, 535, y + 30), heading, 13, SANS_BOLD, 0) + 3
        y = sheet.block((60, y, 535, 770), text, 10, SANS, 0) + 12
    sheet.rule(60, 800, 535, 800)
    sheet.furniture(60, 815, "Confidential - do not copy")
    sheet.furniture(475, 815, "Page 3 of 12")
    sheet.in_order(*(text[:40] for _, text in TEXTS["report"]))
    return sheet


def rotated() -> Sheet:
    """A scan that lies on its side."""
    sheet = Sheet("rotated")
    y = 80.0
    for heading, text in TEXTS["report"]:
        y = sheet.block((70, y, 525, y + 30), heading, 14, SERIF_BOLD, 0) + 3
        y = sheet.block((70, y, 525, 770), text, 11.5) + 12
    sheet.in_order(*(text[:40] for _, text in TEXTS["report"]))
    sheet.turn_quarter(1)
    return sheet


def chinese() -> Sheet:
    """Chinese in two columns: lines join without a space."""
    sheet = Sheet("chinese")
    sheet.block((60, 60, 535, 95), TEXTS["chinese"][0], 20, CHINESE_FONT, CENTER)
    for column, text in enumerate(TEXTS["chinese"][1:]):
        left = 60 + column * 245
        sheet.block((left, 115, left + 225, 700), text, 12, CHINESE_FONT, 0, present=False)
        sheet._check("present", text=text[22:40], max_diffs=1)
    sheet.furniture(285, 810, "第 6 页", 9, CHINESE_FONT)
    sheet.in_order(TEXTS["chinese"][1][:12], TEXTS["chinese"][2][:12])
    return sheet


RULED: Rows = (
    ("Station", "Rain in mm", "", "Wind"),
    ("", "2029", "2030", "max. km/h"),
    ("Old Lighthouse", "1204", "1187", "131"),
    ("Market Square", "988", "1012", "84"),
    ("Upper Mill", "1310", "1295", "77"),
    ("Ferry Pier", "1101", "1066", "119"),
)
UNRULED: Rows = (
    ("Material", "Density", "Melting point", "Price"),
    ("Tin", "7.29", "232", "27.40"),
    ("Zinc", "7.14", "420", "2.65"),
    ("Copper", "8.96", "1085", "8.90"),
    ("Nickel", "8.91", "1455", "16.20"),
    ("Silver", "10.49", "962", "845.00"),
)
FORM: Rows = (
    ("Name of vessel", "Marigold"),
    ("Home port", "Eastern Quay"),
    ("Year built", "1987"),
    ("Length", "23.4 m"),
    ("Crew", "6 persons"),
    ("Engine", "2 x 310 kW"),
)


def ruled_table() -> Sheet:
    """A table with all its rules, a heading over two columns and one over two rows."""
    sheet = Sheet("ruled_table")
    y = sheet.block((70, 70, 525, 130), TEXTS["report"][0][1], 10.5)
    sheet.block((70, y + 14, 525, y + 30), "Table 3. Weather at four stations", 9.5, SERIF_BOLD, 0)
    top = y + 40
    xs, height = (70, 220, 320, 420, 525), 22
    last = top + height * len(RULED)
    for index in range(len(RULED) + 1):
        sheet.rule(
            xs[1] if index == 1 else xs[0],
            top + index * height,
            xs[-1] if index != 1 else xs[3],
            top + index * height,
        )
    sheet.rule(xs[3], top + height, xs[4], top + height)
    for x in xs:
        sheet.rule(x, top + (height if x == xs[2] else 0), x, last)
    _cells(sheet, RULED, xs, top, height, ("Rain in mm",))
    sheet.row_texts(RULED)
    sheet.in_table("1187", left="1204", right="131", down="1012", left_heading="Old Lighthouse")
    sheet.in_table("1310", up="988", down="1101", top_heading="2029", left="Upper Mill")
    sheet.in_table("84", left="1012", up="131", left_heading="Market Square")
    sheet.in_table("Ferry Pier", right="1101", up="Upper Mill")
    sheet.in_table("2030", left="2029", down="1187", up="Rain in mm")
    sheet.block((70, last + 20, 525, last + 120), TEXTS["report"][1][1], 10.5)
    return sheet


def unruled_table() -> Sheet:
    """A table with three rules only, as papers have them."""
    sheet = Sheet("unruled_table")
    y = sheet.block((70, 70, 525, 130), TEXTS["report"][1][1], 10.5)
    sheet.block((70, y + 14, 525, y + 30), "Table 1. Metals and their prices", 9.5, SERIF, 0)
    top, xs, height = y + 40, (110, 220, 310, 410, 480), 17
    last = top + height * len(UNRULED)
    for place, width in ((top, 1.2), (top + height, 0.6), (last, 1.2)):
        sheet.rule(xs[0] - 10, place, xs[-1] + 10, place, width)
    _cells(sheet, UNRULED, xs, top, height, ())
    sheet.row_texts(UNRULED)
    sheet.in_table("1085", left="8.96", right="8.90", top_heading="Melting point")
    sheet.in_table("7.14", up="7.29", down="8.96", left_heading="Zinc")
    sheet.in_table("845.00", left="962", up="16.20", top_heading="Price")
    sheet.in_table("Nickel", right="8.91", down="Silver")
    sheet.block((70, last + 20, 525, last + 130), TEXTS["report"][2][1], 10.5)
    return sheet


def form() -> Sheet:
    """Names and values without any rule, beside a paragraph that is none of it."""
    sheet = Sheet("form")
    sheet.block((70, 60, 525, 90), "Registration of a small vessel", 16, SANS_BOLD, 0)
    for row, (name, value) in enumerate(FORM):
        y = 120 + row * 24
        sheet.page.insert_text((70, y), name, fontsize=11, fontname=SANS_BOLD)
        sheet.page.insert_text((230, y), value, fontsize=11, fontname=SANS)
    sheet.row_texts(FORM)
    sheet.in_table("1987", left="Year built", up="Eastern Quay", down="23.4 m")
    sheet.in_table("6 persons", left_heading="Crew", down="2 x 310 kW")
    sheet.block((70, 290, 525, 400), TEXTS["report"][0][1], 10.5, SANS, 0)
    return sheet


def _cells(
    sheet: Sheet, rows: Rows, xs: Sequence[float], top: float, height: float, spans: Sequence[str]
) -> None:
    for index, row in enumerate(rows):
        for column, text in enumerate(row):
            right = xs[column + 2] if text in spans else xs[column + 1]
            y = top + index * height + (height / 2 if row[0] == "Station" and column == 0 else 0)
            sheet.page.insert_textbox(
                pymupdf.Rect(xs[column] + 4, y + 3, right - 4, y + height + 6),
                text,
                fontsize=10,
                fontname=SERIF_BOLD if index == 0 else SERIF,
                align=0 if column == 0 else CENTER,
            )


PAGES: Mapping[str, Callable[[], Sheet]] = {
    page.__name__: page
    for page in (
        two_columns,
        three_columns,
        newspaper,
        footnotes,
        old_print,
        math,
        slide,
        lists,
        report,
        rotated,
        chinese,
        ruled_table,
        unruled_table,
        form,
    )
}


def main(folder: Path) -> None:
    """Writes all pages, their texts and checks.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    checks = [check for make in PAGES.values() for check in make().save(folder)]
    lines = [json.dumps(check, ensure_ascii=False) for check in checks]
    (folder / "checks.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else root / "samples" / "labeled")
