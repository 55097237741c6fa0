"""What is made of a document on request, from its records."""

from pathlib import Path

from deepocr.book.files import write_file
from deepocr.book.options import Options
from deepocr.book.stitch import Book, Records
from deepocr.book.workspace import Workspace
from deepocr.documents import Document


def write_outputs(
    workspace: Workspace,
    document: Document,
    source: Path,
    book: Book,
    records: Records,
    options: Options,
) -> None:
    """Whatever `options.writing` asks for. Blocking."""
    if options.writing.raw:
        for record in records():
            write_file(workspace.raw_path(record.number), record.result.raw)
