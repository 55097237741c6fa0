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
    SENSELESS_TRIES,
    Abilities,
    Answer,
    TemporaryError,
    abilities_of,
    inputs_for,
    read_answer,
    said,
)
from deepocr.engines.remote.http import BoundedTransport, check_key, refusal, transport_trouble
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
        """Raises RemoteError for a malformed name or token."""
        if not token:
            raise RemoteError("REPLICATE_API_TOKEN is not set; get one from your Replicate account")
        path, _, version = model.partition(":")
        if len(path.split("/")) != 2 or not all(path.split("/")):
            raise RemoteError(f"{model!r} is no model; write owner/name or owner/name:version")
        self.name = f"replicate {model}"
        self.abilities = Abilities()
        self._model, self._version, self._timeout_s = path, version, timeout_s
        self._client = Client(check_key(token), base_url=base_url, transport=BoundedTransport())

    async def check(self, setup_timeout_s: float) -> None:  # noqa: ARG002 - models are always up
        """Look the model up. Raises TemporaryError or RemoteError."""
        try:
            model = await self._call(self._client.models.async_get(self._model))
            latest = model.latest_version
            if self._version and (latest is None or latest.id != self._version):
                latest = await self._call(model.versions.async_get(self._version))
        except RemoteError:
            raise
        except EngineError as error:
            raise RemoteError(f"{self.name} cannot be used: {error}") from error
        if latest is not None:
            self._version = latest.id
            self.abilities = abilities_of(latest.openapi_schema, self.name)

    async def predict(self, job: Job, image_url: str) -> Answer:
        """Read a page. Canceling the call cancels the prediction.

        Raises TemporaryError, EngineError (the page failed) or EngineBroken.
        """
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
            reason = said(prediction.error or prediction.status)
            raise TemporaryError(f"{self.name}: {reason}", FAILED_TRIES)
        return read_answer(prediction.output, self.abilities, self.name)

    async def close(self) -> None:
        """Nothing to do: the client keeps no connection open."""

    async def _wait(self, prediction: Prediction) -> None:
        while prediction.status not in ENDED:
            await asyncio.sleep(self._client.poll_interval)
            try:
                await self._call(prediction.async_reload())
            except TemporaryError as error:
                if error.max_tries == SENSELESS_TRIES:
                    raise
                # the prediction runs on; only looking at it failed

    async def _cancel(self, prediction: Prediction) -> None:
        try:
            await self._call(prediction.async_cancel())
        except EngineError:
            return

    async def _call(self, awaitable: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await awaitable
        except ReplicateError as error:
            code = error.status or 0
            reason = said(error.detail or error.title)
            raise refusal(f"{self.name} answered {code}: {reason}", code) from error
        except (TimeoutError, httpx.TransportError) as error:
            raise transport_trouble(self.name, error) from error
        except Exception as error:  # the client does not validate the answer's shape
            raise TemporaryError(
                f"{self.name} answered what cannot be understood", SENSELESS_TRIES
            ) from error
