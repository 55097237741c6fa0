"""Converts TeX formulas to MathML, which browsers show without scripts or network.

TeX comes from a model and may contain anything, so only known elements and attributes of the
converter's output are kept.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from latex2mathml.converter import convert

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
MAX_TEX_CHARS = 5_000
MAX_DEPTH = 60
"""Deepest nesting of TeX, because the converter is recursive."""

_ELEMENTS = (
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle merror mpadded "
    "mphantom menclose msub msup msubsup munder mover munderover mmultiscripts "
    "mprescripts none mtable mtr mlabeledtr mtd"
)
ELEMENTS = frozenset(_ELEMENTS.split())
_ATTRIBUTES = (
    "display mathvariant stretchy fence separator form accent accentunder "
    "movablelimits largeop symmetric lspace rspace linethickness columnalign rowalign "
    "columnspan rowspan columnlines rowlines rowspacing columnspacing width height "
    "depth minsize maxsize displaystyle scriptlevel notation open close separators"
)
ATTRIBUTES = frozenset(_ATTRIBUTES.split())
_PLAIN_VALUE = re.compile(r"[\w .,%+|()\[\]{}⟨⟩‖/#-]{0,80}")


_OPENING = re.compile(r"\\\[|\\\(|\$\$")
_CLOSINGS = {"\\[": "\\]", "\\(": "\\)", "$$": "$$"}


@dataclass(frozen=True)
class Formula:
    """A formula: `source` includes its delimiters, `tex` does not."""

    source: str
    tex: str
    display: bool


def split_formulas(text: str) -> Iterator[str | Formula]:
    """Split into text and formulas, in linear time. A delimiter without its end is text."""
    done = start = 0
    never_closed: set[str] = set()
    while match := _OPENING.search(text, start):
        opening, start = match[0], match.end()
        # a formula has at least one character
        end = -1 if opening in never_closed else text.find(_CLOSINGS[opening], start + 1)
        if end < 0:
            never_closed.add(opening)
            continue
        if done < match.start():
            yield text[done : match.start()]
        done = end + 2
        yield Formula(text[match.start() : done], text[start:end], opening != "\\(")
        start = done
    if done < len(text):
        yield text[done:]


def tex_to_mathml(tex: str, *, display: bool) -> str:
    """A formula as a `<math>` element that is safe in a web page. TeX that cannot be converted is
    shown as it is, in a `<code>` element."""
    source = tex.strip()
    if not source or len(source) > MAX_TEX_CHARS or _depth(source) > MAX_DEPTH:
        return as_code(source)
    try:
        converted = convert(source, display="block" if display else "inline")
        tree = ElementTree.fromstring(converted)
    except Exception:  # noqa: BLE001 - its parser lets anything through, even StopIteration
        return as_code(source)
    return _clean(tree)


def _clean(element: ElementTree.Element) -> str:
    """The element as HTML, with only the elements and attributes known to be harmless."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    inner = html.escape(element.text or "") + "".join(
        _clean(child) + html.escape(child.tail or "") for child in element
    )
    if name not in ELEMENTS:
        return inner
    attributes = "".join(
        f' {key}="{html.escape(value)}"'
        for key, value in element.attrib.items()
        if key in ATTRIBUTES and _PLAIN_VALUE.fullmatch(value)
    )
    return f"<{name}{attributes}>{inner}</{name}>"


def _depth(tex: str) -> int:
    deepest = depth = 0
    for character in tex:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest + len(re.findall(r"\\(?:left|begin)\b", tex))


def as_code(tex: str) -> str:
    """TeX as it was written."""
    return f'<code class="tex">{html.escape(tex)}</code>'
