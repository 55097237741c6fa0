"""A checkpoint's config.json as frozen data, with what the file leaves unsaid filled in.

The file repeats the decoder's fields at its top level and in `language_config`; the latter is
read where it is there. Facts that no field states (SAM's window, the neck's width, CLIP's MLP)
are the official implementation's and stand here as defaults.
"""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepocr.engines.deepseek.config_fields import network_parts, without_notes
from deepocr.errors import CheckpointError

CONFIG_FILE = "config.json"

Count = Annotated[int, Field(ge=1)]
Place = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    # what no field here stands for is another network: see config_fields
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_notes(cls, raw: Any) -> Any:
        return without_notes(raw, cls.model_fields) if isinstance(raw, dict) else raw


def _check(fits: bool, else_fault: str) -> None:
    if not fits:
        raise ValueError(else_fault)


class SamConfig(_Part):
    """SAM ViT-B. `downsample_channels` are the widths of `net_2` and `net_3`."""

    width: Count
    layers: Count
    heads: Count
    global_attn_indexes: tuple[Place, ...]
    downsample_channels: tuple[Count, Count]
    neck_width: Count = 256
    window: Count = 14
    patch_px: Count = 16
    table_side: Count = 64
    mlp_ratio: Count = 4
    norm_eps: Positive = 1e-6

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        _check(self.width % self.heads == 0, f"{self.heads} heads do not fit {self.width}")
        beyond = [at for at in self.global_attn_indexes if at >= self.layers]
        _check(not beyond, f"global_attn_indexes {beyond} are beyond {self.layers} layers")
        return self


class ClipConfig(_Part):
    """CLIP-L without its patch embedding, beside SAM."""

    kind: Literal["clip"]
    width: Count
    layers: Count
    heads: Count
    table_side: Count = 16
    norm_eps: Positive = 1e-5

    @property
    def mlp_width(self) -> int:
        return 4 * self.width

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        _check(self.width % self.heads == 0, f"{self.heads} heads do not fit {self.width}")
        return self


class QwenConfig(_Part):
    """Qwen2 without token embedding, over SAM's features and learned queries. The file states the
    width alone."""

    kind: Literal["qwen2"]
    dim: Count
    layers: Count = 24
    heads: Count = 14
    kv_heads: Count = 2
    mlp_width: Count = 4864
    norm_eps: Positive = 1e-6
    rope_theta: Positive = 1e6

    @property
    def width(self) -> int:
        return self.dim

    @property
    def head_width(self) -> int:
        return self.dim // self.heads

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        fits = self.dim % (2 * self.heads) == 0 and self.heads % self.kv_heads == 0
        _check(fits, f"{self.heads} heads of {self.kv_heads} keys do not fit {self.dim}")
        return self


class DecoderConfig(_Part):
    """DeepSeek-V2 layout with plain multi-head attention."""

    vocab_size: Count
    hidden_size: Count
    intermediate_size: Count
    moe_intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    n_routed_experts: Count
    n_shared_experts: Count
    num_experts_per_tok: Count
    first_k_dense_replace: Place
    max_position_embeddings: Count
    bos_token_id: Place = 0
    eos_token_id: Place = 1
    head_dim: Count | None = None
    use_mla: Literal[False]
    hidden_act: Literal["silu"] = "silu"
    attention_bias: Literal[False] = False
    mlp_bias: Literal[False] = False
    moe_layer_freq: Literal[1] = 1
    topk_method: Literal["greedy"] = "greedy"
    norm_topk_prob: Literal[False] = False
    routed_scaling_factor: Positive = 1.0
    scoring_func: Literal["softmax"] = "softmax"
    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    rope_scaling: None = None
    # each token sees the prompt and this many of the last written ones, itself included
    sliding_window: Count | None = None
    use_sliding_window: bool = True
    layer_types: tuple[str, ...] | None = None
    tie_word_embeddings: Literal[False] = False

    @model_validator(mode="after")
    def _one_key_head_for_each_query_head(self) -> Self:
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        _check(
            heads == kv_heads, f"num_key_value_heads {kv_heads} is not num_attention_heads {heads}"
        )
        even = self.hidden_size % (2 * heads) == 0
        _check(even, f"hidden_size {self.hidden_size} cannot be split into even heads")
        known = self.head_dim in (None, self.head_width)
        _check(known, f"head_dim {self.head_dim} is not {self.head_width}")
        return self

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        used, experts = self.num_experts_per_tok, self.n_routed_experts
        _check(used <= experts, f"num_experts_per_tok {used} is above n_routed_experts {experts}")
        dense, layers = self.first_k_dense_replace, self.num_hidden_layers
        _check(dense <= layers, f"first_k_dense_replace {dense} is above {layers} layers")
        last_id = max(self.bos_token_id, self.eos_token_id)
        _check(last_id < self.vocab_size, f"token {last_id} is beyond {self.vocab_size} tokens")
        return self

    @model_validator(mode="after")
    def _every_layer_attends_alike(self) -> Self:
        used = self.use_sliding_window or not self.sliding_window
        _check(used, f"use_sliding_window is false and sliding_window is {self.sliding_window}")
        wanted = "reference_sliding_attention" if self.sliding_window else "full_attention"
        alike = set(self.layer_types or ()) <= {wanted}
        _check(alike, f"layer_types {self.layer_types} are not all {wanted}")
        return self

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_attention_heads


class ProjectorConfig(_Part):
    input_dim: Count
    n_embed: Count
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
        net_3, hidden = self.sam.downsample_channels[1], self.decoder.hidden_size
        beside = net_3 if isinstance(self.encoder, ClipConfig) else 0
        width, wanted = self.encoder.width, self.encoder.width + beside
        given, embed = self.projector.input_dim, self.projector.n_embed
        _check(given == wanted, f"projector input_dim {given} is not {wanted}")
        _check(
            embed == hidden, f"projector n_embed {embed} is not the decoder's hidden_size {hidden}"
        )
        _check(width == net_3, f"the encoder's width {width} is not net_3's {net_3}")
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
