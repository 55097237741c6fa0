"""A network of the published size with random weights, made on the device; nothing is fetched."""

import math

import torch
from torch import Tensor

from deepocr.engines.deepseek.config import OcrConfig, QwenConfig
from deepocr.engines.deepseek.model.moe import Router
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import Ops

PUBLISHED = OcrConfig.model_validate(
    {
        "sam": {
            "width": 768,
            "layers": 12,
            "heads": 12,
            "global_attn_indexes": [2, 5, 8, 11],
            "downsample_channels": [512, 1024],
        },
        "encoder": {"kind": "clip", "width": 1024, "layers": 24, "heads": 16},
        "projector": {"input_dim": 2048, "n_embed": 1280, "projector_type": "linear"},
        "decoder": {
            "vocab_size": 129280,
            "hidden_size": 1280,
            "intermediate_size": 6848,
            "moe_intermediate_size": 896,
            "num_hidden_layers": 12,
            "num_attention_heads": 10,
            "num_key_value_heads": 10,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "max_position_embeddings": 8192,
            "use_mla": False,
        },
    }
)
"""The fields of the published config.json that the network reads."""

FAMILY = {
    "deepseek-ocr": PUBLISHED,
    "deepseek-ocr-2": OcrConfig(
        sam=PUBLISHED.sam.model_copy(update={"downsample_channels": (512, 896)}),
        encoder=QwenConfig(kind="qwen2", dim=896),
        projector=PUBLISHED.projector.model_copy(update={"input_dim": 896}),
        decoder=PUBLISHED.decoder,
    ),
    "unlimited-ocr": PUBLISHED.model_copy(
        update={
            "decoder": PUBLISHED.decoder.model_copy(
                update={"sliding_window": 128, "max_position_embeddings": 32768}
            )
        }
    ),
}
"""Every member at its published size, by DEEPOCR_MODEL."""

PATTERN_VALUES = 1 << 22
"""Random values drawn once and repeated: drawing 3.3 billion would take longer than the bench."""


@torch.inference_mode()
def random_model(
    config: OcrConfig, ops: Ops, *, device: torch.device, dtype: torch.dtype
) -> OcrModel:
    """Weights of the size that keeps activations from dying out; norms near 1."""
    model = empty_model(config, ops, dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    pattern = torch.randn(PATTERN_VALUES, device=device, generator=generator)
    for name, parameter in model.named_parameters():
        spread = 1 / math.sqrt(parameter.shape[-1]) if parameter.dim() > 1 else 0.1
        _repeat(parameter.view(-1), (pattern * spread).to(parameter.dtype), shift=len(name))
        if parameter.dim() == 1 and name.endswith("weight"):
            parameter.add_(1)
    model.eval().prepare()
    return model


def empty_model(config: OcrConfig, ops: Ops, dtype: torch.dtype) -> OcrModel:
    """The modules without memory behind them."""
    with torch.device("meta"):
        model = OcrModel(config, ops).requires_grad_(False).to(dtype)
    for module in model.modules():
        if isinstance(module, Router):
            module.float()
    return model


@torch.inference_mode()
def with_other_ops(model: OcrModel, ops: Ops) -> OcrModel:
    """The same weights, in the same memory, behind other operations."""
    other = empty_model(model.config, ops, model.dtype)
    other.load_state_dict(model.state_dict(), assign=True)
    other.eval().prepare()
    return other


def _repeat(values: Tensor, pattern: Tensor, shift: int) -> None:
    """Fill `values` with the pattern; a length that divides nothing keeps rows different."""
    period = pattern.numel() - 1 - shift
    for start in range(0, values.numel(), period):
        count = min(period, values.numel() - start)
        values[start : start + count] = pattern[:count]
