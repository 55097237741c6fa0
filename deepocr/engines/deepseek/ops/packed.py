"""Weights laid out for the CPU: bf16 packed once by oneDNN, or int8 and int4 of weights alone.

Decoding on a CPU is reading weights, so fewer bytes are faster, and a layout that is read in
order is worth a third of the time. Activations stay bf16 in all of them. int8 and int4 change
what is written a little; they are asked for by name and said in every answer.

A processor that multiplies no bf16 gets the encoder's weights in float32, twice the bytes but read
for many rows at once; the decoder's stay, and are widened where there are many rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from deepocr.engines.deepseek.ops.processor import Products

Quantize = Literal["none", "int8", "int4"]

Matrix = Callable[[Tensor], Tensor]
"""x (T, in) bf16 -> (T, out) bf16."""

FEW_ROWS = 16
"""Above so many rows weights are widened first: products with int8, or with bf16 that the processor
does not multiply, are made for few."""

INT4_GROUPS = (64, 32)
"""Columns that share a scale and a zero: the first that divides the width."""


class PackedMatrix:
    """oneDNN's blocked layout, with what follows the product inside it: a bias, then a GELU where
    one is wanted. Where oneDNN does not multiply this type, the plain layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> None:
        self.packs = onednn_multiplies(weight.dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packs else weight
        self.bias = bias
        self.gelu = gelu

    def __call__(self, x: Tensor) -> Tensor:
        if not self.packs:
            out = F.linear(x, self.weight, self.bias)
            return F.gelu(out) if self.gelu else out
        after, variant = ("gelu", "none") if self.gelu else ("none", "")
        packed: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, after, [], variant
        )
        return packed


def onednn_multiplies(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class WideMatrix(PackedMatrix):
    """The weights in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> None:
        super().__init__(weight.float(), None if bias is None else bias.float(), gelu=gelu)

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x.float()).to(x.dtype)


@dataclass(frozen=True)
class WidenedMatrix:
    """bf16 as it is for few rows, whose time is that of reading it; for many, widened each time."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] <= FEW_ROWS:
            return F.linear(x, self.weight)
        return F.linear(x.float(), self.weight.float()).to(x.dtype)


class Int8Matrix:
    """One scale a row, symmetric."""

    def __init__(self, weight: Tensor) -> None:
        wide = weight.float()
        # divided by the scale as it is kept, so that its own rounding costs nothing
        self.scale = (wide.abs().amax(dim=1) / 127).clamp(min=1e-8).to(weight.dtype)
        by_row = wide / self.scale.float()[:, None]
        self.weight = by_row.round().clamp(-127, 127).to(torch.int8)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > FEW_ROWS:
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


QUANTIZED: Mapping[Quantize, Callable[[Tensor], Matrix]] = {"int8": Int8Matrix, "int4": Int4Matrix}


def encoder_matrix(products: Products) -> Callable[..., PackedMatrix]:
    """Takes a weight, a bias, and whether a GELU follows."""
    return WideMatrix if products == "float32" else PackedMatrix


def decoder_matrix(products: Products, quantize: Quantize) -> Callable[[Tensor], Matrix]:
    if quantize != "none":
        return QUANTIZED[quantize]
    return WidenedMatrix if products == "float32" else PackedMatrix
