"""Weights from their files to the device: several reads in flight, each weight once on the host.

Parts of the files are read by a few threads, straight into the network's memory where that is the
host's and of the same type, else into two small buffers a thread, one of which is on its way to the
device while the other is filled.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.start_report import StartReport
from deepocr.errors import CheckpointError

log = logging.getLogger(__name__)

THREADS = 4
BUFFER_BYTES = 16 << 20
TELL_EVERY_S = 2.0


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in a file."""

    file: Path
    offset: int
    dtype: torch.dtype


@dataclass(frozen=True)
class Part:
    """A stretch of a file, as much as a buffer holds, and the values that it becomes."""

    stored: Stored
    offset: int
    values: Tensor

    @property
    def num_bytes(self) -> int:
        return self.values.numel() * self.stored.dtype.itemsize


def parts_of(stored: Stored, slot: Tensor) -> Iterator[Part]:
    """A tensor in pieces. `slot` is contiguous."""
    most = BUFFER_BYTES // stored.dtype.itemsize
    offset = stored.offset
    for values in slot.view(-1).split(most):  # type: ignore[no-untyped-call]
        yield Part(stored, offset, values)
        offset += values.numel() * stored.dtype.itemsize


class Loader:
    """Fills slots from files; call `run` once."""

    def __init__(self, slots: Mapping[str, Tensor], stored: Mapping[str, Stored]) -> None:
        in_order = sorted(stored.items(), key=lambda item: (item[1].file, item[1].offset))
        parts = [part for name, at in in_order for part in parts_of(at, slots[name])]
        self._total = sum(part.num_bytes for part in parts)
        self._parts = iter(parts)
        self._lock = threading.Lock()
        self._files = {
            file: os.open(file, os.O_RDONLY) for file in {at.file for at in stored.values()}
        }
        self._done = 0
        self._started_s = self._told_s = time.perf_counter()
        self._failed = False

    def run(self, report: StartReport) -> None:
        """Seconds of reading, and of waiting for the device, are the mean of the threads'.

        Raises CheckpointError for a file that cannot be read to its end.
        """
        try:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="weights") as pool:
                for times in pool.map(lambda _: self._work(), range(THREADS)):
                    for stage, seconds in times.items():
                        report.add(stage, seconds / THREADS)
        except OSError as error:
            raise CheckpointError(f"the weights cannot be read: {error.strerror}") from error
        finally:
            for file in self._files.values():
                os.close(file)

    @torch.inference_mode()
    def _work(self) -> dict[str, float]:
        """One thread: seconds by stage. The mode is a thread's own, and a network that was made in
        it cannot be written outside of it."""
        report = StartReport()
        buffers: list[Buffer] = []
        try:
            while part := self._next():
                file = self._files[part.stored.file]
                if part.values.device.type == "cpu" and part.values.dtype == part.stored.dtype:
                    with report.stage("read"):
                        read_into(file, part.offset, part.values)
                else:
                    if len(buffers) < 2:
                        buffers.append(Buffer(part.values.device))
                    buffers.reverse()
                    buffers[0].carry(file, part, report)
                self._tell(part.num_bytes)
            with report.stage("to device"):
                for buffer in buffers:
                    buffer.wait()
        except BaseException:
            self._failed = True
            raise
        return report.seconds

    def _next(self) -> Part | None:
        """In the order of the files; none once a thread has failed."""
        with self._lock:
            return None if self._failed else next(self._parts, None)

    def _tell(self, num_bytes: int) -> None:
        with self._lock:
            self._done += num_bytes
            now_s = time.perf_counter()
            if now_s - self._told_s < TELL_EVERY_S:
                return
            self._told_s = now_s
            rate = self._done / (now_s - self._started_s)
        log.info("%.1f of %.1f GB, %.2f GB/s", self._done / 1e9, self._total / 1e9, rate / 1e9)


class Buffer:
    """Memory between a file and the device. On CUDA it is pinned, and has a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        on_cuda = device.type == "cuda"
        self.bytes = torch.empty(BUFFER_BYTES, dtype=torch.uint8, pin_memory=on_cuda)
        self.device = device
        self.stream: Any = torch.cuda.Stream(device) if on_cuda else None  # type: ignore[no-untyped-call]

    def carry(self, file: int, part: Part, report: StartReport) -> None:
        """Read, then start on the way to the device, from type to type."""
        with report.stage("to device"):
            self.wait()
        values = self.bytes[: part.num_bytes].view(part.stored.dtype)
        with report.stage("read"):
            read_into(file, part.offset, values)
        with report.stage("to device"), self._in_stream():
            part.values.copy_(values.to(self.device, non_blocking=True), non_blocking=True)

    def _in_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

    def wait(self) -> None:
        if self.stream:
            self.stream.synchronize()


def read_into(file: int, offset: int, values: Tensor) -> None:
    """Fill a contiguous tensor on the host. Raises CheckpointError when the file is too short."""
    rest = values.view(torch.uint8).numpy().data
    while rest:
        count = os.preadv(file, [rest], offset)
        if not count:
            raise CheckpointError(
                "a file of the weights became shorter while it was read; fetch it again"
            )
        rest, offset = rest[count:], offset + count
