"""The same decoder as transformers has it, over the same weights, written with `generate`.

Its DeepSeek-OCR-2 text model has the layout of DeepSeek-OCR's decoder. The weights are views of
ours, so both fit into memory together.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.config import DecoderConfig
from deepocr.engines.deepseek.model.ocr import OcrModel


def transformers_decoder(model: OcrModel) -> Any:
    """A model with `generate`. Raises ImportError where transformers has no such model."""
    from transformers import GenerationMixin
    from transformers.modeling_outputs import CausalLMOutputWithPast
    from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import (
        DeepseekOcr2TextModel,
        DeepseekOcr2TextPreTrainedModel,
    )

    class Decoder(DeepseekOcr2TextPreTrainedModel, GenerationMixin):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.model = DeepseekOcr2TextModel(config)
            self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)

        def forward(self, logits_to_keep: int = 0, **inputs: Any) -> Any:
            inputs.pop("labels", None)
            out = self.model(**inputs)
            hidden = out.last_hidden_state[:, -1:] if logits_to_keep else out.last_hidden_state
            return CausalLMOutputWithPast(
                logits=self.lm_head(hidden), past_key_values=out.past_key_values
            )

    with torch.device("meta"):
        decoder = Decoder(_config(model.config.decoder))
    decoder.load_state_dict(_weights(model), strict=True, assign=True)
    rotary = type(decoder.model.rotary_emb)
    decoder.model.rotary_emb = rotary(decoder.config).to(model.device)
    return decoder.eval()


def _config(config: DecoderConfig) -> Any:
    from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import (
        DeepseekOcr2TextConfig,
    )

    fields = (
        *("vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size"),
        *("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "n_routed_experts"),
        *("n_shared_experts", "num_experts_per_tok", "max_position_embeddings", "topk_method"),
    )
    dense = config.first_k_dense_replace
    return DeepseekOcr2TextConfig(
        **{name: getattr(config, name) for name in fields},
        mlp_layer_types=["dense"] * dense + ["sparse"] * (config.num_hidden_layers - dense),
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def _weights(model: OcrModel) -> Mapping[str, Tensor]:
    """Our parameters under transformers' names; fused ones are cut into views."""
    found: dict[str, Tensor] = {"lm_head.weight": model.lm_head.weight}
    for name, weight in model.decoder.named_parameters():
        owner = f"model.{name}"
        if ".qkv_proj." in name:
            for part, rows in zip("qkv", weight.chunk(3), strict=True):
                found[owner.replace("qkv_proj", f"{part}_proj")] = rows
        elif name.endswith("gate_up_proj.weight"):
            for part, rows in zip(("gate", "up"), weight.chunk(2), strict=True):
                found[owner.replace("gate_up_proj", f"{part}_proj")] = rows
        else:
            found[owner] = weight
    return found
