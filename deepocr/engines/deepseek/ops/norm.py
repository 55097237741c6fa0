"""RMS norm together with the addition before it: the plain version."""

from typing import Protocol

from torch import Tensor


class AddNormOp(Protocol):
    """What stands between two blocks of the decoder."""

    def __call__(
        self, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """x and what a block adds to it, both (T, hidden) -> their sum, and the sum over its root
        mean square times weight (hidden,). Float32 inside; every result is rounded to x's type."""
        ...


def plain_add_norm(
    x: Tensor, delta: Tensor | None, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    if delta is not None:
        x = x + delta
    wide = x.float()
    wide = wide * (wide.square().mean(dim=-1, keepdim=True) + eps).rsqrt()
    return x, weight * wide.to(x.dtype)
