"""What every form is made from: a document's pages in order, one in memory at a time.

Results alone make the forms of text. Who has the pictures too, a helper's folder or a service's
task, derives from these two classes and tells how a page is drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepocr.documents import DocumentProcesses
from deepocr.render.picture_pdf import PicturePdf
from deepocr.types import DocumentResult, Job, Page, PageResult, Word


@dataclass(frozen=True)
class FormPage:
    """A page: `result` is upright, as a reader holds the page, which was turned clockwise by
    `turned` degrees for that; `task` is that of the reading."""

    result: PageResult
    task: str = ""
    turned: int = 0

    def draw(self) -> Page | None:
        """The page as it lies; None where there is no picture of it. Raises what drawing does."""
        return None

    def own_words(self) -> Sequence[Word]:
        """Those of a PDF's text layer, on the drawn page."""
        return ()

    def figures(self) -> Mapping[int, bytes]:
        """The figures as PNG, by the region's place in `result.regions`."""
        return {}

    def add_to(self, pdf: PicturePdf) -> None:
        """Put the page as it lies into a PDF of pictures."""
        pdf.add_empty()


@dataclass(frozen=True)
class FormDocument:
    """`title` is shown to people, `name` is the file's. `paged` documents have a mark after each
    page of running text. `processes` work on PDFs; None where there are no pictures."""

    name: str
    title: str
    engine: str
    job: Job
    num_pages: int
    paged: bool
    processes: DocumentProcesses | None = None
    password: str = ""

    def pages(self) -> Iterator[FormPage]:
        """All of them, from the first; may be asked for again."""
        raise NotImplementedError

    def flowing_pages(self) -> Iterator[FormPage]:
        """The pages as running text, without what the user wants left out or joined."""
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
    """For forms of text."""
    name, num_pages = result.name, len(result.pages)
    return ResultDocument(
        name, name, result.engine, result.job, num_pages, paged, results=result.pages
    )
