"""The protocol every engine speaks."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from deepocr.errors import EngineBroken, UnsupportedTask
from deepocr.tasks import PRESETS
from deepocr.types import Event, Job, Page


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do. `engine` names it in results, with what changes its output
    (`deepseek bf16`, `deepseek int8`); `concurrency` is how many pages it can use at once;
    `presets` are the resolution presets that it knows, none where it heeds none. `notes` say what
    runs otherwise than it could, and why; `start_s` are the seconds of its start by stage."""

    engine: str
    tasks: frozenset[str]
    boxes: bool
    live_text: bool
    confidence: bool
    concurrency: int = 1
    presets: frozenset[str] = frozenset(PRESETS)
    notes: Mapping[str, str] = field(default_factory=dict)
    start_s: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """Reads pages. One engine serves many `read` calls at once."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def broken(self) -> EngineBroken | None:
        """Why it can read nothing until it is started again; None while it is well. Safe to ask
        from any thread, at no cost."""
        ...

    def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        """Events of one page: text as it is written, then one PageDone.

        Closing the iterator (or canceling the task that runs it) stops the work and frees what it
        held. Raises UnsupportedTask before any work, EngineError when the page cannot be read,
        EngineBroken when no page can.
        """
        ...

    async def close(self) -> None:
        """Stop everything and free the device; a second call does nothing."""
        ...


def check_task(capabilities: Capabilities, job: Job) -> None:
    """Raises UnsupportedTask with the tasks, or the resolution presets, that the engine has."""
    if job.task not in capabilities.tasks:
        raise UnsupportedTask(
            f"engine {capabilities.engine!r} cannot do {job.task!r}; "
            f"it can do: {', '.join(sorted(capabilities.tasks))}"
        )
    if capabilities.presets and job.preset not in capabilities.presets:
        raise UnsupportedTask(
            f"engine {capabilities.engine!r} has no resolution {job.preset!r}; "
            f"it has: {', '.join(name for name in PRESETS if name in capabilities.presets)}"
        )
