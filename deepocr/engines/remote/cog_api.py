"""A Cog server: `POST /predictions` with a data URL, one page a prediction.

Statuses and answers as coglet 0.23 gives them: 409 when all slots are busy (and forever after its
worker has crashed), 503 before and after a failed setup, and HTTP 200 with `"status": "failed"`
for an error in the predictor. Closing the connection cancels the prediction.
"""

import asyncio
import logging
import time
from dataclasses import replace

from deepocr.engines.remote.answers import (
    FAILED_TRIES,
    Abilities,
    Answer,
    TemporaryError,
    abilities_of,
    inputs_for,
    read_answer,
    said,
    server_seconds,
)
from deepocr.engines.remote.http import Http, json_object, start_of
from deepocr.errors import RemoteError
from deepocr.types import Job

log = logging.getLogger(__name__)

HEALTHY = ("READY", "BUSY")
STATUSES = ("UNKNOWN", "STARTING", "SETUP_FAILED", "DEFUNCT", "UNHEALTHY", *HEALTHY)
SETUP_POLL_S = 1.0


class CogServer:
    """One server. `timeout_s` is how long an answer may take."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises RemoteError when `url` is no http address."""
        self._http = Http(url, timeout_s)
        self.name = self._http.name
        self.abilities = Abilities()

    async def check(self, setup_timeout_s: float) -> None:
        """Wait until the server is set up, and learn what it can do.

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
        response = await self._http.send("GET", "/openapi.json")
        if response.status_code == 503:
            log.warning("%s shows no schema; its inputs are taken on trust", self.name)
            return
        self.abilities = abilities_of(json_object(response), self.name)

    async def predict(self, job: Job, image_url: str) -> Answer:
        """Read a page. Raises TemporaryError, EngineError (the page failed) or EngineBroken."""
        inputs = inputs_for(job, image_url, self.abilities)
        prediction = await self._http.ask("POST", "/predictions", json={"input": inputs})
        match prediction.get("status"):
            case "succeeded":
                answer = read_answer(prediction.get("output"), self.abilities, self.name)
                return replace(answer, seconds=server_seconds(prediction.get("metrics")))
            case "failed" | "canceled" as status:
                reason = said(prediction.get("error")) or status
                if "worker crashed" in reason.lower():
                    raise TemporaryError(f"{self.name}: {reason}", dead=True)
                raise TemporaryError(reason, FAILED_TRIES)
            case status:
                raise TemporaryError(f"{self.name} answered with status {said(status, 40)!r}")

    async def close(self) -> None:
        await self._http.close()

    async def _health(self) -> str:
        response = await self._http.send("GET", "/health-check")
        status = (json_object(response) or {}).get("status")
        if response.status_code != 200 or status not in STATUSES:
            raise RemoteError(
                f"{self.name} is no Cog predictor: /health-check answers {response.status_code} "
                f"{start_of(response, 60)!r}; check the address"
            )
        return str(status)
