"""Faults planted into a page's text, each as engines make them."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from measure.check.pages import Block, KnownPage

_PLAIN = re.compile(r"(?<!\S)[^\W\d_]{3,}|[\u4e00-\u9fff]{2}")

LINE_WORDS = 3
"""A line of fewer is a formula or the end of a paragraph."""

TABLE_WORDS = 12

NAMES = ("Okafor", "Lindqvist", "Baranova", "Whitcombe", "Tanaka", "Delacroix", "Hrubesch")


@dataclass(frozen=True)
class Case:
    """A page to spoil, another page, sentences that stand on neither, and chance."""

    page: KnownPage
    other: KnownPage
    foreign: Sequence[str]
    chance: random.Random


Fault = Callable[[Case], str | None]
"""The page's spoiled text, or None where the fault does not fit the page."""


def written(blocks: Sequence[Block]) -> str:
    """Blocks as an engine writes them."""
    return "\n\n".join(block.text for block in blocks)


def drop_line(case: Case) -> str | None:
    places = [
        (b, n)
        for b, block in enumerate(case.page.blocks)
        for n, line in enumerate(block.lines)
        if len(_PLAIN.findall(line)) >= LINE_WORDS and len(block.lines) > 1
    ]
    if not places:
        return None
    b, n = case.chance.choice(places)
    block = case.page.blocks[b]
    rest = Block(block.lines[:n] + block.lines[n + 1 :])
    return written([*case.page.blocks[:b], rest, *case.page.blocks[b + 1 :]])


def drop_paragraph(case: Case) -> str | None:
    index = _paragraph(case)
    if index is None:
        return None
    return written([b for n, b in enumerate(case.page.blocks) if n != index])


def drop_column(case: Case) -> str | None:
    """A column, or a table."""
    tables = [
        n
        for n, block in enumerate(case.page.blocks)
        if len(re.findall(r"\w{3,}", " ".join(map(" ".join, block.rows)))) >= TABLE_WORDS
    ]
    if tables:
        gone = case.chance.choice(tables)
        return written([b for n, b in enumerate(case.page.blocks) if n != gone])
    gutter_px = case.page.gutter_px
    if gutter_px is None:
        return None
    left = case.chance.random() < 0.5
    kept = [
        block
        for block in case.page.placed
        if not block.boxes_px or (block.boxes_px[0][0] >= gutter_px) == left
    ]
    return written(kept)


def invent_sentence(case: Case) -> str | None:
    return _insert(case, case.chance.choice(case.foreign), within=True)


def invent_paragraph(case: Case) -> str | None:
    count = min(4, len(case.foreign))
    return _insert(case, " ".join(case.chance.sample(list(case.foreign), count)), within=False)


def swap_digit(case: Case) -> str | None:
    """In a number of two digits or more, outside of formulas."""
    text = written(case.page.blocks)
    # formulas hidden, places kept
    hidden = re.sub(r"\\\(.*?\\\)", lambda match: " " * len(match.group()), text)
    places = [
        match.start()
        for match in re.finditer(r"\d(?=[\d.,]*\d)|(?<=\d)[.,]?\d", hidden)
        if match.group().isdecimal()
    ]
    if not places:
        return None
    place = case.chance.choice(places)
    digit = case.chance.choice([d for d in "0123456789" if d != text[place]])
    return text[:place] + digit + text[place + 1 :]


def swap_name(case: Case) -> str | None:
    text = written(case.page.blocks)
    names = list(re.finditer(r"(?<=[a-z,;] )[A-Z][a-z]{3,}(?=[ ,;.])", text))
    if not names:
        return None
    name = case.chance.choice(names)
    return text[: name.start()] + case.chance.choice(NAMES) + text[name.end() :]


def other_page(case: Case) -> str | None:
    text = written(case.other.blocks)
    # a document may be there twice
    same = set(text.split()) & set(written(case.page.blocks).split())
    return text if len(same) < 0.8 * len(set(text.split())) else None


def double_paragraph(case: Case) -> str | None:
    index = _paragraph(case)
    if index is None:
        return None
    blocks = list(case.page.blocks)
    return written([*blocks[: index + 1], *blocks[index:]])


def mix_columns(case: Case) -> str | None:
    """Two columns read across."""
    if case.page.gutter_px is None:
        return None
    lines = [
        (box[1] // 8, box[0], line)
        for block in case.page.placed
        for box, line in zip(block.boxes_px, block.lines, strict=True)
    ]
    return " ".join(line for *_, line in sorted(lines))


FAULTS: Mapping[str, tuple[Fault, frozenset[str]]] = {
    "dropped line": (drop_line, frozenset({"missing"})),
    "dropped paragraph": (drop_paragraph, frozenset({"missing"})),
    "dropped column or table": (drop_column, frozenset({"missing"})),
    "invented sentence": (invent_sentence, frozenset({"unsupported"})),
    "invented paragraph": (invent_paragraph, frozenset({"unsupported"})),
    "swapped digit": (swap_digit, frozenset({"differs"})),
    "swapped name": (swap_name, frozenset({"differs", "missing", "unsupported"})),
    "text of another page": (other_page, frozenset({"missing", "unsupported"})),
    "doubled paragraph": (double_paragraph, frozenset({"unsupported"})),
    "mixed columns": (mix_columns, frozenset({"order"})),
}
"""What is planted, and the kinds of findings that tell it."""


def _paragraph(case: Case) -> int | None:
    """One of at least two lines, or as long, that is no formula."""
    long = [n for n, b in enumerate(case.page.blocks) if len(_PLAIN.findall(b.text)) >= 12]
    return case.chance.choice(long) if len(case.page.blocks) > 1 and long else None


def _insert(case: Case, text: str, *, within: bool) -> str:
    blocks = [block.text for block in case.page.blocks]
    place = case.chance.randrange(len(blocks))
    if within and ". " in blocks[place]:
        head, tail = blocks[place].split(". ", 1)
        blocks[place] = f"{head}. {text} {tail}"
    else:
        blocks.insert(place, text)
    return "\n\n".join(blocks)
