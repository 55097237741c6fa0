"""The reference cases on a CUDA device, in both types and with the attention chosen there."""

from collections.abc import Iterator

import pytest
import torch

from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.ops.choice import choose_ops
from measure.parity.batched import BatchedImplementation
from measure.parity.stages import (
    LIMITS,
    Check,
    Implementation,
    PlainImplementation,
    compare,
    read_cases,
)
from tests.parity.conftest import TINY, load_tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture
def exact_convolutions() -> Iterator[None]:
    """cuDNN's convolutions in float32 keep 10 bits of fraction unless told otherwise."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def misses(implementation: Implementation, dtype: torch.dtype) -> list[Check]:
    cases = read_cases(TINY)
    checks = (check for case in cases for check in compare(implementation, case, LIMITS[dtype]))
    return [check for check in checks if not check.ok]


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.usefixtures("exact_convolutions")
def test_plain_path(dtype: torch.dtype) -> None:
    assert misses(PlainImplementation(load_tiny(dtype, plain_ops(), "cuda")), dtype) == []


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.usefixtures("exact_convolutions")
def test_the_engines_own_path(dtype: torch.dtype) -> None:
    ops = choose_ops(read_config(TINY), torch.device("cuda"), dtype)
    model = load_tiny(dtype, ops.network, "cuda")
    assert misses(BatchedImplementation(model, ops, read_cases(TINY)), dtype) == []
