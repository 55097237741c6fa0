"""Inserts what a text lacks where it belongs, marked as coming from the witness."""

import html
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deepocr.check.witness import union
from deepocr.types import Finding, PageResult, Region

_PARAGRAPH_END = re.compile(r"\s*(?:\n\s*\n|\Z)")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-$")


def repaired(result: PageResult) -> PageResult:
    """The page with what is `missing` from its text inserted as `<ins>…</ins>`.

    Words of a paragraph are inserted between the words around them; lines outside any paragraph
    become a region of their own. The verdict remains that of the text as it was read. Findings name
    the region in which they stand now. Inserted ones no longer have an `offset`, so nothing is
    inserted twice.
    """
    if result.check is None:
        return result
    by_region: dict[int, dict[int, list[Finding]]] = defaultdict(lambda: defaultdict(list))
    for finding in result.check.findings:
        if finding.kind == "missing" and finding.offset is not None:
            # words without a place go to the end of the page
            region = len(result.regions) if finding.region is None else finding.region
            by_region[region][finding.offset].append(finding)
    if not by_region:
        return result

    regions: list[Region] = []
    moved: dict[int, int] = {}
    stands_in: dict[int, int] = {}

    def add(paragraphs: Sequence[Sequence[Finding]]) -> None:
        for lines in paragraphs:
            stands_in.update((id(line), len(regions)) for line in lines)
            boxes = [line.box_px for line in lines if line.box_px]
            regions.append(Region("text", _inserted(lines), (union(boxes),) if boxes else ()))

    for number, written in enumerate(result.regions):
        places = by_region.get(number, {})
        end = len(written.text.rstrip())
        add(_paragraphs(places.get(0, ())))
        moved[number] = len(regions)
        inside = {offset: lines for offset, lines in places.items() if 0 < offset < end}
        for lines in inside.values():
            stands_in.update((id(line), len(regions)) for line in lines)
        regions.append(replace(written, text=_with(written.text, inside)))
        for offset in sorted(place for place in places if place >= max(end, 1)):
            add(_paragraphs(places[offset]))
    for lines in by_region.get(len(result.regions), {}).values():
        add(_paragraphs(lines))
    findings = tuple(
        replace(finding, region=stands_in[id(finding)], offset=None)
        if id(finding) in stands_in
        else replace(finding, region=None if finding.region is None else moved[finding.region])
        for finding in result.check.findings
    )
    return replace(result, regions=tuple(regions), check=replace(result.check, findings=findings))


def _with(text: str, places: Mapping[int, Sequence[Finding]]) -> str:
    """The text with words inserted at these offsets; the last offset comes first, so that the
    others stay valid."""
    for offset in sorted(places, reverse=True):
        before, after = text[:offset], text[offset:]
        if _PARAGRAPH_END.match(after):
            words = "\n\n".join(_inserted(lines) for lines in _paragraphs(places[offset]))
            text = f"{before}\n\n{words}{after}"
        else:
            text = f"{before} {_inserted(places[offset])}{after}"
    return text


def _paragraphs(lines: Sequence[Finding]) -> list[list[Finding]]:
    """Group lines into paragraphs: lines directly below each other belong together."""
    paragraphs: list[list[Finding]] = []
    for line in lines:
        if paragraphs and _goes_on(paragraphs[-1][-1], line):
            paragraphs[-1].append(line)
        else:
            paragraphs.append([line])
    return paragraphs


def _goes_on(line: Finding, after: Finding) -> bool:
    if line.box_px is None or after.box_px is None:
        return False
    height = line.box_px[3] - line.box_px[1]
    return -height < after.box_px[1] - line.box_px[3] < height


def _inserted(lines: Sequence[Finding]) -> str:
    text = ""
    for line in lines:
        goes_on = line.witness[:1].islower() and _HYPHEN.search(text)
        text = text[:-1] + line.witness if goes_on else f"{text} {line.witness}".strip()
    return f"<ins>{html.escape(text, quote=False)}</ins>"
