"""config.json of this model, and of others."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from deepocr.engines.deepseek.config import ClipConfig, QwenConfig, read_config
from deepocr.engines.deepseek.family import DEEPSEEK_OCR, DEEPSEEK_OCR_2, UNLIMITED_OCR, member_of
from deepocr.errors import CheckpointError
from tests.small_family import small_raw
from tests.tiny_checkpoint import DATA

TINY = DATA / "tiny" / "config.json"


def written(folder: Path, **changes: Any) -> Path:
    raw = {**json.loads(TINY.read_text()), **changes}
    file = folder / "config.json"
    file.write_text(json.dumps({name: value for name, value in raw.items() if value is not ...}))
    return file


def language(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(TINY.read_text())["language_config"]
    return {**raw, **changes}


def vision(**changes: Any) -> dict[str, Any]:
    """The file's vision_config; a change whose value is an object goes into its widths."""
    raw: dict[str, Any] = json.loads(TINY.read_text())["vision_config"]
    for name, value in changes.items():
        if isinstance(value, dict):
            raw["width"][name] = {**raw["width"].get(name, {}), **value}
        else:
            raw[name] = value
    return raw


def test_the_file_and_what_it_leaves_unsaid() -> None:
    config = read_config(TINY)
    assert config.sam.global_attn_indexes == (1, 3)
    assert (config.sam.neck_width, config.sam.window, config.sam.norm_eps) == (256, 14, 1e-6)
    assert isinstance(config.encoder, ClipConfig)
    assert (config.encoder.mlp_width, config.encoder.norm_eps) == (4 * 96, 1e-5)
    assert (config.decoder.head_width, config.decoder.rope_theta) == (32, 10000.0)
    assert config.decoder.rms_norm_eps == 1e-6
    assert read_config(TINY.parent) == config


def test_decoder_fields_at_the_top_level_only(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, language_config=...)) == read_config(TINY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_config": ...}, "sam: Field required"),
        ({"projector_config": ...}, "projector: Field required"),
        ({"projector_config": {"input_dim": 7, "n_embed": 64, "projector_type": "linear"}}, "192"),
        ({"tile_tag": "1D"}, "tile_tag"),
        ({"language_config": language(use_mla=True)}, "use_mla"),
        ({"language_config": language(topk_method="noaux_tc")}, "topk_method"),
        ({"language_config": language(num_key_value_heads=1)}, "num_key_value_heads 1"),
        ({"language_config": language(hidden_size="wide")}, "hidden_size"),
        ({"language_config": language(rope_scaling={"type": "yarn"})}, "rope_scaling"),
        ({"language_config": language(use_rope=False)}, "use_rope"),
        ({"language_config": language(is_causal=False)}, "is_causal"),
        ({"language_config": {}, "vocab_size": ...}, "vocab_size: Field required"),
        ({"language_config": 3}, "decoder"),
    ],
)
def test_another_models_config(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match="not of a DeepSeek-OCR model") as caught:
        read_config(written(tmp_path, **changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rope_theta", -1),
        ("rope_theta", math.inf),
        ("rms_norm_eps", 0),
        ("routed_scaling_factor", math.nan),
        ("num_hidden_layers", 0),
        ("max_position_embeddings", 0),
        ("vocab_size", -5),
        ("num_experts_per_tok", 0),
        ("num_experts_per_tok", 9),
        ("first_k_dense_replace", 4),
        ("first_k_dense_replace", -1),
        ("eos_token_id", 1024),
        ("num_attention_heads", 0),
    ],
)
def test_numbers_that_no_decoder_can_have(tmp_path: Path, name: str, value: float) -> None:
    file = written(tmp_path, language_config=language(**{name: value}))
    with pytest.raises(CheckpointError, match=f"{value}") as caught:
        read_config(file)
    assert name in str(caught.value) or f"token {value} is beyond" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sam_vit_b": {"heads": 5}}, "5 heads do not fit"),
        ({"sam_vit_b": {"layers": 0}}, "sam.layers is 0"),
        ({"sam_vit_b": {"global_attn_indexes": [1, 99]}}, r"\[99\] are beyond"),
        ({"clip-l-14-224": {"heads": 7}}, "7 heads do not fit 96"),
    ],
)
def test_numbers_that_no_encoder_can_have(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_config(written(tmp_path, vision_config=vision(**changes)))


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"attention_sinks": 4}, "attention_sinks", "4"),
        ({"swa": {"window": 7}, "sparse_window": 7}, "sparse_window", "7"),
        ({"quantization_config": {"bits": 4}}, "quantization_config", "{'bits': 4}"),
        ({"language_config": language(attn_made_up=3)}, "decoder.attn_made_up", "3"),
        ({"language_config": language(anything="at all")}, "decoder.anything", "'at all'"),
        ({"language_config": language(hidden_act="gelu")}, "decoder.hidden_act", "'gelu'"),
        ({"language_config": language(norm_topk_prob=True)}, "decoder.norm_topk_prob", "True"),
        ({"language_config": language(attention_bias=True)}, "decoder.attention_bias", "True"),
        ({"language_config": language(head_dim=48)}, "head_dim 48", "32"),
        ({"vision_config": vision(pooling="mean")}, "vision_config.pooling", "'mean'"),
        ({"vision_config": vision(siglip={"dim": 3})}, "vision_config.width.siglip", "3"),
        ({"vision_config": vision(sam_vit_b={"registers": 4})}, "sam.registers", "4"),
    ],
)
def test_what_changes_the_network_is_refused(
    tmp_path: Path, changes: dict[str, Any], name: str, value: str
) -> None:
    """Each of these would load, and read nonsense."""
    with pytest.raises(CheckpointError) as caught:
        read_config(written(tmp_path, **changes))
    fault = next(part for part in str(caught.value).split("; ") if name in part)
    assert value in fault


def test_what_means_nothing_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {
        "use_cache": True,
        "language_config": language(attention_dropout=0.1, n_group=8, kv_lora_rank=512),
    }
    with caplog.at_level(logging.WARNING):
        assert read_config(written(tmp_path, **changes)) == read_config(TINY)
    assert caplog.messages == []


def test_what_is_unknown_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    changes = {
        "made_by": "somebody",
        "max_position_embeddings": 4096,
        "language_config": language(attn_logit_cap=None, use_made_up=False),
    }
    with caplog.at_level(logging.WARNING):
        assert read_config(written(tmp_path, **changes)) == read_config(TINY)
    told = " ".join(caplog.messages)
    for part in ("made_by", "'somebody'", "attn_logit_cap", "use_made_up", "4096"):
        assert part in told


def test_the_second_model(tmp_path: Path) -> None:
    """Told by what stands behind SAM, whose last convolution is as wide as that."""
    raw = small_raw("DeepSeek-OCR-2")
    raw["vision_config"]["width"]["qwen2-0-5b"] = {"dim": 896}
    raw["projector_config"]["input_dim"] = 896
    config = read_config(written(tmp_path, **raw))
    assert isinstance(config.encoder, QwenConfig)
    assert (config.encoder.layers, config.encoder.head_width) == (24, 64)
    assert config.sam.downsample_channels == (48, 896)
    assert member_of(config) is DEEPSEEK_OCR_2
    assert member_of(read_config(TINY)) is DEEPSEEK_OCR


def test_a_sliding_window_under_either_name_and_at_either_place(tmp_path: Path) -> None:
    for changes in (
        {"sliding_window": 128},
        {"sliding_window_size": 128},
        {"language_config": language(sliding_window_size=128)},
        {"language_config": language(layer_types=["reference_sliding_attention"] * 3),
         "sliding_window": 128},
    ):  # fmt: skip
        config = read_config(written(tmp_path, **changes))
        assert config.decoder.sliding_window == 128
        assert member_of(config) is UNLIMITED_OCR


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": 0},
        {"sliding_window": 128, "use_sliding_window": False},
        {"sliding_window": 128, "layer_types": ["full_attention", "reference_sliding_attention"]},
        {"layer_types": ["reference_sliding_attention"]},
        {"sliding_window": 128, "sliding_window_size": 64},
    ],
)
def test_a_window_that_contradicts_itself(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"window|layer_types"):
        read_config(written(tmp_path, **changes))


def test_two_encoders_at_once(tmp_path: Path) -> None:
    both = vision(**{"qwen2-0-5b": {"dim": 896}})
    with pytest.raises(CheckpointError, match=r"width\.qwen2-0-5b is"):
        read_config(written(tmp_path, vision_config=both))


def test_every_fault_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}')
    with pytest.raises(CheckpointError) as caught:
        read_config(file)
    for part in ("qwen3", "Qwen3ForCausalLM", "sam", "encoder", "projector", "decoder.use_mla"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00"])
def test_no_config_at_all(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(CheckpointError):
        read_config(file)
    file.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        read_config(tmp_path)
