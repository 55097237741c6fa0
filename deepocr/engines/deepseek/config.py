"""A checkpoint's config.json as frozen data, with what the file leaves unsaid filled in.

The file repeats the decoder's fields at its top level and in `language_config`; the latter is
read where it is there. Facts that no field states (SAM's window, the neck's width, CLIP's MLP)
are the official implementation's and stand here as defaults.
"""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepocr.engines.deepseek.config_fields import network_parts, without_notes
from deepocr.errors import CheckpointError

CONFIG_FILE = "config.json"


class _Part(BaseModel):
    # what no field here stands for is another network: see config_fields
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_notes(cls, raw: Any) -> Any:
        return without_notes(raw, cls.model_fields) if isinstance(raw, dict) else raw


class SamConfig(_Part):
    """SAM ViT-B. `downsample_channels` are the widths of `net_2` and `net_3`."""

    width: int
    layers: int
    heads: int
    global_attn_indexes: tuple[int, ...]
    downsample_channels: tuple[int, int]
    neck_width: int = 256
    window: int = 14
    patch_px: int = 16
    table_side: int = 64
    mlp_ratio: int = 4
    norm_eps: float = 1e-6

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class ClipConfig(_Part):
    """CLIP-L without its patch embedding, beside SAM."""

    kind: Literal["clip"]
    width: int
    layers: int
    heads: int
    table_side: int = 16
    norm_eps: float = 1e-5

    @property
    def mlp_width(self) -> int:
        return 4 * self.width


class QwenConfig(_Part):
    """Qwen2 without token embedding, over SAM's features and learned queries. The file states the
    width alone."""

    kind: Literal["qwen2"]
    dim: int
    layers: int = 24
    heads: int = 14
    kv_heads: int = 2
    mlp_width: int = 4864
    norm_eps: float = 1e-6
    rope_theta: float = 1e6

    @property
    def width(self) -> int:
        return self.dim

    @property
    def head_width(self) -> int:
        return self.dim // self.heads

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.dim % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads of {self.kv_heads} keys do not fit {self.dim}")
        return self


class DecoderConfig(_Part):
    """DeepSeek-V2 layout with plain multi-head attention."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    moe_intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    n_routed_experts: int
    n_shared_experts: int
    num_experts_per_tok: int
    first_k_dense_replace: int
    max_position_embeddings: int
    bos_token_id: int = 0
    eos_token_id: int = 1
    head_dim: int | None = None
    use_mla: Literal[False]
    hidden_act: Literal["silu"] = "silu"
    attention_bias: Literal[False] = False
    mlp_bias: Literal[False] = False
    moe_layer_freq: Literal[1] = 1
    topk_method: Literal["greedy"] = "greedy"
    norm_topk_prob: Literal[False] = False
    routed_scaling_factor: float = 1.0
    scoring_func: Literal["softmax"] = "softmax"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: None = None
    # each token sees the prompt and this many of the last written ones, itself included
    sliding_window: int | None = Field(default=None, ge=1)
    use_sliding_window: bool = True
    layer_types: tuple[str, ...] | None = None
    tie_word_embeddings: Literal[False] = False

    @model_validator(mode="after")
    def _one_key_head_for_each_query_head(self) -> Self:
        if self.num_key_value_heads != self.num_attention_heads:
            raise ValueError(
                f"num_key_value_heads {self.num_key_value_heads} is not num_attention_heads "
                f"{self.num_attention_heads}"
            )
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(f"hidden_size {self.hidden_size} cannot be split into even heads")
        if self.head_dim not in (None, self.head_width):
            raise ValueError(f"head_dim {self.head_dim} is not {self.head_width}")
        return self

    @model_validator(mode="after")
    def _every_layer_attends_alike(self) -> Self:
        if self.sliding_window and not self.use_sliding_window:
            raise ValueError(
                f"use_sliding_window is false and sliding_window is {self.sliding_window}"
            )
        wanted = "reference_sliding_attention" if self.sliding_window else "full_attention"
        if set(self.layer_types or ()) - {wanted}:
            raise ValueError(f"layer_types {self.layer_types} are not all {wanted}")
        return self

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_attention_heads


class ProjectorConfig(_Part):
    input_dim: int
    n_embed: int
    projector_type: Literal["linear"]


class OcrConfig(_Part):
    """The whole network. `projector.input_dim` is the encoder's width, with CLIP twice."""

    sam: SamConfig
    encoder: ClipConfig | QwenConfig = Field(discriminator="kind")
    projector: ProjectorConfig
    decoder: DecoderConfig
    # newline slots after each row; the file's global_view_pos is not used by the official code
    tile_tag: Literal["2D"] = "2D"

    @model_validator(mode="after")
    def _widths_fit(self) -> Self:
        net_3 = self.sam.downsample_channels[1]
        beside = net_3 if isinstance(self.encoder, ClipConfig) else 0
        if self.encoder.width + beside != self.projector.input_dim:
            raise ValueError(
                f"projector input_dim {self.projector.input_dim} is not "
                f"{self.encoder.width + beside}"
            )
        if self.projector.n_embed != self.decoder.hidden_size:
            raise ValueError(
                f"projector n_embed {self.projector.n_embed} is not the decoder's "
                f"hidden_size {self.decoder.hidden_size}"
            )
        if self.encoder.width != net_3:
            raise ValueError(f"the encoder's width {self.encoder.width} is not net_3's {net_3}")
        return self


def read_config(path: Path) -> OcrConfig:
    """The config.json at `path` (a file, or the folder that holds it).

    Raises CheckpointError naming every field that is missing or is another model's, with its value.
    """
    file = path / CONFIG_FILE if path.is_dir() else path
    try:
        raw: Any = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} does not exist; put the checkpoint's files there") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON: {error}; fetch it again") from error
    try:
        return OcrConfig.model_validate(network_parts(raw, DecoderConfig.model_fields))
    except ValidationError as error:
        faults = "; ".join(_told(fault) for fault in error.errors())
        raise CheckpointError(
            f"{file} is not of a DeepSeek-OCR model ({_kind(raw)}): {faults}; "
            "use a checkpoint of DeepSeek-OCR, DeepSeek-OCR-2, Unlimited-OCR or a fine-tune of one"
        ) from error


def _told(fault: Mapping[str, Any]) -> str:
    """One fault with the field's name and value."""
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{name}: {fault['msg']}"
    unknown = fault["type"] == "extra_forbidden"
    why = "what it changes is not implemented" if unknown else fault["msg"]
    return f"{name} is {reprlib.repr(fault['input'])}: {why}"


def _kind(raw: Any) -> str:
    if not isinstance(raw, dict):
        return f"a JSON {type(raw).__name__}"
    return f"model_type {raw.get('model_type')!r}, architectures {raw.get('architectures')!r}"
