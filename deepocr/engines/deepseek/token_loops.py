"""Notice that a page is being written in circles. No torch here: token ids in, a period out.

The windowed n-gram ban stops short loops; what gets past it is a stretch longer than the ban's
window, or one that consists of exempt tokens (empty table cells). Both end only at the token
limit, minutes later, so a stretch that repeats exactly and often enough ends the page.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LoopRule:
    """A stretch of p tokens is a loop once it stands there 1 + max(repeats, tokens / p) times.

    Rows of a table repeat for good reasons (empty cells, zeros, dittos), so a stretch with a token
    of a table must repeat for longer.
    """

    repeats: int = 4
    tokens: int = 256
    table_repeats: int = 16
    table_tokens: int = 1024
    max_period: int = 1024
    check_every: int = 32


def loop_period(
    tokens: Sequence[int], table_ids: Collection[int], rule: LoopRule = LoopRule()
) -> int | None:
    """The shortest period in which the end of `tokens` goes round in circles, else None."""
    if len(tokens) < rule.tokens:
        return None
    last = tokens[-1]
    for period in range(1, min(rule.max_period, len(tokens) // (rule.repeats + 1)) + 1):
        if tokens[-1 - period] != last:
            continue
        in_table = any(token in table_ids for token in tokens[-period:])
        least = (rule.table_repeats, rule.table_tokens) if in_table else (rule.repeats, rule.tokens)
        span = max(least[0] * period, least[1])
        if span + period <= len(tokens) and tokens[-span:] == tokens[-span - period : -period]:
            return period
    return None
