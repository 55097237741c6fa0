"""SAM's global attention in Triton, with the decomposed position bias added inside.

Writing the bias out takes 403 MB a layer for one 1024 view in bf16; here only its two factors are
read, (T, G_h) and (T, G_w) a head. Runs on Triton 3.2 and later.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_M = 64


def relative_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """As `AttentionOps.relative`: q, k, v (N, T, H, D), rel_h (N, T, H, G_h), rel_w alike.

    D must be a power of two from 16 up (SAM ViT-B: 64).
    """
    count, length, heads, width = q.shape
    rows, columns = rel_h.shape[-1], rel_w.shape[-1]
    rel_h, rel_w = rel_h.contiguous(), rel_w.contiguous()
    out = torch.empty(count, length, heads, width, device=q.device, dtype=q.dtype)
    # a tile of keys that is one row of the grid needs one value of rel_h and all of rel_w
    whole_rows = columns in (32, 64, 128)
    _relative[(triton.cdiv(length, BLOCK_M), heads, count)](
        q, k, v, rel_h, rel_w, out,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], length, heads, rows, columns,
        width**-0.5, WIDTH=width, BLOCK_M=BLOCK_M, BLOCK_N=columns if whole_rows else 64,
        WHOLE_ROWS=whole_rows, num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _relative(
    q, k, v, rel_h, rel_w, out,
    q_n, q_t, q_h, k_n, k_t, k_h, v_n, v_t, v_h, length, heads, rows, columns, scale,
    WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WHOLE_ROWS: tl.constexpr,
):  # fmt: skip
    head, view = tl.program_id(1), tl.program_id(2).to(tl.int64)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n, d = tl.arange(0, BLOCK_N), tl.arange(0, WIDTH)
    here = m < length
    queries = tl.load(
        q + view * q_n + head * q_h + m[:, None] * q_t + d[None, :], mask=here[:, None], other=0.0
    )
    query_row = (view * length + m) * heads + head
    h_rows, w_rows = rel_h + query_row * rows, rel_w + query_row * columns
    if WHOLE_ROWS:
        bias_w = tl.load(w_rows[:, None] + n[None, :], mask=here[:, None], other=0.0)
        bias_w = bias_w.to(tl.float32)
    peak = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    weight = tl.zeros((BLOCK_M,), tl.float32)
    total = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    for start in range(0, length, BLOCK_N):
        at = start + n
        inside = at < length
        keys = tl.load(
            k + view * k_n + head * k_h + at[None, :] * k_t + d[:, None],
            mask=inside[None, :], other=0.0,
        )  # fmt: skip
        score = tl.dot(queries, keys, input_precision="ieee") * scale
        if WHOLE_ROWS:
            bias_h = tl.load(h_rows + start // BLOCK_N, mask=here, other=0.0).to(tl.float32)
            score += bias_h[:, None] + bias_w
        else:
            mask = here[:, None] & inside[None, :]
            bias_h = tl.load(h_rows[:, None] + (at // columns)[None, :], mask=mask, other=0.0)
            bias = tl.load(w_rows[:, None] + (at % columns)[None, :], mask=mask, other=0.0)
            score += bias_h.to(tl.float32) + bias.to(tl.float32)
        score = tl.where(inside[None, :], score, float("-inf"))
        new_peak = tl.maximum(peak, tl.max(score, axis=1))
        share = tl.exp(score - new_peak[:, None])
        shrink = tl.exp(peak - new_peak)
        weight = weight * shrink + tl.sum(share, axis=1)
        values = tl.load(
            v + view * v_n + head * v_h + at[:, None] * v_t + d[None, :],
            mask=inside[:, None], other=0.0,
        )  # fmt: skip
        total = total * shrink[:, None]
        total = tl.dot(share.to(values.dtype), values, total, input_precision="ieee")
        peak = new_peak
    total = total / weight[:, None]
    to = out + (query_row * WIDTH)[:, None] + d[None, :]
    tl.store(to, total.to(out.dtype.element_ty), mask=here[:, None])
