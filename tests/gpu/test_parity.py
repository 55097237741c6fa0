"""The reference cases on a CUDA device, in both types and with the attention chosen there."""

from collections.abc import Iterator

import pytest
import torch

from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.ops import Ops
from deepocr.engines.deepseek.ops.attention import choose_attention
from deepocr.engines.deepseek.ops.experts import plain_experts
from deepocr.engines.deepseek.parity import LIMITS, PlainImplementation, compare, read_cases
from tests.parity.conftest import TINY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

CASES = {case.name: case for case in read_cases(TINY)}


@pytest.fixture
def exact_convolutions() -> Iterator[None]:
    """cuDNN's convolutions in float32 keep 10 bits of fraction unless told otherwise."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.usefixtures("exact_convolutions")
def test_reference_cases(dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    ops = Ops(choose_attention(device, dtype), plain_experts)
    model = load_model(read_config(TINY), SafetensorsFolder(TINY), ops, device=device, dtype=dtype)
    implementation = PlainImplementation(model)
    for case in CASES.values():
        checks = list(compare(implementation, case, LIMITS[dtype]))
        assert [check for check in checks if not check.ok] == []
