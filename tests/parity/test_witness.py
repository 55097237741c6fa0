"""transformers' models with the same weights by name, from pixels on: features, logits, tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.family import Member, member_of
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, prepare
from deepocr.tasks import find_preset
from measure.parity.stages import relative_error
from measure.parity.witness import read_ours, read_theirs, witness_model
from tests.small_family import small_config
from tests.tiny_checkpoint import DATA

pytest.importorskip("transformers.models.unlimited_ocr", reason="transformers is too old")

GAIN = 1.3
IMAGE_ID = 1000
ASKED = [201, 5, 88, 17]
TOKENS = 24


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


@pytest.fixture(scope="module", params=["DeepSeek-OCR", "DeepSeek-OCR-2"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("witness")
    return make_pair(small_config(request.param, folder), folder)


def prepared(member: Member, image: str, preset: str) -> tuple[PreparedPage, Prompt]:
    with Image.open(DATA / "images" / f"{image}.png") as picture:
        page = prepare(picture, member.presets[find_preset(preset).title])
    ids = (0, *[IMAGE_ID] * page.num_slots, *ASKED)
    return page, Prompt(ids, 1, page.num_slots)


@pytest.mark.parametrize(("image", "preset"), [("square", "base"), ("landscape", "gundam")])
def test_features_logits_and_tokens(pair: Pair, image: str, preset: str) -> None:
    page, prompt = prepared(member_of(pair.ours.config), image, preset)
    wanted = read_theirs(pair.theirs, page, prompt, TOKENS)
    found = read_ours(pair.ours, page, prompt, TOKENS)
    assert found.features.shape == (page.num_slots, 64)
    assert relative_error(found.features, wanted.features) <= 1e-4
    assert relative_error(found.logits, wanted.logits) <= 1e-4
    assert found.tokens == wanted.tokens
