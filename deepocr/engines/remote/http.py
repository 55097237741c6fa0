"""Requests to one server, and what can go wrong with them told apart."""

from typing import Any

import httpx

from deepocr.engines.remote.answers import TemporaryError
from deepocr.errors import EngineError, RemoteError

CONNECT_TIMEOUT_S = 10.0


class Http:
    """One server. `timeout_s` is how long an answer may take."""

    def __init__(self, url: str, timeout_s: float, headers: dict[str, str] | None = None) -> None:
        """Raises RemoteError when `url` is no http address."""
        self.name = url.rstrip("/")
        if not self.name.startswith(("http://", "https://")):
            raise RemoteError(f"{url!r} is no address of a server; write http://host:port")
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            # the environment's proxies are not for a server that was named on purpose
            trust_env=False,
        )

    async def send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Raises TemporaryError when no whole answer comes."""
        try:
            return await self._client.request(method, self.name + path, **content)
        except httpx.TimeoutException as error:
            dead = isinstance(error, httpx.ConnectTimeout)
            kind = type(error).__name__
            raise TemporaryError(
                f"{self.name} did not answer in time ({kind})", dead=dead
            ) from error
        except httpx.ConnectError as error:
            raise TemporaryError(f"{self.name} cannot be reached ({error})", dead=True) from error
        except httpx.TransportError as error:
            raise TemporaryError(f"{self.name} broke off its answer ({error})") from error
        except httpx.InvalidURL as error:
            raise RemoteError(f"{self.name} is no address of a server: {error}") from error

    def check_status(self, response: httpx.Response) -> None:
        """Raises TemporaryError for what may be asked again, EngineError for what may not."""
        code = response.status_code
        if code in (200, 201, 202, 204):
            return
        what = f"{self.name} answered {code} {response.text[:200]!r}"
        if code in (409, 429):
            raise TemporaryError(what, busy=True, retry_after_s=_retry_after_s(response))
        if code >= 500:
            raise TemporaryError(what, retry_after_s=_retry_after_s(response))
        raise EngineError(f"{what}; the request was refused")

    def json(self, response: httpx.Response) -> dict[str, Any]:
        """The answer as an object. Raises TemporaryError when it is none."""
        try:
            content = response.json()
        except ValueError as error:
            raise TemporaryError(f"{self.name} answered what is no JSON ({error})") from error
        if not isinstance(content, dict):
            raise TemporaryError(f"{self.name} answered {type(content).__name__}, not an object")
        return content

    async def close(self) -> None:
        await self._client.aclose()


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0
