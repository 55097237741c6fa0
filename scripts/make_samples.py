"""Make the documents in deepocr/samples/ and the texts that stand on them.

    python scripts/make_samples.py [FOLDER]

Everything is invented and drawn here with MuPDF's built-in fonts; the same versions of PyMuPDF and
Pillow give the same bytes. Each NAME.txt says what a perfect reader would read, in reading order:
a line for each paragraph, heading, table row or label, and the page separator after each page of
the PDF.
"""

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pymupdf
from PIL import Image

from deepocr.render.raw import join_pages

Color = tuple[float, float, float]

INK: Color = (0.1, 0.1, 0.12)
TEAL: Color = (0.05, 0.4, 0.42)
SAND: Color = (0.94, 0.92, 0.87)
SERIF, SERIF_BOLD, SANS, SANS_BOLD = "tiro", "tibo", "helv", "hebo"

DPI = 144
A4_PT = (595, 842)
A5_PT = (420, 595)

ABSTRACT = (
    "Since the mill pond was reopened, volunteers have counted the birds that rest on it every "
    "Sunday morning. This report tells what they saw in one year, how they counted, and what the "
    "town could do for the pond next. The short answer is that the pond is doing well, and that "
    "its reeds need room."
)
METHOD = (
    "Two people stand on the wooden bridge from seven to eight. One watches the north bank, the "
    "other the south bank. Each bird is written down once, with the minute it was first seen. On "
    "days with fog the count begins an hour later, and the sheet says so. Of 52 Sundays, 49 were "
    "counted; three were lost to ice on the bridge."
)
LEFT_COLUMN = (
    (
        "The water",
        "The pond is fed by a stream that runs dry in hot summers. In July the level fell by 31 "
        "centimeters, and a strip of mud lay open along the south bank. Waders came at once: "
        "seven sandpipers stayed for nine days, the first since the counts began.",
    ),
    (
        "The reeds",
        "Reeds now cover a third of the north bank. They give shelter to warblers, yet they also "
        "close the water to the ducks. We suggest to cut one strip in four each winter, and never "
        "before the middle of November.",
    ),
)
RIGHT_COLUMN = (
    (
        "The visitors",
        "On fine days forty people walk around the pond before noon. Most keep to the path. Dogs "
        "off the leash were noted on eleven Sundays, and on each of them the count was lower than "
        "the week before.",
    ),
    (
        "What comes next",
        "A second sheet will note the weather, and a class of the village school will take over "
        "the counts in June. Whoever wants to help may write to the board at the town hall. No "
        "knowledge of birds is needed, only a warm coat and good shoes.",
    ),
)
COUNTS = (
    ("Species", "Spring", "Summer", "Autumn", "Winter"),
    ("Mallard", "214", "188", "305", "412"),
    ("Coot", "96", "120", "143", "87"),
    ("Gray heron", "12", "9", "17", "15"),
    ("Kingfisher", "4", "6", "5", "2"),
    ("Sandpiper", "0", "7", "1", "0"),
)
TOTALS = (("Spring", 326), ("Summer", 330), ("Autumn", 471), ("Winter", 516))

LETTER = (
    "Dear Mrs. Okafor,",
    "thank you for the clock, which arrived on Tuesday without a scratch. You asked whether it "
    "can be saved. It can. The mainspring is sound, but two teeth of the strike wheel are worn, "
    "and an earlier repair has left solder where none belongs.",
    "I would clean the movement, cut a new wheel and rebush three pivots. This takes about five "
    "weeks and costs 340 dollars, of which 120 are for the wheel. The case I would leave as it "
    "is: the marks on it are part of its story.",
    "Please tell me by March 14 whether I may begin.",
    "Yours sincerely,",
    "Ada Lindqvist",
)

INVOICE_ROWS = (
    ("Item", "Quantity", "Price", "Amount"),
    ("Oak board, 2 m", "6", "18.50", "111.00"),
    ("Brass hinge, small", "12", "2.75", "33.00"),
    ("Wood glue, 1 kg", "2", "9.90", "19.80"),
    ("Sandpaper, grit 180", "20", "0.65", "13.00"),
    ("Delivery", "1", "14.00", "14.00"),
)
INVOICE_SUMS = (("Subtotal", "190.80"), ("Tax 7%", "13.36"), ("Total due", "204.16"))


@dataclass
class Sheet:
    """A page being drawn, and the lines that were put on it in reading order."""

    page: pymupdf.Page
    lines: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, size: float, font: str = SANS, **kwargs: Color
    ) -> None:
        """One line of text with its baseline at y."""
        self.page.insert_text(
            (x, y), text, fontsize=size, fontname=font, **{"color": INK, **kwargs}
        )
        self.lines.append(text)

    def paragraph(
        self, x: float, y: float, width: float, text: str, size: float, font: str = SERIF
    ) -> float:
        """Wrapped text whose first baseline is at y; returns the baseline of the next line."""
        line = ""
        for word in [*text.split(), ""]:
            longer = f"{line} {word}".strip()
            if word and pymupdf.get_text_length(longer, font, size) <= width:
                line = longer
                continue
            self.page.insert_text((x, y), line, fontsize=size, fontname=font, color=INK)
            y += size * 1.4
            line = word
        self.lines.append(text)
        return y

    def row(
        self, xs: tuple[float, ...], y: float, cells: tuple[str, ...], size: float, font: str
    ) -> None:
        """Cells of a table: the first flush left at its x, the others flush right at theirs."""
        for index, (x, cell) in enumerate(zip(xs, cells, strict=True)):
            shift = pymupdf.get_text_length(cell, font, size) if index else 0
            self.page.insert_text((x - shift, y), cell, fontsize=size, fontname=font, color=INK)
        self.lines.append(" ".join(cells))

    def rule(self, x1: float, x2: float, y: float, width: float = 0.8) -> None:
        self.page.draw_line((x1, y), (x2, y), color=TEAL, width=width)


def draw_report() -> tuple[pymupdf.Document, list[list[str]]]:
    """Three pages: a title, two columns, a table and a figure."""
    report = pymupdf.open()
    pages = []
    # adding a page invalidates the ones held, so each is finished before the next
    for draw in (draw_title_page, draw_columns, draw_table_and_figure):
        sheet = Sheet(report.new_page(width=A4_PT[0], height=A4_PT[1]))
        draw(sheet)
        pages.append(sheet.lines)
    return report, pages


def draw_title_page(sheet: Sheet) -> None:
    sheet.text(72, 130, "A Year of Birds on the Mill Pond", 26, SERIF_BOLD, color=TEAL)
    sheet.text(72, 160, "Report of the Sunday counts, April to March", 14, SERIF)
    sheet.rule(72, 523, 178)
    sheet.text(72, 225, "Summary", 16, SERIF_BOLD)
    y = sheet.paragraph(72, 250, 451, ABSTRACT, 12)
    sheet.text(72, y + 28, "How we counted", 16, SERIF_BOLD)
    sheet.paragraph(72, y + 53, 451, METHOD, 12)


def draw_columns(sheet: Sheet) -> None:
    sheet.text(72, 100, "What we saw", 20, SERIF_BOLD, color=TEAL)
    for x, column in ((72, LEFT_COLUMN), (312, RIGHT_COLUMN)):
        y = 145.0
        for heading, text in column:
            sheet.text(x, y, heading, 14, SERIF_BOLD)
            y = sheet.paragraph(x, y + 22, 211, text, 11.5) + 20


def draw_table_and_figure(sheet: Sheet) -> None:
    sheet.text(72, 100, "The counts in numbers", 20, SERIF_BOLD, color=TEAL)
    sheet.text(72, 135, "Table 1. Birds counted in each season.", 11.5, SERIF)
    xs = (82, 270, 350, 430, 510)
    sheet.page.draw_rect((72, 148, 523, 174), color=None, fill=SAND)
    for index, cells in enumerate(COUNTS):
        sheet.row(xs, 166 + 26 * index, cells, 11.5, SANS_BOLD if index == 0 else SANS)
        sheet.rule(72, 523, 174 + 26 * index, 0.5)
    draw_bars(sheet, base_y=590)
    sheet.text(72, 650, "Figure 1. All birds by season.", 11.5, SERIF)


def draw_bars(sheet: Sheet, base_y: float) -> None:
    """Values above the bars, then names below: the order in which lines are read."""
    lefts = [110 + 100 * index for index in range(len(TOTALS))]
    values = " ".join(str(total) for _, total in TOTALS)
    for left, (season, total) in zip(lefts, TOTALS, strict=True):
        top = base_y - 200 * total / 516
        sheet.page.draw_rect((left, top, left + 60, base_y), color=None, fill=TEAL)
        for text, y in ((str(total), base_y - 212), (season, base_y + 20)):
            shift = pymupdf.get_text_length(text, SANS, 11.5) / 2
            sheet.page.insert_text((left + 30 - shift, y), text, fontsize=11.5, color=INK)
    sheet.rule(90, 500, base_y, 1.2)
    sheet.lines += [values, " ".join(season for season, _ in TOTALS)]


def draw_invoice() -> tuple[pymupdf.Document, list[str]]:
    invoice = pymupdf.open()
    sheet = Sheet(invoice.new_page(width=A4_PT[0], height=620))
    sheet.page.draw_rect((0, 0, A4_PT[0], 18), color=None, fill=TEAL)
    sheet.text(60, 80, "Harbor Street Timber", 26, SANS_BOLD, color=TEAL)
    sheet.text(60, 102, "18 Harbor Street, Port Ellery", 12)
    sheet.text(60, 155, "Invoice 2041", 18, SANS_BOLD)
    sheet.text(60, 180, "Date: May 6, 2026", 12)
    sheet.text(60, 198, "To: Nadia Brandt, Boat Builder", 12)
    xs = (70, 330, 430, 525)
    sheet.page.draw_rect((60, 228, 535, 254), color=None, fill=SAND)
    for index, cells in enumerate(INVOICE_ROWS):
        sheet.row(xs, 246 + 28 * index, cells, 12.5, SANS_BOLD if index == 0 else SANS)
        sheet.rule(60, 535, 256 + 28 * index, 0.5)
    for index, sums in enumerate(INVOICE_SUMS):
        last = index == len(INVOICE_SUMS) - 1
        sheet.row((370, 525), 436 + 26 * index, sums, 12.5, SANS_BOLD if last else SANS)
    sheet.text(60, 560, "Please pay within 30 days. Thank you for your order.", 12)
    return invoice, sheet.lines


def draw_letter() -> tuple[pymupdf.Document, list[str]]:
    letter = pymupdf.open()
    sheet = Sheet(letter.new_page(width=A5_PT[0], height=A5_PT[1]))
    sheet.text(48, 60, "Lindqvist Clocks", 18, SERIF_BOLD)
    sheet.text(48, 78, "3 Weir Lane, Ostby", 11.5, SERIF)
    sheet.text(48, 118, "February 27, 2026", 11.5, SERIF)
    y = 156.0
    for text in LETTER:
        y = sheet.paragraph(48, y, 324, text, 12) + 12
    return letter, sheet.lines


def picture_of(document: pymupdf.Document) -> Image.Image:
    pixmap = document[0].get_pixmap(dpi=DPI, colorspace=pymupdf.csRGB, alpha=False)
    return Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)


def as_photographed(picture: Image.Image) -> Image.Image:
    """Gray, a little crooked, with uneven light and grain: what a phone makes of a letter."""
    gray = picture.convert("L").rotate(0.6, Image.Resampling.BICUBIC, fillcolor=255)
    light = Image.linear_gradient("L").resize(gray.size).point(lambda value: 225 + value // 12)
    noise = random.Random(7)
    grain = Image.frombytes(
        "L", (256, 256), bytes(noise.randrange(96, 160) for _ in range(1 << 16))
    )
    grain = grain.resize(gray.size, Image.Resampling.BICUBIC)
    lit = Image.composite(light, Image.new("L", gray.size, 40), gray)
    return Image.blend(lit, grain, 0.06)


def save_rotated(picture: Image.Image, path: Path) -> None:
    """As phones do: the pixels lie on their side, and EXIF says how to turn them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn right by 90 degrees to show
    picture.transpose(Image.Transpose.ROTATE_90).save(
        path, quality=70, exif=exif.tobytes(), dpi=(DPI, DPI)
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    report, report_pages = draw_report()
    report.save(folder / "report.pdf", garbage=4, deflate=True, no_new_id=True)
    invoice, invoice_lines = draw_invoice()
    picture_of(invoice).save(folder / "invoice.png", optimize=True, dpi=(DPI, DPI))
    letter, letter_lines = draw_letter()
    save_rotated(as_photographed(picture_of(letter)), folder / "letter.jpg")
    texts = {
        "report": join_pages("\n".join(lines) for lines in report_pages),
        "invoice": "\n".join(invoice_lines) + "\n",
        "letter": "\n".join(letter_lines) + "\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "deepocr/samples"))
