"""The whole network: views to slot features, tokens and features to hidden states, to logits."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from deepocr.engines.deepseek.config import ClipConfig, OcrConfig, ProjectorConfig
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.model.clip import ClipEncoder
from deepocr.engines.deepseek.model.decoder import Decoder, PlainKeyValues
from deepocr.engines.deepseek.model.qwen import QwenEncoder
from deepocr.engines.deepseek.model.sam import SamEncoder
from deepocr.engines.deepseek.ops import Ops
from deepocr.engines.deepseek.tiles import FEATURE_PX, Views, to_pixels


class Projector(nn.Module):
    """What the encoders make of a view -> the decoder's width."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.layers = nn.Linear(config.input_dim, config.n_embed)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class OcrModel(nn.Module):
    """Build it on the meta device, load it, then call `prepare` once.

    Members of the family differ behind SAM: CLIP (`vision_model`) goes on beside SAM's features
    and rows of features end with a newline, or Qwen2 (`qwen2_model`) goes on alone.
    """

    def __init__(self, config: OcrConfig, ops: Ops) -> None:
        super().__init__()
        hidden = config.decoder.hidden_size
        self.config = config
        self.ops = ops
        self.sam_model = SamEncoder(config.sam, ops.attention)
        self.vision_model: ClipEncoder | None = None
        self.qwen2_model: QwenEncoder | None = None
        if isinstance(config.encoder, ClipConfig):
            self.vision_model = ClipEncoder(config.encoder, ops.attention)
            self.image_newline = nn.Parameter(torch.empty(hidden))
        else:
            self.qwen2_model = QwenEncoder(config.encoder, ops.attention)
        self.projector = Projector(config.projector)
        # published spelling
        self.view_seperator = nn.Parameter(torch.empty(hidden))
        self.decoder = Decoder(config.decoder, ops)
        self.lm_head = nn.Linear(hidden, config.decoder.vocab_size, bias=False)

    @property
    def device(self) -> torch.device:
        return self.view_seperator.device

    @property
    def dtype(self) -> torch.dtype:
        return self.view_seperator.dtype

    @property
    def encoder(self) -> ClipEncoder | QwenEncoder:
        """What stands behind SAM."""
        if self.vision_model is not None:
            return self.vision_model
        assert self.qwen2_model is not None
        return self.qwen2_model

    @torch.inference_mode()
    def prepare(self) -> None:
        """Everything that is computed from the weights once: position tables of all presets."""
        sides_px = member_of(self.config).view_sides_px
        self.sam_model.prepare(sides_px)
        self.encoder.prepare(side // FEATURE_PX for side in sides_px)
        self.decoder.rotary.prepare(self.device)

    def encode(self, pixels: Tensor) -> Tensor:
        """Views of one side, pixels (N, 3, S, S) -> features (N, (S / 64)^2, hidden)."""
        sam = self.sam_model(pixels)
        seen = self.encoder(sam)
        if self.vision_model is not None:
            seen = torch.cat([seen[:, 1:], sam.flatten(2).transpose(1, 2)], dim=-1)
        features: Tensor = self.projector(seen)
        return features

    def fill_slots(self, overview: Tensor, tiles: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """Features of one page in the order of its slots.

        overview (q * q, hidden); tiles (columns * rows, t * t, hidden) -> (slots, hidden).
        """
        hidden = overview.shape[-1]
        separator = self.view_seperator.view(1, hidden)
        if self.vision_model is None:
            before = [] if tiles is None else [tiles.flatten(0, 1)]
            return torch.cat([*before, overview, separator])
        across = round(overview.shape[0] ** 0.5)
        parts = [self._with_newlines(overview.view(across, across, hidden))]
        parts.append(separator)
        if tiles is not None:
            columns, rows = grid
            side = round(tiles.shape[1] ** 0.5)
            whole = tiles.view(rows, columns, side, side, hidden).transpose(1, 2)
            whole = whole.reshape(rows * side, columns * side, hidden)
            parts.insert(0, self._with_newlines(whole))
        return torch.cat(parts)

    def _with_newlines(self, rows: Tensor) -> Tensor:
        """(H, W, hidden) -> (H * (W + 1), hidden), each row followed by the newline feature."""
        end = self.image_newline.expand(rows.shape[0], 1, -1)
        return torch.cat([rows, end], dim=1).flatten(0, 1)

    def encode_views(self, views: Views) -> Tensor:
        """All slot features of one page, (slots, hidden)."""
        overview = self.encode(self.to_input([views.overview]))[0]
        tiles = self.encode(self.to_input(views.tiles)) if views.tiles else None
        return self.fill_slots(overview, tiles, views.grid)

    def to_input(self, images: Sequence[Image.Image]) -> Tensor:
        """Square pictures of one side -> (N, 3, S, S), rounded to bf16 whatever the type."""
        pixels = torch.from_numpy(np.stack([to_pixels(image) for image in images]))
        return pixels.to(torch.bfloat16).to(self.device, self.dtype)

    def embed(self, ids: Tensor, slots: Tensor | None = None, first_slot: int = 0) -> Tensor:
        """ids (T,) -> (T, hidden), with `slots` in place of those that start at `first_slot`."""
        hidden: Tensor = self.decoder.embed_tokens(ids)
        if slots is not None:
            hidden[first_slot : first_slot + slots.shape[0]] = slots
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """(T, hidden) after the final norm -> float32 (T, vocabulary)."""
        scores: Tensor = self.lm_head(hidden)
        return scores.float()

    def new_cache(self, capacity: int) -> PlainKeyValues:
        """Room for one sequence of `capacity` tokens."""
        return PlainKeyValues(
            self.config.decoder,
            capacity,
            self.ops.attention,
            device=self.device,
            dtype=self.dtype,
        )
