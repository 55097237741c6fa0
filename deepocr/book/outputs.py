"""The outputs of a document, made from its records without reading any page again."""

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from deepocr.book.book_document import BookDocument, Material, size_pt
from deepocr.book.files import make_folder, new_file, write_file
from deepocr.book.options import RunOptions
from deepocr.book.pictures import upright_picture
from deepocr.book.records import PageRecord
from deepocr.book.stitch import Book, Records, upright_result, write_json, write_markdown
from deepocr.book.workspace import page_name
from deepocr.documents import Document
from deepocr.errors import DeepOCRError, reason
from deepocr.render.forms import FORMS
from deepocr.render.overlay import draw_overlay
from deepocr.render.picture_pdf import PicturePdf
from deepocr.render.text_forms import Form

log = logging.getLogger(__name__)

JPEG_QUALITY = 85
"""JPEG quality of the pages in overlay.pdf."""

Write = Callable[[Material], None]


def write_outputs(material: Material) -> tuple[str, ...]:
    """document.mmd, document.json and whatever `options.writing` asks for. Blocking.

    If one fails, the others are still written. Returns a sentence for each failure.
    """
    failures = []
    for name, write in _wanted(material):
        try:
            write(material)
        except Exception as error:
            if not isinstance(error, DeepOCRError):
                log.exception("%s cannot be written", name)
            failures.append(f"{name} is not written: {reason(error)}")
    return tuple(failures)


def _wanted(material: Material) -> Iterator[tuple[str, Write]]:
    """The outputs to write: the name of each and the function that writes it."""
    writing = material.options.writing
    yield "document.mmd", _stitched("document.mmd", write_markdown)
    yield "document.json", _stitched("document.json", write_json)
    if "raw" in writing.forms:
        yield "page_NNNN.raw.txt", write_raw
    if writing.overlay == "png":
        yield "overlay/", write_overlay_pngs
    elif writing.overlay == "pdf":
        yield "overlay.pdf", write_overlay_pdf
    for name in sorted(writing.forms & FORMS.keys() - OWN_FORMS):
        file = FILE_NAMES.get(name, f"document{FORMS[name].suffix}")
        yield file, _formed(file, FORMS[name])


OWN_FORMS = {"raw", "markdown", "json"}
"""Forms that are not written through FORMS."""

FILE_NAMES = {"pdf": "searchable.pdf"}
"""File names of forms that are not `document` with the form's suffix."""


def _formed(name: str, form: Form) -> Write:
    def write(material: Material) -> None:
        with new_file(material.workspace.folder / name) as file:
            form.write(BookDocument.of(material), file)

    return write


def _stitched(name: str, write: Callable[[Path, Book, Records, RunOptions], None]) -> Write:
    return lambda m: write(m.workspace.folder / name, m.book, m.records, m.options)


def write_raw(material: Material) -> None:
    """page_NNNN.raw.txt: as the engine wrote it."""
    for record in material.records():
        write_file(material.workspace.raw_path(record.number), record.result.raw)


def write_overlay_pngs(material: Material) -> None:
    """overlay/page_NNNN.png; none for a page that cannot be drawn."""
    folder = material.workspace.folder / "overlay"
    make_folder(folder)
    for record in material.records():
        picture = _overlay(material.document, record)
        if picture is not None:
            with new_file(folder / f"{page_name(record.number)}.png") as file:
                picture.save(file, "PNG", compress_level=3)


def write_overlay_pdf(material: Material) -> None:
    """overlay.pdf: each page as a picture with its regions, or empty if it cannot be drawn."""
    with new_file(material.workspace.folder / "overlay.pdf") as file:
        pdf = PicturePdf(file)
        for record in material.records():
            picture = _overlay(material.document, record)
            if picture is None:
                pdf.add_empty()
            else:
                pdf.add_jpeg(_jpeg(picture), picture, size_pt(picture, record.result.dpi))
        pdf.close()


def _overlay(document: Document, record: PageRecord) -> Image.Image | None:
    picture = upright_picture(document, record)
    return None if picture is None else draw_overlay(picture, upright_result(record).regions)


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
