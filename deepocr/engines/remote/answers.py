"""A predictor's input and output, the same over every protocol."""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepocr.errors import EngineError, RemoteError
from deepocr.tasks import PRESETS, TASKS
from deepocr.types import FinishReason, Job, Page, Region, Usage

IMAGE_INPUT = "image"

FAILED_TRIES = 2
"""Tries of a prediction that fails: usually the page is to blame, so one more is enough."""

SENSELESS_TRIES = 3
"""Tries of a page whose answer arrived whole but cannot be used."""

MAX_REGIONS = 20_000
MAX_CHARS = 2_000_000
"""Most characters of a page's text; more is not a page."""


class TemporaryError(RemoteError):
    """An error worth another try. `max_tries` limits the tries for this kind of error, `dead` means
    that the server is gone, `busy` that it works but has no free slot."""

    def __init__(
        self,
        message: str,
        max_tries: int = 1_000,
        *,
        busy: bool = False,
        dead: bool = False,
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
    """The inputs a predictor accepts according to its OpenAPI schema; every known input if it has
    no schema."""

    inputs: frozenset[str] | None = None
    tasks: frozenset[str] = frozenset(TASKS)
    presets: frozenset[str] = frozenset(PRESETS)
    json: bool = True


def abilities_of(schema: object, where: str) -> Abilities:
    """From a predictor's OpenAPI schema. Raises RemoteError when it takes no picture."""
    schemas = dig(schema, "components", "schemas")
    properties = dig(schemas, "Input", "properties")
    if IMAGE_INPUT not in properties:
        raise RemoteError(
            f"{where} is no predictor for pages: its schema has no input {IMAGE_INPUT!r}; "
            "check the address"
        )

    def choices(name: str) -> frozenset[str]:
        found = dig(schemas, name).get("enum") or dig(properties, name).get("enum")
        known = found if isinstance(found, list) else []
        return frozenset(choice for choice in known if isinstance(choice, str))

    return Abilities(
        inputs=frozenset(properties),
        tasks=frozenset(TASKS) & (choices("task_type") or frozenset(TASKS)),
        presets=frozenset(PRESETS) & (choices("resolution_size") or frozenset(PRESETS)),
        json="JSON" in choices("output_format"),
    )


def dig(value: object, *keys: str) -> Mapping[str, Any]:
    """The nested object at these keys; an empty one if anything on the way is not an object."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def encode_page(page: Page) -> str:
    """The page as a data URL with a PNG: nothing is lost on the way. Blocking."""
    file = io.BytesIO()
    # level 1: on pages of text as small as the default, in 60 % of its time
    page.image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getbuffer()).decode("ascii")


def inputs_for(job: Job, image_url: str, abilities: Abilities) -> dict[str, Any]:
    """The prediction's input, limited to what the predictor knows."""
    inputs: dict[str, Any] = {
        IMAGE_INPUT: image_url,
        "task_type": job.task,
        "reference_text": job.reference_text,
        "resolution_size": job.preset,
        "max_new_tokens": job.max_new_tokens,
    }
    if abilities.json:
        inputs["output_format"] = "JSON"
    if abilities.inputs is None:
        return inputs
    return {name: value for name, value in inputs.items() if name in abilities.inputs}


Count = Annotated[int, Field(ge=0, lt=1 << 31)]


class _Usage(BaseModel):
    prompt_tokens: Count = 0
    output_tokens: Count = 0


class _Page(BaseModel):
    # nested values too: JSON has no NaN, but parsers accept it
    model_config = ConfigDict(allow_inf_nan=False)

    status: str
    raw: str = Field(max_length=MAX_CHARS)
    regions: tuple[Region, ...] = Field(max_length=MAX_REGIONS)
    finish_reason: FinishReason = "stop"
    error: str | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    usage: _Usage = _Usage()


class _Document(BaseModel):
    pages: tuple[_Page, ...] = Field(min_length=1, max_length=1)


def read_answer(output: object, abilities: Abilities, where: str) -> Answer:
    """A prediction's output as an Answer. Boxes may lie anywhere: the pipeline cuts them.

    Raises TemporaryError when it cannot be understood, EngineError when it says that the page
    failed.
    """
    if isinstance(output, list) and all(isinstance(piece, str) for piece in output):
        # an iterator of strings comes like this
        output = "".join(output)
    if not isinstance(output, str) or (len(output) > MAX_CHARS and not abilities.json):
        raise TemporaryError(f"{where} answered no text of a page", SENSELESS_TRIES)
    # half of a surrogate pair cannot be written anywhere
    written = output.encode("utf-8", "replace")
    if not abilities.json:
        return Answer(written.decode("utf-8"))
    try:
        page = _Document.model_validate_json(written).pages[0]
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = " ".join(map(str, fault["loc"]))
        what = f"{place} is missing or wrong" if place else fault["msg"]
        raise TemporaryError(
            f"{where} answered what is no document of one page: {what}", SENSELESS_TRIES
        ) from error
    if page.status == "failed":
        raise EngineError(said(page.error) or f"{where} failed on the page and does not say why")
    return Answer(
        raw=page.raw,
        regions=page.regions,
        finish_reason=page.finish_reason,
        usage=Usage(page.usage.prompt_tokens, page.usage.output_tokens),
        confidence=page.confidence,
    )


def server_seconds(metrics: object) -> dict[str, float]:
    """Seconds from a prediction's metrics, if they are plausible."""
    seconds = dig(metrics).get("predict_time")
    if isinstance(seconds, int | float) and 0 <= seconds < math.inf:
        return {"server": float(min(seconds, 1e9))}
    return {}


def said(value: object, most_chars: int = 400) -> str:
    """A server's message as a short printable line."""
    text = "" if value is None else str(value)[: 4 * most_chars]
    text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())[:most_chars]
