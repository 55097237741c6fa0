"""Kernels that hold several small operations against the plain versions, in Triton's interpreter.

Run by test_kernels.py. Half precision shows that they round where the plain ones do.
"""

import pytest
import torch
from torch import Tensor

from deepocr.engines.deepseek.ops.experts import group_by_expert, plain_swiglu
from deepocr.engines.deepseek.ops.norm import plain_add_norm
from deepocr.engines.deepseek.ops.norm_triton import add_norm, swiglu
from deepocr.engines.deepseek.ops.pick import BanRule, Written, plain_pick
from deepocr.engines.deepseek.ops.pick_triton import PART, pick
from deepocr.engines.deepseek.ops.rotary import plain_rotary_write
from deepocr.engines.deepseek.ops.rotary_triton import rotary_write
from deepocr.engines.deepseek.ops.routing import plain_route
from deepocr.engines.deepseek.ops.routing_triton import GROUPED_PAIRS, group, route

DTYPES = (torch.float32, torch.float16)


def near(a: Tensor, b: Tensor, error: float = 1e-5) -> None:
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert ((a.float() - b.float()).norm() / b.float().norm()).item() < error


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_delta", [False, True])
@pytest.mark.parametrize("hidden", [64, 100])
def test_add_norm(dtype: torch.dtype, with_delta: bool, hidden: int) -> None:
    torch.manual_seed(0)
    x, delta = torch.randn(2, 5, hidden, dtype=dtype).unbind(0)
    case = (x, delta if with_delta else None, torch.randn(hidden, dtype=dtype), 1e-6)
    (total, normed), (wanted_total, wanted) = add_norm(*case), plain_add_norm(*case)
    assert total.equal(wanted_total)
    near(normed, wanted, 1e-5 if dtype == torch.float32 else 1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [48, 1300])
def test_swiglu(dtype: torch.dtype, width: int) -> None:
    gate_up = torch.randn(2, 3, 2 * width).to(dtype)
    near(swiglu(gate_up), plain_swiglu(gate_up), 1e-5 if dtype == torch.float32 else 1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [32, 24])
def test_rotary_write(dtype: torch.dtype, width: int) -> None:
    torch.manual_seed(0)
    tokens, heads = 4, 3
    qkv = torch.randn(tokens, 3, heads, width).to(dtype)
    angles = torch.randn(tokens, width // 2)
    table = torch.stack([angles.cos(), angles.sin()], dim=1).to(dtype)
    cos, sin = table[:, :, None, None].unbind(1)
    places = torch.tensor([17, 3, 40, 63])
    caches = torch.zeros(2, 2, 4, 16, heads, width, dtype=dtype)
    wanted = plain_rotary_write(qkv, (cos, sin), *caches[0], places)
    found = rotary_write(qkv.clone(), (cos, sin), *caches[1], places)
    for one, other in zip(found, wanted, strict=True):
        near(one, other, 1e-6)
    near(caches[1], caches[0], 1e-6)
    written = caches[1].flatten(1, 2).abs().sum(dim=(0, 2, 3)).nonzero().flatten()
    assert written.tolist() == sorted(places.tolist())


@pytest.mark.parametrize(
    ("tokens", "experts", "hidden"), [(1, 64, 96), (5, 64, 96), (5, 10, 50), (130, 10, 50)]
)
def test_route(tokens: int, experts: int, hidden: int) -> None:
    torch.manual_seed(tokens)
    x, weight = torch.randn(tokens, hidden), torch.randn(experts, hidden) / 8
    (ids, weights), (wanted_ids, wanted) = route(x, weight, 6, 1.5), plain_route(x, weight, 6, 1.5)
    assert ids.equal(wanted_ids)
    near(weights, wanted)


def test_a_token_that_is_no_number_goes_to_experts_that_there_are() -> None:
    x = torch.randn(2, 50)
    x[0, 3] = float("nan")
    ids, weights = route(x, torch.randn(10, 50), 6, 1.0)
    assert ((ids >= 0) & (ids < 10)).all()
    assert weights[0].isnan().all()
    assert weights[1].isfinite().all()


@pytest.mark.parametrize("kernel", [group, group_by_expert])
@pytest.mark.parametrize("block_m", [16, 32])
@pytest.mark.parametrize("tokens", [1, 2, 30, 170, 200])
def test_every_pair_has_one_place_in_a_block_of_its_expert(
    kernel: object, block_m: int, tokens: int
) -> None:
    top, experts = 6, 12
    assert 170 * top <= GROUPED_PAIRS < 200 * top
    torch.manual_seed(tokens)
    ids = torch.rand(tokens, experts).topk(top).indices
    ids[: tokens // 2] = torch.tensor([11, 3, 4, 0, 9, 1])
    places, block_expert = (group if kernel is group else group_by_expert)(ids, experts, block_m)
    pairs = tokens * top
    assert len(places) == len(block_expert) * block_m
    filled = places < pairs
    assert places[filled].sort().values.tolist() == list(range(pairs))
    assert (places[~filled] == pairs).all()
    of_row = block_expert.repeat_interleave(block_m)
    assert of_row[filled].equal(ids.flatten()[places[filled]])
    # blocks beyond those that are needed belong to no expert
    empty = ~filled.view(-1, block_m).any(dim=1)
    assert (block_expert[empty] == experts).all()


def picked(
    logits: Tensor, rows: list[list[int]], ban: BanRule | None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Tokens, probabilities and history by the kernel and by the plain version."""
    found = []
    for op in (pick, plain_pick):
        history = torch.zeros(len(rows) + 2, 40, dtype=torch.int64)
        slots = torch.arange(len(rows)).flip(0) + 1
        for slot, row in zip(slots, rows, strict=True):
            history[slot, : len(row)] = torch.tensor(row)
        counts = torch.tensor([len(row) for row in rows])
        # the ban's window is the longest of any row
        windows = (ban.window if ban else 0) - torch.arange(len(rows)) % 2
        written = Written(history, slots, counts, windows)
        found.append((*op(logits, written, ban), history))
    return found[0], found[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocabulary", [7, PART, 2 * PART + 5])
@pytest.mark.parametrize("rule", [None, (1, 4, ()), (2, 9, (3,)), (3, 12, (3, 4)), (2, 70, ())])
def test_pick(
    dtype: torch.dtype, vocabulary: int, rule: tuple[int, int, tuple[int, ...]] | None
) -> None:
    torch.manual_seed(1)
    rows = [
        torch.randint(0, 5, (length,)).tolist() for length in (0, 1, 2, 3, 8, 9, 10, 12, 13, 30)
    ]
    # the tokens that are written are also the likely ones, and some of them tie
    logits = torch.randn(len(rows), vocabulary)
    logits[:, :5] += 4
    logits[3, 5] = logits[3, 2] = 20
    ban = rule and BanRule(rule[0], rule[1], torch.tensor(rule[2], dtype=torch.int64))
    found, wanted = picked(logits.to(dtype), rows, ban or None)
    assert found[0].equal(wanted[0])
    near(found[1], wanted[1], 1e-5)
    assert found[2].equal(wanted[2])


def test_pick_has_no_probability_where_a_logit_is_no_number() -> None:
    logits = torch.randn(3, 2 * PART)
    logits[0, 70] = float("nan")
    logits[1] = float("nan")
    ban = BanRule(2, 4, torch.tensor([0]))
    (tokens, probabilities, _), _ = picked(logits, [[1, 2, 1, 2]] * 3, ban)
    assert probabilities.isnan().tolist() == [True, True, False]
    assert ((tokens >= 0) & (tokens < 2 * PART)).all()
