"""A clock, and the floor under a decode step: the bytes it must read, and how fast they come."""

import resource
import time
from collections.abc import Mapping

import torch

from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.packed import Quantize

BITS: Mapping[Quantize, float] = {"none": 16, "int8": 8, "int4": 4.5}


class Clock:
    """Seconds since the last lap, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.last_s = self._now_s()

    def _now_s(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def lap(self) -> float:
        now_s = self._now_s()
        seconds, self.last_s = now_s - self.last_s, now_s
        return seconds


def step_bytes(model: OcrModel, quantize: Quantize, batch: int, length: int) -> float:
    """What one decode step must read: weights of the experts that `batch` tokens are expected to
    hit and of all else, and keys and values of `length` tokens a sequence."""
    config = model.config.decoder
    hidden, layers = config.hidden_size, config.num_hidden_layers
    sparse = layers - config.first_k_dense_replace
    expert = 3 * hidden * config.moe_intermediate_size
    missed = (1 - config.num_experts_per_tok / config.n_routed_experts) ** batch
    always = (
        layers * 4 * hidden**2
        + config.first_k_dense_replace * 3 * hidden * config.intermediate_size
        + sparse * config.n_shared_experts * expert
        + hidden * config.vocab_size
    )
    weights = always + sparse * expert * config.n_routed_experts * (1 - missed)
    kept = batch * length * 2 * layers * hidden * 2
    return weights * BITS[quantize] / 8 + kept


def read_bandwidth(device: torch.device) -> float:
    """Bytes a second that a sum over 1 GiB reads, the best of a few."""
    values = torch.ones(1 << 27, dtype=torch.int64, device=device)
    clock = Clock(device)
    best_s = float("inf")
    for _ in range(6):
        clock.lap()
        values.sum()
        best_s = min(best_s, clock.lap())
    return values.numel() * values.element_size() / best_s


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
