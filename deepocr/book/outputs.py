"""What is made of a document on request, from its records: nothing is read again."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from deepocr.book.files import make_folder, new_file, write_file
from deepocr.book.options import Options
from deepocr.book.orientation import point_back
from deepocr.book.pictures import upright_picture
from deepocr.book.records import PageRecord
from deepocr.book.stitch import Book, Records, upright_result, write_json, write_markdown
from deepocr.book.stitch import shown_pages as shown_results
from deepocr.book.workspace import Workspace, page_name
from deepocr.documents import Document, DocumentProcesses
from deepocr.documents.ink import ink_mask
from deepocr.errors import DeepOCRError, EngineUnavailable, InvalidInput, reason
from deepocr.files import PART_SUFFIX
from deepocr.parsing.words import agreement
from deepocr.render import searchable_pdf
from deepocr.render.markdown import FIGURE_LABELS
from deepocr.render.overlay import draw_overlay
from deepocr.render.picture_pdf import PicturePdf
from deepocr.render.placed_text import Corners, PlacedText, place_lines
from deepocr.render.searchable_pdf import SearchablePage, keeps_own_text
from deepocr.types import Page, Region

log = logging.getLogger(__name__)

POINTS_PER_INCH = 72

DEFAULT_DPI = 144.0
"""For pictures that do not say how large they are on paper."""

JPEG_QUALITY = 85
"""Of overlays."""

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Material:
    """All that an output is made from."""

    workspace: Workspace
    document: Document
    source: Path
    book: Book
    records: Records
    options: Options
    processes: DocumentProcesses


def write_outputs(material: Material) -> tuple[str, ...]:
    """document.mmd, document.json and whatever `options.writing` asks for. Blocking.

    One that fails does not take the others with it; returned is a sentence for each.
    """
    writing = material.options.writing
    wanted: tuple[tuple[str, object, Callable[[Material], None]], ...] = (
        ("document.mmd", True, _stitched("document.mmd", write_markdown)),
        ("document.json", True, _stitched("document.json", write_json)),
        ("--raw", writing.raw, write_raw),
        ("--overlay png", writing.overlay == "png", write_overlay_pngs),
        ("--overlay pdf", writing.overlay == "pdf", write_overlay_pdf),
        ("--searchable-pdf", writing.searchable_pdf, write_searchable_pdf),
        ("--html", writing.html, write_viewer),
        ("--docx", writing.docx, write_word),
    )
    failures = []
    for name, asked, write in wanted:
        try:
            if asked:
                write(material)
        except Exception as error:
            if not isinstance(error, DeepOCRError):
                log.exception("%s cannot be written", name)
            failures.append(f"{name} is not written: {reason(error)}")
    return tuple(failures)


def _stitched(
    name: str, write: Callable[[Path, Book, Records, Options], None]
) -> Callable[[Material], None]:
    return lambda m: write(m.workspace.folder / name, m.book, m.records, m.options)


def write_raw(material: Material) -> None:
    """page_NNNN.raw.txt: as the engine wrote it."""
    for record in material.records():
        write_file(material.workspace.raw_path(record.number), record.result.raw)


def write_viewer(material: Material) -> None:
    """document.html. Raises EngineUnavailable where its packages are missing."""
    try:
        from deepocr.book.viewer import shown_pages
        from deepocr.render.html import write_html
    except ImportError as error:
        raise _missing("--html", error) from error
    folder = material.workspace.folder
    pages = shown_pages(material.document, folder, material.records)
    with new_file(folder / "document.html") as file:
        write_html(file, material.book.title, material.book.counts.total(), pages)


def write_word(material: Material) -> None:
    """document.docx. Raises EngineUnavailable where its package is missing."""
    try:
        from deepocr.render.docx import WordPage, write_docx
    except ImportError as error:
        raise _missing("--docx", error) from error
    folder = material.workspace.folder

    def pages() -> Iterator[WordPage]:
        results = shown_results(material.book, material.records, material.options)
        for result, record in zip(results, material.records(), strict=True):
            # figures go by their order: a region in front of them may have been left out
            places = [i for i, region in enumerate(result.regions) if is_figure(region)]
            order = sorted(record.figures, key=lambda figure: figure.region)
            paths = (folder / figure.file for figure in order)
            yield WordPage(result, dict(zip(places, paths, strict=True)))

    with new_file(folder / "document.docx") as file:
        write_docx(file, material.book.title, pages())


def is_figure(region: Region) -> bool:
    """Whether the region was cut out as a picture."""
    return region.label in FIGURE_LABELS and bool(region.boxes_px)


def _missing(option: str, error: ImportError) -> EngineUnavailable:
    return EngineUnavailable(
        f"{option} needs more packages ({error}); install deepocr[books] and run the same "
        "command again: nothing is read twice"
    )


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
    """overlay.pdf: every page as a picture with its regions, a page that cannot be drawn empty."""
    with new_file(material.workspace.folder / "overlay.pdf") as file:
        pdf = PicturePdf(file)
        for record in material.records():
            picture = _overlay(material.document, record)
            if picture is None:
                pdf.add_empty()
            else:
                pdf.add_jpeg(_jpeg(picture), picture, _size_pt(picture, record.result.dpi))
        pdf.close()


def write_searchable_pdf(material: Material) -> None:
    """searchable.pdf: the pages as they were, with text that is found but not seen."""
    with (
        _source_pdf(material) as source,
        new_file(material.workspace.folder / "searchable.pdf") as file,
    ):
        pages, password = _searchable_pages(material), material.options.password
        searchable_pdf.write_searchable_pdf(
            material.processes, source, pages, Path(file.name), password
        )


def _searchable_pages(material: Material) -> Iterator[SearchablePage]:
    is_pdf = material.document.kind == "pdf"
    for place, record in enumerate(material.records(), start=1):
        number = record.number if is_pdf else place
        page = _page_of(material.document, record) if record.result.regions else None
        if page is None or keeps_own_text(agreement(record.result, page.words)):
            yield SearchablePage(number)
        else:
            yield SearchablePage(number, page.size_px, _placed_lines(record, page))


def _placed_lines(record: PageRecord, page: Page) -> list[PlacedText]:
    """The record's text where it stands on the page as it lies.

    Lines are found on the page as a reader holds it, and turned back with it.
    """
    upright = upright_result(record)
    ink = ink_mask(page.image)
    if record.turned:
        # the mask of the page as it lies, turned like the page was for reading
        ink = ink.rotate(-record.turned, expand=True)
    size_px = page.size_px
    lines = [line for r in upright.regions for line in place_lines(r, ink, upright.size_px)]
    return [
        PlacedText(line.text, _corners_back(line.corners, record.turned, size_px)) for line in lines
    ]


def _corners_back(corners: Corners, turned: int, size_px: tuple[int, int]) -> Corners:
    a, b, c, d = (point_back((round(x), round(y)), turned, size_px) for x, y in corners)
    return a, b, c, d


@contextmanager
def _source_pdf(material: Material) -> Iterator[Path]:
    """The document, or a PDF of its pictures."""
    if material.document.kind == "pdf":
        yield material.source
        return
    # through a file: a scanned book of pictures may be larger than memory
    place = material.workspace.folder
    with TemporaryDirectory(dir=place, prefix=".pictures-", suffix=PART_SUFFIX) as folder:
        path = Path(folder) / "pictures.pdf"
        with path.open("wb") as file:
            numbers = [record.number for record in material.records()]
            _write_pictures(material, numbers, PicturePdf(file))
        yield path


def _write_pictures(material: Material, numbers: list[int], pdf: PicturePdf) -> None:
    """Pictures as they came where a PDF can hold them so, else without loss."""
    for number in numbers:
        try:
            page = material.document.page(number, DEFAULT_DPI)
        except InvalidInput:
            pdf.add_empty()
            continue
        size_pt = _size_pt(page.image, page.dpi)
        jpeg = _original_jpeg(material)
        if jpeg is not None:
            with Image.open(material.source) as image:
                pdf.add_jpeg(jpeg, image, size_pt)
        else:
            pdf.add_lossless(page.image, size_pt)
    pdf.close()


def _original_jpeg(material: Material) -> bytes | None:
    """The document's bytes, if it is a JPEG that stands upright as it is."""
    if material.document.kind != "picture":
        return None
    with Image.open(material.source) as image:
        as_is = image.format == "JPEG" and image.mode in ("L", "RGB")
        upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
    return material.source.read_bytes() if as_is and upright else None


def _size_pt(picture: Image.Image, dpi: float | None) -> tuple[float, float]:
    scale = POINTS_PER_INCH / (dpi or DEFAULT_DPI)
    return picture.width * scale, picture.height * scale


def _page_of(document: Document, record: PageRecord) -> Page | None:
    try:
        return document.page(record.number)
    except InvalidInput:
        return None


def _overlay(document: Document, record: PageRecord) -> Image.Image | None:
    picture = upright_picture(document, record)
    return None if picture is None else draw_overlay(picture, upright_result(record).regions)


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
