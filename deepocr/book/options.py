"""What a run was asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deepocr.types import Dpi, Job

CheckedPages = Literal["layer", "all", "none"]
"""Pages that are held against a witness: those with a sound text layer, which costs nothing, all
(the CPU reader reads the others), or none."""

OverlayForm = Literal["png", "pdf"]


@dataclass(frozen=True)
class ReadingOptions:
    """What decides a page's answer, beside the page and the engine. One reading of it may take
    `page_timeout_s`."""

    job: Job
    dpi: Dpi = "auto"
    max_side_px: int | None = None
    max_readings: int = 4
    check: CheckedPages = "layer"
    page_timeout_s: float | None = None

    def identity(self, engine: str) -> Mapping[str, Any]:
        """For comparison with an earlier run's."""
        # folders of the time before checks go on with the default
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
    """What is made of the pages; may change from run to run without reading anything again. `forms`
    are names of `render.forms.FORMS`."""

    forms: frozenset[str] = frozenset()
    overlay: OverlayForm | None = None
    drop_headers: bool = False
    join_pages: bool = False
    front_matter: bool = False
    repair: bool = False


@dataclass(frozen=True)
class RunOptions:
    """A whole run: `jobs` pages are read at once."""

    reading: ReadingOptions
    writing: WritingOptions = WritingOptions()
    pages: str = ""
    password: str = ""
    jobs: int = 1
    restart: bool = False
