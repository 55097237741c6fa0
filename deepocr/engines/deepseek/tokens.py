"""Prompt and slots to ids, ids to text that arrives in pieces.

`tokenizer.json` is read as it is. The published `tokenizer_config.json` names a class whose
loaders replace the byte-level pieces and lose every space, so of that file only the names of the
special tokens and `add_bos_token` are used.
"""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from deepocr.errors import CheckpointError
from deepocr.parsing.loops import Alphabet

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
IMAGE = "<image>"
TABLE_CELL = ("<td>", "</td>")
"""May repeat without end in an honest table, so the n-gram ban leaves them out."""
TABLE_ROW = ("<tr>", "</tr>")
BOX, BOX_END = "<|det|>", "<|/det|>"
LABEL = ("<|ref|>", "<|/ref|>")


@dataclass(frozen=True)
class Prompt:
    """Token ids with a run of `num_slots` image slots that begins at `first_slot`."""

    ids: Sequence[int]
    first_slot: int
    num_slots: int


class TokenTable:
    """The tokenizer of one checkpoint. `bos_id` is None where the checkpoint wants none."""

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self.image_id = self._need(IMAGE)
        self.eos_id = self._need(_special(config, "eos_token"))
        wants_bos = config.get("add_bos_token", True)
        self.bos_id = self._need(_special(config, "bos_token")) if wants_bos else None
        self.table_cell_ids = self._known(TABLE_CELL)
        self.alphabet = self._alphabet()
        ends = (_special(config, name) for name in ("bos_token", "eos_token", "pad_token"))
        self._silent = frozenset(tokenizer.token_to_id(text) for text in ends if text)
        self._added = {
            token: added.content for token, added in tokenizer.get_added_tokens_decoder().items()
        }
        self._check_fits(vocab_size)

    def prompt(self, text: str, num_slots: int) -> Prompt:
        """Text with one `<image>` -> ids with that many image slots in its place.

        No special tokens are put around the pieces of text; tags inside them are single ids.
        """
        before, image, after = text.rstrip().partition(IMAGE)
        if not image or IMAGE in after:
            raise ValueError(f"prompt {text!r} must hold {IMAGE} once")
        start = [] if self.bos_id is None else [self.bos_id]
        start += self._ids(before)
        slots = [self.image_id] * num_slots
        return Prompt((*start, *slots, *self._ids(after)), len(start), num_slots)

    def to_bytes(self, token: int) -> bytes:
        """What a token adds to the text: nothing for bos, eos, pad and ids without a token."""
        if token in self._silent:
            return b""
        if added := self._added.get(token):
            return added.encode()
        piece = self._tokenizer.id_to_token(token)
        # an embedding table is padded: the network can write ids that stand for nothing
        if piece is None:
            return b""
        if all(letter in BYTE_OF for letter in piece):
            return bytes(BYTE_OF[letter] for letter in piece)
        return piece.encode()

    def _alphabet(self) -> Alphabet:
        """What loops are told by. The tokenizer splits numbers into up to three digits."""
        numbers = (f"{n:0{width}}" for width in (1, 2, 3) for n in range(10**width))
        ids = ((self._tokenizer.token_to_id(digits), digits) for digits in numbers)
        return Alphabet(
            digits={token: digits for token, digits in ids if token is not None},
            table=self.table_cell_ids | self._known(TABLE_ROW),
            box=self._known((BOX,)),
            box_end=self._known((BOX_END,)),
            label=self._known(LABEL),
        )

    def _known(self, texts: Sequence[str]) -> frozenset[int]:
        """Ids of those texts that are tokens."""
        found = map(self._tokenizer.token_to_id, texts)
        return frozenset(token for token in found if token is not None)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _need(self, text: str) -> int:
        token: int | None = self._tokenizer.token_to_id(text) if text else None
        if token is None:
            raise CheckpointError(
                f"{TOKENIZER_FILE} has no token {text!r}; use the tokenizer of a DeepSeek-OCR "
                "checkpoint"
            )
        return token

    def _check_fits(self, vocab_size: int) -> None:
        largest = max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        if largest >= vocab_size:
            raise CheckpointError(
                f"{TOKENIZER_FILE} has ids up to {largest} and the network knows {vocab_size}; "
                "use the tokenizer and the config.json of one checkpoint"
            )


class TextStream:
    """Text of tokens that arrive one by one. A character whose bytes are not all there waits."""

    # not tokenizers' DecodeStream: it drops a broken end, and takes 0.4 ms a token in a run of
    # broken bytes, which it reads again with each of them
    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The characters that this token completes, often none."""
        return self._decoder.decode(self._table.to_bytes(token))

    def finish(self) -> str:
        """What is left when no token follows: a broken character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)


def read_tokens(folder: Path, vocab_size: int) -> TokenTable:
    """The tokenizer files of a checkpoint. Raises CheckpointError."""
    file = folder / TOKENIZER_FILE
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; put the checkpoint's files there")
    try:
        raw = json.loads(file.read_bytes())
        config = json.loads((folder / TOKENIZER_CONFIG_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be read: {error}; fetch it again"
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{folder / TOKENIZER_CONFIG_FILE} is a JSON {type(config).__name__}, not an object; "
            "fetch it again"
        )
    if "ByteLevel" not in _decoders(raw):
        raise CheckpointError(
            f"{file} is not byte-level: its decoder is {', '.join(_decoders(raw)) or 'none'}, "
            "which would lose spaces; use the published tokenizer.json, not one saved again"
        )
    return TokenTable(_open(file), config, vocab_size)


def _open(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{file} cannot be read: {error}; fetch it again") from error


def _decoders(raw: Any) -> list[str]:
    """Types of the decoder in tokenizer.json, those inside a sequence too."""
    decoder = raw.get("decoder") if isinstance(raw, dict) else None
    if not isinstance(decoder, dict):
        return []
    inner = decoder.get("decoders", [decoder])
    return [str(part.get("type")) for part in inner if isinstance(part, dict)]


def _special(config: Mapping[str, Any], name: str) -> str:
    """A special token's text: written as it is, or as an object with `content`."""
    value = config.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else ""


def _byte_letters() -> Iterator[tuple[str, int]]:
    """The letters that byte-level vocabularies write bytes with: printable Latin-1 stands for
    itself, the other bytes for letters from U+0100 on, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    shifted = 0x100
    for byte in range(256):
        if byte in printable:
            yield chr(byte), byte
        else:
            yield chr(shifted), byte
            shifted += 1


BYTE_OF: Mapping[str, int] = dict(_byte_letters())
