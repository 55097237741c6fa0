"""A complete, runnable checkpoint of a 1.9 M-parameter model; what it writes is noise."""

import json
import shutil
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

DATA = Path(__file__).parent / "parity" / "data"

# the published special tokens, at ids that fit a vocabulary of 1024; image slots are 1000 in the
# reference cases too
SPECIALS = {
    "<｜begin▁of▁sentence｜>": 0,
    "<｜end▁of▁sentence｜>": 1,
    "<｜▁pad▁｜>": 2,
    "<image>": 1000,
    "<|ref|>": 1001,
    "<|/ref|>": 1002,
    "<|det|>": 1003,
    "<|/det|>": 1004,
    "<|grounding|>": 1005,
    "<td>": 1006,
    "</td>": 1007,
    "<tr>": 1008,
    "</tr>": 1009,
    "<|User|>": 1010,
    "<|Assistant|>": 1011,
}

CORPUS = [
    "Convert the document to markdown. Free OCR. Parse the figure. OCR this image.",
    "Locate it in the image. Describe this image in detail. hello world",
    "the quick brown fox jumps over the lazy dog while the document is being converted",
]


def make_tiny_checkpoint(folder: Path) -> Path:
    """config.json, model.safetensors, tokenizer.json and tokenizer_config.json in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(DATA / "tiny" / name, folder / name)
    shutil.copyfile(DATA / "tokenizer_config.json", folder / "tokenizer_config.json")
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def make_tokenizer(specials: dict[str, int] = SPECIALS) -> Tokenizer:
    """Byte-level BPE, built as the published one is; ids between its tokens and `<image>` stand
    for nothing, as in a padded vocabulary."""
    vocabulary, merges = _train()
    # bytes and merges come after bos, eos and pad
    shifted = {piece: token + 3 for piece, token in vocabulary.items()}
    tokenizer = Tokenizer(models.BPE(vocab={**specials, **shifted}, merges=merges))
    _make_byte_level(tokenizer)
    # a tokenizer numbers what it adds itself unless the text is in the vocabulary already
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in specials]
    )
    return tokenizer


def _train() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a small byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    _make_byte_level(tokenizer)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _make_byte_level(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s?\p{L}+|\p{N}{1,3}|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
