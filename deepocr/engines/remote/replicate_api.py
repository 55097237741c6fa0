"""Replicate's hosted API, through its official client."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import httpx
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.prediction import Prediction

from deepocr.engines.remote.answers import (
    FAILED_TRIES,
    Abilities,
    Answer,
    TemporaryError,
    abilities_of,
    inputs_for,
    read_answer,
)
from deepocr.errors import EngineError, RemoteError
from deepocr.types import Job

T = TypeVar("T")

ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})


class ReplicateModel:
    """One model, `owner/name` or `owner/name:version`. `timeout_s` is for a whole prediction,
    its waiting and a cold start included."""

    def __init__(
        self, model: str, token: str, timeout_s: float, base_url: str | None = None
    ) -> None:
        """Raises RemoteError for a name of another form or an empty token."""
        if not token:
            raise RemoteError("REPLICATE_API_TOKEN is not set; get one from your Replicate account")
        path, _, version = model.partition(":")
        if len(path.split("/")) != 2 or not all(path.split("/")):
            raise RemoteError(f"{model!r} is no model; write owner/name or owner/name:version")
        self.name = f"replicate {model}"
        self.abilities = Abilities()
        self._model, self._version, self._timeout_s = path, version, timeout_s
        self._client = Client(api_token=token, base_url=base_url)

    async def check(self, setup_timeout_s: float) -> None:  # noqa: ARG002 - models are always up
        """Look the model up. Raises TemporaryError or RemoteError."""
        try:
            model = await self._call(self._client.models.async_get(self._model))
        except EngineError as error:
            raise RemoteError(f"{self.name} cannot be used: {error}") from error
        latest = model.latest_version
        if self._version and (latest is None or latest.id != self._version):
            latest = await self._call(model.versions.async_get(self._version))
        if latest is not None:
            self._version = latest.id
            self.abilities = abilities_of(latest.openapi_schema, self.name)

    async def is_healthy(self) -> bool:
        """Replicate queues what it cannot run at once."""
        return True

    async def predict(self, job: Job, image_url: str) -> Answer:
        """Read a page; canceled here it is canceled there. Raises TemporaryError or EngineError."""
        inputs = inputs_for(job, image_url, self.abilities)
        predictions = self._client.predictions
        if self._version:
            creating = predictions.async_create(version=self._version, input=inputs)
        else:
            creating = predictions.async_create(model=self._model, input=inputs)
        prediction = await self._call(creating)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._wait(prediction)
        except TimeoutError as error:
            await self._cancel(prediction)
            raise TemporaryError(f"{self.name} took more than {self._timeout_s:.0f} s") from error
        except asyncio.CancelledError:
            await asyncio.shield(self._cancel(prediction))
            raise
        if prediction.status != "succeeded":
            reason = str(prediction.error or prediction.status)
            raise TemporaryError(f"{self.name}: {reason}", max_tries=FAILED_TRIES)
        return read_answer(prediction.output, self.abilities, self.name)

    async def close(self) -> None:
        """The client keeps nothing open that needs an end."""

    async def _wait(self, prediction: Prediction) -> None:
        while prediction.status not in ENDED:
            await asyncio.sleep(self._client.poll_interval)
            try:
                await self._call(prediction.async_reload())
            except TemporaryError:
                # the prediction runs on; only looking at it failed
                continue

    async def _cancel(self, prediction: Prediction) -> None:
        try:
            await self._call(prediction.async_cancel())
        except RemoteError:
            return

    async def _call(self, awaitable: Awaitable[T]) -> T:
        try:
            return await awaitable
        except ReplicateError as error:
            code = error.status or 0
            what = f"{self.name} answered {code}: {error.detail or error.title}"
            if code == 429 or code >= 500:
                raise TemporaryError(what, busy=code == 429) from error
            raise EngineError(what) from error
        except httpx.TransportError as error:
            raise TemporaryError(f"{self.name} cannot be reached ({error})", dead=True) from error
