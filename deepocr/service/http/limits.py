"""Who asks, and how many bytes a request may have."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepocr.service.http.context import Service, service_of
from deepocr.service.http.problems import Problem
from deepocr.service.settings import ServiceSettings

TOKEN_HEADER = "X-Client-Token"


@dataclass(frozen=True)
class Client:
    """`client` is whose limits count, `owner` whose tasks are listed; digests, not names.

    With API keys both are the key and only its owner sees a task. Without keys limits count by
    address, and the list is the address's or, with an X-Client-Token, that token's.
    """

    client: str
    owner: str
    known: bool


_bearer = HTTPBearer(auto_error=False, description="an API key, where the service asks for one")
_key_header = APIKeyHeader(name="X-API-Key", auto_error=False)


async def identify(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    key_header: Annotated[str | None, Depends(_key_header)],
) -> Client:
    """Raises the problem 401 where an API key is asked for and none that is known was given."""
    digests = service.settings.key_digests()
    if not digests:
        address = request.client.host if request.client else "unknown"
        client = _digest("address", address)
        token = request.headers.get(TOKEN_HEADER)
        return Client(client, _digest("token", token) if token else client, known=False)
    key = (bearer.credentials if bearer else None) or key_header or ""
    found = _matches(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest(), digests)
    if not found:
        raise Problem(
            401,
            "api-key-needed",
            "give an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            {"WWW-Authenticate": "Bearer"},
        )
    owner = _digest("key", key)
    return Client(owner, owner, known=True)


KnownClient = Annotated[Client, Depends(identify)]


def _matches(digest: bytes, digests: Sequence[bytes]) -> bool:
    """Compares with every key, so that the time taken tells nothing."""
    found = False
    for known in digests:
        found |= hmac.compare_digest(digest, known)
    return found


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


class BodyLimit:
    """Answers 413 as soon as a body is longer than it may be, whatever its headers say."""

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
                # not a Problem: FastAPI lets only this kind out of its reading of bodies
                raise HTTPException(413, _too_large(limit))
            return message

        await self._app(scope, receive_counted, send)


def _too_large(limit: int) -> str:
    return f"the request has more than {limit:,} bytes; send less at once"
