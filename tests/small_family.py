"""config.json of every member of the family, in the published form, for models of small size."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from deepocr.engines.deepseek.config import OcrConfig, read_config
from measure.stand_in_weights import stand_in_weights
from tests.tiny_checkpoint import DATA, make_tiny_checkpoint

QWEN = {"dim": 96, "layers": 2, "heads": 6, "kv_heads": 2, "mlp_width": 128}


def small_raw(member: str) -> dict[str, Any]:
    """The file's tree."""
    raw: dict[str, Any] = json.loads((DATA / "tiny" / "config.json").read_text())
    if member == "DeepSeek-OCR-2":
        raw["architectures"] = ["DeepseekOCR2ForCausalLM"]
        raw["vision_config"]["model_name"] = "deepencoderv2"
        widths = raw["vision_config"]["width"]
        del widths["clip-l-14-224"]
        widths["qwen2-0-5b"] = QWEN
        raw["projector_config"]["input_dim"] = QWEN["dim"]
    if member == "Unlimited-OCR":
        raw["architectures"] = ["UnlimitedOCRForCausalLM"]
        raw["sliding_window_size"] = 8
        raw["language_config"]["max_position_embeddings"] = 32768
        raw["max_position_embeddings"] = 32768
    return raw


def small_config(member: str, folder: Path, context: int | None = None) -> OcrConfig:
    """Written to `folder` and read from there; `context` is the room for prompt and output."""
    raw = small_raw(member)
    if context:
        raw["language_config"]["max_position_embeddings"] = context
        raw["max_position_embeddings"] = context
    file = folder / "config.json"
    file.write_text(json.dumps(raw))
    return read_config(file)


def small_checkpoint(member: str, folder: Path, context: int | None = None) -> Path:
    """A complete one in the published form, in `folder`; what it writes is noise."""
    make_tiny_checkpoint(folder)
    weights = stand_in_weights(small_config(member, folder, context), gain=1.3)
    save_file(dict(weights.tensors()), folder / "model.safetensors")
    return folder
