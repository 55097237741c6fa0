"""Deterministic weights in place of the published ones: noise, but the same noise everywhere.

Each tensor is drawn from a generator seeded by its published name, so that two implementations
can be compared, and speed measured, without a download.
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepocr.engines.deepseek.checkpoint import Shape, published_places
from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.start_report import StartReport

TABLES = ("embed_tokens", "position_embedding", "pos_embed", "rel_pos")
"""Looked up rather than multiplied: their spread does not depend on their size."""

NECK_NORMS = ("model.sam_model.neck.1.", "model.sam_model.neck.3.")


@dataclass(frozen=True)
class StandInWeights:
    """A TensorSource without files; `gain` keeps activations from dying out or growing."""

    places: Mapping[str, Shape]
    gain: float

    def shapes(self) -> Mapping[str, Shape]:
        return self.places

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, shape in self.places.items():
            yield name, stand_in(name, shape, self.gain)

    def fill(self, slots: Mapping[str, Tensor], report: StartReport) -> None:
        with report.stage("read"):
            for name, tensor in self.tensors():
                slots[name].copy_(tensor)


def stand_in_weights(config: OcrConfig, gain: float = 1.0) -> StandInWeights:
    """Every tensor that a network of this configuration needs."""
    with torch.device("meta"):
        model = OcrModel(config, plain_ops())
    places = published_places(model)
    return StandInWeights({name: place.shape for name, place in places.items()}, gain)


def stand_in(name: str, shape: Shape, gain: float) -> Tensor:
    """The bf16 tensor for a published name and shape."""
    seed = zlib.crc32(name.encode())
    drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)
    scale, offset = _spread(name, shape, gain)
    values = torch.from_numpy(drawn).mul_(scale)
    return (values.add_(offset) if offset else values).to(torch.bfloat16)


def _spread(name: str, shape: Shape, gain: float) -> tuple[float, float]:
    """Factor and offset that suit the tensor's part in the network."""
    is_norm = "norm" in name or name.startswith(NECK_NORMS)
    if is_norm and len(shape) == 1 and name.endswith(".weight"):
        return 0.1, 1.0
    if name.endswith(".bias"):
        return 0.05, 0.0
    if "rel_pos" in name:
        return 0.2, 0.0
    if len(shape) >= 2 and not any(part in name for part in TABLES):
        return gain / math.sqrt(math.prod(shape[1:])), 0.0
    return 0.5, 0.0
