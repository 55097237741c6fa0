"""What is done to be fast on a CPU, against the plain versions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deepocr.engines.deepseek.cpu import MLP_ROWS, PackedExperts, PackedLinear, PackedMlp
from deepocr.engines.deepseek.model.moe import DenseMlp
from deepocr.engines.deepseek.ops import choice, packed
from deepocr.engines.deepseek.ops.attention import SdpaAttention
from deepocr.engines.deepseek.ops.cpu_attention import CPU_ATTENTION, CpuPagedAttention
from deepocr.engines.deepseek.ops.experts import ExpertWeights, plain_experts
from deepocr.engines.deepseek.ops.packed import Quantize, decoder_matrix, encoder_matrix
from deepocr.engines.deepseek.ops.paged_attention import (
    PagedAttentionOp,
    PlainPagedAttention,
    windowed_causal,
)
from deepocr.engines.deepseek.ops.processor import PRODUCTS, Products, fast_products
from deepocr.errors import SettingsError
from tests.unit.deepseek.paged_samples import paged_batch

ERRORS: dict[Quantize, float] = {"none": 0.004, "int8": 0.015, "int4": 0.12}
"""Relative, of one product: bf16's own rounding, then that of the weights."""


def error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("shape", [(96, 64), (128, 224), (64, 32)])
def test_packed_weights(
    products: Products, kind: Quantize, rows: int, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    weight = (torch.randn(shape) / shape[1] ** 0.5).bfloat16()
    x = torch.randn(rows, shape[1]).bfloat16()
    wanted = x.float() @ weight.float().t()
    assert error(decoder_matrix(products, kind)(weight)(x), wanted) < ERRORS[kind]


@pytest.mark.parametrize("products", PRODUCTS)
def test_a_packed_linear_keeps_shape_and_bias(products: Products) -> None:
    linear = torch.nn.Linear(64, 96).bfloat16()
    linear_packed = PackedLinear(
        encoder_matrix(products)(linear.weight.detach(), linear.bias.detach())
    )
    x = torch.randn(2, 3, 64).bfloat16()
    assert error(linear_packed(x), linear(x)) < 0.01


@pytest.mark.parametrize("products", PRODUCTS)
def test_sam_mlp_with_its_gelu_in_the_product(products: Products) -> None:
    torch.manual_seed(0)
    first, second = (torch.nn.Linear(*shape).bfloat16() for shape in ((8, 32), (32, 8)))
    x = torch.randn(3, 2 * MLP_ROWS // 3 + 5, 8).bfloat16()
    pack = encoder_matrix(products)
    mlp = PackedMlp(
        pack(first.weight.detach(), first.bias.detach(), gelu=True),
        pack(second.weight.detach(), second.bias.detach()),
    )
    wanted = second.float()(F.gelu(first.float()(x.float())))
    assert error(mlp(x), wanted) < 0.01


def test_without_bf16_in_onednn_weights_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN raises for bf16 on a processor without AVX-512."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 96).bfloat16().requires_grad_(False)
    monkeypatch.setattr(packed, "onednn_multiplies", lambda _dtype: False)
    x = torch.randn(5, 64).bfloat16()
    matrix = packed.PackedMatrix(linear.weight, linear.bias, gelu=True)
    assert torch.equal(matrix(x), F.gelu(linear(x)))


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("tokens", [1, 2, 30, 300])
def test_packed_experts(products: Products, tokens: int) -> None:
    torch.manual_seed(tokens)
    weights, ids = torch.randn(tokens, 8).softmax(dim=-1).topk(3, dim=-1)
    gate_up = (torch.randn(8, 2 * 48, 64) / 8).bfloat16()
    down = (torch.randn(8, 64, 48) / 7).bfloat16()
    x = torch.randn(tokens, 64).bfloat16()
    pack = decoder_matrix(products, "none")
    experts = PackedExperts([pack(w) for w in gate_up], [pack(w) for w in down])
    shared = DenseMlp(64, 96).bfloat16().requires_grad_(False)
    layer = ExpertWeights(gate_up, down, shared.gate_up_proj.weight, shared.down_proj.weight)
    assert error(experts(x, ids, weights, shared), plain_experts(x, ids, weights, layer)) < 0.01


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


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize(("count", "rows", "columns"), [(2, 20, 55), (19, 15, 17)])
def test_sam_attention(products: Products, count: int, rows: int, columns: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(count, rows * columns, 3, 2, 16).bfloat16().unbind(2)
    rel_h = torch.randn(count, rows * columns, 2, rows).bfloat16()
    rel_w = torch.randn(count, rows * columns, 2, columns).bfloat16()
    wanted = SdpaAttention().relative(*(x.float() for x in (q, k, v, rel_h, rel_w)))
    found = CPU_ATTENTION[products].relative(q, k, v, rel_h, rel_w)
    assert error(found, wanted) < 0.006
    assert torch.get_float32_matmul_precision() == "highest"


def test_sam_attention_in_float32() -> None:
    torch.manual_seed(0)
    q, k, v, rel_h, rel_w = torch.randn(5, 2, 1100, 2, 64)
    operands = (q, k, v, rel_h[..., :20], rel_w[..., :55])
    found = CPU_ATTENTION["float32"].relative(*operands)
    assert error(found, SdpaAttention().relative(*operands)) < 1e-5


# which of them


@pytest.mark.parametrize(
    ("flags", "products"),
    [
        ("flags : avx512f avx512_bf16 amx_bf16 amx_tile", "amx"),
        ("flags : avx2 avx512f avx512_bf16 avx512_vnni", "avx512_bf16"),
        ("flags : avx2 avx512f avx512_vnni", "float32"),
        ("", "float32"),
    ],
)
def test_what_a_processor_multiplies(flags: str, products: Products) -> None:
    assert fast_products(f"processor : 0\n{flags}\n\nprocessor : 1\n{flags}\n") == products


def test_the_processor_decides_unless_a_setting_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "own_products", lambda: "avx512_bf16")
    own = choice.cpu_ops(torch.bfloat16)
    assert own.products == own.report.notes["products"] == "avx512_bf16"
    assert own.network.attention is CPU_ATTENTION["avx512_bf16"]
    forced = choice.cpu_ops(torch.bfloat16, "products=amx")
    assert forced.products == "amx"
    assert forced.report.notes["products"] == "amx, as DEEPOCR_OPS wants"
    assert choice.cpu_ops(torch.float32).products == "float32"
    with pytest.raises(SettingsError, match="for bf16"):
        choice.cpu_ops(torch.float32, "products=amx")
    with pytest.raises(SettingsError, match="it has: amx, avx512_bf16, float32"):
        choice.cpu_ops(torch.bfloat16, "products=sse")
