"""Operations with a plain version and fast ones beside it."""

from dataclasses import dataclass

from deepocr.engines.deepseek.ops.attention import AttentionOps, SdpaAttention
from deepocr.engines.deepseek.ops.experts import ExpertsOp, plain_experts

__all__ = ["AttentionOps", "ExpertsOp", "Ops", "plain_ops"]


@dataclass(frozen=True)
class Ops:
    """What the network calls where there is more than one way to compute the same."""

    attention: AttentionOps
    experts: ExpertsOp


def plain_ops() -> Ops:
    """Plain PyTorch throughout: the path that the fast ones are held against."""
    return Ops(SdpaAttention(), plain_experts)
