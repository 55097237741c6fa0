"""A Cog server: `POST /predictions` with a data URL, one page a prediction.

Statuses and answers as coglet 0.23 gives them: 409 when all slots are busy (and for ever after its
worker has crashed), 503 before and after a failed setup, and HTTP 200 with `"status": "failed"`
for an error in the predictor. Closing the connection cancels the prediction.
"""

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

import httpx

from deepocr.engines.remote.answers import (
    Abilities,
    Answer,
    TemporaryError,
    abilities_of,
    inputs_for,
    read_answer,
)
from deepocr.errors import EngineError, RemoteError
from deepocr.types import Job

log = logging.getLogger(__name__)

HEALTHY = frozenset({"READY", "BUSY"})
STATUSES = frozenset({"UNKNOWN", "STARTING", "SETUP_FAILED", "DEFUNCT", "UNHEALTHY"}) | HEALTHY
CONNECT_TIMEOUT_S = 10.0
SETUP_POLL_S = 1.0
FAILED_TRIES = 2
"""A prediction that failed is tried once more: mostly it fails for the page's sake."""


class CogServer:
    """One server. `timeout_s` is how long an answer may take."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises RemoteError when `url` is no http address."""
        self.name = url.rstrip("/")
        if not self.name.startswith(("http://", "https://")):
            raise RemoteError(f"{url!r} is no address of a server; write http://host:port")
        self.abilities = Abilities()
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        no_limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        # the environment's proxies are not for a server that was named on purpose
        self._client = httpx.AsyncClient(timeout=timeout, limits=no_limits, trust_env=False)

    async def check(self, setup_timeout_s: float) -> None:
        """Wait for its setup, and learn what it can do.

        Raises TemporaryError when it cannot be reached, RemoteError when it is something else or
        its setup failed.
        """
        deadline_s = time.monotonic() + setup_timeout_s
        while (status := await self._health()) == "STARTING":
            if time.monotonic() > deadline_s:
                raise RemoteError(f"{self.name} is still starting after {setup_timeout_s:.0f} s")
            await asyncio.sleep(SETUP_POLL_S)
        if status not in HEALTHY:
            raise RemoteError(f"{self.name} is {status}; look at its log and start it again")
        response = await self._send("GET", "/openapi.json")
        if response.status_code == 503:
            log.warning("%s shows no schema; its inputs are taken on trust", self.name)
            return
        self.abilities = abilities_of(self._json(response), self.name)

    async def is_healthy(self) -> bool:
        """Whether it works, busy or not."""
        try:
            return await self._health() in HEALTHY
        except RemoteError:
            return False

    async def predict(self, job: Job, image_url: str) -> Answer:
        """Read a page. Raises TemporaryError, EngineError (the page failed) or RemoteError."""
        inputs = inputs_for(job, image_url, self.abilities)
        response = await self._send("POST", "/predictions", {"input": inputs})
        self._check_status(response)
        prediction = self._json(response)
        match prediction.get("status"):
            case "succeeded":
                answer = read_answer(prediction.get("output"), self.abilities, self.name)
                return replace(answer, seconds=_server_seconds(prediction))
            case "failed" | "canceled" as status:
                reason = str(prediction.get("error") or status)
                if "worker crashed" in reason.lower():
                    raise TemporaryError(f"{self.name}: {reason}", dead=True)
                raise TemporaryError(reason, max_tries=FAILED_TRIES)
            case status:
                raise TemporaryError(f"{self.name} answered with status {status!r}")

    async def close(self) -> None:
        await self._client.aclose()

    async def _health(self) -> str:
        response = await self._send("GET", "/health-check")
        status = None
        if response.status_code == 200:
            try:
                status = self._json(response).get("status")
            except TemporaryError:
                status = None
        if status not in STATUSES:
            raise RemoteError(
                f"{self.name} is no Cog predictor: /health-check answers {response.status_code} "
                f"{response.text[:60]!r}; check the address"
            )
        return str(status)

    async def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return await self._client.request(method, self.name + path, json=body)
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

    def _check_status(self, response: httpx.Response) -> None:
        code = response.status_code
        if code in (200, 201):
            return
        what = f"{self.name} answered {code} {response.text[:200]!r}"
        if code in (409, 429):
            raise TemporaryError(what, busy=True, retry_after_s=_retry_after_s(response))
        if code >= 500:
            raise TemporaryError(what, retry_after_s=_retry_after_s(response))
        raise EngineError(f"{what}; the request was refused")

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            content = response.json()
        except ValueError as error:
            raise TemporaryError(f"{self.name} answered what is no JSON ({error})") from error
        if not isinstance(content, dict):
            raise TemporaryError(f"{self.name} answered {type(content).__name__}, not an object")
        return content


def _server_seconds(prediction: dict[str, Any]) -> dict[str, float]:
    metrics = prediction.get("metrics")
    seconds = metrics.get("predict_time") if isinstance(metrics, dict) else None
    return {"server": float(seconds)} if isinstance(seconds, int | float) else {}


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0
