"""A document for word processors: headings, paragraphs, tables, figures, page after page."""

import io
import zipfile
from dataclasses import replace
from typing import IO, Any

from docx import Document
from docx.oxml.table import CT_Tc
from docx.shared import Inches
from docx.table import _Cell

from deepocr.parsing.cells import TABLE, Cell, read_cells
from deepocr.parsing.text import in_xml
from deepocr.render.failures import failure_comment, render_or_tell
from deepocr.render.form_document import FormDocument, FormPage
from deepocr.render.markdown import HEADINGS, text_of
from deepocr.render.placed_text import plain_text
from deepocr.types import PageResult

FIGURE_WIDTH_INCHES = 5.0
MAX_CELLS = 20_000
"""Most cells of one table, including spans: a model may write any `colspan`."""

MAX_TABLES = 500
MAX_PARAGRAPHS = 2_000
"""Number of paragraphs of a region that are split off; the rest of its text becomes one more."""

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP can store, so that the same pages give the same bytes."""


def write_docx_form(document: FormDocument, file: IO[bytes]) -> None:
    """Write the whole document. It is held in memory, as the format requires."""
    word = Document()
    word.core_properties.title = in_xml(document.title)[:250]
    word.core_properties.author = ""
    for place, page in enumerate(document.flowing_pages()):
        if place:
            word.add_page_break()
        num_before = len(word.element.body)

        def add(result: PageResult, page: FormPage = page, num_before: int = num_before) -> None:
            # remove a page that could be added only in part; the last element is the section's,
            # which must remain at the end
            del word.element.body[num_before - 1 : -1]
            _add_page(word, replace(page, result=result))

        render_or_tell(add, page.result, "DOCX")
    buffer = io.BytesIO()
    word.save(buffer)
    _copy_zip(buffer, file)


def _add_page(document: Any, page: FormPage) -> None:
    result = page.result
    if result.status == "failed":
        document.add_paragraph(in_xml(failure_comment(result)).strip("<!-> "))
    figures = page.figures() if result.regions else {}
    for index, region in enumerate(result.regions):
        if index in figures:
            picture = io.BytesIO(figures[index])
            document.add_picture(picture, width=Inches(FIGURE_WIDTH_INCHES))
        _add_region(document, text_of(region, page.task), region.label)


def _add_region(document: Any, text: str, label: str) -> None:
    """Add the region's text, with its tables in their places."""
    for piece in TABLE.split(text, MAX_TABLES):
        if not (piece.startswith("<table") and _add_table(document, piece)):
            _add_text(document, piece, label)


def _add_text(document: Any, text: str, label: str) -> None:
    text = in_xml(plain_text(text)).strip()
    if not text:
        return
    if label in HEADINGS:
        document.add_heading(" ".join(text.split()), level=1 if label == "title" else 2)
        return
    for paragraph in text.split("\n\n", MAX_PARAGRAPHS):
        document.add_paragraph(paragraph)


def _add_table(document: Any, text: str) -> bool:
    """Add a table; returns False if there is none or it is too large."""
    cells = read_cells(text)
    places = _lay_out(cells.rows)
    if not places:
        return False
    num_rows = max(row + cell.rows for row, _, cell in places)
    num_columns = max(column + cell.columns for _, column, cell in places)
    if num_rows * num_columns > MAX_CELLS:
        return False
    if cells.outside:
        document.add_paragraph(in_xml(cells.outside))
    # built row by row here: in the library, access to one cell takes time in proportion to the
    # table
    table = document.add_table(0, num_columns, style="Table Grid")
    spots = {
        (row + down, column + right): (row, cell)
        for row, column, cell in places
        for down in range(cell.rows)
        for right in range(cell.columns)
    }
    for row in range(num_rows):
        line = table._tbl.add_tr()
        column = 0
        while column < num_columns:
            first_row, cell = spots.get((row, column), (row, Cell("")))
            line.append(_table_cell(table, cell, is_first=row == first_row))
            column += cell.columns
    return True


def _table_cell(table: Any, cell: Cell, *, is_first: bool) -> Any:
    """The element of a cell in one row. A cell over several rows has an element in each, with its
    text in the first."""
    element = CT_Tc.new()
    element.grid_span = cell.columns
    if cell.rows > 1:
        element.vMerge = "restart" if is_first else "continue"
    if is_first:
        _Cell(element, table).text = in_xml(cell.text)
    return element


def _lay_out(rows: list[list[Cell]]) -> list[tuple[int, int, Cell]]:
    """Each cell with its row and column, taking spans from above into account. Spans end with the
    table."""
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


def _copy_zip(source: IO[bytes], target: IO[bytes]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, old.read(name))
