"""A second witness: transformers' own DeepSeek-OCR-2 decoder, same layout, same weights by name."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.sampling import NO_BAN, NGramBan
from deepocr.engines.deepseek.tokens import Prompt
from measure.parity.stages import relative_error
from measure.plain_sequence import PlainSequence
from tests.parity.conftest import TINY

pytest.importorskip("transformers.models.deepseek_ocr2", reason="transformers is too old")

PROMPT = [0, 201, 17, 99, 42, 7, 512, 3, 3, 900, 64, 5]


def published_decoder() -> dict[str, Tensor]:
    """The decoder's tensors with experts stacked, independent of the code under test."""
    raw = load_file(TINY / "model.safetensors")
    text = {
        name.removeprefix("model."): tensor.float()
        for name, tensor in raw.items()
        if name.startswith(("model.layers.", "model.embed_tokens.", "model.norm."))
    }
    stacked = {name: tensor for name, tensor in text.items() if ".experts." not in name}
    for layer in (1, 2):
        experts = f"layers.{layer}.mlp.experts"

        def matrix(index: int, part: str, experts: str = experts) -> Tensor:
            return text[f"{experts}.{index}.{part}_proj.weight"]

        fused = [torch.cat([matrix(i, "gate"), matrix(i, "up")]) for i in range(8)]
        stacked[f"{experts}.gate_up_proj"] = torch.stack(fused)
        stacked[f"{experts}.down_proj"] = torch.stack([matrix(i, "down") for i in range(8)])
    return stacked


@pytest.fixture(scope="module")
def witness() -> Any:
    from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import (
        DeepseekOcr2TextConfig,
    )
    from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2TextModel

    raw = json.loads((TINY / "config.json").read_text())["language_config"]
    fields = (
        *("vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size"),
        *("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "n_routed_experts"),
        *("n_shared_experts", "num_experts_per_tok", "max_position_embeddings", "topk_method"),
    )
    config = DeepseekOcr2TextConfig(
        **{name: raw[name] for name in fields},
        mlp_layer_types=["dense", "sparse", "sparse"],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attn_implementation="eager",
    )
    model = DeepseekOcr2TextModel(config).eval()
    result = model.load_state_dict(published_decoder(), strict=False)
    assert result.missing_keys == []
    assert result.unexpected_keys == []
    return model


@torch.inference_mode()
def test_hidden_states_agree(witness: Any, tiny_fp32: OcrModel) -> None:
    theirs = witness(input_ids=torch.tensor([PROMPT])).last_hidden_state[0]
    sequence = PlainSequence(tiny_fp32, Prompt(PROMPT, 1, 0), 0)
    assert relative_error(sequence.prefill(torch.empty(0, 64)), theirs) < 1e-5


@pytest.mark.parametrize("size", [0, 3, 5])
@torch.inference_mode()
def test_generated_tokens_agree(witness: Any, tiny_fp32: OcrModel, size: int) -> None:
    """Greedy with transformers' own no-repeat processor, a whole forward pass for every token."""
    from transformers import NoRepeatNGramLogitsProcessor

    theirs = list(PROMPT)
    process = NoRepeatNGramLogitsProcessor(size) if size else None
    for _ in range(40):
        hidden = witness(input_ids=torch.tensor([theirs])).last_hidden_state[:, -1]
        logits = tiny_fp32.logits(hidden)
        if process:
            logits = process(torch.tensor([theirs]), logits)
        theirs.append(int(logits.argmax()))
    sequence = PlainSequence(tiny_fp32, Prompt(PROMPT, 1, 0), 40)
    hidden = sequence.prefill(torch.empty(0, 64))
    ban = NGramBan(size) if size else NO_BAN
    ours = [written.token for written in sequence.write(hidden, ban, end=-1)]
    assert ours == theirs[len(PROMPT) :]
