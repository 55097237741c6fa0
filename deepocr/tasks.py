"""The tables of tasks and resolution presets.

Titles are the choices of the Cog predictor, slugs those of the command lines. Prompts and presets
are the official model's; `predict.py` repeats the titles as literals because Cog parses its text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deepocr.errors import InvalidInput
from deepocr.types import Dpi, Job

MAX_REFERENCE_CHARS = 1000
DEFAULT_NEW_TOKENS = 8192
"""All that the first model's context holds, and more than a page needs."""

MAX_NEW_TOKENS = 32768
"""The largest context in the family; an engine stops at its own."""


@dataclass(frozen=True)
class Task:
    """`prompt` as the model was trained on it; `grounded` tasks answer with boxes."""

    title: str
    slug: str
    prompt: str
    grounded: bool
    needs_reference: bool = False


@dataclass(frozen=True)
class Preset:
    """How a page becomes views: a global view of `side_px` and up to `max_tiles` tiles.

    `fit` is how the page gets into the square: stretched, or padded with its aspect ratio kept.
    `newlines` is whether a slot follows each row of features.
    """

    title: str
    slug: str
    side_px: int
    fit: Literal["stretch", "pad"]
    max_tiles: int = 0
    tile_side_px: int = 640
    newlines: bool = True


TASKS: Mapping[str, Task] = {
    task.title: task
    for task in (
        Task(
            "Convert to Markdown",
            "markdown",
            "<image>\n<|grounding|>Convert the document to markdown.",
            grounded=True,
        ),
        Task("Free OCR", "free", "<image>\nFree OCR.", grounded=False),
        Task("Parse Figure", "figure", "<image>\nParse the figure.", grounded=False),
        Task(
            "Locate Object by Reference",
            "locate",
            "<image>\nLocate <|ref|>{reference_text}<|/ref|> in the image.",
            grounded=True,
            needs_reference=True,
        ),
        Task("OCR with Boxes", "boxes", "<image>\n<|grounding|>OCR this image.", grounded=True),
        Task(
            "Describe Image",
            "describe",
            "<image>\nDescribe this image in detail.",
            grounded=False,
        ),
    )
}

PAGES_TOGETHER = Task(
    "Parse Pages Together",
    "together",
    "<image>Multi page parsing.",
    grounded=True,
)
"""Several pages of a document in one reading, which Unlimited-OCR is trained for. Everyone else
reads page by page, so this is not among TASKS."""

MAX_PAGES_TOGETHER = 16
"""In one reading: 4,400 of 32,768 tokens are their slots then, and 1,700 are left for each text."""

PROMPTS: Mapping[str, str] = {task.title: task.prompt for task in TASKS.values()}

PRESETS: Mapping[str, Preset] = {
    preset.title: preset
    for preset in (
        Preset("Gundam (Recommended)", "gundam", 1024, "pad", max_tiles=9),
        Preset("Tiny", "tiny", 512, "stretch"),
        Preset("Small", "small", 640, "stretch"),
        Preset("Base", "base", 1024, "pad"),
        Preset("Large", "large", 1280, "pad"),
    )
}


def find_task(name: str) -> Task:
    """The task with this title or slug. Raises InvalidInput listing what there is."""
    for task in TASKS.values():
        if name in (task.title, task.slug):
            return task
    raise InvalidInput(f"unknown task {name!r}; choose one of: {', '.join(TASKS)}")


def find_preset(name: str) -> Preset:
    """The preset with this title or slug. Raises InvalidInput listing what there is."""
    for preset in PRESETS.values():
        if name in (preset.title, preset.slug):
            return preset
    raise InvalidInput(f"unknown resolution {name!r}; choose one of: {', '.join(PRESETS)}")


def make_job(
    task: str = "Convert to Markdown",
    reference_text: str = "",
    preset: str = "Gundam (Recommended)",
    max_new_tokens: int = DEFAULT_NEW_TOKENS,
    *,
    may_join_pages: bool = False,
) -> Job:
    """A checked Job from titles or slugs. Raises InvalidInput.

    `may_join_pages` is for callers that hand over a document at once, see PAGES_TOGETHER.
    """
    joined = may_join_pages and task in (PAGES_TOGETHER.title, PAGES_TOGETHER.slug)
    found = PAGES_TOGETHER if joined else find_task(task)
    if not isinstance(reference_text, str):
        raise InvalidInput(f"reference_text is {reference_text!r}, no text; put it in quotes")
    if not isinstance(max_new_tokens, int):
        raise InvalidInput(f"max_new_tokens is {max_new_tokens!r}; give a whole number")
    reference = reference_text.strip()
    if found.needs_reference and not reference:
        raise InvalidInput(f"task {found.title!r} needs a reference_text; say what to look for")
    if len(reference) > MAX_REFERENCE_CHARS:
        raise InvalidInput(
            f"reference_text has {len(reference)} characters; use at most {MAX_REFERENCE_CHARS}"
        )
    if "<|" in reference or "<image>" in reference:
        raise InvalidInput(
            f"reference_text {reference[:60]!r} holds a model tag (<|...|> or <image>); "
            "use plain words"
        )
    if not 1 <= max_new_tokens <= MAX_NEW_TOKENS:
        raise InvalidInput(
            f"max_new_tokens is {max_new_tokens}; it must be from 1 to {MAX_NEW_TOKENS}"
        )
    return Job(found.title, reference, find_preset(preset).title, max_new_tokens)


LEAST_DPI, MOST_DPI = 36, 1200


def parse_dpi(value: object, most: int = MOST_DPI) -> Dpi:
    """`auto`, or a whole number or its digits. Raises InvalidInput."""
    text = str(value).strip()
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and LEAST_DPI <= int(text[:9]) <= most:
        return int(text)
    raise InvalidInput(
        f"the resolution {text[:60]!r} is not from {LEAST_DPI} to {most} dpi; "
        "give a whole number or auto"
    )


def prompt_for(job: Job, prompts: Mapping[str, str] = PROMPTS) -> str:
    """The model's prompt for a job, with the reference text in its place."""
    # replace, not format: a reference text may hold braces
    return prompts[job.task].replace("{reference_text}", job.reference_text)


CHECKED_TASKS = frozenset(
    {"Convert to Markdown", "Free OCR", "OCR with Boxes", PAGES_TOGETHER.title}
)
"""Those that write what the page says, all of it."""


def refuse_unchecked_task(job: Job) -> None:
    """Raises InvalidInput for a task whose text no witness can confirm."""
    if job.task not in CHECKED_TASKS:
        raise InvalidInput(
            f"{job.task!r} does not write the page's text, so it cannot be checked; "
            f"leave check out, or take one of: {', '.join(sorted(CHECKED_TASKS))}"
        )
