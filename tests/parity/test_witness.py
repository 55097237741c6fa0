"""transformers' models with the same weights by name, from pixels on: features, logits, tokens."""

from typing import Any

import pytest
from PIL import Image

from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, prepare
from deepocr.tasks import find_preset
from measure.parity.stages import relative_error
from measure.parity.witness import read_ours, read_theirs, witness_model
from tests.parity.conftest import TINY
from tests.tiny_checkpoint import DATA

pytest.importorskip("transformers.models.unlimited_ocr", reason="transformers is too old")

GAIN = 1.3
IMAGE_ID = 1000
ASKED = [201, 5, 88, 17]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("witness")
    return witness_model(read_config(TINY), IMAGE_ID, folder, gain=GAIN)


def prepared(image: str, preset: str) -> tuple[PreparedPage, Prompt]:
    with Image.open(DATA / "images" / f"{image}.png") as picture:
        page = prepare(picture, find_preset(preset))
    ids = (0, *[IMAGE_ID] * page.num_slots, *ASKED)
    return page, Prompt(ids, 1, page.num_slots)


@pytest.mark.parametrize(
    ("image", "preset"), [("a4", "tiny"), ("square", "base"), ("landscape", "gundam")]
)
def test_deepseek_ocr(theirs: Any, tiny_fp32: OcrModel, image: str, preset: str) -> None:
    page, prompt = prepared(image, preset)
    wanted = read_theirs(theirs, page, prompt, 40)
    found = read_ours(tiny_fp32, page, prompt, 40)
    assert relative_error(found.features, wanted.features) <= 1e-4
    assert relative_error(found.logits, wanted.logits) <= 1e-4
    assert found.tokens == wanted.tokens
