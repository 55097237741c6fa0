"""A predictor elsewhere, and its state as far as it is known."""

import time
from typing import Protocol

from deepocr.engines.remote.answers import Abilities, Answer
from deepocr.types import Job

BUSY_STREAK = 3
"""This many 409s in a row mean that others use the server too. A single one means nothing: a slot
becomes free just after its answer."""

TROUBLE_STREAK = 3
"""After this many other errors in a row a server rests: it gets no pages for a while."""

FIRST_REST_S, LONGEST_REST_S = 1.0, 30.0


class Server(Protocol):
    """A predictor elsewhere; there is a class for each protocol."""

    name: str
    abilities: Abilities

    async def check(self, setup_timeout_s: float) -> None: ...
    async def predict(self, job: Job, image_url: str) -> Answer: ...
    async def close(self) -> None: ...


class ServerState:
    """One server's state as far as it is known. `limit` is how many pages it gets at once."""

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
        # after a rest, one page tests whether the server is back
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
        """Whether it gets no pages for a while from now on."""
        self.trouble_streak += 1
        now_s = time.monotonic()
        # concurrent requests fail together: that counts as one error
        if (dead or self.trouble_streak >= TROUBLE_STREAK) and now_s >= self.rests_until_s:
            self.rests_until_s = now_s + self.rest_s
            self.rest_s = min(2 * self.rest_s, LONGEST_REST_S)
            return True
        return False
