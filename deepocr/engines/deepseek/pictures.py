"""Pictures of the pages next in line: encoded together while the decoder goes on.

What fails is tried again with fewer pages until the page at fault is alone; that page fails.
"""

import logging
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Row
from concurrent.futures import Future, wait

from torch import Tensor

from deepocr.engines.deepseek.memory import is_out_of_memory
from deepocr.engines.deepseek.page_in_batch import PageInBatch, halves
from deepocr.engines.deepseek.vision import VisionBatcher

log = logging.getLogger(__name__)


class Pictures:
    """One group of pages at a time. Features and errors are taken in by `take_in`, on its thread;
    an error that is no want of memory goes to `check_device` first, which may raise."""

    def __init__(
        self,
        vision: VisionBatcher,
        *,
        failed: Callable[[PageInBatch, Exception], None],
        out_of_memory: Callable[[Row[PageInBatch], Exception], None],
        check_device: Callable[[Exception], None],
        worked: Callable[[], None] = lambda: None,
    ) -> None:
        self.vision = vision
        self._failed = failed
        self._out_of_memory = out_of_memory
        self._check_device = check_device
        self._worked = worked
        self._apart: deque[Row[PageInBatch]] = deque()
        self._running: tuple[Row[PageInBatch], Future[list[Tensor]]] | None = None

    @property
    def busy(self) -> bool:
        """Whether pages are being encoded at this moment."""
        return self._running is not None and not self._running[1].done()

    def start(self, unready: Row[PageInBatch]) -> None:
        """Begin with pages next in line, as many as one batch of views takes."""
        if self._running is not None:
            return
        group: Row[PageInBatch] = []
        while self._apart and not group:
            group = [reading for reading in self._apart.popleft() if reading.page is not None]
        group = group or self._first_group(unready)
        pages = [reading.page for reading in group if reading.page is not None]
        if pages:
            for reading in group:
                reading.mark("encoding")
            self._running = group, self.vision.start(pages)

    def wait(self, timeout_s: float) -> None:
        """Until the pages under way are encoded, or so long."""
        if self._running is not None:
            wait([self._running[1]], timeout_s)

    def take_in(self) -> None:
        """Features of pages that are encoded by now; those that were canceled are let go."""
        if self._running is None or self.busy:
            return
        group, future = self._running
        self._running = None
        if error := future.exception():
            self._take_error([reading for reading in group if reading.page is not None], error)
            return
        self._worked()
        for reading, slots in zip(group, future.result(), strict=True):
            if reading.page is not None:
                reading.features, reading.page = slots, None
                reading.sequence.ready = True
                reading.mark("encoded")

    def _first_group(self, unready: Row[PageInBatch]) -> list[PageInBatch]:
        group: list[PageInBatch] = []
        pixels = 0
        for reading in unready:
            assert reading.page is not None
            pixels += reading.page.num_pixels
            if group and pixels > self.vision.max_pixels:
                break
            group.append(reading)
        return group

    def _take_error(self, group: Row[PageInBatch], error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        if is_out_of_memory(error):
            self._out_of_memory(group, error)
            return
        self._check_device(error)
        if len(group) == 1:
            self._failed(group[0], error)
            return
        log.error("encoding %d pages failed: %s", len(group), error)
        self._apart.extend(half for half in halves(group) if half)
