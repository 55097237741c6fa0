"""Weights laid out for the CPU: bf16 packed once by oneDNN, or int8 and int4 of weights alone.

Decoding on a CPU is reading weights, so fewer bytes are faster, and a layout that is read in
order is worth a third of the time. Activations stay bf16 in all of them. int8 and int4 change
what is written a little; they are asked for by name and said in every answer.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Quantize = Literal["none", "int8", "int4"]

Matrix = Callable[[Tensor], Tensor]
"""x (T, in) bf16 -> (T, out) bf16."""

INT8_ROWS = 16
"""Above so many rows int8 is widened to bf16 first: PyTorch's int8 product is made for few."""

INT4_GROUPS = (64, 32)
"""Columns that share a scale and a zero: the first that divides the width."""


class Bf16Matrix:
    """oneDNN's blocked layout; without oneDNN, the plain one."""

    def __init__(self, weight: Tensor) -> None:
        self.packs = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packs else weight

    def __call__(self, x: Tensor) -> Tensor:
        if not self.packs:
            return F.linear(x, self.weight)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return out


class Int8Matrix:
    """One scale a row, symmetric."""

    def __init__(self, weight: Tensor) -> None:
        wide = weight.float()
        # divided by the scale as it is kept, so that its own rounding costs nothing
        self.scale = (wide.abs().amax(dim=1) / 127).clamp(min=1e-8).to(weight.dtype)
        by_row = wide / self.scale.float()[:, None]
        self.weight = by_row.round().clamp(-127, 127).to(torch.int8)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > INT8_ROWS:
            return F.linear(x, self.weight.to(x.dtype)) * self.scale
        out: Tensor = torch._weight_int8pack_mm(x, self.weight, self.scale)
        return out


class Int4Matrix:
    """A scale and a zero for each group of columns of a row."""

    def __init__(self, weight: Tensor) -> None:
        rows, columns = weight.shape
        self.group = next(group for group in INT4_GROUPS if columns % group == 0)
        groups = weight.float().view(rows, columns // self.group, self.group)
        low, high = groups.amin(dim=2), groups.amax(dim=2)
        scale = ((high - low) / 15).clamp(min=1e-8).to(weight.dtype)
        zero = (low + 8 * scale.float()).to(weight.dtype)
        levels = (groups - zero.float()[:, :, None]) / scale.float()[:, :, None] + 8
        levels = levels.round().clamp(0, 15).to(torch.int32).view(rows, columns)
        self.weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1)
        self.scale_and_zero = torch.stack([scale, zero], dim=2).transpose(0, 1).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x, self.weight, self.group, self.scale_and_zero
        )
        return out


MATRICES: Mapping[Quantize, Callable[[Tensor], Matrix]] = {
    "none": Bf16Matrix,
    "int8": Int8Matrix,
    "int4": Int4Matrix,
}
