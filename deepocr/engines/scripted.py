"""An engine for tests: says what it is told, at the pace it is told.

A script is JSON: `{"default": REPLY, "pages": {"3": REPLY}}`. A REPLY may have
`text` (with `{page}`, `{task}` and `{preset}` filled in), `delay_s` spread over the text,
`finish_reason`, and `error`, which fails the page after the delay. `block_s` keeps the whole
process busy first, as an engine that hangs does, and `crash` ends it, as a bad driver does.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deepocr.engines.base import Capabilities, check_task
from deepocr.errors import EngineError, EngineUnavailable
from deepocr.settings import Settings
from deepocr.tasks import TASKS
from deepocr.types import Event, FinishReason, Job, Page, PageDone, TextDelta, Usage

PIECES = 8
"""Into how many deltas a text is cut."""


class Reply(BaseModel):
    """What to say about a page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = "page {page}, {task}, {preset}"
    delay_s: float = 0.0
    finish_reason: FinishReason = "stop"
    error: str | None = None
    block_s: float = 0.0
    crash: bool = False


class Script(BaseModel):
    """Replies by page number, and one for all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Reply = Reply()
    pages: dict[int, Reply] = {}
    concurrency: int = 16


class ScriptedEngine:
    """Keeps count of pages started, finished and abandoned, for tests to look at."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.started = 0
        self.finished = 0
        self.abandoned = 0
        self.capabilities = Capabilities(
            engine="scripted",
            tasks=frozenset(TASKS),
            boxes=True,
            live_text=True,
            confidence=True,
            concurrency=script.concurrency,
        )

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        check_task(self.capabilities, job)
        reply = self.script.pages.get(page.number, self.script.default)
        text = reply.text
        for name, value in (
            ("page", str(page.number)),
            ("task", job.task),
            ("preset", job.preset),
        ):
            text = text.replace("{" + name + "}", value)
        step = max(1, -(-len(text) // PIECES))
        self.started += 1
        if reply.crash:
            os._exit(134)
        time.sleep(reply.block_s)
        ended = False
        try:
            for start in range(0, len(text), step):
                await asyncio.sleep(reply.delay_s / PIECES)
                yield TextDelta(text[start : start + step], (0.9,))
            ended = True
        finally:
            if ended:
                self.finished += 1
            else:
                self.abandoned += 1
        if reply.error is not None:
            raise EngineError(reply.error)
        yield PageDone(reply.finish_reason, Usage(output_tokens=len(text.split())))

    async def close(self) -> None:
        pass


def create(settings: Settings) -> ScriptedEngine:
    """The engine with the script that DEEPOCR_SCRIPT names, or one reply for every page."""
    if settings.script is None:
        return ScriptedEngine(Script())
    return ScriptedEngine(load_script(settings.script))


def load_script(path: Path) -> Script:
    """Raises EngineUnavailable when the file cannot be read or understood."""
    try:
        return Script.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise EngineUnavailable(f"script {path} cannot be used: {error}") from error
