"""The result of a reader: pages, and all the forms that can be made of them."""

from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Self

from deepocr.render.json import render_json
from deepocr.render.markdown import render_markdown
from deepocr.render.text_forms import render_document
from deepocr.settings import Settings
from deepocr.types import DocumentResult, PageResult


@dataclass(frozen=True)
class Text:
    """A piece of text as the engine writes it, tags and all; `page` counts from 1."""

    page: int
    text: str


@dataclass(frozen=True)
class ResultPage(PageResult):
    """A page that was read, with its `status`, `regions` (boxes in pixels), `raw` and `error`."""

    task: str = ""

    @classmethod
    def of(cls, page: PageResult, task: str) -> Self:
        return cls(**{part.name: getattr(page, part.name) for part in fields(page)}, task=task)

    @property
    def markdown(self) -> str:
        """The page as Markdown, without tags; a failed page is a comment with the reason."""
        return render_markdown(self, task=self.task)


@dataclass(frozen=True)
class Source:
    """Where a result came from. Outputs with pictures draw it once more."""

    document: bytes | Path
    password: str
    settings: Settings
    is_paged: bool


@dataclass(frozen=True)
class Result(DocumentResult):
    """A document that was read. `pages` are in order and include those that failed."""

    pages: tuple[ResultPage, ...]
    source: Source = field(repr=False)

    @property
    def markdown(self) -> str:
        """The text as Markdown, without tags. The page separator follows each page of a PDF or
        TIFF."""
        return self._text("Markdown")

    @property
    def raw(self) -> str:
        """The text as the engine wrote it, with boxes in tags."""
        return self._text("Raw")

    @property
    def hocr(self) -> str:
        """hOCR, for archives: boxes of blocks and, if the engine knows them, of lines."""
        return self._text("hOCR")

    @property
    def alto(self) -> str:
        """ALTO 4, for libraries."""
        return self._text("ALTO")

    @property
    def chunks(self) -> str:
        """Chunks for retrieval, one JSON object per line (docs/forms.md)."""
        return self._text("Chunks")

    def json(self, *, indent: int | None = 2) -> str:
        """Everything known about the document, in the form of docs/json.md."""
        return render_json(self, indent=indent)

    def save_searchable_pdf(self, path: str | PathLike[str]) -> None:
        """Save the original pages with invisible text that can be searched.

        This and the following methods draw the document once more: a document given as a file must
        still exist. They raise StorageError, and the errors of reading the document.
        """
        self._save("pdf", path)

    def save_html(self, path: str | PathLike[str]) -> None:
        """Save one file that shows pages beside their text; needs deepocr[books]."""
        self._save("html", path)

    def save_docx(self, path: str | PathLike[str]) -> None:
        """Save a document for word processors; needs deepocr[books]."""
        self._save("docx", path)

    def save_overlay(self, path: str | PathLike[str]) -> None:
        """Save a PDF of the pages with their regions drawn on them."""
        from deepocr.library.saving import save_overlay

        save_overlay(self, path)

    def _text(self, form: str) -> str:
        return render_document(self, form, paged=self.source.is_paged)

    def _save(self, form: str, path: str | PathLike[str]) -> None:
        from deepocr.library.saving import save

        save(self, form, path)
