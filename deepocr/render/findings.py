"""Shows a witness's findings: boxes on the picture, a list, and doubtful words underlined."""

import html
import re

from deepocr.types import Finding, PageCheck, PageResult

KIND_TEXTS = {
    "missing": "not in the text",
    "unsupported": "not on the page",
    "differs": "reads otherwise",
    "order": "columns mixed",
}

WITNESS_NAMES = {"text layer": "PDF's own text", "ppocr": "CPU reader", "ink": "blank page"}

SHOWN = 200
"""Most findings of a page that are shown; more are no help."""

MAX_WORDS = 60
"""Most words of a finding that are underlined; a longer finding marks its whole region."""

_TAG = re.compile(r"(<[^>]*+>)")


def finding_boxes(result: PageResult) -> str:
    """SVG rectangles of the findings on a page's picture."""
    parts = []
    for name, finding in _shown(result):
        if finding.box_px is not None:
            x1, y1, x2, y2 = finding.box_px
            parts.append(
                f'<rect class="finding" x="{x1}" y="{y1}" width="{max(1, x2 - x1)}" '
                f'height="{max(1, y2 - y1)}" data-region="{name}" tabindex="0">'
                f"<title>{_told(finding)}</title></rect>"
            )
    return "".join(parts)


def verdict_text(check: PageCheck | None) -> str:
    """The text about its check in a page's head; "" without a check."""
    if check is None:
        return ""
    name = WITNESS_NAMES.get(check.witness)
    told = f"{check.verdict} by the {name}" if name else check.verdict
    return (
        f' <span class="page-verdict" data-verdict="{check.verdict}" '
        f'title="{html.escape(check.reason)}">{html.escape(told)}</span>'
    )


def finding_list(result: PageResult) -> str:
    """The findings of a page as a list; each is tied to its box."""
    items = "".join(
        f'<li data-region="{name}" tabindex="0">{_told(finding)}</li>'
        for name, finding in _shown(result)
    )
    return f'<ul class="finding-list" aria-label="Findings">{items}</ul>' if items else ""


def underlined(region_html: str, check: PageCheck | None, index: int) -> str:
    """A region's HTML, with the words that its witness doubts underlined."""
    findings = check.findings if check else ()
    for finding in findings[:SHOWN]:
        if finding.region == index and finding.kind in ("unsupported", "differs"):
            region_html = _underline(region_html, finding.text.split())
    return region_html


def _underline(region_html: str, words: list[str]) -> str:
    """Underline the words if they are consecutive in one piece of text, else mark the region."""
    if 0 < len(words) <= MAX_WORDS:
        pattern = re.compile(r"\W{1,4}".join(re.escape(html.escape(word)) for word in words))
        pieces = _TAG.split(region_html)
        for place in range(0, len(pieces), 2):
            marked, count = pattern.subn(_mark, pieces[place], count=1)
            if count:
                pieces[place] = marked
                return "".join(pieces)
    return region_html.replace('<div class="region"', '<div class="region doubtful"', 1)


def _mark(match: re.Match[str]) -> str:
    return f'<u class="doubtful">{match.group()}</u>'


def _shown(result: PageResult) -> list[tuple[str, Finding]]:
    """The findings to show, each with a unique name."""
    findings = result.check.findings if result.check else ()
    told = [finding for finding in findings if finding.kind in KIND_TEXTS]
    return [
        (f"finding-{result.number}-{place}", finding) for place, finding in enumerate(told[:SHOWN])
    ]


def _told(finding: Finding) -> str:
    texts = " / ".join(text[:300] for text in (finding.witness, finding.text) if text)
    return html.escape(f"{KIND_TEXTS[finding.kind]}: {texts}")
