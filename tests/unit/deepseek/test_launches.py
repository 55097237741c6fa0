"""What a decode step launches, counted on the meta device."""

import importlib.util

import pytest
import torch
from torch import Tensor

from measure.bench.launches import count_launches
from measure.launches import META, recorded

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


def launched(x: Tensor) -> Tensor:
    """Three kernels; views and allocations beside them."""
    rows = x.view(4, 8)[1:].transpose(0, 1)
    torch.empty_like(x)
    return torch.nn.functional.linear(rows, x.new_zeros(5, 3)) + 1


def test_views_and_allocations_do_not_count() -> None:
    with recorded() as found:
        launched(torch.empty(32, device=META))
    assert sorted(found.names) == ["add.Tensor", "mm", "new_zeros"]


@pytest.mark.parametrize("model", ["deepseek-ocr", "deepseek-ocr-2", "unlimited-ocr"])
def test_a_step_launches_few_kernels(model: str) -> None:
    found = count_launches(model, (1, 4, 64))
    assert len(found[1].names) <= 160
    assert max(len(found[batch].names) for batch in (4, 64)) <= 200
    # q, k, v and their output in 12 layers, the dense MLP, lm_head; from 4 on 11 shared MLPs
    assert [found[batch].by_name["mm"] for batch in (1, 4)] == [27, 49]
