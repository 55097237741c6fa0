"""Threads that work for several pages at once, for the oldest page first.

Done in the order of asking, a page's last lines would wait until the next pages were looked at, and
all pages in work would be finished late and together.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, PriorityQueue
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


@dataclass(order=True, frozen=True)
class _Work:
    """Compared by the page's turn, then by the order of asking."""

    turn: int
    number: int
    function: Callable[[], Any] = field(compare=False)
    future: Future[Any] = field(compare=False)


class Crew:
    """An executor whose work has a turn; the lowest goes first."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="ppocr")
        self._waiting: PriorityQueue[_Work] = PriorityQueue()
        self._numbers = itertools.count()

    def submit(
        self,
        turn: int,
        function: Callable[Given, Made],
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> Future[Made]:
        """Raises RuntimeError after close()."""
        future: Future[Made] = Future()
        work = _Work(turn, next(self._numbers), lambda: function(*args, **kwargs), future)
        self._waiting.put(work)
        # a thread for each piece of work, which takes whatever is first by then
        self._threads.submit(self._do_first)
        return future

    def close(self) -> None:
        """Cancel what waits; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while True:
            try:
                self._waiting.get_nowait().future.cancel()
            except Empty:
                return

    def _do_first(self) -> None:
        try:
            work = self._waiting.get_nowait()
        except Empty:
            # close() was faster
            return
        if not work.future.set_running_or_notify_cancel():
            return
        try:
            made = work.function()
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            work.future.set_exception(error)
        else:
            work.future.set_result(made)
