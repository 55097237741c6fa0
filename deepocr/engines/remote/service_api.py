"""This project's own HTTP service, through its task API: one task a page."""

import asyncio
import base64
import json
import re
import time

from deepocr.engines.remote.answers import (
    FAILED_TRIES,
    Abilities,
    Answer,
    TemporaryError,
    dig,
    read_answer,
    said,
)
from deepocr.engines.remote.http import Http, json_object
from deepocr.errors import EngineError, RemoteError
from deepocr.types import Job

API = "/api/v1/ocr"
WAIT_S = 30.0
"""How long the service may hold an answer while nothing changes (long polling)."""

POLL_S = 0.2
"""Pause between two polls of a task, in case the service does not hold its answers."""


class TaskService:
    """One service. `timeout_s` is for a page, its waiting in the queue included."""

    def __init__(self, url: str, timeout_s: float, key: str = "") -> None:
        """`key` is an API key, where the service asks for one. Raises RemoteError for either."""
        self._http = Http(url, timeout_s + WAIT_S, key)
        self._timeout_s = timeout_s
        self.name = self._http.name
        self.abilities = Abilities()

    async def check(self, setup_timeout_s: float) -> None:  # noqa: ARG002 - it queues at once
        """Raises TemporaryError when it cannot be reached, RemoteError when it is no service."""
        response = await self._http.send("GET", "/openapi.json")
        if f"{API}/process" not in dig(json_object(response), "paths"):
            raise RemoteError(f"{self.name} is no OCR service: it has no {API}/process")

    async def predict(self, job: Job, image_url: str) -> Answer:
        """Read a page. However the wait ends, the task is deleted on the service.

        Raises TemporaryError, EngineError (the page failed) or EngineBroken.
        """
        created = await self._http.ask(
            "POST",
            f"{API}/process",
            data={
                "task": job.task,
                "preset": job.preset,
                "reference_text": job.reference_text,
                "max_new_tokens": str(job.max_new_tokens),
            },
            files={"file": ("page.png", base64.b64decode(image_url.partition(",")[2]))},
        )
        task = created.get("task_id")
        if not isinstance(task, str) or not re.fullmatch(r"[\w-]{1,100}", task, re.ASCII):
            raise TemporaryError(f"{self.name} gave no task that can be asked for", FAILED_TRIES)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._wait(task)
                page = await self._http.ask("GET", f"{API}/results/{task}/pages/1")
        except TimeoutError as error:
            raise TemporaryError(f"{self.name} took more than {self._timeout_s:.0f} s") from error
        finally:
            await asyncio.shield(self._delete(task))
        return read_answer(json.dumps({"pages": [page]}), self.abilities, self.name)

    async def close(self) -> None:
        await self._http.close()

    async def _wait(self, task: str) -> None:
        """Wait until the task is final. Raises TemporaryError when it failed."""
        query = {"wait_s": WAIT_S, "include_result": "false"}
        while True:
            asked_s = time.monotonic()
            state = await self._http.ask("GET", f"{API}/results/{task}", params=query)
            match state.get("status"):
                case "PENDING" | "STARTED":
                    await asyncio.sleep(asked_s + POLL_S - time.monotonic())
                case "SUCCESS":
                    return
                case status:
                    reason = said(state.get("error") or status)
                    raise TemporaryError(f"{self.name}: {reason}", FAILED_TRIES)

    async def _delete(self, task: str) -> None:
        try:
            await self._http.send("DELETE", f"{API}/results/{task}")
        except EngineError:
            # the service deletes it when it expires
            return
