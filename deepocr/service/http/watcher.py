"""Many requests wait for tasks: the store signals a change, and one query serves all of them."""

import asyncio
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from deepocr.service.state.records import FINAL, TaskProgress
from deepocr.service.state.store import Store, StoreUnavailableError

log = logging.getLogger(__name__)

TICK_S = 1.0
REST_S = 0.05
"""Pause between queries, so that a busy service does not query without a break."""

WORKERS_S = 2.0


class Workers:
    """The current workers, cached for a moment: every submit asks for them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, dict[str, Any]] = {}
        self._until_s = 0.0

    def known(self) -> dict[str, dict[str, Any]]:
        """Blocking; raises StoreUnavailableError."""
        now_s = time.monotonic()
        if now_s >= self._until_s:
            # two threads may both ask; the later answer stays
            self._known = self._store.workers()
            self._until_s = now_s + WORKERS_S
        return self._known


@dataclass(eq=False)
class Waiter:
    """A request that waits until a task differs from what is `known`."""

    task_id: str
    known: TaskProgress
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher:
    """`run` looks, in a thread of its own; `changed` and `final` wait, in the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters: set[Waiter] = set()

    def run(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        """Look at the tasks that somebody waits for whenever something changed. Blocking."""
        while not stop.wait(REST_S):
            try:
                self._store.wait_for_change(TICK_S)
                waiters = list(self._waiters)
                found = self._store.progress({waiter.task_id for waiter in waiters})
            except StoreUnavailableError as error:
                log.warning("waiting requests wait on: %s", error)
                stop.wait(TICK_S)
                continue
            for waiter in waiters:
                if found.get(waiter.task_id) != waiter.known and not stop.is_set():
                    loop.call_soon_threadsafe(waiter.changed.set)

    async def changed(
        self, task_id: str, known: TaskProgress, timeout_s: float
    ) -> TaskProgress | None:
        """The progress as soon as it differs from `known`, or the current one after the timeout.

        None when the task is gone. Raises StoreUnavailableError.
        """
        waiter = Waiter(task_id, known)
        self._waiters.add(waiter)
        progress: TaskProgress | None = known
        try:
            async with asyncio.timeout(timeout_s):
                # the first query catches what changed before this request began to wait
                while progress == known:
                    found = await asyncio.to_thread(self._store.progress, [task_id])
                    progress = found.get(task_id)
                    if progress == known:
                        await waiter.changed.wait()
                        waiter.changed.clear()
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)
        return progress

    async def final(self, task_id: str, timeout_s: float) -> TaskProgress | None:
        """The progress once the task is final, or the current one after the timeout."""
        progress: TaskProgress | None = TaskProgress("PENDING", 0)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while progress is not None and progress.state not in FINAL:
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                break
            progress = await self.changed(task_id, progress, left_s)
        return progress
