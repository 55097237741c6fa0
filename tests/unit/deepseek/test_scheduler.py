"""The scheduler alone: no torch, no model. After every test, free + used == total."""

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from deepocr.engines.deepseek.kv_blocks import BlockPool
from deepocr.engines.deepseek.scheduler import Scheduler, Step
from deepocr.engines.deepseek.sequence import Sequence, State


@pytest.fixture
def pool() -> Iterator[BlockPool]:
    pool = BlockPool(num_blocks=41, block_tokens=4)
    yield pool
    assert pool.free + pool.used == pool.total
    assert pool.used == 0, "blocks leaked"


def sequence(arrival: int, prompt: int = 5, new: int = 4, ready: bool = True) -> Sequence:
    return Sequence(arrival, list(range(100, 100 + prompt)), new, ready=ready)


def write(step: Step, scheduler: Scheduler) -> None:
    """What the engine does with a step's values: the token is the number of tokens before it."""
    for seq in step.sequences:
        scheduler.append(seq, len(seq.tokens))
        if seq.full and not seq.pending:
            scheduler.finish(seq, "length")


def drain(scheduler: Scheduler, limit: int = 10_000) -> None:
    for _ in range(limit):
        step = scheduler.schedule()
        if step is None:
            break
        write(step, scheduler)
    assert scheduler.idle


def test_pool_hands_out_every_block_once_but_block_0(pool: BlockPool) -> None:
    taken = pool.take(pool.total)
    assert sorted(taken) == list(range(1, 41))
    assert pool.free == 0
    pool.give_back(taken[:3])
    with pytest.raises(KeyError):
        pool.give_back(taken[:1])
    pool.give_back(taken[3:])


def test_under_a_window_a_long_page_holds_no_more_blocks_than_a_short_one() -> None:
    """20,000 tokens in a pool for a few hundred."""
    pool = BlockPool(num_blocks=41, block_tokens=16)
    scheduler = Scheduler(pool, max_sequences=2, max_prefill_tokens=1000, window=128)
    long, short = sequence(0, prompt=300, new=20_000), sequence(1, prompt=90, new=50)
    scheduler.add(long)
    scheduler.add(short)
    most = 0
    while step := scheduler.schedule():
        write(step, scheduler)
        if long.num_output == 4000:
            # given way and come back: what nobody sees gets no block again
            scheduler.preempt(long)
        if long.num_output > 200 and long.blocks:
            most = max(most, sum(block != 0 for block in long.blocks))
            held = [index for index, block in enumerate(long.blocks) if block]
            first_seen = (long.length - 128) // 16
            assert set(held) >= {*range(19), *range(max(19, first_seen), len(long.blocks))}
    assert len(long.output) == 20_000
    assert most <= 19 + 8 + 1
    assert pool.used == 0


def test_under_a_window_a_step_in_flight_keeps_what_it_sees() -> None:
    """It may fail after the next one was launched; then it is launched again as it was."""
    window = 8
    scheduler = Scheduler(BlockPool(41, 4), max_sequences=1, max_prefill_tokens=100, window=window)
    page = sequence(0, prompt=5, new=60)
    scheduler.add(page)
    in_flight = scheduler.schedule()
    while in_flight:
        length = len(page.tokens)
        ahead = scheduler.schedule_ahead()
        seen = {*range(5), *range(max(5, length - window), length)}
        assert all(page.blocks[at // 4] for at in seen), length
        write(in_flight, scheduler)
        in_flight = ahead or scheduler.schedule()
    assert scheduler.idle


def test_a_pool_of_one_block_is_refused() -> None:
    with pytest.raises(ValueError, match="2 blocks"):
        BlockPool(1, 16)


def test_one_sequence_prefill_then_decode(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=4, max_prefill_tokens=100)
    seq = sequence(0, prompt=5, new=3)
    scheduler.add(seq)
    kinds = []
    while (step := scheduler.schedule()) is not None:
        kinds.append(step.kind)
        assert len(seq.blocks) * 4 >= seq.num_cached
        write(step, scheduler)
    assert kinds == ["prefill", "decode", "decode"]
    assert seq.output == [5, 6, 7]
    assert seq.finish_reason == "length"


def test_prefill_respects_its_budget_but_takes_one_long_prompt(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=8, max_prefill_tokens=12)
    for arrival, prompt in enumerate((20, 6, 6, 6)):
        scheduler.add(sequence(arrival, prompt=prompt))
    sizes = []
    while (step := scheduler.schedule()) is not None:
        if step.kind == "prefill":
            sizes.append([len(seq.prompt) for seq in step.sequences])
        write(step, scheduler)
    assert sizes == [[20], [6, 6], [6]]


def test_a_prefill_is_followed_by_a_decode(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=8, max_prefill_tokens=5)
    for arrival in range(3):
        scheduler.add(sequence(arrival, new=20))
    kinds = []
    for _ in range(6):
        step = scheduler.schedule()
        assert step is not None
        kinds.append(step.kind)
        write(step, scheduler)
    assert kinds == ["prefill", "decode", "prefill", "decode", "prefill", "decode"]
    drain(scheduler)


def test_nobody_overtakes_a_page_whose_picture_is_still_being_encoded(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=2, max_prefill_tokens=100)
    first, second, third = sequence(0, ready=False), sequence(1), sequence(2, ready=False)
    for seq in (second, first, third):
        scheduler.add(seq)
    assert scheduler.schedule() is None
    assert scheduler.unready() == [first]  # the third would not get a slot anyway
    first.ready = True
    step = scheduler.schedule()
    assert step is not None
    assert step.sequences == (first, second)
    third.ready = True
    write(step, scheduler)
    drain(scheduler)


def test_the_youngest_gives_way_and_keeps_its_tokens(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=4, max_prefill_tokens=1000)
    old, young = sequence(0, prompt=40, new=100), sequence(1, prompt=40, new=100)
    scheduler.add(old)
    scheduler.add(young)
    drain(scheduler)
    assert old.preemptions == 0
    assert young.preemptions > 0
    for seq in (old, young):
        assert seq.output == list(range(40, 140))


def test_cancel_frees_blocks_at_once_in_any_state(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=1, max_prefill_tokens=100)
    running, waiting = sequence(0), sequence(1)
    scheduler.add(running)
    scheduler.add(waiting)
    step = scheduler.schedule()
    assert step is not None
    assert pool.used > 0
    scheduler.finish(running, None)
    scheduler.finish(waiting, None)
    scheduler.finish(waiting, None)
    assert pool.used == 0
    assert not scheduler.append(running, 7), "a value that arrives after the end is dropped"
    assert scheduler.idle
    assert running.finish_reason is None


def test_ahead_plans_only_what_needs_no_value(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=4, max_prefill_tokens=100)
    short, long = sequence(0, new=2), sequence(1, new=5)
    scheduler.add(short)
    scheduler.add(long)
    steps = [scheduler.schedule()]
    steps.append(scheduler.schedule_ahead())
    ahead = scheduler.schedule_ahead()
    assert ahead is not None
    assert ahead.sequences == (long,), "the short one has asked for all its tokens"
    scheduler.add(sequence(2))
    assert scheduler.schedule_ahead() is None, "a page that can be admitted comes first"
    for step in (*steps, ahead):
        assert step is not None
        write(step, scheduler)
    drain(scheduler)


def test_a_withdrawn_step_leaves_no_trace(pool: BlockPool) -> None:
    scheduler = Scheduler(pool, max_sequences=4, max_prefill_tokens=100)
    seqs = [sequence(0), sequence(1)]
    for seq in seqs:
        scheduler.add(seq)
    prefill = scheduler.schedule()
    assert prefill is not None
    scheduler.withdraw(prefill)
    assert pool.used == 0
    assert scheduler.waiting == seqs
    again = scheduler.schedule()
    assert again is not None
    write(again, scheduler)
    decode = scheduler.schedule()
    assert decode is not None
    assert decode.kind == "decode"
    cached = [seq.num_cached for seq in seqs]
    scheduler.withdraw(decode)
    retry = scheduler.schedule()
    assert retry is not None
    assert [seq.num_cached for seq in seqs] == cached
    write(retry, scheduler)
    drain(scheduler)
    assert [seq.output for seq in seqs] == [[5, 6, 7, 8]] * 2


class Simulation:
    """Random arrivals, lengths, cancels, late features and failing steps, one step ahead or not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pool = BlockPool(self.random.randint(20, 60), self.random.choice((1, 4, 16)))
        self.scheduler = Scheduler(
            self.pool, self.random.randint(1, 9), self.random.choice((1, 40, 500))
        )
        self.capacity = self.pool.total * self.pool.block_tokens
        self.ahead = self.random.random() < 0.5
        self.all: list[Sequence] = []
        self.canceled: set[int] = set()
        self.waited: dict[int, int] = {}

    def arrive(self) -> None:
        prompt = self.random.randint(1, max(1, self.capacity // 3))
        new = self.random.randint(1, self.capacity - prompt)
        seq = Sequence(len(self.all), [0] * prompt, new, ready=self.random.random() < 0.5)
        self.all.append(seq)
        self.scheduler.add(seq)

    def check(self) -> None:
        held = [block for seq in self.scheduler.running for block in seq.blocks]
        assert len(held) == len(set(held)) == self.pool.used
        assert 0 not in held
        assert self.pool.free + self.pool.used == self.pool.total
        slots = [seq.slot for seq in self.scheduler.running]
        assert len(slots) == len(set(slots)) <= self.scheduler.max_sequences
        for seq in self.scheduler.running:
            assert len(seq.blocks) * self.pool.block_tokens >= seq.num_cached
        for line in (self.scheduler.running, self.scheduler.waiting):
            assert [s.arrival for s in line] == sorted(s.arrival for s in line)

    def step(self, arriving: bool) -> None:
        if arriving and self.random.random() < 0.1:
            self.arrive()
        live = self.scheduler.running + self.scheduler.waiting
        if live and self.random.random() < 0.01:
            victim = self.random.choice(live)
            self.canceled.add(victim.arrival)
            self.scheduler.finish(victim, None)
        for seq in self.scheduler.unready():
            seq.ready = True
        oldest = min(live, key=lambda s: s.arrival) if live else None
        before = oldest.length if oldest else 0
        steps = [self.scheduler.schedule()]
        if self.ahead and steps[0] is not None:
            steps.append(self.scheduler.schedule_ahead())
        self.check()
        for step in steps:
            if step is None:
                continue
            if len(steps) == 1 and self.random.random() < 0.02:
                self.scheduler.withdraw(step)
                continue
            for seq in step.sequences:
                if self.scheduler.append(seq, len(seq.tokens)) and not seq.pending and seq.full:
                    self.scheduler.finish(seq, "length")
        self.check()
        if oldest is not None and oldest.state is not State.FINISHED:
            # nobody starves: the oldest may miss a step to a prefill or a failure, not many
            idle = 0 if oldest.length > before else self.waited.get(oldest.arrival, 0) + 1
            self.waited[oldest.arrival] = idle
            assert idle < 12, f"the oldest sequence did not move for {idle} steps"


@pytest.mark.parametrize("seed", range(8))
def test_thousands_of_random_steps(seed: int) -> None:
    simulation = Simulation(seed)
    for _ in range(2500):
        simulation.step(arriving=True)
    for _ in range(200_000):
        if simulation.scheduler.idle:
            break
        simulation.step(arriving=False)
    assert simulation.scheduler.idle
    assert simulation.pool.used == 0
    assert simulation.pool.free == simulation.pool.total
    for seq in simulation.all:
        assert seq.state is State.FINISHED
        if seq.arrival not in simulation.canceled:
            assert seq.output == list(range(len(seq.prompt), len(seq.prompt) + seq.max_new_tokens))


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; import deepocr.engines.deepseek.scheduler as s; "
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
