"""Many requests that wait for tasks, and one look at the store for all of them."""

import asyncio
import logging
import time
from collections import defaultdict
from typing import Any

from deepocr.service.state.records import FINAL, TaskProgress
from deepocr.service.state.store import Store, StoreUnavailableError

log = logging.getLogger(__name__)

LOOK_S = 0.1
WORKERS_S = 2.0


class Workers:
    """Who works, as of a moment ago: every submit asks."""

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


class Watcher:
    """`run` looks; `changed` and `final` wait. All in one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, int] = defaultdict(int)
        self._progress: dict[str, TaskProgress | None] = {}
        self._looked = asyncio.Condition()

    async def run(self) -> None:
        """Look at all tasks that somebody waits for, until canceled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._waiting:
                continue
            wanted = list(self._waiting)
            try:
                found = await asyncio.to_thread(self._store.progress, wanted)
            except StoreUnavailableError as error:
                log.warning("waiting requests wait on: %s", error)
                continue
            self._progress = {task_id: found.get(task_id) for task_id in wanted}
            async with self._looked:
                self._looked.notify_all()

    async def changed(
        self, task_id: str, known: TaskProgress, timeout_s: float
    ) -> TaskProgress | None:
        """The progress as soon as it is another than `known`, or as it is after the time.

        None when the task is gone.
        """
        self._waiting[task_id] += 1
        try:
            async with asyncio.timeout(timeout_s), self._looked:
                while self._progress.get(task_id, known) == known:
                    await self._looked.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting[task_id] -= 1
            if not self._waiting[task_id]:
                del self._waiting[task_id]
        return self._progress.get(task_id, known)

    async def final(self, task_id: str, timeout_s: float) -> TaskProgress | None:
        """The progress once the task is final, or as it is after the time."""
        progress: TaskProgress | None = TaskProgress("PENDING", 0)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while progress is not None and progress.state not in FINAL:
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                break
            progress = await self.changed(task_id, progress, left_s)
        return progress
