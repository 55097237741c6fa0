"""A limit on the size of request bodies."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepocr.service.http.problems import Problem
from deepocr.service.settings import ServiceSettings


class BodyLimit:
    """Answers 413 as soon as a body exceeds its limit, whatever its headers say.

    Starlette's own limit is the same for all kinds of bodies, and its answers are plain text.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        multipart = headers.get(b"content-type", b"").startswith(b"multipart/")
        limit = self._settings.max_upload_bytes if multipart else self._settings.max_json_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            problem = Problem(413, "content-too-large", _too_large(limit))
            await problem.response()(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                # not a Problem: only an HTTPException gets through FastAPI's body parsing
                raise HTTPException(413, _too_large(limit))
            return message

        await self._app(scope, receive_counted, send)


def _too_large(limit: int) -> str:
    return f"the request has more than {limit:,} bytes; send less at once"
