"""One page on its way through the engine, as the scheduler sees it: counts, blocks, tokens."""

from dataclasses import dataclass, field
from enum import Enum

from deepocr.types import FinishReason


class State(Enum):
    """WAITING: no slot, no blocks. RUNNING: holds both. FINISHED: holds nothing, for good."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False)
class Sequence:
    """`arrival` orders sequences; older ones are never overtaken for a slot or for blocks.

    A token is pending from the moment a step that writes it is launched until its value is known
    (`append`); counts include it, so the next step can be planned before the value arrives.
    """

    arrival: int
    prompt: list[int]
    max_new_tokens: int
    first_slot: int = 0  # where the image slots begin in the prompt
    ready: bool = True  # False until the picture's features are there
    long_ban: bool = False  # n-grams are looked for in the ban's long window
    state: State = State.WAITING
    output: list[int] = field(default_factory=list)
    pending: int = 0
    num_cached: int = 0
    blocks: list[int] = field(default_factory=list)
    slot: int = -1
    preemptions: int = 0
    finish_reason: FinishReason | None = None

    @property
    def length(self) -> int:
        """Tokens in prompt and output, pending ones included."""
        return len(self.prompt) + self.num_output

    @property
    def num_output(self) -> int:
        return len(self.output) + self.pending

    @property
    def full(self) -> bool:
        """True when every token it may write is written or pending."""
        return self.num_output >= self.max_new_tokens

    @property
    def tokens(self) -> list[int]:
        """All tokens whose values are known."""
        return self.prompt + self.output

    def append(self, token: int) -> None:
        """The value of the oldest pending token has arrived."""
        assert self.pending > 0, "no token was asked for"
        self.pending -= 1
        self.output.append(token)
