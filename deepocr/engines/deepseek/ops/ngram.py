"""The windowed n-gram ban for a whole batch on the device, in PyTorch operations alone.

No shape and no value leaves the device, so a CUDA graph can hold it.
"""

import torch
from torch import Tensor


def ban_repeats(
    logits: Tensor,
    history: Tensor,
    lengths: Tensor,
    n: int,
    window: int,
    exempt: Tensor,
    windows: Tensor | None = None,
) -> Tensor:
    """Logits (B, V) with -inf at every token that would repeat an n-gram of the last `window`, or
    where `windows` (B,) are given, none above `window`, of each row's own.

    history (B, capacity) int64 holds the tokens written so far, left-aligned, lengths (B,) their
    number; exempt (any number of ids) is never banned. With `prefix` the last n - 1 tokens: for
    every start i from max(0, length - window) to length - n with history[i : i + n - 1] == prefix,
    history[i + n - 1] is banned.
    """
    # the last `window` tokens of each row; places before its first token get -1, equal to no token
    back = torch.arange(window, device=history.device) - window
    at = lengths[:, None] + back
    tail = history.gather(1, at.clamp(min=0)).where(at >= 0, -1)
    grams = tail.unfold(1, n, 1)  # (B, window - n + 1, n)
    prefix = tail[:, window - n + 1 :]
    followed = (grams[:, :, :-1] == prefix[:, None, :]).all(dim=-1)
    tokens = grams[:, :, -1]
    allowed = (tokens[:, :, None] == exempt).any(dim=-1)
    banned = followed & (grams[:, :, 0] >= 0) & ~allowed
    if windows is not None:
        banned &= back[: window - n + 1] >= -windows[:, None]
    # amin, not a plain scatter: a token may stand at several starts and be banned by one of them
    penalty = torch.where(banned, float("-inf"), float("inf")).to(logits.dtype)
    return logits.scatter_reduce(1, tokens.clamp(min=0), penalty, "amin")
