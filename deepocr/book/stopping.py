"""Ctrl-C and SIGTERM end a run, whatever it is doing.

The event loop cancels the run, but a library call that never returns, with or without the
interpreter's lock, would block the loop for ever. So a second process, which runs this file as a
program, is notified of each signal too, by the part of Python's handler that needs no lock
(`signal.set_wakeup_fd`), and kills the run if the loop does not respond.
"""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)

ANSWER_S = 1.5
"""Seconds for the event loop to confirm that it saw the signal."""

END_S = 10.0
"""Seconds from then on for the process to end."""

_SEEN = b"\xff"

STOPPED = "stopped; finished pages are kept. The same command goes on from there."


@contextmanager
def cancel_on_signals() -> Iterator[None]:
    """Within the block, a signal cancels the task that entered it. On Windows only Ctrl-C does,
    through asyncio alone: a process that hangs has to be ended with the task manager."""
    if sys.platform == "win32":
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    signaled = False
    theirs, ours = os.pipe()
    os.set_blocking(ours, False)
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__], stdin=theirs, start_new_session=True
    )
    os.close(theirs)

    def cancel() -> None:
        nonlocal signaled
        signaled = True
        with contextlib.suppress(OSError):  # somebody ended the guard
            os.write(ours, _SEEN)
        task.cancel()

    def handle(*_: object) -> None:
        loop.call_soon_threadsafe(cancel)

    before = [(number, signal.signal(number, handle)) for number in SIGNALS]
    signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before:
            signal.signal(number, handler)
        if not signaled:  # else the guard waits until this process ends: threads may hang
            os.close(ours)
            guard.wait()


def guard_parent() -> None:
    """Kill the parent if it does not react to a signal. Standard input carries the signals that the
    parent gets, and ends when the parent does."""
    parent = os.getppid()
    until_s: float | None = None
    left_s: float | None = None
    while select.select([0], [], [], left_s)[0]:
        told = os.read(0, 64)
        if not told:
            return
        if _SEEN in told:
            until_s = time.monotonic() + END_S
        elif until_s is None and not set(told).isdisjoint(SIGNALS):
            until_s = time.monotonic() + ANSWER_S
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
    os.kill(parent, signal.SIGKILL)
    sys.stderr.write(f"{STOPPED} (A page held the process, which had to be killed.)\n")


if __name__ == "__main__":
    guard_parent()
