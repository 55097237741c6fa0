"""The tiny model of the reference cases, loaded once."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops

TINY = Path(__file__).parents[2] / "parity" / "data" / "tiny"


@pytest.fixture(scope="session")
def tiny_model() -> OcrModel:
    """1.9 M parameters in float32 on the CPU."""
    return load_model(
        read_config(TINY),
        SafetensorsFolder(TINY),
        plain_ops(),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
