"""Triton kernels against the plain versions, in Triton's interpreter on the CPU.

Run by test_kernels.py in a process of its own, as TRITON_INTERPRET must be set before the import.
In float32: the interpreter's bf16 products are wrong.
"""

from collections.abc import Sequence

import pytest
import torch
from PIL import Image
from torch import Tensor

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.family import Member
from deepocr.engines.deepseek.graphs import GraphRunner
from deepocr.engines.deepseek.kv_blocks import BlockPool
from deepocr.engines.deepseek.kv_cache import BlockCache
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import Ops
from deepocr.engines.deepseek.ops.attention import SdpaAttention
from deepocr.engines.deepseek.ops.experts import ExpertWeights, plain_experts
from deepocr.engines.deepseek.ops.experts_triton import (
    experts_gemv,
    experts_grouped,
    triton_experts,
)
from deepocr.engines.deepseek.ops.norm_triton import add_norm, swiglu
from deepocr.engines.deepseek.ops.operations import OPERATIONS
from deepocr.engines.deepseek.ops.paged_attention import (
    PlainPagedAttention,
    PlainPrefillAttention,
)
from deepocr.engines.deepseek.ops.paged_attention_triton import TritonPagedAttention
from deepocr.engines.deepseek.ops.pick_triton import pick
from deepocr.engines.deepseek.ops.probes import Operation, Scene, choose
from deepocr.engines.deepseek.ops.rotary_triton import rotary_write
from deepocr.engines.deepseek.ops.routing_triton import route
from deepocr.engines.deepseek.ops.sam_attention_triton import relative_attention
from deepocr.engines.deepseek.page_in_batch import PageInBatch, Token
from deepocr.engines.deepseek.runner import DecodeInputs
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.scheduler import Scheduler
from deepocr.engines.deepseek.staging import Part
from deepocr.engines.deepseek.start_report import StartReport
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import VisionBatcher, prepare
from deepocr.tasks import find_preset
from measure.plain_sequence import PlainSequence
from tests.tiny_checkpoint import DATA
from tests.unit.deepseek.paged_samples import paged_batch

TINY = DATA / "tiny"
BAN = NGramBan(3, 12)
CPU = torch.device("cpu")


def near(a: Tensor, b: Tensor) -> None:
    assert a.shape == b.shape
    assert ((a - b).norm() / b.norm()).item() < 1e-5


Moe = tuple[Tensor, Tensor, Tensor, ExpertWeights]


def moe(tokens: int, experts: int, hidden: int, width: int, top: int) -> Moe:
    """With shared experts that are twice as wide as one."""
    torch.manual_seed(tokens)
    scores = torch.randn(tokens, experts).softmax(dim=-1)
    weights, ids = scores.topk(top, dim=-1)
    gate_up = torch.randn(experts, 2 * width, hidden) / hidden**0.5
    down = torch.randn(experts, hidden, width) / width**0.5
    shared_gate_up = torch.randn(4 * width, hidden) / hidden**0.5
    shared_down = torch.randn(hidden, 2 * width) / (2 * width) ** 0.5
    layer = ExpertWeights(gate_up, down, shared_gate_up, shared_down)
    return torch.randn(tokens, hidden), ids, weights, layer


@pytest.mark.parametrize(("tokens", "hidden", "width"), [(1, 64, 48), (3, 40, 72)])
def test_experts_gemv(tokens: int, hidden: int, width: int) -> None:
    case = moe(tokens, experts=8, hidden=hidden, width=width, top=3)
    near(experts_gemv(*case), plain_experts(*case))


@pytest.mark.parametrize("tokens", [1, 4, 17, 150])
@pytest.mark.parametrize(("hidden", "width"), [(64, 48), (160, 100)])
def test_experts_grouped(tokens: int, hidden: int, width: int) -> None:
    case = moe(tokens, experts=8, hidden=hidden, width=width, top=3)
    near(experts_grouped(*case), plain_experts(*case))


def test_experts_grouped_when_all_tokens_choose_the_same() -> None:
    x, _, weights, layer = moe(40, experts=8, hidden=64, width=48, top=2)
    ids = torch.tensor([5, 2]).expand(40, 2).contiguous()
    near(experts_grouped(x, ids, weights, layer), plain_experts(x, ids, weights, layer))


@pytest.mark.parametrize("block_tokens", [16, 256])
@pytest.mark.parametrize("width", [32, 24])
def test_paged_attention_with_ragged_lengths(block_tokens: int, width: int) -> None:
    torch.manual_seed(0)
    lengths = [1, 300, 65, 256, 17]
    heads = 3
    keys, values = torch.randn(2, 64, block_tokens, heads, width)
    free = list(range(1, 64))
    table = []
    for length in lengths:
        need = -(-length // block_tokens)
        table.append(tuple(free.pop() for _ in range(need)))
    q = torch.randn(len(lengths), heads, width)
    prompts = [1, 130, 60, 250, 3]
    for batch in (
        paged_batch(table, lengths),
        paged_batch(table, lengths, prompts=prompts, window=70),
        paged_batch(table, lengths, prompts=prompts, window=5),
    ):
        near(
            TritonPagedAttention()(q, keys, values, batch),
            PlainPagedAttention()(q, keys, values, batch),
        )


def test_a_padded_row_of_length_0_gives_zeros() -> None:
    keys, values = torch.randn(2, 3, 16, 2, 32)
    batch = paged_batch([[0], [0]], [0, 3])
    out = TritonPagedAttention()(torch.randn(2, 2, 32), keys, values, batch)
    assert (out[0] == 0).all()
    assert out[1].isfinite().all()


@pytest.mark.parametrize("grid", [(7, 7), (10, 10), (2, 32), (5, 64)])
def test_relative_attention(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    rows, columns = grid
    length, heads, width = rows * columns, 2, 16
    # not contiguous, as views of one fused product are
    q, k, v = torch.randn(2, length, 3, heads, width).unbind(2)
    rel_h = torch.randn(2, length, heads, rows)
    rel_w = torch.randn(2, length, heads, columns)
    near(
        relative_attention(q, k, v, rel_h, rel_w),
        SdpaAttention().relative(q, k, v, rel_h, rel_w),
    )


@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if o.fast[-1].name == "triton"], ids=lambda o: o.name
)
def test_the_probe_of_each_kernel(
    operation: Operation, tiny_model: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # all heads and grids take minutes here
    monkeypatch.setattr(Member, "view_sides_px", (512,))
    sam = tiny_model.config.sam.model_copy(update={"heads": 1, "width": 16})
    config = tiny_model.config.model_copy(update={"sam": sam})
    report = StartReport()
    choose([operation], Scene(config, CPU, torch.float32), {}, report)
    assert (report.versions, report.notes) == ({operation.name: "triton"}, {})


class PaddedRunner(GraphRunner):
    """Batches padded as for graphs, run without one."""

    def _replay(self, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
        return self.decode_step(DecodeInputs(*self.staging.upload(parts)))


@torch.inference_mode()
def test_a_padded_batch_through_all_kernels_writes_what_each_page_writes_alone(
    tiny_model: OcrModel,
) -> None:
    network = Ops(SdpaAttention(), triton_experts, add_norm, route, swiglu)
    model = load_model(
        tiny_model.config, SafetensorsFolder(TINY), network,
        device=torch.device("cpu"), dtype=torch.float32,
    )  # fmt: skip
    config = model.config.decoder
    runner = PaddedRunner(
        model,
        BlockCache(config, 24, device=model.device, dtype=model.dtype, block_tokens=16),
        max_sequences=4,
        context=112,
        ban=BAN,
        paged_attention=TritonPagedAttention(),
        prefill_attention=PlainPrefillAttention(network.attention),
        rotary_write=rotary_write,
        pick=pick,
    )
    scheduler = Scheduler(BlockPool(24, 16), 4, 1000)
    reader = BatchedReader(runner, scheduler, VisionBatcher(model, 1 << 30), end_id=-1)
    page = prepare(Image.new("RGB", (300, 200), (200, 30, 90)), find_preset("tiny"))
    slots = tiny_model.encode(page.overview[None].float())[0]
    alone, readings = [], []
    for number, new in enumerate((3, 1)):
        prompt = Prompt((0, *[1000] * page.num_slots, 50 + number), 1, page.num_slots)
        readings.append(reader.submit(prompt, page, new))
        sequence = PlainSequence(tiny_model, prompt, new)
        hidden = sequence.prefill(tiny_model.fill_slots(slots, None, page.grid))
        alone.append([written.token for written in sequence.write(hidden, BAN, -1)])
    written: dict[PageInBatch, list[int]] = {}
    while not reader.idle:
        for reading, update in reader.step():
            if isinstance(update, Token):
                written.setdefault(reading, []).append(update.token)
    assert [written[reading] for reading in readings] == alone
