"""A predictor elsewhere, and what is known of how it does."""

import time
from typing import Protocol

from deepocr.engines.remote.answers import Abilities, Answer
from deepocr.types import Job

BUSY_STREAK = 3
"""As many 409s in a row mean that others use the server too. A single one means nothing: a slot
is freed just after its answer."""

TROUBLE_STREAK = 3
"""After as many other errors in a row a server is given no pages for a while: it rests."""

FIRST_REST_S, LONGEST_REST_S = 1.0, 30.0


class Server(Protocol):
    """A predictor elsewhere; there is a class for each protocol."""

    name: str
    abilities: Abilities

    async def check(self, setup_timeout_s: float) -> None: ...
    async def predict(self, job: Job, image_url: str) -> Answer: ...
    async def close(self) -> None: ...


class ServerState:
    """What is known of one server's state. `limit` is how many pages it is given at once."""

    def __init__(self, server: Server, limit: int) -> None:
        self.server = server
        self.most = limit
        self.limit = float(limit)
        self.in_flight = 0
        self.busy_streak = 0
        self.trouble_streak = 0
        self.rests_until_s = 0.0
        self.rest_s = FIRST_REST_S

    def is_free(self, now_s: float) -> bool:
        # after a rest one page tries whether it is back
        limit = 1 if self.trouble_streak else int(self.limit)
        return now_s >= self.rests_until_s and self.in_flight < limit

    def succeeded(self) -> None:
        self.busy_streak = self.trouble_streak = 0
        self.rest_s = FIRST_REST_S
        self.rests_until_s = 0.0
        self.limit = min(float(self.most), self.limit + 0.5 / self.limit)

    def was_busy(self) -> None:
        self.busy_streak += 1
        if self.busy_streak >= BUSY_STREAK:
            self.limit = float(max(1, min(int(self.limit), self.in_flight) - 1))

    def had_trouble(self, *, dead: bool) -> bool:
        """Whether it is given no pages for a while from now on."""
        self.trouble_streak += 1
        now_s = time.monotonic()
        # requests that were under way together fail together: that is one trouble
        if (dead or self.trouble_streak >= TROUBLE_STREAK) and now_s >= self.rests_until_s:
            self.rests_until_s = now_s + self.rest_s
            self.rest_s = min(2 * self.rest_s, LONGEST_REST_S)
            return True
        return False
