"""The fields of a config.json sorted: to the network's parts, meaningless, or told.

A checkpoint of the same layout may ask for other mathematics by one field more, and would load
and read nonsense. So nothing that could matter is passed over in silence.
"""

import logging
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

log = logging.getLogger(__name__)

MEANINGLESS = frozenset(
    {
        # what the file is about, and how it was written
        *("_name_or_path", "architectures", "auto_map", "model_type", "model_name", "dtype"),
        *("torch_dtype", "transformers_version", "use_cache", "return_dict", "pad_token_id"),
        *("_attn_implementation", "_attn_implementation_autoset", "output_attentions"),
        *("output_hidden_states", "torchscript", "use_bfloat16", "problem_type", "id2label"),
        *("label2id", "tokenizer_class", "prefix", "finetuning_task", "task_specific_params"),
        *("is_decoder", "is_encoder_decoder", "decoder_start_token_id", "sep_token_id"),
        *("chunk_size_feed_forward", "pruned_heads", "tf_legacy_loss", "use_return_dict"),
        # training
        *("initializer_range", "attention_dropout", "aux_loss_alpha", "seq_aux", "ep_size"),
        *("pretraining_tp", "output_router_logits"),
        # of MLA and of routing by groups, which use_mla false and topk_method greedy leave out
        *("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"),
        *("n_group", "topk_group"),
        # stated, and read by no line of the official code
        *("lm_head", "rm_head", "candidate_resolutions", "global_view_pos"),
        *("image_size", "mlp_ratio", "image_token_id", "patch_size"),
    }
)
"""Fields that change nothing of what the network computes."""

ENCODERS = {"clip-l-14-224": "clip", "qwen2-0-5b": "qwen2"}
"""The names in `vision_config.width` of what may stand behind SAM."""

OTHER_NAMES = {"sliding_window_size": "sliding_window"}
"""Names that some files have for a field of the decoder."""

OFF = (None, False)
"""Values that say a thing is not there, whatever it is."""

OURS = ("rope", "rotary", "causal", "residual", "gate", "shared")
"""Parts of names of what this network has: a false beside one asks for another network."""

MATHEMATICS = (
    *("attn", "attention", "window", "sliding", "rope", "rotary", "norm", "head", "expert", "moe"),
    *("router", "topk", "act", "bias", "scal", "softcap", "lora", "quant", "layer", "gate", "mlp"),
    *("embed", "position", "dim", "width", "size", "residual", "sink", "mtp", "nextn"),
)
"""Parts of names that speak of what is computed. At the top level of the file, where tools leave
notes of their own, such a field is refused like any unknown one inside a part."""


def network_parts(raw: Any, decoder_fields: Collection[str]) -> Any:
    """The file's tree in the shape of OcrConfig. What belongs nowhere in it gets a name of its own,
    for OcrConfig to refuse; notes are told."""
    if not isinstance(raw, dict):
        return raw
    top = dict(raw)
    vision = _taken(top, "vision_config")
    widths = _taken(vision, "width")
    encoder = _encoder(widths)
    parts = {
        "sam": _sam(widths.pop("sam_vit_b", None), encoder),
        "encoder": encoder,
        "projector": top.pop("projector_config", None),
        "tile_tag": top.pop("tile_tag", None),
        "decoder": _decoder(top, decoder_fields),
        **{f"vision_config.width.{name}": value for name, value in widths.items()},
        **{f"vision_config.{name}": value for name, value in without_notes(vision, ()).items()},
        **{name: value for name, value in without_notes(top, ()).items() if _serious(name, value)},
    }
    return {name: value for name, value in parts.items() if value is not None}


def _encoder(widths: dict[str, Any]) -> dict[str, Any] | None:
    """The encoder behind SAM, with its kind; a second one stays, to be refused."""
    for name, kind in ENCODERS.items():
        if isinstance(widths.get(name), dict):
            return {"kind": kind, **widths.pop(name)}
    return None


def _sam(sam: Any, encoder: Mapping[str, Any] | None) -> Any:
    """SAM's fields. With Qwen2 its last convolution is as wide as that, whatever is repeated here
    from the first model."""
    if not (isinstance(sam, dict) and encoder and encoder["kind"] == "qwen2"):
        return sam
    half = sam.get("downsample_channels", [None])[0]
    return {**sam, "downsample_channels": [half, encoder.get("dim")]}


def _taken(owner: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy of the object of this name, out of its owner; what is no object stays there."""
    return dict(owner.pop(name)) if isinstance(owner.get(name), dict) else {}


def _decoder(top: dict[str, Any], fields: Collection[str]) -> Any:
    """The decoder's fields, out of `language_config` and out of the top level, which repeats most
    of them and may have some of its own. Where the two differ the former is what counts."""
    decoder = top.pop("language_config", {})
    if not isinstance(decoder, dict):
        return decoder
    for part in (top, decoder):
        for name, ours in OTHER_NAMES.items():
            # one that contradicts ours stays, to be refused
            if name in part and part.setdefault(ours, part[name]) == part[name]:
                del part[name]
    repeated = {name: top.pop(name) for name in fields if name in top}
    for name, value in repeated.items():
        if value != decoder.get(name, value):
            log.warning("config.json: %s is %r, not %r", name, decoder[name], value)
    return {**repeated, **decoder}


def without_notes(part: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """A part without what means nothing. Unknown fields that call a thing off are told and left
    out too; the others stay, to be refused."""
    kept = {}
    for name, value in part.items():
        if name in known or (name not in MEANINGLESS and not _is_off(name, value)):
            kept[name] = value
        elif name not in MEANINGLESS:
            log.warning("config.json: unknown field %s, which is %s, is left out", name, value)
    return kept


def _is_off(name: str, value: Any) -> bool:
    if value is False and any(word in name.lower() for word in OURS):
        return False
    return value in OFF


def _serious(name: str, value: Any) -> bool:
    """Whether an unknown field of the top level could change what is computed. Else it is told."""
    if any(word in name.lower() for word in MATHEMATICS):
        return True
    log.warning("config.json: unknown field %s is left out: %s", name, reprlib.repr(value))
    return False
