"""The batched ban against the rule written out in plain Python."""

import random

import torch

from deepocr.engines.deepseek.ops.ngram import ban_repeats

VOCABULARY = 5
EXEMPT = {4}


def banned_by_rule(tokens: list[int], n: int, window: int) -> set[int]:
    found = set()
    prefix = tokens[len(tokens) - n + 1 :]
    for start in range(max(0, len(tokens) - window), len(tokens) - n + 1):
        if tokens[start : start + n - 1] == prefix:
            found.add(tokens[start + n - 1])
    return found - EXEMPT


def test_ragged_batches_follow_the_rule() -> None:
    generator = random.Random(0)
    hits = 0
    for n, window in ((2, 2), (2, 9), (3, 12), (4, 30)):
        rows = [
            [generator.randrange(VOCABULARY) for _ in range(length)]
            for length in (0, 1, n - 1, n, n + 1, window - 1, window, window + 1, 60)
        ]
        history = torch.zeros(len(rows), 64, dtype=torch.int64)
        for row, tokens in zip(history, rows, strict=True):
            row[: len(tokens)] = torch.tensor(tokens)
        lengths = torch.tensor([len(tokens) for tokens in rows])
        logits = torch.randn(len(rows), VOCABULARY)
        out = ban_repeats(logits, history, lengths, n, window, torch.tensor(sorted(EXEMPT)))
        for row, tokens in enumerate(rows):
            banned = banned_by_rule(tokens, n, window) if len(tokens) >= n else set()
            hits += len(banned)
            for token in range(VOCABULARY):
                expected = float("-inf") if token in banned else logits[row, token].item()
                assert out[row, token].item() == expected
    assert hits > 5


def test_rows_of_one_batch_have_windows_of_their_own() -> None:
    tokens = [0, 1, 2, *[3] * 9, 0, 1]
    history = torch.tensor([tokens] * 3)
    lengths, windows = torch.tensor([14] * 3), torch.tensor([13, 14, 9])
    out = ban_repeats(
        torch.zeros(3, 5), history, lengths, 3, 14, torch.tensor([4]), windows
    )  # fmt: skip
    banned = [set(row.isinf().nonzero().flatten().tolist()) for row in out]
    assert banned == [banned_by_rule(tokens, 3, window) for window in (13, 14, 9)]
    assert banned == [set(), {2}, set()]
