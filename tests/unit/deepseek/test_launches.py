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
def test_every_product_of_a_step_is_counted(model: str) -> None:
    for found in count_launches(model, (1, 4)).values():
        # q, k, v and their output in 12 layers, the dense and 11 shared MLPs, lm_head
        assert found.by_name["mm"] == 12 * 2 + 12 * 2 + 11 + 1
