"""Who may read beside whom in one worker process.

A page whose reading ended without notice before may have killed the worker that read it. It is
read alone, so that its next crash takes no other page's tries with it.
"""

import contextlib
import threading
import time
from collections.abc import Iterator


class GateBusyError(Exception):
    """The others did not leave in time."""


class Gate:
    """Many at once, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False
        self._waiting_alone = 0

    @contextlib.contextmanager
    def enter(self, *, alone: bool, timeout_s: float) -> Iterator[None]:
        """Raises GateBusyError when there was no way in for `timeout_s`."""
        self._take(alone, timeout_s)
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = False
                self._changed.notify_all()

    def _take(self, alone: bool, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._waiting_alone += alone
            try:
                while not self._free(alone):
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        raise GateBusyError
                self._inside += 1
                self._alone = alone
            finally:
                self._waiting_alone -= alone
                self._changed.notify_all()

    def _free(self, alone: bool) -> bool:
        if alone:
            return self._inside == 0
        # those who want to be alone go first, or they would wait for ever
        return not self._alone and self._waiting_alone == 0
