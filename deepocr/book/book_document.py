"""A book's pages as the forms take them: from the records, with pictures from the document."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from PIL import Image

from deepocr.book.options import RunOptions
from deepocr.book.pictures import figure_places
from deepocr.book.records import PageRecord
from deepocr.book.stitch import Book, Records, shown_pages, shown_result, task_of
from deepocr.book.workspace import Workspace
from deepocr.documents import Document, DocumentProcesses
from deepocr.errors import InvalidInput
from deepocr.render.form_document import FormDocument, FormPage
from deepocr.render.picture_pdf import PicturePdf
from deepocr.types import Page, PageResult, Word

POINTS_PER_INCH = 72

DEFAULT_DPI = 144.0
"""Resolution in dots per inch of pictures that do not state one."""

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Material:
    """All that an output is made from."""

    workspace: Workspace
    document: Document
    source: Path
    book: Book
    records: Records
    options: RunOptions
    processes: DocumentProcesses


@dataclass(frozen=True, kw_only=True)
class BookPage(FormPage):
    """`result` may have other regions than the record, but it has all of its figures."""

    record: PageRecord
    material: Material

    @cached_property
    def _drawn(self) -> Page | None:
        try:
            return self.material.document.page(self.record.number)
        except InvalidInput:
            if self.record.status == "failed":
                return None
            raise

    def draw(self) -> Page | None:
        return self._drawn

    def own_words(self) -> Sequence[Word]:
        return self._drawn.words if self._drawn else ()

    def figures(self) -> Mapping[int, bytes]:
        folder = self.material.workspace.folder
        return {
            place: (folder / figure.file).read_bytes()
            for place, figure in figure_places(self.result, self.record).items()
        }

    def add_to(self, pdf: PicturePdf) -> None:
        """Adds the original JPEG where a PDF can hold it, else the picture without loss."""
        page = self.material.document.page(self.record.number, DEFAULT_DPI)
        jpeg = _original_jpeg(self.material)
        if jpeg is None:
            pdf.add_lossless(page.image, size_pt(page.image, page.dpi))
        else:
            with Image.open(self.material.source) as image:
                pdf.add_jpeg(jpeg, image, size_pt(page.image, page.dpi))


@dataclass(frozen=True, kw_only=True)
class BookDocument(FormDocument):
    material: Material

    @classmethod
    def of(cls, material: Material) -> Self:
        book, options = material.book, material.options
        return cls(
            name=str(book.source["name"]),
            title=book.title,
            engine=book.engine,
            job=options.reading.job,
            num_pages=book.counts.total(),
            paged=True,
            processes=material.processes,
            password=options.password,
            material=material,
        )

    def pages(self) -> Iterator[FormPage]:
        material = self.material
        return self._pages(shown_result(record, material.options) for record in material.records())

    def flowing_pages(self) -> Iterator[FormPage]:
        material = self.material
        return self._pages(shown_pages(material.book, material.records, material.options))

    def pdf(self) -> Path | None:
        return self.material.source if self.material.document.kind == "pdf" else None

    def _pages(self, results: Iterable[PageResult]) -> Iterator[FormPage]:
        for result, record in zip(results, self.material.records(), strict=True):
            task = task_of(record, self.job)
            yield BookPage(result, task, record.turned, record=record, material=self.material)


def _original_jpeg(material: Material) -> bytes | None:
    """The source file if it is a gray or RGB JPEG that needs no EXIF rotation, else None."""
    if material.document.kind != "picture":
        return None
    with Image.open(material.source) as image:
        as_is = image.format == "JPEG" and image.mode in ("L", "RGB")
        upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
    return material.source.read_bytes() if as_is and upright else None


def size_pt(picture: Image.Image, dpi: float | None) -> tuple[float, float]:
    """The picture's width and height on paper, in points."""
    scale = POINTS_PER_INCH / (dpi or DEFAULT_DPI)
    return picture.width * scale, picture.height * scale
