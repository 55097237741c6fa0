"""What goes to the device and comes back, through host memory that is made once.

Copies from and to pinned memory do not wait for the device. The buffers take turns: one is written
again only when its last copy is done, which was long ago.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

BUFFERS = 4
"""Steps are launched one ahead of what the host has seen, so two are in use at most."""

WORDS = 1 << 17
"""1 MiB: three numbers a token of the longest context that there is."""

Part = np.ndarray[tuple[int, ...], np.dtype[np.int64] | np.dtype[np.int32]]


@dataclass
class _Buffer:
    """Host memory of 8-byte words, and when the last copy out of it is done."""

    words: Tensor
    copied: torch.cuda.Event | None = None


class Staging:
    """Arrays to a device, all of a step in one copy."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pinned = device.type == "cuda"
        self._buffers = deque(_Buffer(self._host(0)) for _ in range(BUFFERS))

    def upload(self, parts: Sequence[Part], into: Tensor | None = None) -> list[Tensor]:
        """Arrays of int64 or int32 -> the same on the device, as views of one tensor.

        That is a new one, or `into`, int64 of at least `num_words(parts)`.
        """
        total = num_words(parts)
        buffer = self._next(total)
        values = buffer.words.numpy()
        for part, start in zip(parts, _starts(parts), strict=True):
            end = start + -(-part.nbytes // 8)
            values[start:end].view(part.dtype)[: part.size] = part.ravel()
        host = buffer.words[:total]
        if into is None:
            into = torch.empty(total, dtype=torch.int64, device=self.device)
        into[:total].copy_(host, non_blocking=True)
        if self.pinned:
            buffer.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            buffer.copied.record()
        return views(into, parts)

    def _next(self, total: int) -> _Buffer:
        buffer = self._buffers[0]
        self._buffers.rotate(-1)
        if buffer.copied is not None:
            buffer.copied.synchronize()
        if buffer.words.shape[0] < total:
            buffer.words = self._host(total)
        return buffer

    def _host(self, words: int) -> Tensor:
        return torch.empty(max(words, WORDS), dtype=torch.int64, pin_memory=self.pinned)


def views(flat: Tensor, parts: Sequence[Part]) -> list[Tensor]:
    """Where each array lies in a tensor of words that `upload` has written."""
    found = []
    for part, start in zip(parts, _starts(parts), strict=True):
        words = flat[start : start + -(-part.nbytes // 8)]
        typed = words if part.dtype == np.int64 else words.view(torch.int32)
        found.append(typed[: prod(part.shape)].view(part.shape))
    return found


def num_words(parts: Sequence[Part]) -> int:
    """8-byte words of arrays that each begin at a multiple of 16 bytes, as kernels like it."""
    return sum(_room(part) for part in parts)


def _room(part: Part) -> int:
    return -(-part.nbytes // 16) * 2


def _starts(parts: Sequence[Part]) -> list[int]:
    starts, at = [], 0
    for part in parts:
        starts.append(at)
        at += _room(part)
    return starts


class Pixels:
    """Views on their way to the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pinned = device.type == "cuda"
        self._values = torch.empty(0, dtype=torch.bfloat16)
        self._copied: torch.cuda.Event | None = None

    def reserve(self, count: int) -> None:
        """Host memory for so many values at a time."""
        if self._values.numel() < count:
            self._values = torch.empty(count, dtype=torch.bfloat16, pin_memory=self.pinned)

    def upload(self, views: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """Views of one shape, (3, S, S) bf16 each -> (N, 3, S, S) on the device."""
        if self._copied is not None:
            self._copied.synchronize()
        count = sum(view.numel() for view in views)
        self.reserve(count)
        host = self._values[:count].view(len(views), *views[0].shape)
        torch.stack(list(views), out=host)
        on_device = torch.empty_like(host, device=self.device)
        on_device.copy_(host, non_blocking=True)
        if self.pinned:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        return on_device.to(dtype)


class Returned:
    """Tokens and probabilities on their way back, in buffers that take turns."""

    def __init__(self, device: torch.device, max_sequences: int) -> None:
        pinned = device.type == "cuda"
        self._buffers = deque(
            (
                torch.empty(max_sequences, dtype=torch.int64, pin_memory=pinned),
                torch.empty(max_sequences, dtype=torch.float32, pin_memory=pinned),
            )
            for _ in range(BUFFERS)
        )

    def copy(self, tokens: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B,) on the device -> the same on the host, once the device has come so far."""
        buffers = self._buffers[0]
        self._buffers.rotate(-1)
        count = tokens.shape[0]
        found = buffers[0][:count], buffers[1][:count]
        for host, values in zip(found, (tokens, probabilities), strict=True):
            host.copy_(values, non_blocking=True)
        return found
