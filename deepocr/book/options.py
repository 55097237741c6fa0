"""What a run was asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deepocr.types import Dpi, Job

CheckedPages = Literal["layer", "all", "none"]
"""Pages to check against a witness: those with a sound text layer, which costs nothing; all (the
CPU reader is the witness of the others); or none."""

OverlayForm = Literal["png", "pdf"]


@dataclass(frozen=True)
class ReadingOptions:
    """What determines a page's result besides the page and the engine. `page_timeout_s` limits one
    reading of a page."""

    job: Job
    dpi: Dpi = "auto"
    max_side_px: int | None = None
    max_readings: int = 4
    check: CheckedPages = "layer"
    page_timeout_s: float | None = None

    def identity(self, engine: str) -> Mapping[str, Any]:
        """What two runs must have in common to use the same folder."""
        # the default is left out, so that folders from before there were checks still match
        check = {} if self.check == "layer" else {"check": self.check}
        return {
            **check,
            "engine": engine,
            "task": self.job.task,
            "reference_text": self.job.reference_text,
            "preset": self.job.preset,
            "max_new_tokens": self.job.max_new_tokens,
            "dpi": self.dpi,
            "max_side_px": self.max_side_px,
            "readings": self.max_readings,
        }


@dataclass(frozen=True)
class WritingOptions:
    """Which outputs are written; they may change between runs without reading any page again.
    `forms` are names of `render.forms.FORMS`."""

    forms: frozenset[str] = frozenset()
    overlay: OverlayForm | None = None
    drop_headers: bool = False
    join_pages: bool = False
    front_matter: bool = False
    repair: bool = False


@dataclass(frozen=True)
class RunOptions:
    """Options of a whole run. `jobs` is the number of pages read at once."""

    reading: ReadingOptions
    writing: WritingOptions = WritingOptions()
    pages: str = ""
    password: str = ""
    jobs: int = 1
    restart: bool = False
