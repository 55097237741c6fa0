"""Operations with a plain version and fast ones beside it."""

from dataclasses import dataclass

from deepocr.engines.deepseek.ops.attention import AttentionOps, SdpaAttention
from deepocr.engines.deepseek.ops.experts import (
    ExpertsOp,
    SwigluOp,
    plain_experts,
    plain_swiglu,
)
from deepocr.engines.deepseek.ops.norm import AddNormOp, plain_add_norm
from deepocr.engines.deepseek.ops.routing import RouteOp, plain_route

__all__ = ["AddNormOp", "AttentionOps", "ExpertsOp", "Ops", "RouteOp", "SwigluOp", "plain_ops"]


@dataclass(frozen=True)
class Ops:
    """What the network calls where there is more than one way to compute the same."""

    attention: AttentionOps
    experts: ExpertsOp = plain_experts
    add_norm: AddNormOp = plain_add_norm
    route: RouteOp = plain_route
    swiglu: SwigluOp = plain_swiglu


def plain_ops() -> Ops:
    """Plain PyTorch throughout: the path that the fast ones are held against."""
    return Ops(SdpaAttention())
