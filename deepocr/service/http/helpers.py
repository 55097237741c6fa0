"""Work that would keep the interpreter's lock for long, in processes of its own."""

import asyncio
import os
import resource
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from deepocr.errors import DeepOCRError

MEMORY_BYTES = 2 << 30
"""Beyond this an allocation of a helper fails."""

NICENESS = 5
"""Who asks for little comes first."""

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
                    return await to_process.run_sync(
                        _limited, work, args, cancellable=True, limiter=CapacityLimiter(1)
                    )
            except TimeoutError as error:
                raise HelperFailed(f"it took more than {timeout_s:g} s") from error
            except BrokenWorkerProcess as error:
                raise HelperFailed("its process ended") from error


def _limited(work: Callable[[*A], R], args: tuple[*A]) -> R:
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, most))
    try:
        return work(*args)
    except MemoryError as error:
        raise HelperFailed(f"it took more than {MEMORY_BYTES:,} bytes of memory") from error
