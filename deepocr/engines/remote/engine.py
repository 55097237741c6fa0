"""Pages distributed over several servers: a free server takes the next page, and pages of a dead
server go to the others."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from deepocr.engines.base import Capabilities, check_task
from deepocr.engines.remote.answers import (
    SENSELESS_TRIES,
    Answer,
    TemporaryError,
    encode_page,
)
from deepocr.engines.remote.cog_api import CogServer
from deepocr.engines.remote.servers import BUSY_STREAK, Server, ServerState
from deepocr.errors import EngineBroken, EngineUnavailable, RemoteError, UnsupportedTask
from deepocr.settings import Settings
from deepocr.types import Event, Job, Page, PageDone, RegionFound, TextDelta

log = logging.getLogger(__name__)

ENCODED_AHEAD = 3
"""Pages that are encoded ahead, so that a server's free slot is filled at once."""


@dataclass(frozen=True)
class Retries:
    """`tries` of a page on all servers together; the waits between them are random and grow up to
    `longest_wait_s`. When no server has answered for `patience_s`, the engine is broken."""

    tries: int = 16
    longest_wait_s: float = 30.0
    patience_s: float = 300.0


class RemoteEngine:
    """Reads pages at other predictors."""

    def __init__(
        self, servers: Sequence[Server], jobs: int, retries: Retries | None = None
    ) -> None:
        """`jobs` is the number of concurrent requests over all servers."""
        self._states = [ServerState(server, jobs) for server in servers]
        self._retries = retries or Retries()
        self._changed = asyncio.Condition()
        self._failing_since_s: float | None = None
        self._in_hand = 0
        self.broken: EngineBroken | None = None
        self._jobs = jobs
        self._checked = self._closed = False
        self.capabilities = self._capabilities()

    async def check(self, setup_timeout_s: float = 600.0) -> None:
        """Check every server before the first page.

        Raises RemoteError when one is no predictor, EngineUnavailable when none can be reached;
        one of several that cannot be reached is left out until it answers.
        """
        unreachable = []
        for state in self._states:
            try:
                await state.server.check(setup_timeout_s)
            except TemporaryError as error:
                unreachable.append(str(error))
                state.had_trouble(dead=True)
                log.warning("%s; going on without it", error)
        if len(unreachable) == len(self._states):
            raise EngineUnavailable("; ".join(unreachable) + "; start it or check the address")
        self.capabilities = self._capabilities()
        self._checked = True

    def _capabilities(self) -> Capabilities:
        abilities = [state.server.abilities for state in self._states]
        presets = frozenset.intersection(*(ability.presets for ability in abilities))
        return Capabilities(
            engine="remote",
            tasks=frozenset.intersection(*(ability.tasks for ability in abilities)),
            boxes=True,
            live_text=False,
            confidence=all(ability.json for ability in abilities),
            concurrency=self._jobs + ENCODED_AHEAD,
            presets=presets if len(presets) > 1 else frozenset(),
        )

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        """The page's events, all at the end.

        Raises RemoteError when the tries are used up, EngineError when the page is refused or
        cannot be read there, EngineBroken when no server has answered for long.
        """
        self._check_open()
        if not self._checked:
            await self._check_now()
        check_task(self.capabilities, job)
        image_url = await asyncio.to_thread(encode_page, page)
        if not self._in_hand:
            # time without requests does not count as time without an answer
            self._failing_since_s = None
        self._in_hand += 1
        try:
            answer = await self._predict(job, image_url)
        except Exception as error:
            self._check_open(error)
            raise
        finally:
            self._in_hand -= 1
        known = () if answer.confidence is None else (answer.confidence,)
        yield TextDelta(answer.raw, known)
        for region in answer.regions:
            yield RegionFound(region)
        yield PageDone(answer.finish_reason, answer.usage, answer.seconds)

    async def close(self) -> None:
        """Pages that are being read end with EngineBroken."""
        self._closed = True
        self.broken = EngineBroken("the engine was closed; make a new engine")
        for state in self._states:
            await state.server.close()
        await self._tell()

    def _check_open(self, error: Exception | None = None) -> None:
        if self._closed:
            raise EngineBroken("the engine was closed; make a new engine") from error

    async def _check_now(self) -> None:
        """Check the servers before the first page, if nobody did: no page is to blame for the
        result."""
        try:
            await self.check()
        except (RemoteError, EngineUnavailable) as error:
            raise EngineBroken(str(error)) from error

    async def _predict(self, job: Job, image_url: str) -> Answer:
        tries = 0
        while True:
            tries += 1
            try:
                return await self._try(job, image_url)
            except TemporaryError as error:
                self._check_patience(error)
                if tries >= min(self._retries.tries, error.max_tries):
                    message = f"{error} (try {tries} of {self._retries.tries})"
                    raise RemoteError(message) from error
                wait_s = self._wait_s(error, tries)
            await asyncio.sleep(wait_s)

    async def _try(self, job: Job, image_url: str) -> Answer:
        async with self._place(job) as state:
            try:
                answer = await state.server.predict(job, image_url)
            except TemporaryError as error:
                await self._note_trouble(state, error)
                raise
            state.succeeded()
            self._failing_since_s = self.broken = None
            return answer

    async def _note_trouble(self, state: ServerState, error: TemporaryError) -> None:
        if error.busy:
            state.was_busy()
            # a server whose worker has crashed answers 409 forever
            if state.busy_streak % (2 * BUSY_STREAK) or await self._is_well(state.server):
                return
            error.dead = True
        if error.max_tries <= SENSELESS_TRIES:
            # the prediction failed or makes no sense; the server is there
            return
        if state.had_trouble(dead=error.dead):
            log.warning("%s; its pages wait or go elsewhere", error)
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()

    async def _is_well(self, server: Server) -> bool:
        try:
            await server.check(0)
        except RemoteError:
            return False
        return True

    @asynccontextmanager
    async def _place(self, job: Job) -> AsyncIterator[ServerState]:
        """A slot at the least busy server that can do the job and is not resting."""
        able = [state for state in self._states if job.task in state.server.abilities.tasks]
        if not able:
            raise UnsupportedTask(f"no server can do {job.task!r}")
        async with self._changed:
            while not (free := self._free(able)):
                # otherwise each page would wait until a dead server's rest ends
                self._check_patience()
                await self._wait_for_change(able)
            state = min(free, key=lambda state: state.in_flight / state.limit)
            state.in_flight += 1
        try:
            yield state
        finally:
            # no await here: a canceled page must return its slot
            state.in_flight -= 1
            await asyncio.shield(self._tell())

    def _free(self, states: Sequence[ServerState]) -> list[ServerState]:
        if sum(state.in_flight for state in self._states) >= self._jobs:
            return []
        now_s = time.monotonic()
        return [state for state in states if state.is_free(now_s)]

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait_for_change(self, states: Sequence[ServerState]) -> None:
        """Wait until a slot is free or a server has rested."""
        now_s = time.monotonic()
        rests = [state.rests_until_s - now_s for state in states if state.rests_until_s > now_s]
        with suppress(TimeoutError):
            async with asyncio.timeout(min(rests) if rests else None):
                await self._changed.wait()

    def _check_patience(self, error: TemporaryError | None = None) -> None:
        """Raises EngineBroken when all servers have failed for so long that waiting makes no sense,
        or when the engine was closed: no page is to blame."""
        self._check_open(error)
        since_s, patience_s = self._failing_since_s, self._retries.patience_s
        if since_s is not None and time.monotonic() - since_s > patience_s:
            last = f"; the last one: {error}" if error else ""
            self.broken = EngineBroken(f"no server has answered for {patience_s:.0f} s{last}")
            # one error raised for many pages would collect all their tracebacks
            raise EngineBroken(str(self.broken)) from error

    def _wait_s(self, error: TemporaryError, tries: int) -> float:
        """A random wait, so that pages do not come back all at once; none where another server can
        take the page."""
        if error.dead and len(self._states) > 1:
            return 0.0
        longest_s = self._retries.longest_wait_s
        backoff_s = random.uniform(0, min(longest_s, 0.1 * 2 ** min(tries, 20)))
        return max(backoff_s, min(error.retry_after_s, longest_s))


def create(settings: Settings) -> RemoteEngine:
    """The servers that DEEPOCR_REMOTE_URLS names. Raises EngineUnavailable when it names none."""
    urls = settings.remote_urls.split()
    if not urls:
        raise EngineUnavailable(
            "DEEPOCR_REMOTE_URLS is empty; give the addresses of Cog servers, with spaces between"
        )
    servers = [CogServer(url, settings.remote_timeout_s) for url in urls]
    return RemoteEngine(servers, settings.remote_jobs)
