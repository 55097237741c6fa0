"""Rotary positions and the write into the cache in one kernel. Runs on Triton 3.2 and later."""

import triton
import triton.language as tl
from torch import Tensor

from deepocr.engines.deepseek.ops.rotary import Turn


def rotary_write(
    qkv: Tensor, turn: Turn, keys: Tensor, values: Tensor, places: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As `ops.rotary.plain_rotary_write`; q and k are turned in place."""
    tokens, _, heads, width = qkv.shape
    qkv = qkv.contiguous()
    cos, sin = turn
    _rotary_write[(tokens,)](
        qkv, cos, sin, keys, values, places, heads, width, cos.stride(0), sin.stride(0),
        HEADS=triton.next_power_of_2(heads), HALF=triton.next_power_of_2(width // 2), num_warps=4,
    )  # fmt: skip
    q, k, v = qkv.unbind(1)
    return q, k, v


@triton.jit
def _rotary_write(
    qkv, cos, sin, keys, values, places, heads, width, cos_stride, sin_stride,
    HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = qkv.dtype.element_ty
    token = tl.program_id(0).to(tl.int64)
    half = width // 2
    head, at = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (at < half)
    low = head * width + at
    high = low + half
    c = tl.load(cos + token * cos_stride + at, mask=at < half, other=0.0).to(tl.float32)
    s = tl.load(sin + token * sin_stride + at, mask=at < half, other=0.0).to(tl.float32)
    row = heads * width
    q = qkv + token * 3 * row
    k = q + row
    v = k + row
    kept = tl.load(places + token).to(tl.int64) * row
    a, b = _turn(q, low, high, inside, c, s, dtype)
    tl.store(q + low, a, mask=inside)
    tl.store(q + high, b, mask=inside)
    a, b = _turn(k, low, high, inside, c, s, dtype)
    tl.store(k + low, a, mask=inside)
    tl.store(k + high, b, mask=inside)
    tl.store(keys + kept + low, a, mask=inside)
    tl.store(keys + kept + high, b, mask=inside)
    tl.store(values + kept + low, tl.load(v + low, mask=inside, other=0.0), mask=inside)
    tl.store(values + kept + high, tl.load(v + high, mask=inside, other=0.0), mask=inside)


@triton.jit
def _turn(x, low, high, inside, c, s, dtype: tl.constexpr):
    # each product is rounded before the sum, as in the plain version
    a = tl.load(x + low, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + high, mask=inside, other=0.0).to(tl.float32)
    first = (a * c).to(dtype).to(tl.float32) - (b * s).to(dtype).to(tl.float32)
    second = (b * c).to(dtype).to(tl.float32) + (a * s).to(dtype).to(tl.float32)
    return first.to(dtype), second.to(dtype)
