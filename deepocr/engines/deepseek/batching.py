"""Many pages in one running batch: what is done with each step's values, and when steps fail.

`BatchedReader.step` is one turn: encode the pictures of pages next in line, launch the step that
the scheduler plans, take in the values of the step before. Everything here runs in one thread.

What fails is tried again with fewer pages until the page at fault is alone; that page fails. When
the device can compute nothing any more, or memory stays short, no page is at fault: EngineBroken.
"""

import logging
import math
from collections.abc import Sequence as Row

import torch

from deepocr.engines.deepseek.limits import Limit
from deepocr.engines.deepseek.memory import is_out_of_memory
from deepocr.engines.deepseek.page_in_batch import (
    Failed,
    Finished,
    PageInBatch,
    Token,
    Update,
    halves,
)
from deepocr.engines.deepseek.pictures import Pictures
from deepocr.engines.deepseek.runner import Launched, Runner
from deepocr.engines.deepseek.scheduler import Scheduler, Step
from deepocr.engines.deepseek.sequence import Sequence, State
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, VisionBatcher
from deepocr.errors import EngineBroken, EngineError, reason
from deepocr.parsing.loops import Alphabet, LoopRule, LoopWatch
from deepocr.types import FinishReason

log = logging.getLogger(__name__)

PICTURE_WAIT_S = 0.01

MAX_FAULTS = 2
"""How often a page may fail alone for want of memory before it is given up."""


class BatchedReader:
    """Reads pages together. With `overlap`, a step is launched before the values of the one
    before it are known, so that the host's work hides behind the device's."""

    def __init__(
        self,
        runner: Runner,
        scheduler: Scheduler,
        vision: VisionBatcher,
        *,
        end_id: int,
        alphabet: Alphabet | None = None,
        loop_rule: LoopRule | None = None,
        overlap: bool = False,
    ) -> None:
        self.runner = runner
        self.scheduler = scheduler
        self.vision = vision
        self._limits = {
            "prefill": Limit(scheduler, "max_prefill_tokens"),
            "decode": Limit(scheduler, "max_sequences"),
            "vision": Limit(vision, "budget_bytes"),
        }
        self.pictures = Pictures(
            vision,
            worked=self._limits["vision"].worked,
            failed=self._fail,
            out_of_memory=self._encode_with_less,
            check_device=self._check_device,
        )
        self.end_id = end_id
        self.alphabet = alphabet or Alphabet()
        self.loop_rule = loop_rule or LoopRule()
        self.overlap = overlap
        self._readings: dict[Sequence, PageInBatch] = {}
        self._arrivals = 0
        self._in_flight: tuple[Step, Launched] | None = None
        self._updates: list[tuple[PageInBatch, Update]] = []
        # a page was given up for want of memory, and no step has worked since
        self._short_of_memory = False

    @property
    def idle(self) -> bool:
        return self.scheduler.idle and self._in_flight is None

    @property
    def num_readings(self) -> int:
        """Pages that are neither finished nor failed nor canceled."""
        return len(self._readings)

    def submit(
        self, prompt: Prompt, page: PreparedPage, max_new_tokens: int, *, long_ban: bool = False
    ) -> PageInBatch:
        """Put a page in line. Prompt and output must fit the context and the cache."""
        sequence = Sequence(
            self._arrivals,
            list(prompt.ids),
            max_new_tokens,
            prompt.first_slot,
            ready=False,
            long_ban=long_ban,
        )
        self._arrivals += 1
        reading = PageInBatch(sequence, page, LoopWatch(self.alphabet, self.loop_rule))
        reading.mark("submitted")
        self.scheduler.add(sequence)
        self._readings[sequence] = reading
        return reading

    def cancel(self, reading: PageInBatch) -> None:
        """Take a page out; its blocks are free at once. Nothing more is heard of it."""
        self._end(reading, None)

    def step(self) -> list[tuple[PageInBatch, Update]]:
        """One turn; what happened to which page, in order. Raises EngineBroken."""
        if self._in_flight is not None:
            self._finish_step()
        else:
            self._encode()
            if step := self.scheduler.schedule():
                self._in_flight = self._launch(step)
                if not self.overlap:
                    self._finish_step()
        updates, self._updates = self._updates, []
        return updates

    def _finish_step(self) -> None:
        """Take in the values of the step in flight; the next may be launched before."""
        if self._in_flight is None:
            return
        step, launched = self._in_flight
        self._in_flight = None
        if self.overlap:
            self._launch_ahead()
        try:
            values = launched.wait()
        except Exception as error:
            if self._in_flight is not None:
                # it was launched upon values that never came
                self.scheduler.withdraw(self._in_flight[0])
                self._in_flight = None
            self._single_out(step, error)
        else:
            self._take_in(step, values)

    def _take_in(self, step: Step, values: list[tuple[int, float]]) -> None:
        self._short_of_memory = False
        self._limits[step.kind].worked()
        for sequence, (token, probability) in zip(step.sequences, values, strict=True):
            if self.scheduler.append(sequence, token):
                self._written(self._readings[sequence], token, probability)

    def _launch_ahead(self) -> None:
        """Launch the next step if it needs nothing that is still unknown. One that cannot be
        launched is planned again when all values are there."""
        if self.scheduler.unready() and not self.pictures.busy:
            return
        if step := self.scheduler.schedule_ahead():
            try:
                self._in_flight = (step, self._run(step))
            except Exception as error:
                self._check_device(error)
                log.warning("a step could not be launched ahead: %s", error)
                self.scheduler.withdraw(step)

    def _written(self, reading: PageInBatch, token: int, probability: float) -> None:
        if math.isnan(probability):
            # what is left in the cache would spread: a masked product with it is no number either
            self.runner.clear(reading.sequence.blocks)
            self._fail(reading, EngineError("the network computed no number (NaN) for it"))
            return
        reading.mark("first token")
        self._updates.append((reading, Token(token, probability)))
        if reason := self._reason_to_stop(reading, token):
            self._end(reading, reason)
            self._updates.append((reading, Finished(reason, reading.seconds())))

    def _reason_to_stop(self, reading: PageInBatch, token: int) -> FinishReason | None:
        num_output = len(reading.sequence.output)
        if token == self.end_id:
            return "stop"
        if num_output >= reading.sequence.max_new_tokens:
            return "length"
        reading.loops.push(token)
        if num_output % self.loop_rule.check_every == 0 and (loop := reading.loops.stretch()):
            log.info("a loop of %d tokens and numbers after %d; stopped", len(loop), num_output)
            return "repetition"
        return None

    def _end(self, reading: PageInBatch, reason: FinishReason | None) -> None:
        reading.mark("done")
        self.scheduler.finish(reading.sequence, reason)
        self._readings.pop(reading.sequence, None)
        reading.page = reading.features = None

    def _fail(self, reading: PageInBatch, error: Exception) -> None:
        self._end(reading, None)
        failure = EngineError(f"the page cannot be read; {reason(error)}")
        failure.__cause__ = error
        self._updates.append((reading, Failed(failure)))

    def _give_up(self, reading: PageInBatch, error: Exception) -> None:
        """A page for which there is no memory even alone. The second in a row is not at fault."""
        if self._short_of_memory:
            raise EngineBroken(f"the device stays out of memory: {reason(error)}") from error
        self._short_of_memory = True
        self._fail(reading, error)

    def _check_device(self, error: Exception) -> None:
        """Raises EngineBroken when the device is gone for good, as after a fault of a kernel."""
        try:
            self.runner.probe()
        except Exception as gone:
            raise EngineBroken(f"the device fails: {reason(error)}") from gone

    # pictures

    def _encode(self) -> None:
        """Take in what is encoded, and begin with pages next in line. With nothing else to do,
        wait a little: a cancel may come in meanwhile."""
        self.pictures.take_in()
        self.pictures.start([self._readings[sequence] for sequence in self.scheduler.unready()])
        if not self.scheduler.running:
            self.pictures.wait(PICTURE_WAIT_S)
        self.pictures.take_in()

    def _encode_with_less(self, readings: Row[PageInBatch], error: Exception) -> None:
        """Fewer views at a time until some have worked; a page that fails alone twice is given
        up."""
        torch.cuda.empty_cache()
        log.warning("out of memory in the encoder: %s", error)
        self._limits["vision"].halve()
        if len(readings) == 1:
            readings[0].faults += 1
            if readings[0].faults > MAX_FAULTS:
                self._give_up(readings[0], error)

    # steps

    def _launch(self, step: Step) -> tuple[Step, Launched] | None:
        try:
            return step, self._run(step)
        except Exception as error:
            self._mend(step, error)
        return None

    def _mend(self, step: Step, error: Exception) -> None:
        if is_out_of_memory(error):
            self._relieve(step, error)
        else:
            self._single_out(step, error)

    def _run(self, step: Step) -> Launched:
        if step.kind == "decode":
            return self.runner.decode(step.sequences)
        features = [self._readings[sequence].features for sequence in step.sequences]
        return self.runner.prefill(
            step.sequences, [slots for slots in features if slots is not None]
        )

    def _relieve(self, step: Step, error: Exception) -> None:
        """Out of memory: the younger half of the step waits and smaller steps are made from now
        on, until some have worked. A page that does not even fit alone is tried once more, then it
        fails."""
        self.scheduler.withdraw(step)
        torch.cuda.empty_cache()
        count = len(step.sequences)
        log.warning("out of memory in a %s of %d pages: %s", step.kind, count, error)
        if count == 1:
            reading = self._readings[step.sequences[0]]
            reading.faults += 1
            if reading.faults > MAX_FAULTS:
                self._give_up(reading, error)
        elif step.kind == "prefill":
            tokens = sum(sequence.length for sequence in step.sequences)
            self._limits["prefill"].halve(tokens)
        else:
            self._limits["decode"].halve(count)
            for sequence in step.sequences[count // 2 :]:
                self.scheduler.preempt(sequence)

    def _single_out(self, step: Step, error: Exception) -> None:
        """A step failed: its halves are tried, and so on; a page that fails alone is given up.
        The others are none the worse for it."""
        self._check_device(error)
        if len(step.sequences) == 1:
            if reading := self._readings.get(step.sequences[0]):
                self._fail(reading, error)
            return
        log.error("a %s of %d pages failed: %s", step.kind, len(step.sequences), error)
        for half in halves(step.sequences):
            # canceled while the step ran, or back in line for want of memory
            part = Step(step.kind, tuple(s for s in half if s.state is State.RUNNING))
            if not part.sequences:
                continue
            try:
                values = self._run(part).wait()
            except Exception as fault:
                self._mend(part, fault)
            else:
                self._take_in(part, values)
