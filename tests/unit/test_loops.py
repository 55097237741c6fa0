"""Loops are noticed; what merely repeats a little, as documents do, is not."""

import random
import re

import pytest

from deepocr.parsing.loops import Alphabet, Item, Least, LoopRule, LoopWatch, has_loop

TD, END_TD, TR, END_TR = 900, 901, 902, 903
TABLE = Alphabet(table=frozenset((TD, END_TD, TR, END_TR)))

# as the published tokenizer splits a text: tags whole, numbers by three digits, words with their
# space
TOKEN = re.compile(r"</?t[dr]>|<\|/?(?:ref|det)\|>|[0-9]{1,3}| ?[^\W\d_]+|\n+| ?[^\w\s<]+|[\W_]")
TOKENS = Alphabet(
    digits={f"{n:0{width}}": f"{n:0{width}}" for width in (1, 2, 3) for n in range(10**width)},
    table=frozenset(("<td>", "</td>", "<tr>", "</tr>")),
    box=frozenset(("<|det|>",)),
    box_end=frozenset(("<|/det|>",)),
    label=frozenset(("<|ref|>", "<|/ref|>")),
)
WORDS = ("market", "river", "doctor", "engine", "silver", "window", "garden", "letter", "bottle")


def prose(count: int) -> list[int]:
    generator = random.Random(count)
    return [generator.randrange(800) for _ in range(count)]


def words(count: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def loop_period(items: list[int], alphabet: Alphabet, rule: LoopRule | None = None) -> int | None:
    watch = LoopWatch(alphabet, rule)
    for item in items:
        watch.push(item)
    return len(watch.stretch()) or None


def written_until_stopped(text: str) -> str | None:
    """What an engine has written of a text when it stops; None when it writes all of it."""
    watch = LoopWatch(TOKENS)
    written = ""
    for count, token in enumerate(TOKEN.findall(text), start=1):
        written += token
        watch.push(token)
        if count % watch.rule.check_every == 0 and watch.stretch():
            return written
    return None


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
    assert loop_period(prose(4) * 8, TABLE, LoopRule(same=Least(2, 12))) == 4


def table(rows: int, row: str) -> str:
    """`row` has {n} for the row's number, from 1."""
    return "<table>" + "".join(row.format(n=n, ten=10 * n) for n in range(1, rows + 1))


def products(size: int, cell: str, row: str) -> str:
    return "".join(
        row.format("".join(cell.format(a * b) for b in range(1, size + 1)))
        for a in range(1, size + 1)
    )


def box(top: int, text: str = "", step: int = 20) -> str:
    place = f"[[390, {top}, 500, {top + step - 2}]]"
    return f"<|ref|>text<|/ref|><|det|>{place}<|/det|>\n{text} \n\n"


FIGURE = "**Figure {}: Comparison of the architectures of different {} review systems**\n\n\n"

COUNTING = {
    "thousands": " ".join(str(1000 * n) for n in range(1, 514)),
    "twice each": " ".join(str(n // 2) for n in range(2000, 4000)),
    "tenths": ", ".join(f"{n // 10}.{n % 10}" for n in range(2500)),
    "figures": "".join(FIGURE.format(n, "automated") for n in range(2, 83)),
    "figures twice": "".join(
        FIGURE.format(n, system) for n in range(2, 83) for system in ("automated", "Automated")
    ),
    "boxes": "".join(box(20 * n) for n in range(50)),
    "boxes with a text": "".join(box(27 * n, "Yes", step=27) for n in range(37)),
    "boxes off the page": "".join(box(200 * n) for n in range(60)),
    "a table": table(900, "<tr><td>{n}</td><td>Item {n}</td><td>{ten}</td><td></td></tr>"),
    "down from": "".join(
        f"and only {n} more of these small steps to go, " for n in range(900, 1, -1)
    ),
}


@pytest.mark.parametrize("text", COUNTING.values(), ids=COUNTING.keys())
def test_counting_is_stopped_while_it_is_written_and_seen_afterwards(text: str) -> None:
    before = words(400) + "\n"
    written = written_until_stopped(before + text)
    assert written is not None
    assert len(written) < len(before + text)
    assert has_loop(before + text)
    assert has_loop((before + text)[:-2])  # cut off in the middle of something


def captions(count: int) -> str:
    """No two captions after each other are alike, and the numbers do not go on evenly."""
    ways = ("**Figure {}: {}**", "<center>Figure {}: {}</center>", "**Figure {}. {}**")
    systems = ("automated review", "reviewed", "automated reviewed", "review")
    pick = random.Random(7)
    return "\n\n\n".join(
        pick.choice(ways).format(
            n // 2, f"Comparison of the architectures of different {pick.choice(systems)} systems"
        )
        for n in range(count)
    )


def cells(count: int) -> str:
    """A table whose cells say the same sentences, with some word left out or run together."""
    sentences = [words(14, seed) + ". " for seed in range(4)]
    pick = random.Random(8)
    return "<table>" + "".join(
        "<tr><td>"
        + "".join(
            sentence.replace(" ", pick.choice((" ", "", "- ")), 1)
            for sentence in pick.sample(sentences, 3)
        )
        + "</td></tr>"
        for _ in range(count)
    )


VARIED = {
    "captions in turn": captions(400),
    "sentences in turn": cells(140),
    "a list that grows deeper": "".join(
        f"{' ' * n}- language:\n{' ' * n} - language: json\n" * 4 for n in range(60)
    ),
    "boxes whose texts take turns": "".join(
        box(20 * (n % 47), random.Random(n).choice(("Park", "School", "28.1 m")))
        for n in range(140)
    ),
}


@pytest.mark.parametrize("text", VARIED.values(), ids=VARIED.keys())
def test_what_is_said_again_in_other_words_is_stopped(text: str) -> None:
    before = words(400) + "\n"
    written = written_until_stopped(before + text)
    assert written is not None
    assert len(written) < len(before + text)


@pytest.mark.parametrize("name", ["captions in turn", "sentences in turn"])
def test_what_is_said_again_in_other_words_is_seen_afterwards(name: str) -> None:
    assert has_loop(words(400) + "\n" + VARIED[name])


def test_a_counting_table_is_stopped_far_later_than_a_text() -> None:
    written = written_until_stopped(COUNTING["a table"])
    assert written is not None
    assert len(TOKEN.findall(written)) > 4096
    figures = written_until_stopped(COUNTING["figures"])
    assert figures is not None
    assert len(TOKEN.findall(figures)) < 1024


HONEST = {
    "a paragraph that stands there four times": (words(70) + ". ") * 4,
    "a table of contents": "\n".join(
        f"{part}.{n} {words(4, 20 * part + n)} {'.' * 30} {7 * part + n}"
        for part in range(1, 12)
        for n in range(1, 12)
    ),
    "numbered lines": "\n".join(f"{n}. {words(6, n)}" for n in range(1, 201)),
    "numbered lines of one text": "\n".join(f"{n}. This is line number {n}" for n in range(1, 201)),
    "questions": "\n".join(f"{n}. (A) (B) (C) (D)" for n in range(1, 51)),
    "numbers": "\n".join(str(random.Random(n).randrange(100_000)) for n in range(800)),
    "numbers in order": "\n".join(map(str, range(1, 301))),
    "products as text": products(30, "{} ", "{}\n"),
    "products one by one": "\n".join(
        f"{a} x {b} = {a * b}" for a in range(1, 21) for b in range(1, 21)
    ),
    "products in a table": f"<table>{products(20, '<td>{}</td>', '<tr>{}</tr>')}</table>",
    "products in a cut table": f"<table>{products(40, '<td>{}</td>', '<tr>{}</tr>')}",
    "a form": table(100, "<tr><td>{n}</td><td></td><td></td><td></td></tr>"),
    "a table of figures": "<table>"
    + "".join(
        "<tr>"
        + "".join(f"<td>{random.Random(8 * r + c).randrange(1000)}</td>" for c in range(8))
        + "</tr>"
        for r in range(100)
    ),
    "boxes of lines": "".join(box(20 * n, words(6, n)) for n in range(48)),
    "boxes of check marks": "".join(box(60 + 45 * n) for n in range(20)),
    "a log": "\n".join(
        f"{random.Random(n).randrange(10**6)} INFO connection accepted from a client of the house"
        for n in range(70)
    ),
    "a log in boxes": "".join(
        box(13 * n, f"{random.Random(n).randrange(10**6)} connection accepted", step=13)
        for n in range(70)
    ),
    "answers to tick": "\n".join(
        f"{n}. {words(5, n)}\n( ) I agree  ( ) I do not know  ( ) I do not agree"
        for n in range(1, 41)
    ),
    "a litany": "\n".join(f"{words(3, n)}, pray for all of us who are here" for n in range(60)),
    "yes and no": "<table>"
    + "".join(
        "<tr>" + "".join(f"<td>{pick}</td>" for pick in random.Random(r).choices(WORDS[:2], k=6))
        for r in range(60)
    ),
    "boxes not quite even": "".join(box(20 * n + (n * n) % 3) for n in range(48)),
}


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST.keys())
def test_pages_that_count_for_good_reasons_are_whole(text: str) -> None:
    assert written_until_stopped(text) is None
    assert not has_loop(text)


def test_counting_that_ended_is_no_loop() -> None:
    text = COUNTING["figures"] + words(300)
    assert not has_loop(text)


def test_a_number_without_end_is_a_loop() -> None:
    watch = LoopWatch(TOKENS)
    digits: list[Item] = ["142", "857"] * 400
    for token in digits:
        watch.push(token)
    assert len(watch.stretch()) == 2
