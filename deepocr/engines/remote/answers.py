"""What is asked of another predictor and what it answers, the same over every protocol."""

import base64
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from deepocr.errors import EngineError, RemoteError
from deepocr.tasks import PRESETS, TASKS
from deepocr.types import Box, FinishReason, Job, Line, Page, Quad, Region, Usage

IMAGE_INPUT = "image"

FAILED_TRIES = 2
"""A prediction that failed is tried once more: mostly it fails for the page's sake."""


class TemporaryError(RemoteError):
    """Worth another try. `max_tries` bounds the tries of a page from this kind of trouble alone,
    `dead` says that the server is gone, `busy` that it works but has no room."""

    def __init__(
        self,
        message: str,
        *,
        busy: bool = False,
        dead: bool = False,
        max_tries: int = 1_000,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.busy = busy
        self.dead = dead
        self.max_tries = max_tries
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Answer:
    """One page as the other predictor read it; regions only where it gave them in pixels.
    `seconds` is what it says about its own time."""

    raw: str
    regions: tuple[Region, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    confidence: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Abilities:
    """What a predictor takes, by its OpenAPI schema; all it may take where it shows none."""

    inputs: frozenset[str] | None = None
    tasks: frozenset[str] = frozenset(TASKS)
    presets: frozenset[str] = frozenset(PRESETS)
    json: bool = True


def abilities_of(schema: Mapping[str, Any], where: str) -> Abilities:
    """From a predictor's OpenAPI schema. Raises RemoteError when it takes no picture."""
    schemas = schema.get("components", {}).get("schemas", {})
    properties = schemas.get("Input", {}).get("properties")
    if not isinstance(properties, dict) or IMAGE_INPUT not in properties:
        raise RemoteError(
            f"{where} is no predictor for pages: its schema has no input {IMAGE_INPUT!r}; "
            "check the address"
        )

    def choices(name: str) -> frozenset[str] | None:
        found = schemas.get(name, {}).get("enum") or properties.get(name, {}).get("enum")
        return frozenset(found) if found else None

    return Abilities(
        inputs=frozenset(properties),
        tasks=(choices("task_type") or frozenset(TASKS)) & frozenset(TASKS),
        presets=(choices("resolution_size") or frozenset(PRESETS)) & frozenset(PRESETS),
        json="JSON" in (choices("output_format") or ()),
    )


def encode_page(page: Page) -> str:
    """The page as a data URL with a PNG: nothing is lost on the way. Blocking."""
    file = io.BytesIO()
    # level 1: on pages of text as small as the default, in 60 % of its time
    page.image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getbuffer()).decode("ascii")


def inputs_for(job: Job, image_url: str, abilities: Abilities) -> dict[str, Any]:
    """The prediction's input: what the predictor knows of it."""
    inputs: dict[str, Any] = {
        IMAGE_INPUT: image_url,
        "task_type": job.task,
        "reference_text": job.reference_text,
        "resolution_size": job.preset,
        "output_format": "JSON",
        "max_new_tokens": job.max_new_tokens,
    }
    if not abilities.json:
        del inputs["output_format"]
    known: Collection[str] = inputs if abilities.inputs is None else abilities.inputs
    return {name: value for name, value in inputs.items() if name in known}


class _Size(BaseModel):
    width: int
    height: int


class _Line(BaseModel):
    text: str
    quad_px: Quad
    confidence: float | None = None


class _Region(BaseModel):
    label: str
    text: str
    boxes_px: tuple[Box, ...]
    boxes_raw: tuple[Box, ...] = ()
    confidence: float | None = None
    lines: tuple[_Line, ...] = ()


class _Usage(BaseModel):
    prompt_tokens: int = 0
    output_tokens: int = 0


class _Page(BaseModel):
    status: str
    raw: str
    regions: tuple[_Region, ...]
    finish_reason: FinishReason = "stop"
    error: str | None = None
    confidence: float | None = None
    usage: _Usage = _Usage()


class _Document(BaseModel):
    pages: tuple[_Page, ...] = Field(min_length=1, max_length=1)


def read_answer(output: object, abilities: Abilities, where: str) -> Answer:
    """A prediction's output as an Answer.

    Raises TemporaryError when it cannot be understood, EngineError when it says that the page
    failed.
    """
    if isinstance(output, list) and all(isinstance(piece, str) for piece in output):
        # how an iterator of strings is given
        output = "".join(output)
    if not isinstance(output, str):
        kind = type(output).__name__
        raise TemporaryError(f"{where} answered {kind} where text was due", max_tries=3)
    if not abilities.json:
        return Answer(output)
    try:
        page = _Document.model_validate(json.loads(output)).pages[0]
    except (ValidationError, json.JSONDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise TemporaryError(
            f"{where} answered what is no document: {reason}", max_tries=3
        ) from error
    if page.status == "failed":
        raise EngineError(page.error or f"{where} failed on the page and does not say why")
    return Answer(
        raw=page.raw,
        regions=tuple(_region(region) for region in page.regions),
        finish_reason=page.finish_reason,
        usage=Usage(page.usage.prompt_tokens, page.usage.output_tokens),
        confidence=page.confidence,
    )


def _region(region: _Region) -> Region:
    lines = tuple(Line(line.text, line.quad_px, line.confidence or 0.0) for line in region.lines)
    return Region(
        region.label, region.text, region.boxes_px, region.boxes_raw, region.confidence, lines
    )
