"""The text forms, which need only results. `forms.py` has the table of all forms."""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO

from deepocr.errors import InvalidInput
from deepocr.parsing.text import encodable
from deepocr.render.alto import alto_pieces
from deepocr.render.chunks import chunk_lines
from deepocr.render.failures import render_or_tell
from deepocr.render.form_document import FormDocument, of_result
from deepocr.render.hocr import hocr_pieces
from deepocr.render.json import render_json
from deepocr.render.markdown import render_markdown
from deepocr.render.raw import join_pages, render_raw
from deepocr.types import DocumentResult, PageResult

Write = Callable[[FormDocument, IO[bytes]], None]


@dataclass(frozen=True)
class Form:
    """An output form: its `title` for people, and the `suffix` of its files. Forms with `pictures`
    need the pages' pictures too and take long; the others are UTF-8 text.

    `write` gets a new file that has a name, in a folder with room. It raises EngineUnavailable for
    missing packages, StorageError, and the errors of documents.
    """

    title: str
    suffix: str
    media_type: str
    write: Write
    pictures: bool = False


def _text(pieces: Callable[[FormDocument], Iterable[str]]) -> Write:
    return lambda document, file: file.writelines(
        piece.encode("utf-8", "replace") for piece in pieces(document)
    )


def _markdown(document: FormDocument) -> Iterable[str]:
    return _running_text("Markdown", document, partial(render_markdown, task=document.job.task))


def _raw(document: FormDocument) -> Iterable[str]:
    return _running_text("Raw", document, render_raw)


def _json(document: FormDocument) -> Iterable[str]:
    pages = tuple(page.result for page in document.pages())
    yield render_json(DocumentResult(document.name, document.engine, document.job, pages))


def _running_text(
    title: str, document: FormDocument, render: Callable[[PageResult], str]
) -> Iterable[str]:
    for place, page in enumerate(document.pages()):
        text = render_or_tell(lambda result: encodable(render(result)), page.result, title)
        if document.paged:
            yield join_pages([text])
        else:
            yield f"\n\n{text}" if place else text


TEXT_FORMS: Mapping[str, Form] = {
    "raw": Form("Raw", ".txt", "text/plain; charset=utf-8", _text(_raw)),
    "markdown": Form("Markdown", ".md", "text/markdown; charset=utf-8", _text(_markdown)),
    "json": Form("JSON", ".json", "application/json", _text(_json)),
    "hocr": Form("hOCR", ".hocr", "text/vnd.hocr+html; charset=utf-8", _text(hocr_pieces)),
    "alto": Form("ALTO", ".alto.xml", "application/xml", _text(alto_pieces)),
    "chunks": Form("Chunks", ".chunks.jsonl", "application/jsonl", _text(chunk_lines)),
}

FORMATS: Mapping[str, Form] = {form.title: form for form in TEXT_FORMS.values()}
"""The predictor's output formats, by title."""


def text_of(form: Form, document: FormDocument) -> str:
    """The document in a text form, as a string."""
    file = io.BytesIO()
    form.write(document, file)
    return file.getvalue().decode()


def render_document(result: DocumentResult, output_format: str, *, paged: bool) -> str:
    """The result as one string in `output_format`, one of FORMATS; `paged` puts a page separator
    after each page.

    A page that cannot be rendered becomes a failed page. Raises InvalidInput for an unknown format.
    """
    if output_format not in FORMATS:
        raise InvalidInput(
            f"unknown output_format {output_format!r}; choose one of: {', '.join(FORMATS)}"
        )
    return text_of(FORMATS[output_format], of_result(result, paged=paged))
