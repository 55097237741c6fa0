"""Equal stretches of two texts, wherever they stand."""

import heapq
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from deepocr.check.words import runs_of

SEED, WIDE_SEED = 8, 4
"""Least number of equal letters in a stretch, and the same for Chinese, Japanese or Korean, where
each character says more."""

MAX_PAIRS = 500
"""Most pairs of places with the same letters; more mean nothing (a loop, a row of zeros)."""

Codes = npt.NDArray[np.uint64]


def equal_stretches(one: str, other: str) -> Iterator[tuple[int, int, int]]:
    """Yields the start in each text and the length; the longest come first, and no two share a
    letter."""
    codes, others = _codes(one), _codes(other)
    wide = int((codes >= 0x2E80).sum() + (others >= 0x2E80).sum())
    seed = WIDE_SEED if wide > 0.3 * (len(codes) + len(others)) else SEED
    free, free_there = np.ones(len(codes), bool), np.ones(len(others), bool)
    heap = [(-size, first, second) for first, second, size in _stretches(codes, others, seed)]
    heapq.heapify(heap)
    while heap:
        size, first, second = heapq.heappop(heap)
        size = -size
        here, there = slice(first, first + size), slice(second, second + size)
        left = free[here] & free_there[there]
        if left.all():
            free[here] = free_there[there] = False
            yield first, second, size
            continue
        for start, end in runs_of(left):
            if end - start >= seed:
                heapq.heappush(heap, (start - end, first + start, second + start))


def _codes(letters: str) -> Codes:
    return np.frombuffer(letters.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)


def _stretches(one: Codes, other: Codes, seed: int) -> Iterator[tuple[int, int, int]]:
    """Yields the start in each text and the length of all equal stretches of at least `seed`
    letters."""
    if min(len(one), len(other)) < seed:
        return
    hashes, others = _hashes(one, seed), _hashes(other, seed)
    by_hash = np.argsort(others, kind="stable")
    low = np.searchsorted(others[by_hash], hashes, "left")
    counts = np.searchsorted(others[by_hash], hashes, "right") - low
    _, inverse, times = np.unique(hashes, return_inverse=True, return_counts=True)
    counts[counts * times[inverse] > MAX_PAIRS] = 0
    if not counts.any():
        return
    firsts = np.repeat(np.arange(len(hashes)), counts)
    within = np.arange(len(firsts)) - np.repeat(np.cumsum(counts) - counts, counts)
    seconds = by_hash[np.repeat(low, counts) + within]
    order = np.lexsort((firsts, seconds - firsts))
    firsts, seconds = firsts[order], seconds[order]
    goes_on = (np.diff(firsts) == 1) & (np.diff(seconds) == 1)
    starts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    ends = np.append(starts[1:], len(firsts))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield int(firsts[start]), int(seconds[start]), end - start + seed - 1


def _hashes(codes: Codes, seed: int) -> Codes:
    """A hash of every `seed` consecutive letters, in arithmetic that wraps around."""
    size = len(codes) - seed + 1
    total = np.zeros(size, np.uint64)
    for offset in range(seed):
        total = total * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + size]
    return total
