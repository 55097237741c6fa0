"""`bench.py deepseek` with every member of the family, on networks of small size."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers.models.deepseek_ocr2", reason="transformers is too old")

from measure.stand_in_model import FAMILY, PUBLISHED
from scripts.bench import main
from tests.small_family import small_config


@pytest.mark.parametrize("member", ["DeepSeek-OCR", "DeepSeek-OCR-2", "Unlimited-OCR"])
def test_a_member(
    member: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The small window of Unlimited-OCR is passed on the way."""
    small = small_config(member, tmp_path)
    # the bench's prompts are of published ids
    vocab = {"vocab_size": PUBLISHED.decoder.vocab_size}
    decoder = small.decoder.model_copy(update=vocab)
    monkeypatch.setitem(FAMILY, member.lower(), small.model_copy(update={"decoder": decoder}))
    monkeypatch.setattr("measure.bench.deepseek.read_bandwidth", lambda _: 1e10)
    options = ["--device", "cpu", "--batches", "1,2", "--tokens", "12"]
    assert main(["deepseek", "--model", member.lower(), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["new_tokens"]) == (member.lower(), 12)
    assert report["prompt_tokens"] == (257 if member == "DeepSeek-OCR-2" else 273) + 12
    [engine] = report["engines"]
    assert [one["batch"] for one in engine["batches"]] == [1, 2]
    assert all(one["tokens_s"] > 0 and one["peak_gb"] > 0 for one in engine["batches"])
    assert set(engine["turns"]["wall"]["ms_per_token"]) == {"ours", "plain", "transformers"}
