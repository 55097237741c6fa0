"""What flows through the pipeline: plain, frozen data.

Coordinates are pixels of the upright page picture, origin top left, unless a name says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

FinishReason = Literal["stop", "length", "repetition"]
"""Why writing ended: the engine was done, the token limit, or a loop that was noticed."""

PageStatus = Literal["ok", "retried", "contradicted", "truncated", "repetition", "blank", "failed"]
"""The helper's `contradicted` page was read in every way that there is; no witness bears it out."""

Dpi = int | Literal["auto"]
"""Resolution that PDF pages are drawn at; `auto` suits each page."""

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 with x1 <= x2 and y1 <= y2."""

Quad = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
"""Corners of a line of text, clockwise from the start of its first letter's top."""


@dataclass(frozen=True)
class Word:
    """A word of a PDF's own text layer, on the rendered page."""

    text: str
    box_px: Box


@dataclass(frozen=True, eq=False)
class Page:
    """One page as a picture: RGB, upright. `number` counts from 1 within its document.

    `following` are the pages that are read in one reading with it, for a task that does so.
    """

    number: int
    image: Image.Image
    dpi: float | None = None
    words: tuple[Word, ...] = ()
    following: "tuple[Page, ...]" = ()

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.size


@dataclass(frozen=True)
class Job:
    """What to do with a page. Names are keys of `tasks.TASKS` and `tasks.PRESETS`."""

    task: str = "Convert to Markdown"
    reference_text: str = ""
    preset: str = "Gundam (Recommended)"
    max_new_tokens: int = 8192


@dataclass(frozen=True)
class Line:
    """One line of text as a line reader saw it; `confidence` is 0 to 1.

    `word_spans` says where each word of `text.split()` begins and ends, as shares of the line's
    length, 0 at the start of its first letter; empty where the reader does not know.
    """

    text: str
    quad_px: Quad
    confidence: float
    word_spans: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Region:
    """A labeled part of a page, in reading order.

    A region without boxes is text that the engine wrote outside any tag. `boxes_raw` are the same
    boxes on the model's own scale, 0 to 999 over the upright page. Locate may find one thing at
    several places: one region, several boxes.
    """

    label: str
    text: str
    boxes_px: tuple[Box, ...] = ()
    boxes_raw: tuple[Box, ...] = ()
    confidence: float | None = None
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens in and out; all zero for an engine that does not count in tokens."""

    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class TextDelta:
    """A piece of raw text and the probability of each token that it completes (0 to 1)."""

    text: str
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True)
class RegionFound:
    """A region the engine knows better than its raw text can say (exact pixels, lines)."""

    region: Region


@dataclass(frozen=True)
class PageDone:
    """The last event of a page. `seconds` by stage, such as vision, prefill, decode; `notes` say
    how the page was read where that is not always the same."""

    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


Event = TextDelta | RegionFound | PageDone


FindingKind = Literal["missing", "unsupported", "differs", "order", "furniture"]
"""What the text lacks, what no witness saw, a number or name that reads otherwise, mixed columns;
and, no fault, what the engine by its nature leaves out."""

Verdict = Literal["confirmed", "doubtful", "contradicted", "no witness"]


@dataclass(frozen=True)
class Finding:
    """A difference between a page's text and its witness, with both texts.

    `box_px` is where it stands, as far as that is known; `region` is the region, counted from 0,
    that the text is from. What is missing belongs into `region` after `offset` letters of its
    text, at the page's end where there is no `region`; `offset` is None where nothing is missing.
    """

    kind: FindingKind
    page: int
    box_px: Box | None
    witness: str
    text: str
    region: int | None = None
    offset: int | None = None


@dataclass(frozen=True)
class PageCheck:
    """What a witness says of a page's text.

    `coverage` is the share of the witness's letters that the text has, `support` the share of the
    text's letters that the witness saw; `reason` says why this witness, or why none.
    """

    page: int
    verdict: Verdict
    witness: str
    reason: str
    coverage: float | None = None
    support: float | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class PageResult:
    """Everything known about one page after reading. A failed page has an `error` and no regions;
    its `raw` is what was written before it failed. `dpi` is the resolution of the page picture,
    None where a picture does not say or the page could not be drawn."""

    number: int
    status: PageStatus
    size_px: tuple[int, int]
    raw: str = ""
    regions: tuple[Region, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    confidence: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    dpi: float | None = None
    check: PageCheck | None = None


@dataclass(frozen=True)
class DocumentResult:
    """Pages in order, and what read them how."""

    name: str
    engine: str
    job: Job
    pages: tuple[PageResult, ...]
