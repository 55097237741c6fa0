"""What is done to be fast on a CPU, against the plain versions."""

import pytest
import torch
from torch import Tensor

from deepocr.engines.deepseek.cpu import MLP_ROWS, ByRows, PackedExperts, PackedLinear
from deepocr.engines.deepseek.model.moe import DenseMlp
from deepocr.engines.deepseek.ops.attention import SdpaAttention
from deepocr.engines.deepseek.ops.cpu_attention import CpuAttention, CpuPagedAttention
from deepocr.engines.deepseek.ops.experts import ExpertWeights, plain_experts
from deepocr.engines.deepseek.ops.packed import MATRICES, Quantize
from deepocr.engines.deepseek.ops.paged_attention import (
    PagedAttentionOp,
    PlainPagedAttention,
    windowed_causal,
)
from tests.unit.deepseek.paged_samples import paged_batch

ERRORS: dict[Quantize, float] = {"none": 0.004, "int8": 0.015, "int4": 0.12}
"""Relative, of one product: bf16's own rounding, then that of the weights."""


def error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("shape", [(96, 64), (128, 224), (64, 32)])
def test_packed_weights(kind: Quantize, rows: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight = (torch.randn(shape) / shape[1] ** 0.5).bfloat16()
    x = torch.randn(rows, shape[1]).bfloat16()
    wanted = x.float() @ weight.float().t()
    assert error(MATRICES[kind](weight)(x), wanted) < ERRORS[kind]


def test_a_packed_linear_keeps_shape_and_bias() -> None:
    linear = torch.nn.Linear(64, 96).bfloat16()
    packed = PackedLinear(MATRICES["none"](linear.weight.detach()), linear.bias.detach())
    x = torch.randn(2, 3, 64).bfloat16()
    assert error(packed(x), linear(x)) < 0.01


@pytest.mark.parametrize("tokens", [1, 2, 30, 300])
def test_packed_experts(tokens: int) -> None:
    torch.manual_seed(tokens)
    weights, ids = torch.randn(tokens, 8).softmax(dim=-1).topk(3, dim=-1)
    gate_up = (torch.randn(8, 2 * 48, 64) / 8).bfloat16()
    down = (torch.randn(8, 64, 48) / 7).bfloat16()
    x = torch.randn(tokens, 64).bfloat16()
    pack = MATRICES["none"]
    packed = PackedExperts([pack(w) for w in gate_up], [pack(w) for w in down])
    shared = DenseMlp(64, 96).bfloat16().requires_grad_(False)
    layer = ExpertWeights(gate_up, down, shared.gate_up_proj.weight, shared.down_proj.weight)
    assert error(packed(x, ids, weights, shared), plain_experts(x, ids, weights, layer)) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_paged_attention_over_runs_of_blocks(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    keys, values = torch.randn(2, 40, 16, 3, 32).to(dtype)
    blocks = ((5,), (7, 8, 9, 3, 4), (20, 19, 18), (30, 31))
    lengths = (1, 70, 48, 17)
    batch = paged_batch(blocks, lengths)
    q = torch.randn(4, 3, 32).to(dtype)
    wanted = PlainPagedAttention()(q.float(), keys.float(), values.float(), batch)
    limit = 1e-5 if dtype == torch.float32 else 0.004
    assert error(CpuPagedAttention()(q, keys, values, batch), wanted) < limit


@pytest.mark.parametrize("op", [CpuPagedAttention(), PlainPagedAttention()])
def test_paged_attention_under_a_window(op: PagedAttentionOp) -> None:
    """The prompt and the last 20 tokens; blocks between them are gone."""
    torch.manual_seed(0)
    keys, values = torch.randn(2, 40, 16, 3, 32)
    keys[0] = values[0] = float("nan")
    whole = ((7, 8, 9, 3, 4, 5), (20, 19, 18), (30, 31))
    lengths, prompts = (90, 48, 17), (17, 40, 5)
    left = ((7, 8, 0, 0, 4, 5), *whole[1:])
    q = torch.randn(3, 3, 32)
    found = op(q, keys, values, paged_batch(left, lengths, prompts=prompts, window=20))
    for row, (blocks, length, prompt) in enumerate(zip(whole, lengths, prompts, strict=True)):
        k, v = (cache[list(blocks)].flatten(0, 1)[:length] for cache in (keys, values))
        seen = [*range(prompt), *range(max(prompt, length - 20), length)]
        wanted = SdpaAttention().causal(q[row : row + 1], k[seen], v[seen])
        assert error(found[row], wanted[0]) < 1e-5


@pytest.mark.parametrize("length", [29, 40, 1300])
def test_prefill_of_written_tokens_under_a_window(length: int) -> None:
    """A page that comes back after it gave way: every token as when it was written."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, length, 2, 8)
    found = windowed_causal(q, k, v, 28, 9)
    for row in {28, max(28, length // 2), length - 1}:
        seen = [*range(28), *range(max(28, row - 8), row + 1)]
        wanted = SdpaAttention().causal(q[row : row + 1], k[seen], v[seen])
        assert error(found[row - 28], wanted[0]) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("count", "rows", "columns"), [(2, 20, 55), (19, 5, 7)])
def test_sam_attention(dtype: torch.dtype, count: int, rows: int, columns: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(count, rows * columns, 3, 2, 16).to(dtype).unbind(2)
    rel_h = torch.randn(count, rows * columns, 2, rows).to(dtype)
    rel_w = torch.randn(count, rows * columns, 2, columns).to(dtype)
    wanted = SdpaAttention().relative(*(x.float() for x in (q, k, v, rel_h, rel_w)))
    limit = 1e-5 if dtype == torch.float32 else 0.006
    assert error(CpuAttention().relative(q, k, v, rel_h, rel_w), wanted) < limit


def test_a_block_by_rows_is_the_same_block() -> None:
    torch.manual_seed(0)
    block = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.GELU(), torch.nn.Linear(32, 8))
    x = torch.randn(3, 2 * MLP_ROWS // 3 + 5, 8)
    torch.testing.assert_close(ByRows(block)(x), block(x))
