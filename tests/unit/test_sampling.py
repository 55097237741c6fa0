"""Which tokens the n-gram ban forbids, and what is picked."""

import math

import pytest
import torch

from deepocr.engines.deepseek.sampling import NO_BAN, NGramBan, pick


def test_windowed_ban_looks_at_written_tokens_only() -> None:
    ban = NGramBan(3, window=12)
    assert ban.banned([1, 2, 3, 1, 2], []) == set()
    assert ban.banned([], [1, 2, 3, 1, 2]) == {3}
    assert ban.banned([1, 2, 3], [1, 2]) == set()


def test_whole_sequence_ban_counts_the_prompt() -> None:
    assert NGramBan(3).banned([1, 2, 3], [9, 1, 2]) == {3}


def test_window_forgets() -> None:
    written = [1, 2, 3, 0, 0, 0, 0, 1, 2]
    assert NGramBan(3, window=9).banned([], written) == {3}
    assert NGramBan(3, window=8).banned([], written) == set()


def test_every_continuation_is_banned() -> None:
    assert NGramBan(2, window=50).banned([], [5, 6, 5, 7, 5]) == {6, 7}


def test_exempt_tokens_may_repeat() -> None:
    ban = NGramBan(2, window=50, exempt=frozenset({6}))
    assert ban.banned([], [5, 6, 5, 7, 5]) == {7}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_short_outputs_ban_nothing_they_have_not_said(size: int) -> None:
    ban = NGramBan(size, window=10)
    assert ban.banned([4, 4, 4, 4], []) == set()
    assert ban.banned([], [4] * (size - 1)) == set()
    assert ban.banned([], [4] * size) == {4}


def test_size_zero_bans_nothing() -> None:
    assert NO_BAN.banned([1, 1, 1], [1, 1, 1]) == set()


def test_pick_takes_the_lowest_id_at_a_tie() -> None:
    assert pick(torch.tensor([0.0, 3.0, 3.0, 1.0]))[0] == 1
    assert pick(torch.tensor([0.0, 3.0, 3.0, 1.0]), {1})[0] == 2


def test_probability_is_the_models_own_whatever_is_banned() -> None:
    logits = torch.tensor([math.log(0.7), math.log(0.2), math.log(0.1)])
    assert pick(logits) == (0, pytest.approx(0.7))
    assert pick(logits, {0}) == (1, pytest.approx(0.2))
    assert logits[0] == pytest.approx(math.log(0.7))
