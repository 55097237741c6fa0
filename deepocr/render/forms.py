"""All output forms of a document, in one table for all front ends.

A new form is one entry here, or in `text_forms.py` if it needs only results. The names are the
values of `--format` and `?format=`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from deepocr.errors import EngineUnavailable
from deepocr.render.form_document import FormDocument
from deepocr.render.searchable_pdf import write_searchable_form
from deepocr.render.text_forms import TEXT_FORMS, Form


def _html(document: FormDocument, file: IO[bytes]) -> None:
    with _packages("HTML"):
        from deepocr.render.html import write_html_form
    write_html_form(document, file)


def _docx(document: FormDocument, file: IO[bytes]) -> None:
    with _packages("DOCX"):
        from deepocr.render.docx import write_docx_form
    write_docx_form(document, file)


@contextmanager
def _packages(title: str) -> Iterator[None]:
    """Raises EngineUnavailable where packages of the form are missing."""
    try:
        yield
    except ImportError as error:
        raise EngineUnavailable(
            f"{title} needs more packages ({error}); install deepocr[books] and ask again: nothing "
            "is read twice"
        ) from error


FORMS: Mapping[str, Form] = {
    **TEXT_FORMS,
    "html": Form("HTML", ".html", "text/html; charset=utf-8", _html, pictures=True),
    "docx": Form(
        "Word",
        ".docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _docx,
        pictures=True,
    ),
    "pdf": Form("Searchable PDF", ".pdf", "application/pdf", write_searchable_form, pictures=True),
}
