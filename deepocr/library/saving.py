"""Outputs of a result that need the document itself: they are made as a book's are."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from deepocr.book import outputs
from deepocr.book.files import new_file, write_file
from deepocr.book.options import Options, ReadingOptions
from deepocr.book.outputs import Material
from deepocr.book.pictures import cut_figures
from deepocr.book.records import PageRecord
from deepocr.book.stitch import survey
from deepocr.book.workspace import Identity, Workspace
from deepocr.documents import Document, DocumentProcesses
from deepocr.library.result import Result
from deepocr.render.markdown import figures_of
from deepocr.types import PageResult

WRITERS: Mapping[str, Callable[[Material], None]] = {
    "searchable.pdf": outputs.write_searchable_pdf,
    "document.html": outputs.write_viewer,
    "document.docx": outputs.write_word,
    "overlay.pdf": outputs.write_overlay_pdf,
}


def save(result: Result, name: str, path: Path) -> None:
    """Make the output `name` and put it to `path`, whole or not at all. Raises DeepOCRError."""
    with _material(result) as material, new_file(path) as file:
        WRITERS[name](material)
        with (material.workspace.folder / name).open("rb") as made:
            shutil.copyfileobj(made, file)


@contextmanager
def _material(result: Result) -> Iterator[Material]:
    """The result as a book's folder, which is gone afterwards."""
    given = result.source
    with TemporaryDirectory(prefix="deepocr-") as place:
        folder = Path(place)
        path = given.document if isinstance(given.document, Path) else folder / "document"
        if isinstance(given.document, bytes):
            write_file(path, given.document)
        identity = Identity({"name": result.name}, {"engine": result.engine})
        workspace = Workspace(folder / "book", identity)
        dpi = given.settings.dpi
        options = Options(ReadingOptions(result.job, dpi), password=given.password)
        with (
            DocumentProcesses.of(given.settings) as processes,
            processes.open(path, dpi=dpi, password=given.password, with_words=True) as document,
        ):
            made = [_record(document, page, workspace.folder) for page in result.pages]
            book = survey(result.name or "document", identity, lambda: iter(made))
            yield Material(workspace, document, path, book, lambda: iter(made), options, processes)


def _record(document: Document, page: PageResult, folder: Path) -> PageRecord:
    """With its figures cut out into the folder."""
    if not figures_of(page):
        return PageRecord(page)
    drawn = document.page(page.number)
    cut = cut_figures(document, drawn, 0, page)
    for each in cut:
        write_file(folder / each.figure.file, each.png)
    return PageRecord(page, figures=tuple(each.figure for each in cut))
