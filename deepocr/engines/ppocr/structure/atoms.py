"""What reading order is made of."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from deepocr.types import Box

T = TypeVar("T")


@dataclass(frozen=True)
class Atom(Generic[T]):
    """A thing that is read as one: a line, a table, a figure. `is_line` tells lines."""

    box_px: Box
    item: T
    is_line: bool = True
