"""Responses built from pages: small ones in a thread, large ones in a helper process, through a
file.

Rendering a book would hold the interpreter's lock and block every other request.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVarTuple

from fastapi import Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from deepocr.render.failures import render_or_tell
from deepocr.render.markdown import render_markdown
from deepocr.service.http.context import Service
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import TaskRecord
from deepocr.types import PageResult

NEAR_BYTES = 64 << 10
"""Results up to this size in bytes are rendered in this process."""

MAKE_S = 300.0

A = TypeVarTuple("A")


async def made(
    service: Service,
    records: Sequence[TaskRecord],
    pieces: Callable[[TaskFiles, *A], Iterator[str]],
    *args: *A,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    costly: bool = False,
) -> Response:
    """The output of the module-level function `pieces(files, *args)` for the records' pages.
    `costly` output is always made by a helper. Raises HelperFailed, and what `pieces` raises.
    """
    files = service.files
    if not costly and await asyncio.to_thread(files.hold_at_most, records, NEAR_BYTES):
        content = await asyncio.to_thread(lambda: "".join(pieces(files, *args)).encode())
        return Response(content, media_type=media_type, headers=headers)
    path = files.temporary()
    try:
        await service.helpers.run(MAKE_S, write_pieces, path, pieces, files, args)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return OnceResponse(path, media_type=media_type, headers=headers)


def write_pieces(
    path: Path,
    pieces: Callable[[TaskFiles, *A], Iterator[str]],
    files: TaskFiles,
    args: tuple[*A],
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(pieces(files, *args))


def markdown_of(page: PageResult, task: str) -> str:
    """The page's Markdown, or a comment with the reason if it cannot be rendered."""
    return render_or_tell(lambda one: render_markdown(one, task=task), page, "Markdown")


def json_text(texts: Iterable[str]) -> Iterator[str]:
    """One text of JSON, with an empty line between these."""
    yield '"'
    for index, text in enumerate(texts):
        yield json.dumps(("\n\n" if index else "") + text)[1:-1]
    yield '"'


class OnceResponse(FileResponse):
    """Deletes its file afterward, also when the client hangs up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)
