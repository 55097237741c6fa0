"""Processes for work that would hold the interpreter's lock for long."""

import asyncio
import logging
import os
import resource
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from deepocr.errors import DeepOCRError

log = logging.getLogger(__name__)

MEMORY_BYTES = 2 << 30
"""Memory limit of a helper in bytes; allocations beyond it fail."""

NICENESS = 5
"""Small requests come first."""

MAX_LOGGED = 20

A = TypeVarTuple("A")
R = TypeVar("R")


class HelperFailed(DeepOCRError):
    """The work took too long or too much memory, and its process was ended."""


class Helpers:
    """Up to `count` processes, started when they are needed. Of one event loop."""

    def __init__(self, count: int) -> None:
        self._turns = CapacityLimiter(count)

    async def run(self, timeout_s: float, work: Callable[[*A], R], *args: *A) -> R:
        """`work` is a function of a module; it, `args` and the answer are pickled.

        Raises HelperFailed, and what `work` raises. Waiting for a process is not counted.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(timeout_s):
                    answer, told = await to_process.run_sync(
                        _limited, work, args, cancellable=True, limiter=CapacityLimiter(1)
                    )
            except TimeoutError as error:
                raise HelperFailed(f"it took more than {timeout_s:g} s") from error
            except BrokenWorkerProcess as error:
                raise HelperFailed("its process ended") from error
        for text in told:
            log.warning("%s", text)
        return answer


class _Told(logging.Handler):
    """Sends log records back with the answer: nobody reads a helper's standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.texts) < MAX_LOGGED:
            self.texts.append(self.format(record))


def _limited(work: Callable[[*A], R], args: tuple[*A]) -> tuple[R, list[str]]:
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, most))
    # a pipe that nobody reads would block whoever writes much into it
    os.dup2(sys.stdout.fileno(), 2)
    told = _Told()
    logging.getLogger().handlers = [told]
    try:
        return work(*args), told.texts
    except MemoryError as error:
        raise HelperFailed(f"it took more than {MEMORY_BYTES:,} bytes of memory") from error
    except Exception as error:
        # an exception loses its traceback when it is pickled, but keeps its notes
        error.add_note(traceback.format_exc())
        raise
