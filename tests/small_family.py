"""config.json of every member of the family, in the published form, for models of small size."""

import json
from pathlib import Path
from typing import Any

from deepocr.engines.deepseek.config import OcrConfig, read_config
from tests.tiny_checkpoint import DATA

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


def small_config(member: str, folder: Path) -> OcrConfig:
    """Written to `folder` and read from there."""
    file = folder / "config.json"
    file.write_text(json.dumps(small_raw(member)))
    return read_config(file)
