"""An engine for tests: says what it is told, at the pace it is told, and fails as it is told.

A script is JSON: `{"default": REPLY, "pages": {"3": REPLY}}`. A REPLY may have
`text` (with `{page}`, `{task}` and `{preset}` filled in), `delay_s` spread over the text,
`finish_reason`, `error`, which fails the page after the delay, and `fault`, one of FAULTS, which
then happens instead of the end; `times` limits it to the first so many readings, over all
processes that use the script. With `rate`, so large a share of all pages gets one of the replies
`sometimes` at random. `block_s` keeps the whole process busy first, and `crash` ends it.
"""

import asyncio
import ctypes
import os
import random
import signal
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Literal, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from deepocr.engines.base import Capabilities, check_task
from deepocr.errors import EngineBroken, EngineError, EngineUnavailable
from deepocr.settings import Settings
from deepocr.tasks import TASKS
from deepocr.types import Event, FinishReason, Job, Page, PageDone, TextDelta, Usage

PIECES = 8
"""Into how many deltas a text is cut."""

HANG_S = 3600

Fault = Literal[
    "index", "key", "runtime", "memory", "unicode", "recursion", "os", "foreign",
    "broken", "exit", "kill", "hang", "block", "freeze", "endless",
]  # fmt: skip
"""The first row are exceptions of these kinds, `foreign` one of a library's own class, `memory`
after `memory_mb` were taken. `broken` breaks the engine for good; `exit` and `kill` end the
process; `hang` can be canceled, `block` holds the event loop, `freeze` the interpreter's lock as
well; `endless` writes until it is stopped."""


class Reply(BaseModel):
    """What to say about a page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = "page {page}, {task}, {preset}"
    delay_s: float = 0.0
    finish_reason: FinishReason = "stop"
    error: str | None = None
    fault: Fault | None = None
    times: int | None = None
    hang_s: int = HANG_S
    memory_mb: int = 64
    block_s: float = 0.0
    crash: bool = False


class Script(BaseModel):
    """Replies by page number, and one for all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Reply = Reply()
    pages: dict[int, Reply] = {}
    rate: float = 0.0
    sometimes: tuple[Reply, ...] = ()
    concurrency: int = 16
    notes: dict[str, str] = {}
    start_s: dict[str, float] = {}

    def reply(self, number: int) -> Reply:
        if self.sometimes and random.random() < self.rate:
            return random.choice(self.sometimes)
        return self.pages.get(number, self.default)


class ScriptedEngine:
    """Keeps count of pages started, finished and abandoned, for tests to look at.

    `counts` is where readings with `times` are counted; None counts within this engine.
    """

    def __init__(self, script: Script, counts: Path | None = None) -> None:
        self.script = script
        self.broken: EngineBroken | None = None
        self.started = 0
        self.finished = 0
        self.abandoned = 0
        self._counts = counts
        self._readings: dict[int, int] = {}
        self.capabilities = Capabilities(
            engine="scripted",
            tasks=frozenset(TASKS),
            boxes=True,
            live_text=True,
            confidence=True,
            concurrency=script.concurrency,
            notes=script.notes,
            start_s=script.start_s,
        )

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        check_task(self.capabilities, job)
        self._check_whole()
        reply = self.script.reply(page.number)
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
                self._check_whole()
                yield TextDelta(text[start : start + step], (0.9,))
            if reply.fault and self._happens(page.number, reply):
                if reply.fault == "hang":
                    await asyncio.sleep(reply.hang_s)
                while reply.fault == "endless":
                    await asyncio.sleep(0)
                    yield TextDelta("and so on " * 100, (0.9,))
                self._fail(reply)
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

    def _check_whole(self) -> None:
        if self.broken:
            raise EngineBroken(str(self.broken))

    def _happens(self, number: int, reply: Reply) -> bool:
        """Whether the fault happens in this reading of the page."""
        if reply.times is None:
            return True
        if self._counts is None:
            self._readings[number] = self._readings.get(number, 0) + 1
            return self._readings[number] <= reply.times
        # an append is one step for the kernel, whatever processes do it at once
        with self._counts.with_name(f"{self._counts.name}.page{number}").open("ab") as file:
            file.write(b".")
            file.flush()
            return file.tell() <= reply.times

    def _fail(self, reply: Reply) -> None:
        if reply.fault == "broken":
            self.broken = EngineBroken("the scripted engine broke")
            self._check_whole()
        if (fail := FAULTS.get(str(reply.fault))) is not None:
            fail(reply)


class ForeignError(Exception):
    """Like a library's own: derived from nothing that is known."""


def _raise(error: Exception) -> Callable[[Reply], NoReturn]:
    def fail(_reply: Reply) -> NoReturn:
        raise error.with_traceback(None)

    return fail


def _fill_memory(reply: Reply) -> NoReturn:
    taken = [b"\xff" * (1 << 20) for _ in range(reply.memory_mb)]
    raise MemoryError(f"no more after {len(taken)} MB")


def _freeze(reply: Reply) -> None:
    """Waits for a lock that it holds itself: unlike sleep, no signal ends that."""
    libc = ctypes.PyDLL(None)  # which does not let go of the interpreter's lock
    mutex = ctypes.create_string_buffer(64)
    until = (ctypes.c_long * 2)(int(time.time()) + reply.hang_s, 0)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_timedlock(mutex, until)


def _recurse(reply: Reply) -> None:
    _recurse(reply)


FAULTS: Mapping[str, Callable[[Reply], object]] = {
    "index": _raise(IndexError("list index out of range")),
    "key": _raise(KeyError("a key")),
    "runtime": _raise(RuntimeError("a step failed")),
    "memory": _fill_memory,
    "unicode": lambda _reply: "\udc80".encode(),
    "recursion": _recurse,
    "os": _raise(OSError(5, "Input/output error", "/srv/secret/page.bin")),
    "foreign": _raise(ForeignError("/build/opencv/resize.cpp:4152: error: (-215) inv_scale_x > 0")),
    "exit": lambda _reply: os._exit(134),
    "kill": lambda _reply: os.kill(os.getpid(), signal.SIGKILL),
    "block": lambda reply: time.sleep(reply.hang_s),
    "freeze": _freeze,
}


def create(settings: Settings) -> ScriptedEngine:
    """The engine with the script that DEEPOCR_SCRIPT names, or one reply for every page."""
    if settings.script is None:
        return ScriptedEngine(Script())
    return ScriptedEngine(load_script(settings.script), settings.script)


def load_script(path: Path) -> Script:
    """Raises EngineUnavailable when the file cannot be read or understood."""
    try:
        return Script.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise EngineUnavailable(f"script {path} cannot be used: {error}") from error
