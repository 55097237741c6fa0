"""transformers' models with the same weights by name, from pixels on: features, logits, tokens."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from deepocr.engines.deepseek.build import make_reader
from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.ops.choice import choose_ops
from deepocr.engines.deepseek.page_in_batch import Token
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, joined, prepare
from deepocr.tasks import find_preset
from measure.parity.stages import relative_error
from measure.parity.witness import (
    hold_against_witness,
    read_ours,
    read_theirs,
    witness_model,
)
from measure.stand_in_model import with_other_ops
from tests.small_family import small_config
from tests.tiny_checkpoint import DATA

pytest.importorskip("transformers.models.unlimited_ocr", reason="transformers is too old")

GAIN = 1.3
IMAGE_ID = 1000
TOKENS = 24
"""Three times the small model's sliding window."""


@dataclass(frozen=True)
class Pair:
    """Both sides of one member."""

    theirs: Any
    ours: OcrModel


def make_pair(config: OcrConfig, folder: Path) -> Pair:
    theirs = witness_model(config, IMAGE_ID, folder, gain=GAIN)
    source = SafetensorsFolder(folder)
    ours = load_model(config, source, plain_ops(), device=torch.device("cpu"), dtype=torch.float32)
    return Pair(theirs, ours)


@pytest.fixture(scope="module", params=["DeepSeek-OCR", "DeepSeek-OCR-2", "Unlimited-OCR"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("witness")
    return make_pair(small_config(request.param, folder), folder)


def prepared(pair: Pair, preset: str, *asked: int) -> tuple[PreparedPage, Prompt]:
    """A page that is cut into two tiles where the preset has any."""
    presets = member_of(pair.ours.config).presets
    with Image.open(DATA / "images" / "landscape.png") as picture:
        page = prepare(picture.resize((1300, 600)), presets[find_preset(preset).title])
    ids = (0, *[IMAGE_ID] * page.num_slots, *asked)
    return page, Prompt(ids, 1, page.num_slots)


def test_features_logits_and_tokens(pair: Pair) -> None:
    page, prompt = prepared(pair, "gundam", 201, 5, 88, 17)
    assert page.grid == (2, 1)
    wanted = read_theirs(pair.theirs, page, prompt, TOKENS)
    found = read_ours(pair.ours, page, prompt, TOKENS)
    assert found.features.shape == (page.num_slots, 64)
    assert relative_error(found.features, wanted.features) <= 1e-4
    assert relative_error(found.logits, wanted.logits) <= 1e-4
    assert found.tokens == wanted.tokens


def test_pages_in_one_reading(tmp_path: Path) -> None:
    pair = make_pair(small_config("Unlimited-OCR", tmp_path), tmp_path)
    base = member_of(pair.ours.config).presets["Base"]
    pages = []
    for name in ("landscape", "square", "a4"):
        with Image.open(DATA / "images" / f"{name}.png") as picture:
            pages.append(prepare(picture, base))
    page = joined(*pages)
    assert page.num_slots == 3 * 273
    ids = (0, *[IMAGE_ID] * page.num_slots, 201, 5)
    prompt = Prompt(ids, 1, page.num_slots)
    wanted = read_theirs(pair.theirs, page, prompt, TOKENS)
    found = read_ours(pair.ours, page, prompt, TOKENS)
    assert relative_error(found.features, wanted.features) <= 1e-4
    assert relative_error(found.logits, wanted.logits) <= 1e-4
    assert found.tokens == wanted.tokens


def test_a_ragged_batch_through_the_engine(pair: Pair) -> None:
    """Pages beside each other on the engine's own path, with so few blocks that one gives way;
    each writes what transformers writes for it alone."""
    small = "tiny" if "Tiny" in member_of(pair.ours.config).presets else "base"
    pages = [prepared(pair, small, 201, 5), prepared(pair, small, *range(30, 47))]
    lengths = (TOKENS, TOKENS - 3)
    ops = choose_ops(pair.ours.config, torch.device("cpu"), torch.float32)
    reader = make_reader(
        with_other_ops(pair.ours, ops.network), ops, end_id=-1, max_sequences=3,
        num_blocks=1 + sum(-(-len(prompt.ids) // 4) for _, prompt in pages) + 4, block_tokens=4,
    )  # fmt: skip
    readings = [
        reader.submit(prompt, page, length)
        for (page, prompt), length in zip(pages, lengths, strict=True)
    ]
    written = defaultdict[object, list[int]](list)
    with torch.inference_mode():
        while not reader.idle:
            for reading, update in reader.step():
                if isinstance(update, Token):
                    written[reading].append(update.token)
    assert readings[1].sequence.preemptions > 0
    for (page, prompt), length, reading in zip(pages, lengths, readings, strict=True):
        assert written[reading] == read_theirs(pair.theirs, page, prompt, length).tokens


@pytest.mark.parametrize("member", ["DeepSeek-OCR-2", "Unlimited-OCR"])
def test_the_scripts_way(member: str, tmp_path: Path) -> None:
    """One network after the other, from a picture on."""
    config, picture = small_config(member, tmp_path), DATA / "images" / "square.png"
    checks = list(hold_against_witness(config, picture, "base", IMAGE_ID, TOKENS))
    assert [(check.what, check.ok) for check in checks] == [
        ("features", True), ("logits", True), ("greedy", True)
    ]  # fmt: skip
