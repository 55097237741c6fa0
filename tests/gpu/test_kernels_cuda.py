"""Triton kernels compiled and run in bf16, against the plain versions in float32."""

import pytest
import torch
from torch import Tensor

from deepocr.engines.deepseek.ops.attention import SdpaAttention
from deepocr.engines.deepseek.ops.experts import ExpertWeights, plain_experts
from deepocr.engines.deepseek.ops.operations import OPERATIONS
from deepocr.engines.deepseek.ops.paged_attention import (
    FlashPagedAttention,
    FlashPrefillAttention,
    PagedAttentionOp,
    PagedBatch,
    PlainPagedAttention,
    PlainPrefillAttention,
    PrefillBatch,
    ends_of,
)
from deepocr.engines.deepseek.ops.probes import Scene, choose
from deepocr.engines.deepseek.start_report import StartReport
from measure.stand_in_model import PUBLISHED
from tests.unit.deepseek.paged_samples import paged_batch

MAX_ERROR = 0.01

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()


def on_gpu(*shape: int, spread: float = 1.0) -> Tensor:
    return (torch.randn(*shape, device="cuda") * spread).bfloat16()


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 16, 64, 300, 2000])
def test_experts_of_the_published_size(tokens: int) -> None:
    from deepocr.engines.deepseek.ops.experts_triton import triton_experts

    torch.manual_seed(tokens)
    weights, ids = torch.randn(tokens, 64, device="cuda").softmax(dim=-1).topk(6, dim=-1)
    layer = (
        *(on_gpu(64, 1792, 1280, spread=1 / 36), on_gpu(64, 1280, 896, spread=1 / 30)),
        *(on_gpu(3584, 1280, spread=1 / 36), on_gpu(1280, 1792, spread=1 / 42)),
    )
    x = on_gpu(tokens, 1280)
    wide = ExpertWeights(*(part.float() for part in layer))
    wanted = plain_experts(x.float(), ids, weights, wide)
    assert error(triton_experts(x, ids, weights, ExpertWeights(*layer)), wanted) < MAX_ERROR


def test_all_kernels_agree_at_the_published_sizes() -> None:
    scene = Scene(PUBLISHED, torch.device("cuda"), torch.bfloat16)
    with_kernels = [o for o in OPERATIONS if o.fast[-1].name == "triton"]
    forced = {operation.name: "triton" for operation in with_kernels}
    report = StartReport()
    choose(with_kernels, scene, forced, report)
    assert report.versions == forced


def paged(
    lengths: list[int], block_tokens: int = 256, window: int | None = None
) -> tuple[Tensor, Tensor, Tensor, PagedBatch]:
    keys, values = on_gpu(2, 200, block_tokens, 10, 128).unbind(0)
    free = torch.randperm(199).add(1).tolist()
    table = [tuple(free.pop() for _ in range(-(-n // block_tokens))) for n in lengths]
    prompts = [1 + n // 2 for n in lengths]
    batch = paged_batch(table, lengths, prompts=prompts, window=window, device="cuda")
    return on_gpu(len(lengths), 10, 128), keys, values, batch


def check_paged(op: PagedAttentionOp, window: int | None = None) -> None:
    for lengths in ([1], [8192], [1, 300, 65, 256, 8000, 17, 1024]):
        q, keys, values, batch = paged(lengths, window=window)
        wanted = PlainPagedAttention()(q.float(), keys.float(), values.float(), batch)
        assert error(op(q, keys, values, batch), wanted) < MAX_ERROR


def test_paged_attention_in_triton() -> None:
    from deepocr.engines.deepseek.ops.paged_attention_triton import TritonPagedAttention

    check_paged(TritonPagedAttention())
    check_paged(TritonPagedAttention(), window=128)


def test_paged_attention_of_flash_attn() -> None:
    pytest.importorskip("flash_attn")
    check_paged(FlashPagedAttention())


def test_prefill_of_flash_attn() -> None:
    pytest.importorskip("flash_attn")
    lengths = (5, 300, 1, 1200)
    ends = torch.tensor(ends_of(lengths), dtype=torch.int32, device="cuda")
    batch = PrefillBatch(lengths, ends)
    q, k, v = on_gpu(3, sum(lengths), 10, 128).unbind(0)
    wanted = PlainPrefillAttention(SdpaAttention())(q.float(), k.float(), v.float(), batch)
    assert error(FlashPrefillAttention()(q, k, v, batch), wanted) < MAX_ERROR


@pytest.mark.parametrize("grid", [40, 64, 80])
def test_sam_attention(grid: int) -> None:
    from deepocr.engines.deepseek.ops.sam_attention_triton import relative_attention

    q, k, v = on_gpu(2, grid * grid, 3, 12, 64).unbind(2)
    rel_h, rel_w = on_gpu(2, 2, grid * grid, 12, grid).unbind(0)
    wanted = SdpaAttention().relative(*(x.float() for x in (q, k, v, rel_h, rel_w)))
    assert error(relative_attention(q, k, v, rel_h, rel_w), wanted) < MAX_ERROR
