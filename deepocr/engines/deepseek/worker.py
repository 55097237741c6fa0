"""The thread that owns the device: requests in, updates out to the loops of those who asked."""

import asyncio
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.page_in_batch import Failed, PageInBatch, Token, Update
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage
from deepocr.errors import EngineBroken, EngineError, reason

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Request:
    """A page on its way into the batch. `updates` is read by the loop that asked for the page."""

    prompt: Prompt
    page: PreparedPage
    max_new_tokens: int
    loop: asyncio.AbstractEventLoop
    updates: "asyncio.Queue[Update]"
    long_ban: bool = False


class Worker:
    """The thread that owns the device. Requests come in through `inbox`, updates go out to the
    loops of those who asked."""

    def __init__(self, reader: BatchedReader) -> None:
        self.reader = reader
        self.broken: EngineBroken | None = None
        # a request to take in, or to take out; None stops the thread
        self.inbox: queue.SimpleQueue[tuple[str, Request] | None] = queue.SimpleQueue()
        self._requests: dict[PageInBatch, Request] = {}
        self._readings: dict[Request, PageInBatch] = {}
        self.thread = threading.Thread(target=self._run, name="deepseek", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        """Step by step until told to stop; whoever still waits then is told."""
        end = EngineBroken("the engine was closed; make a new engine")
        try:
            with torch.inference_mode(), self.reader.runner.on_stream():
                while self._take_in():
                    self._deliver(self.reader.step())
        except EngineBroken as error:
            log.exception("the engine broke")
            end = error
        except Exception as error:  # a bug of ours: told to everyone who waits, now and later
            log.exception("the engine's worker stopped")
            end = EngineBroken(f"the engine broke and must be started again: {reason(error)}")
        finally:
            self.broken = end
            self._deliver([(reading, Failed(end)) for reading in list(self._requests)])
            self._refuse_the_rest(end)
            self.reader.vision.close()

    def _take_in(self) -> bool:
        """All that has come in; waits only when there is nothing to compute."""
        while True:
            try:
                item = self.inbox.get(block=self.reader.idle)
            except queue.Empty:
                return True
            if item is None:
                return False
            what, request = item
            if what == "read":
                self._add(request)
            elif reading := self._readings.get(request):
                self.reader.cancel(reading)
                self._forget(reading)

    def _add(self, request: Request) -> None:
        try:
            reading = self.reader.submit(
                request.prompt, request.page, request.max_new_tokens, long_ban=request.long_ban
            )
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            failure = EngineError(f"the page cannot be read; {reason(error)}")
            failure.__cause__ = error
            _call(request.loop, [(request, Failed(failure))])
            return
        self._requests[reading] = request
        self._readings[request] = reading

    def _forget(self, reading: PageInBatch) -> None:
        request = self._requests.pop(reading, None)
        if request is not None:
            del self._readings[request]

    def _deliver(self, updates: Iterable[tuple[PageInBatch, Update]]) -> None:
        """One call into each loop for all that a step brought."""
        by_loop = defaultdict[asyncio.AbstractEventLoop, list[tuple[Request, Update]]](list)
        for reading, update in updates:
            request = self._requests[reading]
            by_loop[request.loop].append((request, update))
            if not isinstance(update, Token):
                self._forget(reading)
        for loop, items in by_loop.items():
            _call(loop, items)

    def _refuse_the_rest(self, error: EngineBroken) -> None:
        while not self.inbox.empty():
            item = self.inbox.get()
            if item is not None and item[0] == "read":
                _call(item[1].loop, [(item[1], Failed(error))])


def _call(loop: asyncio.AbstractEventLoop, items: list[tuple[Request, Update]]) -> None:
    def put() -> None:
        for request, update in items:
            request.updates.put_nowait(update)

    try:
        loop.call_soon_threadsafe(put)
    except RuntimeError:
        # a closed loop has no reader left
        log.debug("a loop was closed before its pages were read")
