"""Ban, best token and its probability: what is banned, then the best of each part of the
vocabulary, then the best of all.

A part that has a banned token for its best looks for the next best. Runs on Triton 3.2 and later.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from deepocr.engines.deepseek.ops.pick import BanRule, Written

PART = 2048
"""Tokens of the vocabulary that a program looks at."""

STARTS = 64
"""Places of the history where a program looks for an n-gram."""


def pick(logits: Tensor, written: Written, ban: BanRule | None) -> tuple[Tensor, Tensor]:
    """As `ops.pick.plain_pick`."""
    rows, vocabulary = logits.shape
    parts = triton.cdiv(vocabulary, PART)
    banned = None if ban is None else _find_banned(written, ban)
    # greatest of all, sum of weights below it, greatest that is allowed
    found = torch.empty(3, rows, parts, dtype=torch.float32, device=logits.device)
    best = torch.empty(rows, parts, dtype=torch.int64, device=logits.device)
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    probabilities = torch.empty(rows, dtype=torch.float32, device=logits.device)
    _part[(rows, parts)](
        logits.contiguous(), best if banned is None else banned, found, best, vocabulary, parts,
        rows * parts, BANNED=0 if banned is None else banned.shape[1], PART=PART, num_warps=8,
    )  # fmt: skip
    _best[(rows,)](
        found, best, written.history, written.slots, written.counts, tokens, probabilities, parts,
        rows * parts, written.history.stride(0), BLOCK=triton.next_power_of_2(parts), num_warps=4,
    )  # fmt: skip
    return tokens, probabilities


def _find_banned(written: Written, ban: BanRule) -> Tensor:
    """Tokens that may not come next, (B, a power of two) int32, with -1 between them."""
    rows = written.slots.shape[0]
    width = triton.next_power_of_2(max(ban.window, STARTS))
    banned = torch.empty(rows, width, dtype=torch.int32, device=written.slots.device)
    _ban[(rows, width // STARTS)](
        written.history, written.slots, written.counts, written.windows, ban.exempt, banned,
        written.history.stride(0), width, NUM_EXEMPT=len(ban.exempt), N=ban.size,
        STARTS=STARTS, GRAM=triton.next_power_of_2(ban.size), num_warps=4,
    )  # fmt: skip
    return banned


@triton.jit
def _ban(
    history, slots, counts, windows, exempt, banned, capacity, width,
    NUM_EXEMPT: tl.constexpr, N: tl.constexpr, STARTS: tl.constexpr, GRAM: tl.constexpr,
):  # fmt: skip
    """What follows each n-gram that would be repeated, else -1."""
    row = tl.program_id(0)
    s = tl.program_id(1) * STARTS + tl.arange(0, STARTS)
    j = tl.arange(0, GRAM)
    count, window = tl.load(counts + row).to(tl.int32), tl.load(windows + row).to(tl.int32)
    written = history + tl.load(slots + row).to(tl.int64) * capacity
    start = tl.maximum(count - window, 0) + s
    whole = start <= count - N
    inside = whole[:, None] & (j < N - 1)[None, :]
    token = tl.load(written + start[:, None] + j[None, :], mask=inside, other=0).to(tl.int32)
    last = count - N + 1 + j
    prefix = tl.load(written + last, mask=(last >= 0) & (j < N - 1), other=0).to(tl.int32)
    differs = inside & (token != prefix[None, :])
    follows = whole & (tl.sum(differs.to(tl.int32), axis=1) == 0)
    found = tl.load(written + start + N - 1, mask=follows, other=-1).to(tl.int32)
    for index in range(NUM_EXEMPT):
        found = tl.where(found == tl.load(exempt + index).to(tl.int32), -1, found)
    tl.store(banned + row * width + s, found)


@triton.jit(do_not_specialize=["plane"])
def _part(
    logits, banned, found, best, vocabulary, parts, plane, BANNED: tl.constexpr, PART: tl.constexpr
):  # fmt: skip
    row, part = tl.program_id(0), tl.program_id(1)
    token = part * PART + tl.arange(0, PART)
    inside = token < vocabulary
    value = tl.load(
        logits + row.to(tl.int64) * vocabulary + token, mask=inside, other=float("-inf")
    )
    raw = value.to(tl.float32)
    # what is no number makes the weight none, and is never the best
    value = tl.where(raw == raw, raw, float("-inf"))
    peak = tl.max(value, axis=0)
    # a part of nothing but -inf weighs nothing
    weight = tl.sum(tl.exp(raw - tl.where(peak == float("-inf"), 0.0, peak)), axis=0)
    top = tl.argmax(value, axis=0)
    if BANNED > 0:
        not_these = tl.load(banned + row * BANNED + tl.arange(0, BANNED)) - part * PART
        tries = 0
        while (tl.sum((not_these == top).to(tl.int32), axis=0) > 0) & (tries < BANNED):
            value = tl.where(token == part * PART + top, float("-inf"), value)
            top = tl.argmax(value, axis=0)
            tries += 1
    at = row * parts + part
    tl.store(found + at, peak)
    tl.store(found + plane + at, weight)
    allowed = tl.max(tl.where(token == part * PART + top, value, float("-inf")), axis=0)
    tl.store(found + 2 * plane + at, allowed)
    tl.store(best + at, (part * PART + top).to(tl.int64))


@triton.jit(do_not_specialize=["plane"])
def _best(
    found, best, history, slots, counts, tokens, probabilities, parts, plane, capacity,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    part = tl.arange(0, BLOCK)
    known = part < parts
    at = row * parts + part
    peak = tl.load(found + at, mask=known, other=float("-inf"))
    weight = tl.load(found + plane + at, mask=known, other=0.0)
    top = tl.max(peak, axis=0)
    total = tl.sum(tl.where(known, weight * tl.exp(peak - top), 0.0), axis=0)
    allowed = tl.load(found + 2 * plane + at, mask=known, other=float("-inf"))
    winner = tl.argmax(allowed, axis=0)
    value = tl.max(tl.where(part == winner, allowed, float("-inf")), axis=0)
    token = tl.load(best + row * parts + winner)
    tl.store(tokens + row, token)
    tl.store(probabilities + row, tl.exp(value - top) / total)
    slot, count = tl.load(slots + row), tl.load(counts + row)
    tl.store(history + slot * capacity + count, token)
