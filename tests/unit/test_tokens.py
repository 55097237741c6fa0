"""Text to ids and back, with the published special tokens."""

import json
from pathlib import Path

import pytest

from deepocr.engines.deepseek.deltas import DeltaWriter
from deepocr.engines.deepseek.tokens import TextStream, TokenTable, read_tokens
from deepocr.errors import CheckpointError
from deepocr.tasks import TASKS, make_job, prompt_for
from tests.tiny_checkpoint import SPECIALS, make_tiny_checkpoint, make_tokenizer

VOCABULARY = 1024


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_tiny_checkpoint(tmp_path)


@pytest.fixture
def table(checkpoint: Path) -> TokenTable:
    return read_tokens(checkpoint, VOCABULARY)


def edit(file: Path, **changes: object) -> None:
    raw = json.loads(file.read_text())
    file.write_text(json.dumps({**raw, **changes}))


def ids_of(table: TokenTable, text: str) -> list[int]:
    return list(table.prompt("<image>" + text, 0).ids)[1:]


def read_back(table: TokenTable, ids: list[int]) -> str:
    stream = TextStream(table)
    return "".join([*(stream.push(token) for token in ids), stream.finish()])


@pytest.mark.parametrize(
    "text",
    [
        "hello world\n  x",
        "  two spaces,\ttab,\r\nline\n\n\nend",
        "Größe 漢字 😀 e\u0301 ﷽",
        "<|ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\nA b",
        "<table><tr><td>1</td></tr></table>",
        "\\( x^2 \\) \x00 \x7f",
    ],
)
def test_round_trip(table: TokenTable, text: str) -> None:
    # a prompt is stripped at its end only
    assert read_back(table, ids_of(table, text)) == text


def test_special_ids_come_from_the_tokenizer(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path)
    moved = {**SPECIALS, "<image>": 990, "<td>": 991}
    make_tokenizer(moved).save(str(folder / "tokenizer.json"))
    table = read_tokens(folder, VOCABULARY)
    assert table.image_id == 990
    assert table.table_cell_ids == {991, SPECIALS["</td>"]}
    assert (table.bos_id, table.eos_id) == (0, 1)


@pytest.mark.parametrize("task", TASKS)
def test_prompts(table: TokenTable, task: str) -> None:
    prompt = table.prompt(prompt_for(make_job(task, "the total", "Tiny")), 73)
    assert prompt.ids[0] == 0
    assert (prompt.first_slot, prompt.num_slots) == (1, 73)
    assert set(prompt.ids[1:74]) == {SPECIALS["<image>"]}
    assert SPECIALS["<image>"] not in prompt.ids[74:]
    text = read_back(table, list(prompt.ids[74:]))
    assert "<image>" + text == TASKS[task].prompt.replace("{reference_text}", "the total")


def test_tags_in_a_prompt_are_single_ids(table: TokenTable) -> None:
    ids = ids_of(table, "\n<|grounding|>OCR this image.")
    assert SPECIALS["<|grounding|>"] in ids
    assert ids[1] == SPECIALS["<|grounding|>"]


def test_white_space_at_the_end_of_a_prompt_is_dropped(table: TokenTable) -> None:
    assert table.prompt("<image>\nFree OCR. \n", 3) == table.prompt("<image>\nFree OCR.", 3)


@pytest.mark.parametrize("text", ["no picture", "<image> and <image>"])
def test_a_prompt_has_one_picture(table: TokenTable, text: str) -> None:
    with pytest.raises(ValueError, match="once"):
        table.prompt(text, 3)


def test_no_bos_where_the_checkpoint_wants_none(checkpoint: Path) -> None:
    edit(checkpoint / "tokenizer_config.json", add_bos_token=False)
    table = read_tokens(checkpoint, VOCABULARY)
    prompt = table.prompt("<image>\nFree OCR.", 4)
    assert table.bos_id is None
    assert prompt.first_slot == 0
    assert list(prompt.ids[:4]) == [SPECIALS["<image>"]] * 4


def test_special_tokens_written_as_objects(checkpoint: Path) -> None:
    edit(checkpoint / "tokenizer_config.json", eos_token={"content": "<|User|>"})
    assert read_tokens(checkpoint, VOCABULARY).eos_id == SPECIALS["<|User|>"]


def test_a_character_is_never_broken(table: TokenTable) -> None:
    ids = ids_of(table, "a漢😀b")
    stream = TextStream(table)
    pieces = [stream.push(token) for token in ids]
    assert "" in pieces  # bytes of one character in several tokens
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) == "a漢😀b"
    assert stream.finish() == ""


def test_broken_bytes_become_a_replacement_character(table: TokenTable) -> None:
    first_of_three = ids_of(table, "漢")[:1]
    assert read_back(table, first_of_three) == "\ufffd"
    assert read_back(table, [*first_of_three, SPECIALS["<td>"]]) == "\ufffd<td>"


def test_tags_stay_and_ends_do_not(table: TokenTable) -> None:
    ids = [SPECIALS[text] for text in ("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<tr>")]
    assert read_back(table, ids) == "<|ref|><|/ref|><|det|><|/det|><tr>"
    assert read_back(table, [0, 1, 2]) == ""


def test_every_id_the_network_can_write_is_safe(table: TokenTable) -> None:
    assert isinstance(read_back(table, list(range(VOCABULARY))), str)
    assert table.to_bytes(999) == b""  # stands for nothing
    assert table.to_bytes(10**9) == b""


def test_deltas_keep_text_and_probabilities_together(table: TokenTable) -> None:
    ids = [*ids_of(table, "漢!"), table.eos_id]
    writer = DeltaWriter(table)
    deltas = [writer.push(token, 0.1 * index) for index, token in enumerate(ids)]
    told = [delta for delta in [*deltas, writer.finish()] if delta]
    assert "".join(delta.text for delta in told) == "漢!"
    probabilities = [p for delta in told for p in delta.probabilities]
    # one for each token but the end token
    assert probabilities == [0.1 * index for index in range(len(ids) - 1)]
    assert len(told[0].probabilities) == len(ids) - 2


def test_a_broken_end_is_told_with_its_probability(table: TokenTable) -> None:
    writer = DeltaWriter(table)
    assert writer.push(ids_of(table, "漢")[0], 0.5) is None
    last = writer.finish()
    assert last is not None
    assert (last.text, last.probabilities) == ("\ufffd", (0.5,))


def test_a_tokenizer_without_image(checkpoint: Path) -> None:
    without = {text: token for text, token in SPECIALS.items() if text != "<image>"}
    make_tokenizer(without).save(str(checkpoint / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="<image>"):
        read_tokens(checkpoint, VOCABULARY)


def test_a_tokenizer_larger_than_the_network(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ids up to 1011 .* knows 900"):
        read_tokens(checkpoint, 900)


def test_a_tokenizer_that_would_lose_spaces(checkpoint: Path) -> None:
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}
    edit(checkpoint / "tokenizer.json", decoder=metaspace)
    with pytest.raises(CheckpointError, match="lose spaces"):
        read_tokens(checkpoint, VOCABULARY)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[]", "\x00\x01"])
def test_damaged_files(checkpoint: Path, name: str, content: str | None) -> None:
    file = checkpoint / name
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer"):
        read_tokens(checkpoint, VOCABULARY)
