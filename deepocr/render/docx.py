"""A document for word processors: headings, paragraphs, tables, figures, page after page."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any

from docx import Document
from docx.shared import Inches

from deepocr.render.markdown import HEADINGS
from deepocr.render.raw import failure_comment
from deepocr.render.searchable_pdf import plain_text
from deepocr.types import PageResult, Region

FIGURE_WIDTH_INCHES = 5.0
MAX_CELLS = 20_000
"""Of one table, spans counted: a `colspan` from a model may say anything."""

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest a ZIP can say: the same pages give the same bytes."""


@dataclass(frozen=True)
class WordPage:
    """A page and the files of its figures, by the region's place in `result.regions`."""

    result: PageResult
    figures: Mapping[int, Path]


@dataclass
class Cell:
    text: str
    columns: int
    rows: int


@dataclass
class _Tables(HTMLParser):
    """The cells of the first table in a piece of HTML, row by row."""

    rows: list[list[Cell]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            if not self.rows:
                self.rows.append([])
            spans = {name: value for name, value in attrs if name in ("colspan", "rowspan")}
            columns, rows = (_span(spans.get(name)) for name in ("colspan", "rowspan"))
            self.rows[-1].append(Cell("", columns, rows))
        elif tag == "br" and self.rows and self.rows[-1]:
            self.rows[-1][-1].text += "\n"

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1].text += data


def write_docx(file: IO[bytes], title: str, pages: Iterable[WordPage]) -> None:
    """The whole document; it is held in memory, as the format asks for."""
    document = Document()
    document.core_properties.title = title[:250]
    document.core_properties.author = ""
    for place, page in enumerate(pages):
        if place:
            document.add_page_break()
        if page.result.status == "failed":
            document.add_paragraph(failure_comment(page.result).strip("<!-> "))
        for index, region in enumerate(page.result.regions):
            if index in page.figures:
                document.add_picture(str(page.figures[index]), width=Inches(FIGURE_WIDTH_INCHES))
            _add_region(document, region)
    buffer = io.BytesIO()
    document.save(buffer)
    _copy_zip(buffer, file)


def _add_region(document: Any, region: Region) -> None:
    if "<table" in region.text and _add_table(document, region.text):
        return
    text = _writable(plain_text(region.text)).strip()
    if not text:
        return
    if region.label in HEADINGS:
        document.add_heading(" ".join(text.split()), level=1 if region.label == "title" else 2)
        return
    for paragraph in text.split("\n\n"):
        document.add_paragraph(paragraph)


def _add_table(document: Any, text: str) -> bool:
    """Whether a table was found and added."""
    tables = _Tables()
    tables.feed(text)
    tables.close()
    places = _lay_out(tables.rows)
    if not places:
        return False
    num_rows = max(row + cell.rows for row, _, cell in places)
    num_columns = max(column + cell.columns for _, column, cell in places)
    if num_rows * num_columns > MAX_CELLS:
        return False
    table = document.add_table(num_rows, num_columns, style="Table Grid")
    for row, column, cell in places:
        corner = table.cell(row, column)
        if cell.columns > 1 or cell.rows > 1:
            corner = corner.merge(table.cell(row + cell.rows - 1, column + cell.columns - 1))
        corner.text = _writable(cell.text).strip()
    return True


def _lay_out(rows: list[list[Cell]]) -> list[tuple[int, int, Cell]]:
    """Each cell with its row and column, spans from above counted; a span ends with the table."""
    taken: set[tuple[int, int]] = set()
    places = []
    for row, cells in enumerate(rows):
        column = 0
        for cell in cells:
            while (row, column) in taken:
                column += 1
            cell.rows = min(cell.rows, len(rows) - row)
            spots = {
                (row + down, column + right)
                for down in range(cell.rows)
                for right in range(cell.columns)
            }
            if spots & taken or len(taken) > MAX_CELLS:
                cell.rows = cell.columns = 1
                spots = {(row, column)}
            taken |= spots
            places.append((row, column, cell))
            column += cell.columns
    return places


def _span(value: str | None) -> int:
    return min(max(int(value), 1), 100) if value and value.isdecimal() and len(value) < 5 else 1


def _writable(text: str) -> str:
    """Without characters that XML cannot hold."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and not "\ud800" <= c <= "\udfff"))


def _copy_zip(source: IO[bytes], target: IO[bytes]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, old.read(name))
