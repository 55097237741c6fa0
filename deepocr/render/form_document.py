"""The input of every form: a document's pages in order, one in memory at a time.

Results alone are enough for the text forms. Sources that also have the pictures, such as a book's
folder or a service's task, derive from these two classes and implement how a page is drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepocr.documents import DocumentProcesses
from deepocr.render.picture_pdf import PicturePdf
from deepocr.types import DocumentResult, Job, Page, PageResult, Word


@dataclass(frozen=True)
class FormPage:
    """A page. `result` has the coordinates of the upright page, which was turned clockwise by
    `turned` degrees for reading; `task` is that of the reading."""

    result: PageResult
    task: str = ""
    turned: int = 0

    def draw(self) -> Page | None:
        """The unturned page; None if there is no picture of it. Raises the errors of drawing."""
        return None

    def own_words(self) -> Sequence[Word]:
        """The words of a PDF's text layer, with boxes on the drawn page."""
        return ()

    def figures(self) -> Mapping[int, bytes]:
        """The figures as PNG, by the index of their region in `result.regions`."""
        return {}

    def add_to(self, pdf: PicturePdf) -> None:
        """Add the unturned page to a PDF of pictures."""
        pdf.add_empty()


@dataclass(frozen=True)
class FormDocument:
    """A document. `title` is shown to people, `name` is the file's. `paged` documents have a mark
    after each page of running text. `processes` work on PDFs; None if there are no pictures."""

    name: str
    title: str
    engine: str
    job: Job
    num_pages: int
    paged: bool
    processes: DocumentProcesses | None = None
    password: str = ""

    def pages(self) -> Iterator[FormPage]:
        """All pages from the first. May be called repeatedly."""
        raise NotImplementedError

    def flowing_pages(self) -> Iterator[FormPage]:
        """The pages as running text, with parts left out or joined as the user wants."""
        return self.pages()

    def pdf(self) -> Path | None:
        """The PDF that was read; None for pictures."""
        return None


@dataclass(frozen=True)
class ResultDocument(FormDocument):
    """Results in memory, without pictures."""

    results: tuple[PageResult, ...] = ()

    def pages(self) -> Iterator[FormPage]:
        return (FormPage(result, self.job.task) for result in self.results)


def of_result(result: DocumentResult, *, paged: bool) -> ResultDocument:
    """A result as the input of the text forms."""
    name, num_pages = result.name, len(result.pages)
    return ResultDocument(
        name, name, result.engine, result.job, num_pages, paged, results=result.pages
    )
