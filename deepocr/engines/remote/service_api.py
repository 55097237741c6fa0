"""This project's own HTTP service, through its task API: one task a page."""

import asyncio
import base64
import json

from deepocr.engines.remote.answers import (
    FAILED_TRIES,
    Abilities,
    Answer,
    TemporaryError,
    read_answer,
)
from deepocr.engines.remote.http import Http
from deepocr.errors import RemoteError
from deepocr.types import Job

API = "/api/v1/ocr"
WAIT_S = 30.0
"""How long the service may hold back an answer while nothing changes."""

RUNNING = frozenset({"PENDING", "STARTED"})


class TaskService:
    """One service. `timeout_s` is for a page, its waiting in the queue included."""

    def __init__(self, url: str, timeout_s: float, key: str = "") -> None:
        """`key` is an API key, where the service asks for one. Raises RemoteError for `url`."""
        headers = {"Authorization": f"Bearer {key}"} if key else None
        self._http = Http(url, timeout_s + WAIT_S, headers)
        self._timeout_s = timeout_s
        self.name = self._http.name
        self.abilities = Abilities()

    async def check(self, setup_timeout_s: float) -> None:  # noqa: ARG002 - it queues at once
        """Raises TemporaryError when it cannot be reached, RemoteError when it is no service."""
        response = await self._http.send("GET", "/openapi.json")
        paths: object = None
        if response.status_code == 200:
            try:
                paths = self._http.json(response).get("paths")
            except TemporaryError:
                paths = None
        if not isinstance(paths, dict) or f"{API}/process" not in paths:
            raise RemoteError(f"{self.name} is no OCR service: it has no {API}/process")

    async def is_healthy(self) -> bool:
        """Whether it still is what it was."""
        try:
            await self.check(0)
        except RemoteError:
            return False
        return True

    async def predict(self, job: Job, image_url: str) -> Answer:
        """Read a page; whatever ends the wait, the task is deleted there."""
        response = await self._http.send(
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
        self._http.check_status(response)
        task = str(self._http.json(response).get("task_id"))
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._wait(task)
                page = await self._http.send("GET", f"{API}/results/{task}/pages/1")
        except TimeoutError as error:
            raise TemporaryError(f"{self.name} took more than {self._timeout_s:.0f} s") from error
        finally:
            await asyncio.shield(self._delete(task))
        self._http.check_status(page)
        answer = json.dumps({"pages": [self._http.json(page)]})
        return read_answer(answer, self.abilities, self.name)

    async def close(self) -> None:
        await self._http.close()

    async def _wait(self, task: str) -> None:
        """Until the task is final. Raises TemporaryError when it failed."""
        query = {"wait_s": WAIT_S, "include_result": "false"}
        while True:
            response = await self._http.send("GET", f"{API}/results/{task}", params=query)
            self._http.check_status(response)
            state = self._http.json(response)
            if state.get("status") in RUNNING:
                continue
            if state.get("status") == "SUCCESS":
                return
            reason = state.get("error") or state.get("status")
            raise TemporaryError(f"{self.name}: {reason}", max_tries=FAILED_TRIES)

    async def _delete(self, task: str) -> None:
        try:
            await self._http.send("DELETE", f"{API}/results/{task}")
        except RemoteError:
            # it is deleted there in time
            return
