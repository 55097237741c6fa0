"""The network made fast on a CPU: every matrix of weights replaced by a packed one.

Done once after loading. Each original is let go as soon as its packed form is there, so the
weights are never in memory twice.
"""

import logging
import time

import torch
from torch import Tensor, nn

from deepocr.engines.deepseek.model.moe import DenseMlp, Experts
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.model.sam import SamMlp
from deepocr.engines.deepseek.ops.experts import plain_swiglu
from deepocr.engines.deepseek.ops.packed import MATRICES, Matrix, Quantize

log = logging.getLogger(__name__)


class PackedLinear(nn.Module):
    """In place of a Linear: (..., in) -> (..., out)."""

    def __init__(self, matrix: Matrix, bias: Tensor | None) -> None:
        super().__init__()
        self.matrix = matrix
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            return self.forward(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
        out = self.matrix(x)
        if self.bias is not None:
            out += self.bias
        return out


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
            return self._one_token(x, ids[0].tolist(), weights)
        chosen = ids.flatten()
        order = chosen.argsort(stable=True)
        counts = torch.bincount(chosen, minlength=len(self.down)).tolist()
        rows = x[order // ids.shape[1]]
        parts = [
            self._expert(expert, part)
            for expert, part in enumerate(torch.split(rows, counts))
            if part.shape[0]
        ]
        return weighted_sums(torch.cat(parts), order.argsort().view(ids.shape), weights)

    def _one_token(self, x: Tensor, hit: list[int], weights: Tensor) -> Tensor:
        """One SwiGLU for all experts of a token: on a CPU small operations cost their launch."""
        inner = plain_swiglu(torch.cat([self.gate_up[expert](x) for expert in hit]))
        rows = zip(hit, inner.split(1), strict=True)  # type: ignore[no-untyped-call]
        each = torch.cat([self.down[expert](row) for expert, row in rows])
        return (weights @ each.float()).to(x.dtype)

    def _expert(self, expert: int, x: Tensor) -> Tensor:
        return self.down[expert](plain_swiglu(self.gate_up[expert](x)))


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


class ByRows(nn.Module):
    """A block that treats every row alone, some rows at a time: (..., C) -> (..., C)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.split(x.reshape(-1, x.shape[-1]), MLP_ROWS)
        return torch.cat([self.block(rows) for rows in pieces]).view_as(x)


@torch.inference_mode()
def pack_for_cpu(model: OcrModel, quantize: Quantize = "none") -> None:
    """Replace the weights of a bf16 model on the CPU in place. `quantize` is for the decoder;
    the encoder, which runs once a page, keeps bf16."""
    started_s = time.perf_counter()
    _pack_children(model.decoder, quantize)
    model.lm_head = PackedLinear(MATRICES[quantize](model.lm_head.weight), None)  # type: ignore[assignment]
    for encoder in (model.sam_model, model.encoder, model.projector):
        _pack_children(encoder, "none")
    log.info("weights packed for the CPU (%s) in %.1f s", quantize, time.perf_counter() - started_s)


def _pack_children(module: nn.Module, quantize: Quantize) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(MATRICES[quantize](child.weight), child.bias))
        elif isinstance(child, Experts):
            setattr(module, name, _pack_experts(child, quantize))
        else:
            _pack_children(child, quantize)
            if isinstance(child, SamMlp):
                setattr(module, name, ByRows(child))


def _pack_experts(experts: Experts, quantize: Quantize) -> PackedExperts:
    pack = MATRICES[quantize]
    gate_up = [pack(weight) for weight in experts.gate_up_proj.detach().unbind(0)]
    down = [pack(weight) for weight in experts.down_proj.detach().unbind(0)]
    return PackedExperts(gate_up, down)
