"""Which pages may be read at the same time in one worker process.

Pages that a lost worker was reading are suspected. They are read apart from the others, half as
many at once as were lost together: each loss halves the suspects, until the page at fault is alone.
"""

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """Lets in either any number of unsuspected pages, or a few suspected ones."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._others = 0
        self._suspects: list[int] = []
        self._suspects_waiting = 0

    @contextlib.contextmanager
    def enter(self, most: int | None) -> Iterator[None]:
        """Wait until there is room. `most` is how many suspected pages may be read at once; None
        for an unsuspected page."""
        with self._changed:
            if most is None:
                # suspects go first, or they would wait forever
                self._changed.wait_for(lambda: not self._suspects and not self._suspects_waiting)
                self._others += 1
            else:
                self._suspects_waiting += 1
                self._changed.wait_for(lambda: self._has_room(most))
                self._suspects_waiting -= 1
                self._suspects.append(most)
        try:
            yield
        finally:
            with self._changed:
                if most is None:
                    self._others -= 1
                else:
                    self._suspects.remove(most)
                self._changed.notify_all()

    def _has_room(self, most: int) -> bool:
        return not self._others and len(self._suspects) < min([most, *self._suspects])
