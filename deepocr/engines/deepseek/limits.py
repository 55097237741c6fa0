"""A limit that gives way when memory runs out, and comes back. No torch here."""

import logging
from typing import Any

log = logging.getLogger(__name__)

RECOVER_AFTER = 32
"""Steps that have to work under a lowered limit before it is doubled; twice as many after each time
that it had to be lowered."""

MAX_WAIT = 4096


class Limit:
    """An integer attribute of the object that heeds it; what it is now is the most it will be."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name
        self._most: int = getattr(owner, name)
        self._worked = 0
        self._wait = RECOVER_AFTER

    @property
    def now(self) -> int:
        found: int = getattr(self._owner, self._name)
        return found

    def _set(self, value: int) -> None:
        log.warning("%s is now %d, of %d", self._name, value, self._most)
        setattr(self._owner, self._name, value)
        self._worked = 0

    def halve(self, used: int | None = None) -> None:
        """Half of what was used when memory ran out, or half of what it is."""
        self._wait = min(2 * self._wait, MAX_WAIT)
        self._set(max(1, min(self.now, used or self.now) // 2))

    def worked(self) -> None:
        """A step under this limit came to its end."""
        if self.now >= self._most:
            return
        self._worked += 1
        if self._worked >= self._wait:
            self._set(min(self._most, 2 * self.now))
