"""Answers made of pages: small ones in a thread, large ones by a helper, in a file.

Python that renders a book keeps the interpreter's lock, and with it every other request.
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
"""Pages whose results have no more are rendered where they are asked for."""

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
    """What `pieces(files, *args)`, a function of a module, makes of the records' pages.

    `costly` pieces are never made here. Raises HelperFailed, and what `pieces` raises.
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
    """Its Markdown; where that cannot be made, a comment that says so."""
    return render_or_tell(lambda one: render_markdown(one, task=task), page, "Markdown")


def json_text(texts: Iterable[str]) -> Iterator[str]:
    """One text of JSON, with an empty line between these."""
    yield '"'
    for index, text in enumerate(texts):
        yield json.dumps(("\n\n" if index else "") + text)[1:-1]
    yield '"'


class OnceResponse(FileResponse):
    """Its file is gone afterward, also when the client hangs up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)
