"""Finds HTML tags in a model's output, in linear time, and makes them nest correctly.

Only what is clearly a tag counts as one; any other `<` is text. This does not make HTML safe to
show: `render.safe_html` does.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

MAX_DEPTH = 60
"""Most tags inside each other, as deep nesting takes HTML parsers quadratic time. Deeper tags are
removed."""

# no "<" in an attribute, so that no attempt reads beyond the next "<", for linear time in all
_TAG = re.compile(
    r"""<(/?)([a-zA-Z][a-zA-Z0-9]{0,20}+)(?=[\s/>])
    ((?:\s++[^\s"'<>/=]++(?:\s*+=\s*+(?:[^\s"'=<>`]++|"[^"<]*+"|'[^'<]*+'))?+)*+)\s*+/?>""",
    re.VERBOSE,
)

VOID = frozenset({"br", "hr", "col", "img", "wbr"})
"""Tags that hold nothing and are never closed."""

_SECTIONS = frozenset({"thead", "tbody", "tfoot"})
_CELLS = frozenset({"td", "th", "caption"})
_TABLE_PARTS = _CELLS | _SECTIONS | {"table", "tr"}
_BLOCKS = frozenset({"div", "center", "blockquote", "ul", "ol", "dl"}) | _TABLE_PARTS

# a tag -> its possible parents; tags that are open in between end before it
_PARENTS: dict[str, Collection[str]] = {
    **dict.fromkeys(("td", "th"), _SECTIONS | {"tr", "table"}),
    "tr": _SECTIONS | {"table"},
    **dict.fromkeys((*_SECTIONS, "caption"), ("table",)),
}
# a tag -> the open siblings that it ends, and the tags that contain them
_SIBLINGS: dict[str, tuple[Collection[str], Collection[str]]] = {
    "li": (("li",), _TABLE_PARTS | {"ul", "ol"}),
    **dict.fromkeys(("dt", "dd"), (("dt", "dd"), _TABLE_PARTS | {"dl"})),
    "p": (("p",), _BLOCKS | {"li", "dt", "dd"}),
}


@dataclass(frozen=True)
class Tag:
    """An HTML tag; `attributes` are as they were written."""

    name: str
    is_end: bool = False
    attributes: str = ""

    def __str__(self) -> str:
        return f"</{self.name}>" if self.is_end else f"<{self.name}{self.attributes}>"


def split_tags(text: str) -> Iterator[str | Tag]:
    """Text and tags in turn; comments are text."""
    done = 0
    for match in _TAG.finditer(text):
        if match.start() > done:
            yield text[done : match.start()]
        yield Tag(match[2].lower(), bool(match[1]), match[3])
        done = match.end()
    if done < len(text):
        yield text[done:]


def nest(pieces: Iterable[str | Tag]) -> Iterator[str | Tag]:
    """The pieces with every tag closed, in the right order and where HTML would end it.

    End tags without a start tag are removed, and so are tags that are nested too deep.
    """
    open_names: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            yield piece
        elif piece.is_end:
            yield from _close(open_names, _depth_of_end(open_names, piece.name))
        else:
            yield from _close(open_names, _depth_of_start(open_names, piece.name))
            if len(open_names) < MAX_DEPTH:
                yield piece
                if piece.name not in VOID:
                    open_names.append(piece.name)
    yield from _close(open_names, 0)


def _close(open_names: list[str], depth: int) -> Iterator[Tag]:
    while len(open_names) > depth:
        yield Tag(open_names.pop(), is_end=True)


def _depth_of_end(open_names: list[str], name: str) -> int:
    """How many tags stay open after an end tag. It never ends anything outside its cell, and
    outside its table only if it is a table's own tag."""
    walls: Collection[str] = ("table",) if name in _TABLE_PARTS else (*_CELLS, "table")
    for depth, open_name in reversed(list(enumerate(open_names))):
        if open_name == name:
            return depth
        if open_name in walls:
            break
    return len(open_names)


def _depth_of_start(open_names: list[str], name: str) -> int:
    """How many tags stay open before a new one."""
    for depth, open_name in reversed(list(enumerate(open_names))):
        if name in _PARENTS and open_name in _PARENTS[name]:
            return depth + 1
        if name in _SIBLINGS:
            ended, walls = _SIBLINGS[name]
            if open_name in ended:
                return depth
            if open_name in walls:
                break
        if name == "table" and open_name in _TABLE_PARTS:
            if open_name in _CELLS:
                break
            # in a table but not in a cell: the first table was never closed, so the new one ends it
            if open_name == "table":
                return depth
    return len(open_names)
