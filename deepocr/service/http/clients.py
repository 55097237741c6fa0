"""Identifies the client before the request's body is read."""

import hashlib
import hmac
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer

from deepocr.service.http.context import service_of
from deepocr.service.http.problems import Problem

TOKEN_HEADER = "X-Client-Token"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class Client:
    """`client` is whose limits count, `owner` whose tasks are listed; digests, not names.

    With API keys both are the key and only its owner sees a task. Without keys limits count by
    address, and the list is the address's or, with an X-Client-Token, that token's.
    """

    client: str
    owner: str
    known: bool


# these two only document the headers in OpenAPI
_bearer = HTTPBearer(auto_error=False, description="an API key, where the service asks for one")
_key_header = APIKeyHeader(name="X-API-Key", auto_error=False)


async def identify(request: Request) -> Client:
    """Raises a 401 Problem if an API key is required and no known key was sent."""
    digests = (await service_of(request)).settings.key_digests()
    if not digests:
        address = request.client.host if request.client else "unknown"
        client = _digest("address", address)
        token = request.headers.get(TOKEN_HEADER)
        return Client(client, _digest("token", token) if token else client, known=False)
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = (scheme.lower() == "bearer" and key.strip()) or request.headers.get("X-API-Key", "")
    if not _matches(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest(), digests):
        raise Problem(
            401,
            "api-key-needed",
            "give an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            {"WWW-Authenticate": "Bearer"},
        )
    owner = _digest("key", key)
    return Client(owner, owner, known=True)


async def _known(
    request: Request, _: Annotated[Any, Depends(_bearer)], __: Annotated[Any, Depends(_key_header)]
) -> Client:
    return await identify(request)


KnownClient = Annotated[Client, Depends(_known)]


class ClientRoute(APIRoute):
    """FastAPI reads the body before dependencies; this route identifies the client first."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_known(request: Request) -> Response:
            await identify(request)
            return await handle(request)

        return handle_known


def _matches(digest: bytes, digests: Sequence[bytes]) -> bool:
    """Compares with every key, so that the time taken reveals nothing."""
    found = False
    for known in digests:
        found |= hmac.compare_digest(digest, known)
    return found


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
