"""The fields that the published config.json files have, by member, read without a word."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.family import member_of
from deepocr.errors import CheckpointError
from measure.stand_in_model import FAMILY

DECODER = {
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_size": 1280,
    "intermediate_size": 6848,
    "kv_lora_rank": None,
    "lm_head": True,
    "max_position_embeddings": 8192,
    "moe_intermediate_size": 896,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 10,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 12,
    "num_key_value_heads": 10,
    "q_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "rm_head": False,
    "topk_group": 1,
    "topk_method": "greedy",
    "use_mla": False,
    "v_head_dim": 0,
    "vocab_size": 129280,
}
WINDOW = {"max_position_embeddings": 32768, "v_head_dim": 128, "sliding_window_size": 128}
SAM = {
    "downsample_channels": [512, 1024],
    "global_attn_indexes": [2, 5, 8, 11],
    "heads": 12,
    "layers": 12,
    "width": 768,
}
CLIP = {"heads": 16, "image_size": 224, "layers": 24, "patch_size": 14, "width": 1024}


def published(member: str) -> dict[str, Any]:
    """The file's tree, as it lies beside the weights; the decoder's fields stand in it twice."""
    decoder, architecture, model_type = DECODER, "DeepseekOCRForCausalLM", "deepseek_vl_v2"
    encoder: dict[str, Any] = {"clip-l-14-224": CLIP}
    vision_name, width, more = "deeplip_b_l", 2048, {}
    if member == "deepseek-ocr-2":
        architecture, encoder = "DeepseekOCR2ForCausalLM", {"qwen2-0-5b": {"dim": 896}}
        vision_name, width = "deepencoderv2", 896
    if member == "unlimited-ocr":
        architecture, model_type = "UnlimitedOCRForCausalLM", "unlimited-ocr"
        decoder, more = {**DECODER, **WINDOW}, {"sliding_window": 128}
    return {
        "_name_or_path": member,
        "architectures": [architecture],
        "auto_map": {"AutoModel": f"modeling.{architecture}"},
        "candidate_resolutions": [[1024, 1024]],
        "global_view_pos": "head",
        "language_config": {
            **decoder,
            "architectures": ["DeepseekOCRForCausalLM"],
            "auto_map": {"AutoModel": "modeling_deepseek.DeepseekV2Model"},
            "torch_dtype": "bfloat16",
        },
        "model_type": model_type,
        "projector_config": {
            "input_dim": width,
            "model_type": "mlp_projector",
            "n_embed": 1280,
            "projector_type": "linear",
        },
        "tile_tag": "2D",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.3",
        "vision_config": {
            "image_size": 1024,
            "mlp_ratio": 3.7362,
            "model_name": vision_name,
            "model_type": "vision",
            "width": {**encoder, "sam_vit_b": SAM},
        },
        **decoder,
        **more,
    }


@pytest.mark.parametrize("member", FAMILY)
def test_a_published_file(member: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(published(member)))
    with caplog.at_level(logging.WARNING):
        config = read_config(file)
    assert config == FAMILY[member]
    assert member_of(config) is member_of(FAMILY[member])
    assert caplog.messages == []


@pytest.mark.parametrize("member", FAMILY)
@pytest.mark.parametrize("part", ["language_config", "projector_config", "vision_config"])
def test_one_field_more_is_refused(member: str, part: str, tmp_path: Path) -> None:
    raw = published(member)
    raw[part]["attention_chunk_size"] = 512
    file = tmp_path / "config.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="attention_chunk_size is 512"):
        read_config(file)
