"""The network against what the official implementation computed: every case, every number."""

import pytest
import torch

from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.choice import choose_ops
from measure.parity.batched import BatchedImplementation
from measure.parity.stages import (
    LIMITS,
    Case,
    PlainImplementation,
    compare,
    read_cases,
)
from tests.parity.conftest import TINY, load_tiny

CASES = {case.name: case for case in read_cases(TINY)}


@pytest.mark.parametrize("name", CASES)
def test_float32_is_exact(name: str, tiny_fp32: OcrModel) -> None:
    case = CASES[name]
    checks = list(compare(PlainImplementation(tiny_fp32), case, LIMITS[torch.float32]))
    assert [check for check in checks if not check.ok] == []
    compared = {check.what for check in checks}
    assert {"grid", "slots", "view sha256", "tiles sha256"} <= compared
    assert {"global.sam", "global.clip", "image_embeds", "hidden.3", "logits"} <= compared
    assert {"greedy", "greedy_no_repeat_3", "greedy_windowed_3_12"} <= compared
    assert ("local.projected" in compared) == (case.grid != (1, 1))


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_is_near(name: str, tiny_bf16: OcrModel) -> None:
    checks = list(compare(PlainImplementation(tiny_bf16), CASES[name], LIMITS[torch.bfloat16]))
    assert [check for check in checks if not check.ok] == []


@pytest.mark.parametrize("name", ["small_landscape", "gundam_a4"])
def test_the_engines_own_path_is_exact(name: str) -> None:
    """Fast operations, and other pages in the same batch."""
    device = torch.device("cpu")
    ops = choose_ops(read_config(TINY), device, torch.float32)
    model = load_tiny(torch.float32, ops.network)
    implementation = BatchedImplementation(model, ops, list(CASES.values()))
    checks = list(compare(implementation, CASES[name], LIMITS[torch.float32]))
    assert [check for check in checks if not check.ok] == []


def test_a_wrong_network_is_noticed(tiny_fp32: OcrModel) -> None:
    """The comparison itself can fail: one weight of one expert is enough."""
    case = CASES["tiny_a4"]
    down = tiny_fp32.get_parameter("decoder.layers.2.mlp.experts.down_proj")
    kept = down.clone()
    try:
        down.mul_(1.1)
        checks = list(compare(PlainImplementation(tiny_fp32), case, LIMITS[torch.float32]))
    finally:
        down.copy_(kept)
    missed = {check.what for check in checks if not check.ok}
    assert {"hidden.3", "logits"} <= missed
    assert not {"global.sam", "hidden.0", "hidden.2", "slots"} & missed


def test_a_wrong_preset_is_noticed(tiny_fp32: OcrModel) -> None:
    case = CASES["tiny_a4"]
    other = Case(**{**vars(case), "preset": "Small"})
    checks = compare(PlainImplementation(tiny_fp32), other, LIMITS[torch.float32])
    assert {"slots", "view sha256", "global.sam"} <= {c.what for c in checks if not c.ok}
