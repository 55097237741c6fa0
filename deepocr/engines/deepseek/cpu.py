"""The network made fast on a CPU: every matrix of weights replaced by a packed one.

Done once after loading. Each original is let go as soon as its packed form is there, so the
weights are never in memory twice.
"""

import logging
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from deepocr.engines.deepseek.model.moe import DenseMlp, Experts
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.model.sam import SamMlp
from deepocr.engines.deepseek.ops.experts import plain_swiglu
from deepocr.engines.deepseek.ops.packed import (
    Matrix,
    Quantize,
    decoder_matrix,
    encoder_matrix,
)
from deepocr.engines.deepseek.ops.processor import Products

log = logging.getLogger(__name__)


class PackedLinear(nn.Module):
    """In place of a Linear: (..., in) -> (..., out)."""

    def __init__(self, matrix: Matrix) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return self.matrix(x)
        return self.matrix(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


class PackedExperts(nn.Module):
    """In place of Experts: one matrix for each expert's gate and up, one for its down."""

    def __init__(self, gate_up: list[Matrix], down: list[Matrix]) -> None:
        super().__init__()
        self.gate_up = gate_up
        self.down = down

    def forward(self, x: Tensor, ids: Tensor, weights: Tensor, shared: DenseMlp) -> Tensor:
        """x (T, hidden), ids and weights (T, K) -> (T, hidden), as `ops.experts` has it."""
        out: Tensor = self._routed(x, ids, weights) + shared(x)
        return out

    def _routed(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        if x.shape[0] == 1:
            hit = ids[0].tolist()
            return (weights @ self._each(hit, [x] * len(hit)).float()).to(x.dtype)
        chosen = ids.flatten()
        order = chosen.argsort(stable=True)
        counts = torch.bincount(chosen, minlength=len(self.down)).tolist()
        hit = [expert for expert, count in enumerate(counts) if count]
        parts = torch.split(x[order // ids.shape[1]], [counts[expert] for expert in hit])
        return weighted_sums(self._each(hit, parts), order.argsort().view(ids.shape), weights)

    def _each(self, hit: list[int], parts: Sequence[Tensor]) -> Tensor:
        """Each of some experts on its rows. One SwiGLU for all: on a CPU small operations cost
        their launch."""
        inner = [self.gate_up[expert](part) for expert, part in zip(hit, parts, strict=True)]
        rows = torch.split(plain_swiglu(torch.cat(inner)), [part.shape[0] for part in parts])
        return torch.cat([self.down[expert](part) for expert, part in zip(hit, rows, strict=True)])


SUM_TOKENS = 128
"""Tokens whose experts' outputs are widened to float32 at a time."""


def weighted_sums(rows: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """rows (T * K, hidden); places in them and weights in float32, both (T, K) -> (T, hidden).

    Some tokens at a time: in float32 all together would be the largest tensor of a prefill.
    """
    pieces = zip(torch.split(places, SUM_TOKENS), torch.split(weights, SUM_TOKENS), strict=True)
    sums = [(share[:, None] @ rows[at].float()).squeeze(1) for at, share in pieces]
    return torch.cat(sums).to(rows.dtype)


MLP_ROWS = 1024
"""Rows at a time through the encoder's widest block: what it makes in between, four times as wide,
then stays in the processor's cache."""


class PackedMlp(nn.Module):
    """In place of SamMlp, whose GELU belongs to the first product: (..., C) -> (..., C)."""

    def __init__(self, first: Matrix, second: Matrix) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.split(x.reshape(-1, x.shape[-1]), MLP_ROWS)
        return torch.cat([self.second(self.first(rows)) for rows in pieces]).view_as(x)


@torch.inference_mode()
def pack_for_cpu(model: OcrModel, products: Products, quantize: Quantize = "none") -> None:
    """Replace the weights of a bf16 model on the CPU in place. `quantize` is for the decoder;
    the encoder, which runs once a page, keeps its weights."""
    started_s = time.perf_counter()
    pack = decoder_matrix(products, quantize)
    _pack_decoder(model.decoder, pack)
    model.lm_head = PackedLinear(pack(model.lm_head.weight))  # type: ignore[assignment]
    for encoder in (model.sam_model, model.encoder, model.projector):
        _pack_encoder(encoder, encoder_matrix(products))
    log.info("weights packed for the CPU (%s) in %.1f s", quantize, time.perf_counter() - started_s)


def _pack_decoder(module: nn.Module, pack: Callable[[Tensor], Matrix]) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(pack(child.weight)))
        elif isinstance(child, Experts):
            parts = (child.gate_up_proj.detach(), child.down_proj.detach())
            gate_up, down = ([pack(weight) for weight in part.unbind(0)] for part in parts)
            setattr(module, name, PackedExperts(gate_up, down))
        else:
            _pack_decoder(child, pack)


def _pack_encoder(module: nn.Module, pack: Callable[..., Matrix]) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(pack(child.weight, child.bias)))
        elif isinstance(child, SamMlp):
            first = pack(child.lin1.weight, child.lin1.bias, gelu=True)
            setattr(module, name, PackedMlp(first, pack(child.lin2.weight, child.lin2.bias)))
        else:
            _pack_encoder(child, pack)
