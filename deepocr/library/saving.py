"""Saves outputs of a result that need the document itself, in the same way as a book's."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

from deepocr.book.book_document import BookDocument, Material
from deepocr.book.files import write_file
from deepocr.book.options import ReadingOptions, RunOptions
from deepocr.book.outputs import write_overlay_pdf
from deepocr.book.pictures import cut_figures
from deepocr.book.records import PageRecord
from deepocr.book.stitch import survey
from deepocr.book.workspace import Identity, Workspace
from deepocr.documents import Document, DocumentProcesses
from deepocr.errors import StorageError
from deepocr.files import new_file
from deepocr.library.result import Result
from deepocr.render.forms import FORMS
from deepocr.render.markdown import figures_of
from deepocr.types import PageResult


def save(result: Result, form: str, path: str | PathLike[str]) -> None:
    """Save the form `form` of FORMS as a file, whole or not at all. Raises DeepOCRError."""
    with _saved(path) as target, _material(result) as material, new_file(target) as file:
        FORMS[form].write(BookDocument.of(material), file)


def save_overlay(result: Result, path: str | PathLike[str]) -> None:
    """Save a PDF like overlay.pdf of a book. Raises DeepOCRError."""
    with _saved(path) as target, _material(result) as material, new_file(target) as file:
        write_overlay_pdf(material)
        with (material.workspace.folder / "overlay.pdf").open("rb") as made:
            shutil.copyfileobj(made, file)


@contextmanager
def _saved(path: str | PathLike[str]) -> Iterator[Path]:
    """The path, checked before any work; an OSError in the block becomes a StorageError."""
    target = Path(os.fsdecode(path))
    if not target.name or "\0" in str(target):
        raise StorageError(f"{os.fsdecode(path)!r} is no file's name; give one such as 'out.pdf'")
    try:
        if target.is_dir():
            raise StorageError(f"{target} cannot be written: it is a folder; add a file's name")
        if not target.parent.is_dir():
            raise StorageError(f"{target} cannot be written: its folder is missing; make it first")
        yield target
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}; make room or choose another "
            "path"
        ) from error


@contextmanager
def _material(result: Result) -> Iterator[Material]:
    """The result as a book in a temporary folder."""
    given = result.source
    with TemporaryDirectory(prefix="deepocr-") as place:
        folder = Path(place)
        path = given.document if isinstance(given.document, Path) else folder / "document"
        if isinstance(given.document, bytes):
            write_file(path, given.document)
        identity = Identity({"name": result.name}, {"engine": result.engine})
        workspace = Workspace(folder / "book", identity)
        dpi = given.settings.dpi
        options = RunOptions(ReadingOptions(result.job, dpi), password=given.password)
        with (
            DocumentProcesses.of(given.settings) as processes,
            processes.open(path, dpi=dpi, password=given.password, with_words=True) as document,
        ):
            made = [_record(document, page, workspace.folder) for page in result.pages]
            book = survey(result.name or "document", identity, lambda: iter(made))
            yield Material(workspace, document, path, book, lambda: iter(made), options, processes)


def _record(document: Document, page: PageResult, folder: Path) -> PageRecord:
    """The page's record, with its figures cut out into the folder."""
    if not figures_of(page):
        return PageRecord(page)
    drawn = document.page(page.number)
    cut = cut_figures(document, drawn, 0, page)
    for each in cut:
        write_file(folder / each.figure.file, each.png)
    return PageRecord(page, figures=tuple(each.figure for each in cut))
