"""Loops are noticed; what merely repeats a little, as documents do, is not."""

import random

import pytest

from deepocr.engines.deepseek.token_loops import LoopRule, loop_period

TD, END_TD, TR, END_TR = 900, 901, 902, 903
TABLE = frozenset((TD, END_TD, TR, END_TR))


def prose(count: int) -> list[int]:
    generator = random.Random(count)
    return [generator.randrange(800) for _ in range(count)]


@pytest.mark.parametrize("period", [1, 7, 100, 500])
def test_a_stretch_that_keeps_repeating_is_a_loop(period: int) -> None:
    stretch = prose(period)
    tokens = prose(300)
    assert loop_period(tokens, TABLE) is None
    for _ in range(max(5, 260 // period + 2)):
        tokens += stretch
    assert loop_period(tokens, TABLE) == period


def test_a_paragraph_that_stands_there_three_times_is_not() -> None:
    assert loop_period(prose(50) + prose(100) * 3, TABLE) is None


def test_a_dotted_line_is_not() -> None:
    assert loop_period(prose(300) + [5] * 120, TABLE) is None


def test_a_loop_that_ended_is_not() -> None:
    assert loop_period(prose(30) * 20 + prose(200), TABLE) is None


def test_equal_table_rows_are_exempt_until_they_really_repeat() -> None:
    row = [TR] + [TD, END_TD] * 6 + [END_TR]
    assert loop_period(prose(100) + row * 40, TABLE) is None
    assert loop_period(prose(100) + row * 120, TABLE) == 2 * 6 + 2


def test_wide_rows_need_their_repeats_too() -> None:
    row = [TR, *prose(198), END_TR]
    assert loop_period(row * 10, TABLE) is None
    assert loop_period(row * 18, TABLE) == 200


def test_the_rule_can_be_set() -> None:
    assert loop_period(prose(4) * 8, TABLE, LoopRule(repeats=2, tokens=12)) == 4
