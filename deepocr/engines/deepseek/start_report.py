"""What a start found and how long it took, for the log, answers, /health and verify."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class StartReport:
    """`versions` of the operations that run; `notes` for those that are not the best there are,
    with the reason, and for what a processor decided; `seconds` by stage, in the order in which
    they came."""

    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside to a stage; one that comes again adds up."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started_s)

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
