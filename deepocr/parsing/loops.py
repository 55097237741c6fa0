"""Detects that a model is in a loop: it repeats the same text, changes only numbers by a constant
step (`Figure 2, 3, … 82`, boxes that march down the page), or writes only phrases that it has
written before.

It works on items of any kind: token ids while a page is written, or the characters of a finished
text. The ban on repeated n-grams stops short loops; any other loop would end only at the token
limit.
"""

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from deepocr.parsing.phrases import SAID_BEFORE, SAID_IN_TABLE, PhraseWatch, Shares

Item = Hashable
NUMBER: Item = None
"""Stands for a number of any value. Real items are never None."""

KNOWN_TEXT: Item = ("a text that stood in a box before",)

MAX_DIGITS = 12
"""Most digits of one number; further digits begin the next number, so that numbers stay small."""

MIN_LINES = 12
"""Number of equal lines in a row from which a text has a loop."""


@dataclass(frozen=True)
class Alphabet:
    """The meaning of items: `digits` maps items to the digits that they are; the others are tags of
    tables, tags that begin (`box`) and end a box, and tags around its label."""

    digits: Mapping[Item, str] = field(default_factory=dict)
    table: frozenset[Item] = frozenset()
    box: frozenset[Item] = frozenset()
    box_end: frozenset[Item] = frozenset()
    label: frozenset[Item] = frozenset()


@dataclass(frozen=True)
class Least:
    """A stretch is a loop once it occurs 1 + max(repeats, items / its length) times in a row."""

    repeats: int
    items: int


@dataclass(frozen=True)
class LoopRule:
    """How much repetition is a loop. Where numbers change, a whole number is one item.

    Rows of a table repeat for good reasons (empty cells, zeros, dittos), and real pages count
    lines, questions, or the rows of a multiplication table. But they do not repeat the same long
    line each time (one number in more than `long_line` items), and boxes of real lines are not
    evenly spaced for long.
    """

    same: Least = Least(4, 256)
    same_in_table: Least = Least(16, 1024)
    counting: Least = Least(24, 3000)
    counting_long_lines: Least = Least(24, 768)
    counting_only_numbers: Least = Least(64, 720)
    counting_boxes: Least = Least(24, 384)
    counting_in_table: Least = Least(64, 4096)
    said_before: Shares = SAID_BEFORE
    said_in_table: Shares = SAID_IN_TABLE
    long_line: int = 14
    max_period: int = 1024
    check_every: int = 32


CHARACTERS = Alphabet(
    digits={digit: digit for digit in "0123456789"},
    table=frozenset({"<td>", "</td>", "<tr>", "</tr>"}),
    box=frozenset({"<|det|>"}),
    box_end=frozenset({"<|/det|>"}),
)
"""The alphabet of texts, whose items are characters and whole tags."""

TEXT_RULE = LoopRule(
    same=Least(7, 320),
    counting=Least(24, 10_000),
    counting_long_lines=Least(24, 2700),
    said_before=(),
    long_line=40,
    max_period=200,
)

_ITEM = re.compile(r"<[^<>]{1,40}>|.", re.DOTALL)
_PHRASE_ITEM = re.compile(r"<[^<>]{1,40}>|\d+| ?[^\W\d]+|\n+| {2,16}|.", re.DOTALL)
_CUT_TAG = re.compile(r"<[^<>]{0,40}\Z")
_WORD = re.compile(r"\w+")


class LoopWatch:
    """Takes items one by one, and can tell at any time whether they end in a loop."""

    def __init__(self, alphabet: Alphabet, rule: LoopRule | None = None) -> None:
        self.rule = rule or LoopRule()
        self._alphabet = alphabet
        self._items: list[Item] = []
        # the items with NUMBER in place of each number, and the values of the numbers (0 for other
        # items)
        self._shape: list[Item] = []
        self._values: list[int] = []
        self._digits = ""
        self._last_number = -1
        # where the text after the last box begins, in items and in shape, and where the number
        # before it is
        self._text_start: tuple[int, int, int] | None = None
        self._texts: set[tuple[Item, ...]] = set()
        self._phrases = PhraseWatch()
        self._no_phrase = alphabet.table | alphabet.box | alphabet.box_end | alphabet.label

    def push(self, item: Item) -> None:
        self._items.append(item)
        digits = self._alphabet.digits.get(item, "")
        if self._digits and (not digits or len(self._digits + digits) > MAX_DIGITS):
            self._last_number = len(self._shape)
            self._shape.append(NUMBER)
            self._values.append(int(self._digits))
            self._digits = ""
        self._phrases.push(None if digits or item in self._no_phrase else item)
        if digits:
            self._digits += digits
            return
        if item in self._alphabet.box:
            self._end_text()
        self._shape.append(item)
        self._values.append(0)
        if item in self._alphabet.box_end:
            self._text_start = len(self._items), len(self._shape), self._last_number

    def _end_text(self) -> None:
        """Replace a text that already stood in a box by one item: marching boxes may repeat several
        texts in turn."""
        if self._text_start is None:
            return
        item, place, number = self._text_start
        text = tuple(self._items[item:-1])
        if text in self._texts:
            self._shape[place:], self._values[place:] = [KNOWN_TEXT], [0]
            self._last_number = number
        self._texts.add(text)

    def stretch(self) -> Sequence[Item]:
        """The shortest stretch that the end repeats, counts with, or says again in another order;
        empty without a loop."""
        return self._same() or self._counting() or self._marching() or self._again()

    def _again(self) -> Sequence[Item]:
        rule, phrases = self.rule, self._phrases
        phrase = phrases.said_before(rule.said_before)
        if phrase and not self._alphabet.table.isdisjoint(self._items[-rule.max_period :]):
            return phrases.said_before(rule.said_in_table)
        return phrase

    def _same(self) -> Sequence[Item]:
        rule, items = self.rule, self._items
        for period in _periods(items, min(rule.max_period, len(items) // (rule.same.repeats + 1))):
            if _repeats(items, period, rule.same):
                stretch = items[-period:]
                in_table = not self._alphabet.table.isdisjoint(stretch)
                # if this is not enough, its multiples are not either
                enough = not in_table or _repeats(items, period, rule.same_in_table)
                return stretch if enough else ()
        return ()

    def _counting(self) -> Sequence[Item]:
        return self._steps(self._shape, self._values, self._last_number)

    def _marching(self) -> Sequence[Item]:
        """Boxes at a constant step, whatever is being written after the last one."""
        if self._text_start is None:
            return ()
        _, place, number = self._text_start
        return self._steps(self._shape[:place], self._values[:place], number)

    def _steps(self, shape: Sequence[Item], values: Sequence[int], at: int) -> Sequence[Item]:
        """The stretch that a shape repeats at its end while its numbers change by constant steps;
        `at` is the place of the last number."""
        rule = self.rule
        for period in _periods(shape, min(rule.max_period, at // 2)):
            before, first = values[at - period], values[at - 2 * period]
            # the last numbers alone rule out most periods
            if values[at] - before != before - first or not _steps_alike(values, period, 16):
                continue
            stretch = shape[-period:]
            least = self._least_counting(stretch)
            rest = max(least.repeats * period, least.items) - period
            if _repeats(shape, period, least) and _steps_alike(values, period, rest):
                return stretch
        return ()

    def _least_counting(self, stretch: Sequence[Item]) -> Least:
        rule = self.rule
        if not self._alphabet.table.isdisjoint(stretch):
            return rule.counting_in_table
        if not self._alphabet.box.isdisjoint(stretch):
            return rule.counting_boxes
        numbers = stretch.count(NUMBER)
        if 3 * numbers > len(stretch):
            return rule.counting_only_numbers
        return (
            rule.counting_long_lines if numbers * rule.long_line < len(stretch) else rule.counting
        )


def has_loop(text: str) -> bool:
    """Whether a text ends in a loop, or repeats one line many times."""
    watch = LoopWatch(CHARACTERS, TEXT_RULE)
    for item in _ITEM.findall(_CUT_TAG.sub("", text).rstrip()):
        watch.push(item)
    if stretch := watch.stretch():
        # a line of dots, a ruled line or the blanks of a form have no words
        return any(item is NUMBER or _WORD.search(str(item)) for item in stretch)
    return _repeats_a_line(text) or _says_nothing_new(text)


def _says_nothing_new(text: str) -> bool:
    watch = PhraseWatch()
    for item in _PHRASE_ITEM.findall(text):
        watch.push(None if item.isdecimal() or item.startswith("<") else item)
    return bool(watch.said_before(SAID_BEFORE))


def _repeats_a_line(text: str) -> bool:
    before, times = "", 0
    for line in filter(None, map(str.strip, text.splitlines())):
        times = times + 1 if line == before else 1
        before = line
        if times >= MIN_LINES and len(_WORD.findall(line)) >= 2:
            return True
    return False


def _periods(items: Sequence[Item], longest: int) -> Iterator[int]:
    """Distances, up to `longest`, at which the last items occur once more; the shortest first."""
    last = items[-16:]
    before = items[-2 : -2 - longest : -1]
    period = 0
    with suppress(ValueError):
        while last:
            period = before.index(last[-1], period) + 1
            if items[-16 - period : -period] == last:
                yield period


def _repeats(items: Sequence[Item], period: int, least: Least) -> bool:
    span = max(least.repeats * period, least.items)
    return span + period <= len(items) and items[-span:] == items[-span - period : -period]


def _steps_alike(values: Sequence[int], period: int, span: int) -> bool:
    """Whether each of the last `span` values changed by the same step as a period earlier."""
    now, before = values[-span:], values[-span - period : -period]
    first = values[-span - 2 * period : -2 * period]
    return all(a - b == b - c for a, b, c in zip(now, before, first, strict=False))
