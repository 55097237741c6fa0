"""Requests to one server, with typed errors and limits on the size of answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from pydantic_core import from_json

from deepocr.engines.remote.answers import SENSELESS_TRIES, TemporaryError, said
from deepocr.errors import EngineBroken, EngineError, RemoteError

CONNECT_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 8 << 20
"""Ten times the size of the densest page's answer; an answer may also repeat the input."""


class TooLongError(httpx.TransportError):
    """An answer that is too long, or could become so when decompressed."""


class BoundedTransport(httpx.AsyncHTTPTransport):
    """Accepts uncompressed answers of limited length only: a few compressed bytes may become
    gigabytes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("Content-Encoding", "") not in ("", "identity"):
            await response.aclose()
            raise TooLongError("it is compressed, which was not asked for")
        sent_bytes = int(request.headers.get("Content-Length", 0))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream, MAX_ANSWER_BYTES + sent_bytes)
        return response


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, most_bytes: int) -> None:
        self._stream = stream
        self._most_bytes = most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        num_bytes = 0
        async for chunk in self._stream:
            num_bytes += len(chunk)
            if num_bytes > self._most_bytes:
                raise TooLongError(f"it has more than {self._most_bytes} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class Http:
    """One server. `timeout_s` is how long a whole answer may take."""

    def __init__(self, url: str, timeout_s: float, key: str = "") -> None:
        """`key` is sent as a bearer token. Raises RemoteError when `url` is no http address."""
        self._base = url.rstrip("/")
        self.name = _public_name(self._base)
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {check_key(key)}"} if key else None,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            transport=BoundedTransport(
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64)
            ),
            # a server named in the settings is reached directly, not through the environment's
            # proxies
            trust_env=False,
        )

    async def send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Raises TemporaryError when no whole answer comes."""
        try:
            # httpx's timeout restarts with every byte: a slow drip would never end
            async with asyncio.timeout(self._timeout_s):
                return await self._client.request(method, self._base + path, **content)
        except (TimeoutError, httpx.TransportError) as error:
            raise transport_trouble(self.name, error) from error

    async def ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        """The answer as an object. Raises TemporaryError for what may be asked again, EngineError
        for what may not, EngineBroken where no page will be answered."""
        response = await self.send(method, path, **content)
        self.check_status(response)
        answer = json_object(response)
        if answer is None:
            raise TemporaryError(f"{self.name} answered what is no JSON object")
        return answer

    def check_status(self, response: httpx.Response) -> None:
        """Raises the errors of `ask` for an unsuccessful answer."""
        if not response.is_success:
            what = f"{self.name} answered {response.status_code} {start_of(response, 200)!r}"
            raise refusal(what, response.status_code, _retry_after_s(response))

    async def close(self) -> None:
        await self._client.aclose()


def transport_trouble(name: str, error: Exception) -> TemporaryError:
    """Why no whole answer came from the server called `name`."""
    match error:
        case TooLongError():
            return TemporaryError(f"{name}: its answer is refused: {error}", SENSELESS_TRIES)
        case httpx.ConnectError():
            return TemporaryError(f"{name} cannot be reached ({error})", dead=True)
        case TimeoutError() | httpx.TimeoutException():
            dead = isinstance(error, httpx.ConnectTimeout)
            return TemporaryError(f"{name} did not answer in time", dead=dead)
        case _:
            return TemporaryError(f"{name} broke off its answer ({error or 'without a word'})")


def refusal(what: str, code: int, retry_after_s: float = 0.0) -> EngineError:
    """The error for an unsuccessful status."""
    if code in (409, 429):
        return TemporaryError(what, busy=True, retry_after_s=retry_after_s)
    if code >= 500:
        return TemporaryError(what, retry_after_s=retry_after_s)
    if code in (401, 402):
        return EngineBroken(f"{what}; check the key and the account")
    return EngineError(f"{what}; the request was refused")


def start_of(response: httpx.Response, most_chars: int) -> str:
    """The start of an answer, decoded as UTF-8: a charset that the server names may not be one of
    text, such as `zlib`."""
    return said(response.content[: 4 * most_chars].decode("utf-8", "replace"), most_chars)


def json_object(response: httpx.Response) -> dict[str, Any] | None:
    """The answer as an object; None if it is not an object, nested too deeply or not UTF-8."""
    try:
        content = from_json(response.content)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def check_key(key: str) -> str:
    """Raises RemoteError for a key that cannot be sent; the message never shows the key."""
    if not (key.isascii() and key.isprintable()):
        raise RemoteError("the API key has line breaks or letters that no key has; set it again")
    return key


def _public_name(url: str) -> str:
    """The address without user and password, for messages. Raises RemoteError."""
    public = url.rpartition("@")[2]
    try:
        parts = httpx.URL(url)
        public = str(parts.copy_with(userinfo=b""))
        valid = parts.scheme in ("http", "https") and parts.host and not parts.query
    except (httpx.InvalidURL, ValueError):
        valid = False
    if not valid:
        public = public.partition("?")[0]
        raise RemoteError(f"{public!r} is no address of a server; write http://host:port")
    return public


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0
