"""The tiny reference model, loaded once for each type."""

import pytest
import torch

from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import Ops, plain_ops
from tests.tiny_checkpoint import DATA

TINY = DATA / "tiny"


def load_tiny(dtype: torch.dtype, ops: Ops | None = None, device: str = "cpu") -> OcrModel:
    config, source = read_config(TINY), SafetensorsFolder(TINY)
    return load_model(config, source, ops or plain_ops(), device=torch.device(device), dtype=dtype)


@pytest.fixture(scope="session")
def tiny_fp32() -> OcrModel:
    return load_tiny(torch.float32)


@pytest.fixture(scope="session")
def tiny_bf16() -> OcrModel:
    return load_tiny(torch.bfloat16)
