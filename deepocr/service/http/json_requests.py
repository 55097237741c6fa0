"""Requests of JSON with documents in it: the event loop sees the JSON without them."""

import asyncio
import secrets
import shutil
from pathlib import Path

import anyio
from fastapi import Request, Response
from starlette.exceptions import HTTPException

from deepocr.errors import DocumentTooLarge, InvalidInput
from deepocr.service.http.clients import ClientRoute, Handler
from deepocr.service.http.context import service_of
from deepocr.service.http.json_documents import decode_base64, decode_data_url, move_documents
from deepocr.service.http.uploads import save_bytes
from deepocr.service.http.waiting import IncomingDocument
from deepocr.service.work.helpers import HelperFailed

DIRECT_BYTES = 64 << 10
"""Bodies up to this size in bytes are parsed in the event loop."""

PARSE_S = 30.0


class JsonRequest(Request):
    """Its body is without its long texts; these are documents in files, until `forget`."""

    _folder: Path | None = None
    _faults: dict[str, str] = {}  # noqa: RUF012  replaced, never changed

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await self._read()
        return self._body

    def document(self, text: str, name: str) -> IncomingDocument:
        """The document in a text: base64, a data URL or a URL to fetch. Raises InvalidInput."""
        if self._folder is not None and text in self._faults:
            if self._faults[text]:
                raise InvalidInput(self._faults[text])
            return IncomingDocument(name, (self._folder / text).rename)
        if text.startswith("data:"):
            return IncomingDocument(name, save_bytes(decode_data_url(text)))
        if text.startswith(("http://", "https://")):
            return IncomingDocument(name, url=text)
        if ":" in text[:40]:
            raise InvalidInput(f"the URL {text[:40]!r} must begin with data:, http:// or https://")
        return IncomingDocument(name, save_bytes(decode_base64(text)))

    async def forget(self) -> None:
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _read(self) -> bytes:
        pieces = self.stream()
        start = b""
        async for piece in pieces:
            start += piece
            if len(start) > DIRECT_BYTES:
                break
        else:
            return start
        service = await service_of(self)
        self._folder = service.files.temporary()
        self._folder.mkdir()
        async with await anyio.open_file(self._folder / "body", "wb") as file:
            await file.write(start)
            async for piece in pieces:
                await file.write(piece)
        # the mark is random and made after the body was sent, so no client's text can begin with it
        mark = secrets.token_hex(16)
        try:
            rest, self._faults = await service.helpers.run(
                PARSE_S, move_documents, self._folder / "body", mark
            )
        # only an HTTPException gets through FastAPI's body parsing
        except DocumentTooLarge as error:
            raise HTTPException(413, str(error)) from error
        except HelperFailed as error:
            raise HTTPException(413, f"the JSON cannot be read: {error}; send less") from error
        except InvalidInput:
            return b"?"  # the parser will report that this is not JSON
        return rest


class JsonRoute(ClientRoute):
    """For requests with documents in their JSON: the endpoint's Request is a JsonRequest."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            json_request = JsonRequest(request.scope, request.receive)
            try:
                return await handle(json_request)
            finally:
                await json_request.forget()

        return handle_json
