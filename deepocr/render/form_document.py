"""What every form is made from: a document's pages in order, one in memory at a time.

Results alone make the forms of text. Who has the pictures too, a helper's folder or a service's
task, derives from these two and tells how a page is drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deepocr.types import DocumentResult, Job, PageResult


@dataclass(frozen=True)
class FormPage:
    """A page: `result` is upright, as a reader holds the page; `task` is that of the reading."""

    result: PageResult
    task: str = ""


@dataclass(frozen=True)
class FormDocument:
    """`title` is shown to people, `name` is the file's. `paged` documents have a mark after each
    page of running text."""

    name: str
    title: str
    engine: str
    job: Job
    num_pages: int
    paged: bool

    def pages(self) -> Iterator[FormPage]:
        """All of them, from the first; may be asked for again."""
        raise NotImplementedError


@dataclass(frozen=True)
class ResultDocument(FormDocument):
    """Results in memory, without pictures."""

    results: tuple[PageResult, ...] = ()

    def pages(self) -> Iterator[FormPage]:
        return (FormPage(result, self.job.task) for result in self.results)


def of_result(result: DocumentResult, *, paged: bool) -> ResultDocument:
    """For forms of text."""
    return ResultDocument(
        result.name, result.name, result.engine, result.job, len(result.pages), paged, result.pages
    )
