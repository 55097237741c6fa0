"""OpenAI's chat format: parsing requests, building answers and stream chunks."""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deepocr.errors import InvalidInput
from deepocr.service.http.made import json_text, markdown_of
from deepocr.service.http.problems import Problem, refuse_options
from deepocr.service.http.waiting import IncomingDocument
from deepocr.service.state.files import TaskFiles
from deepocr.service.state.records import TaskRecord
from deepocr.tasks import DEFAULT_NEW_TOKENS, MAX_NEW_TOKENS, PRESETS, TASKS, make_job
from deepocr.types import Job, PageResult

MODELS: Mapping[str, str] = {
    "deepocr": "Gundam (Recommended)",
    **{f"deepocr-{preset.slug}": title for title, preset in PRESETS.items()},
}
"""Model names to presets."""

_LOCATE = re.compile(r"locate\s+<\|ref\|>(?P<reference>.*?)<\|/ref\|>", re.IGNORECASE | re.DOTALL)


_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQAAAAA3iMLMAAAA"
    "D0lEQVR4nGP8z8DEQAICADIBAR9ZTeQQAAAAAElFTkSuQmCC"
)
_EXAMPLE: dict[str, Any] = {
    "model": "deepocr",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Free OCR."},
                {"type": "image_url", "image_url": {"url": _PIXEL}},
            ],
        }
    ],
}


class ImageUrlPart(BaseModel):
    """The picture's location: a data URL, or a URL to fetch if that is allowed."""

    url: str


class Part(BaseModel):
    """A piece of a message: text, or a picture."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrlPart | None = None


class Message(BaseModel):
    """Only the last message of the user is read."""

    role: str
    # stop at the first error: a long list of wrong parts would give a long list of errors
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None


class StreamOptions(BaseModel):
    """Whether the last chunk reports token counts."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """Options that steer sampling are accepted and change nothing: reading is greedy.

    Those that ask for another kind of answer are refused.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})

    model: str = Field(examples=["deepocr"])
    messages: list[Message] = Field(min_length=1, fail_fast=True)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: Literal[1] | None = None


# default values that clients send and that change nothing
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "stop": ([],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}


@dataclass(frozen=True)
class ChatJob:
    """A chat request's job. `raw` means an answer with the model's own tags."""

    model: str
    sources: tuple[IncomingDocument, ...]
    job: Job
    raw: bool


def chat_job(
    request: ChatRequest, max_images: int, document: Callable[[str, str], IncomingDocument]
) -> ChatJob:
    """`document` makes a document from a URL and a name.

    Raises InvalidInput for a prompt that no task has, and Problem for an unknown model.
    """
    model(request.model)
    refuse_options(request.model_extra or {}, _REFUSED)
    parts = _parts_of(request.messages)
    pictures = [part.image_url.url for part in parts if part.image_url is not None]
    if not 1 <= len(pictures) <= max_images:
        raise InvalidInput(
            f"the message has {len(pictures)} pictures; send 1 to {max_images} as image_url"
        )
    prompt = " ".join(part.text or "" for part in parts if part.type == "text").strip()
    task, reference = task_of(prompt)
    limit = request.max_completion_tokens or request.max_tokens or DEFAULT_NEW_TOKENS
    job = make_job(task, reference, MODELS[request.model], min(limit, MAX_NEW_TOKENS))
    sources = tuple(document(url, f"image {i}") for i, url in enumerate(pictures, start=1))
    return ChatJob(request.model, sources, job, raw="<|" in prompt)


def task_of(prompt: str) -> tuple[str, str]:
    """Task title and reference text: the model's own prompts, a task's title or its slug.

    Without a prompt the document is converted to Markdown.
    """
    located = _LOCATE.search(prompt)
    if located:
        return "Locate Object by Reference", located["reference"]
    plain = _plain(prompt)
    if not plain:
        return "Convert to Markdown", ""
    for task in TASKS.values():
        if plain in (_plain(task.prompt), _plain(task.title), task.slug):
            return task.title, ""
    prompts = "; ".join(task.prompt.replace("<image>\n", "") for task in TASKS.values())
    raise InvalidInput(f"the prompt {prompt[:80]!r} is no task's; use one of: {prompts}")


@dataclass
class Totals:
    """Sums over all pages of an answer. `finish_reason` is `length` if any page was cut short."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = "stop"

    def text_of(self, page: PageResult, job: Job, raw: bool) -> str:
        """Adds a page to the sums and returns its text."""
        self.prompt_tokens += page.usage.prompt_tokens
        self.output_tokens += page.usage.output_tokens
        if page.finish_reason != "stop":
            self.finish_reason = "length"
        return page.raw if raw else markdown_of(page, job.task)

    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.prompt_tokens + self.output_tokens,
        }


def completion(
    files: TaskFiles, model: str, records: Sequence[TaskRecord], raw: bool
) -> Iterator[str]:
    """The whole answer as JSON, page by page."""
    totals = Totals()
    yield json.dumps(_head("chat.completion", model, _new_id()))[:-1]
    yield ',"choices":[{"index":0,"logprobs":null,"message":{"role":"assistant","content":'
    yield from json_text(
        totals.text_of(page, record.job, raw)
        for record in records
        for page in files.pages(record.task_id, record.numbers)
    )
    finish, usage = json.dumps(totals.finish_reason), json.dumps(totals.usage())
    yield f'}},"finish_reason":{finish}}}],"usage":{usage}}}'


class Chunks:
    """Chunks of one streamed answer."""

    def __init__(self, model: str) -> None:
        self._head = _head("chat.completion.chunk", model, _new_id())

    def delta(self, finish: str | None = None, **delta: str) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**self._head, "choices": [choice]}

    def usage(self, totals: Totals) -> dict[str, Any]:
        return {**self._head, "choices": [], "usage": totals.usage()}


def models() -> dict[str, Any]:
    """The answer of /v1/models, with the fields that Mistral's client wants too."""
    return {"object": "list", "data": [model(name) for name in MODELS]}


def model(name: str) -> dict[str, Any]:
    """One model of the list. Raises Problem."""
    if name not in MODELS:
        names = ", ".join(MODELS)
        raise Problem(404, "model-not-found", f"unknown model; choose one of: {names}")
    card = {"id": name, "object": "model", "created": 0, "owned_by": "deepocr"}
    return {**card, "type": "base", "capabilities": {"vision": True, "ocr": True}}


def _parts_of(messages: Sequence[Message]) -> list[Part]:
    """The parts of the user's last message."""
    for message in reversed(messages):
        if message.role == "user":
            if isinstance(message.content, str):
                return [Part(type="text", text=message.content)]
            return message.content or []
    raise InvalidInput("no message has the role 'user'; send the picture in one")


def _plain(prompt: str) -> str:
    words = prompt.replace("<image>", " ").replace("<|grounding|>", " ").lower().split()
    return " ".join(words).rstrip(".")


def _head(kind: str, model: str, chat_id: str) -> dict[str, Any]:
    return {"id": chat_id, "object": kind, "created": int(time.time()), "model": model}


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"
