"""A second witness: transformers' own models of the family with the same stand-in weights.

The weights are written under their published names, and transformers finds its own way from these
names to its modules; config.json is written in its words. Both sides get the same pixels.
"""

import gc
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import ClipConfig, DecoderConfig, OcrConfig, SamConfig
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.sampling import NO_BAN
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, VisionBatcher, prepare
from deepocr.tasks import find_preset
from measure.parity.stages import LIMITS, Check, relative_error
from measure.plain_sequence import PlainSequence
from measure.stand_in_weights import stand_in_weights

ALL_AT_ONCE = 1 << 40
TEXT_TOKENS = 12


@dataclass(frozen=True)
class Reading:
    """What one side makes of a page: slot features, logits of all positions, greedy tokens."""

    features: Tensor
    logits: Tensor
    tokens: Sequence[int]


def witness_model(
    config: OcrConfig,
    image_id: int,
    folder: Path,
    *,
    gain: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """transformers' model of this configuration; its files are made in `folder`."""
    weights = dict(stand_in_weights(config, gain).tensors())
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    del weights
    raw = {**transformers_config(config), "image_token_id": image_id}
    (folder / "config.json").write_text(json.dumps(raw))
    import transformers

    kind = "UnlimitedOcr" if isinstance(config.encoder, ClipConfig) else "DeepseekOcr2"
    model, report = getattr(transformers, f"{kind}ForConditionalGeneration").from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", output_loading_info=True
    )
    faults = {name: found for name, found in report.items() if found}
    if faults:
        raise ValueError(f"transformers has other weights: {faults}")
    return model.eval()


def transformers_config(config: OcrConfig) -> dict[str, Any]:
    """The configuration in transformers' words."""
    encoder, text = config.encoder, _text(config.decoder)
    wanted: dict[str, Any] = {
        "hidden_size": encoder.width,
        "intermediate_size": encoder.mlp_width,
        "num_hidden_layers": encoder.layers,
        "num_attention_heads": encoder.heads,
    }
    if isinstance(encoder, ClipConfig):
        window = config.decoder.sliding_window
        kind = "reference_sliding_attention" if window else "full_attention"
        text["layer_types"] = [kind] * config.decoder.num_hidden_layers
        text["sliding_window"] = window or 1
    else:
        wanted["num_key_value_heads"] = encoder.kv_heads
        wanted["rope_parameters"] = {"rope_type": "default", "rope_theta": encoder.rope_theta}
    return {
        "model_type": "unlimited_ocr" if isinstance(encoder, ClipConfig) else "deepseek_ocr2",
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": {"sam_config": _sam(config.sam), "encoder_config": wanted},
    }


def _sam(sam: SamConfig) -> dict[str, Any]:
    return {
        "hidden_size": sam.width,
        "num_hidden_layers": sam.layers,
        "num_attention_heads": sam.heads,
        "mlp_dim": sam.mlp_ratio * sam.width,
        "global_attn_indexes": list(sam.global_attn_indexes),
        "downsample_channels": list(sam.downsample_channels),
    }


def _text(decoder: DecoderConfig) -> dict[str, Any]:
    dense, layers = decoder.first_k_dense_replace, decoder.num_hidden_layers
    same = (
        *("vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size"),
        *("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "n_routed_experts"),
        *("n_shared_experts", "num_experts_per_tok", "max_position_embeddings", "topk_method"),
        *("rms_norm_eps", "routed_scaling_factor", "bos_token_id", "eos_token_id"),
    )
    return {
        **{name: getattr(decoder, name) for name in same},
        "mlp_layer_types": ["dense"] * dense + ["sparse"] * (layers - dense),
        "rope_parameters": {"rope_type": "default", "rope_theta": decoder.rope_theta},
    }


def hold_against_witness(
    config: OcrConfig,
    picture: Path,
    preset: str,
    image_id: int,
    max_new_tokens: int,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Check]:
    """One picture read by both with stand-in weights, one after the other, so that only one network
    is in memory at a time."""
    with Image.open(picture) as image:
        page = prepare(image, member_of(config).presets[find_preset(preset).title])
    ids = (0, *[image_id] * page.num_slots, *range(10, 10 + TEXT_TOKENS))
    prompt = Prompt(ids, 1, page.num_slots)
    with TemporaryDirectory() as folder:
        theirs = witness_model(config, image_id, Path(folder), dtype=dtype)
        wanted = read_theirs(theirs, page, prompt, max_new_tokens)
        del theirs
        gc.collect()
        ours = load_model(
            config, SafetensorsFolder(Path(folder)), plain_ops(),
            device=torch.device("cpu"), dtype=dtype,
        )  # fmt: skip
    found = read_ours(ours, page, prompt, max_new_tokens)
    case, limits = f"{preset}_{picture.stem}", LIMITS[dtype]
    for what, limit in (("features", limits.encoder), ("logits", limits.decoder)):
        error = relative_error(getattr(found, what), getattr(wanted, what))
        yield Check(case, what, f"{error:.1e}", f"<= {limit:.0e}", error <= limit)
    equal = [a == b for a, b in zip(found.tokens, wanted.tokens, strict=True)]
    told = f"{sum(equal)} of {len(equal)} same"
    if not all(equal):
        told += f", {equal.index(False)} before the first other"
    required = "all" if limits.same_tokens else "told"
    yield Check(case, "greedy", told, required, all(equal) or not limits.same_tokens)


@torch.inference_mode()
def read_theirs(model: Any, page: PreparedPage, prompt: Prompt, max_new_tokens: int) -> Reading:
    """transformers' reading, the end token never heeded."""
    tiles = [part.tiles.to(model.dtype) for part in page.pages if part.tiles is not None]
    images: dict[str, Any] = {
        "pixel_values": torch.stack([part.overview for part in page.pages]).to(model.dtype),
        "pixel_values_local": torch.cat(tiles) if tiles else None,
        "num_local_patches": [len(part.views) - 1 for part in page.pages],
    }
    if "unlimited" in model.config.model_type:
        images["patches_grid"] = [list(part.grid) for part in page.pages]
    ids = torch.tensor([prompt.ids])
    mask = torch.ones_like(ids)
    features = torch.cat(list(model.get_image_features(**images).pooler_output))
    logits = model(input_ids=ids, attention_mask=mask, **images).logits[0]
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    found = model.generate(
        input_ids=ids,
        attention_mask=mask,
        **images,
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    return Reading(features, logits, found[0, ids.shape[1] :].tolist())


@torch.inference_mode()
def read_ours(model: OcrModel, page: PreparedPage, prompt: Prompt, max_new_tokens: int) -> Reading:
    """The same by the plain path."""
    [features] = VisionBatcher(model, ALL_AT_ONCE).encode([page])
    sequence = PlainSequence(model, prompt, max_new_tokens)
    hidden = sequence.prefill(features)
    tokens = [written.token for written in sequence.write(hidden, NO_BAN, end=-1)]
    return Reading(features, model.logits(hidden), tokens)
