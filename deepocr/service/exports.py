"""Files that are made of a finished task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deepocr.render.formats import render_document
from deepocr.service.files import TaskFiles
from deepocr.types import DocumentResult


@dataclass(frozen=True)
class Export:
    """A download. `heavy` ones are made by a worker and kept, the others when asked for."""

    suffix: str
    media_type: str
    heavy: bool
    make: Callable[[TaskFiles, str, DocumentResult], bytes]


def _markdown(_files: TaskFiles, _task_id: str, document: DocumentResult) -> bytes:
    return render_document(document, "Markdown", paged=len(document.pages) > 1).encode()


def _json(_files: TaskFiles, _task_id: str, document: DocumentResult) -> bytes:
    return render_document(document, "JSON", paged=False).encode()


def _raw(_files: TaskFiles, _task_id: str, document: DocumentResult) -> bytes:
    return render_document(document, "Raw", paged=len(document.pages) > 1).encode()


EXPORTS: Mapping[str, Export] = {
    "markdown": Export(".md", "text/markdown; charset=utf-8", heavy=False, make=_markdown),
    "json": Export(".json", "application/json", heavy=False, make=_json),
    "raw": Export(".txt", "text/plain; charset=utf-8", heavy=False, make=_raw),
}
