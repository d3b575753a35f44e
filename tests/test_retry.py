"""The retry policy: what is retried, after which wait, and what ends the call."""

import asyncio
import heapq
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count, cycle
from typing import Any, Final

import attrs
import pytest
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st
from strategies import dice, failures, policies, seconds

import smartglocal_async as sg
from smartglocal_async.envelope import AttemptResult, Verdict
from smartglocal_async.operations import Repeat
from smartglocal_async.retry import ACTIONS, Action, CallRules, Retrier, RetryBudget

pytestmark = pytest.mark.both_loops

UNKNOWN: Final = Verdict(AttemptResult.UNKNOWN)
NOT_SENT: Final = Verdict(AttemptResult.NOT_SENT)
LATER: Final = Verdict(AttemptResult.REFUSED_FOR_NOW)
ACCEPTED: Final = Verdict(AttemptResult.ACCEPTED)
HARMLESS, MOVES_MONEY = Repeat.HARMLESS, Repeat.MOVES_MONEY


def later(retry_after: float) -> Verdict:
    """Return a 429 with Retry-After."""
    return Verdict(AttemptResult.REFUSED_FOR_NOW, retry_after_seconds=retry_after)


def script(retrier: Retrier, *verdicts: Verdict) -> Callable[[], Awaitable[Verdict]]:
    """Return an attempt with these verdicts, the last one repeatedly."""
    rest = list(verdicts)

    async def attempt() -> Verdict:
        retrier.take_from_budget()
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return attempt


async def run_with_policy(
    clock: Clock, first: Verdict, *then: Verdict, repeat: Repeat = HARMLESS, **policy: Any
) -> tuple[Verdict, str | None]:
    """Repeat a call under a policy, with a random value of one half."""
    retrier = Retrier(sg.RetryPolicy(**policy), clock.timing())
    rules = CallRules(repeat, retrier.policy.attempts, retrier.policy.deadline_seconds)
    return await retrier.retry(first, script(retrier, *then), rules)


# Which calls are retried.


TABLE: Final = {
    (AttemptResult.NOT_SENT, HARMLESS): Action.REPEAT,
    (AttemptResult.NOT_SENT, MOVES_MONEY): Action.REPEAT,
    (AttemptResult.MISCONFIGURED, HARMLESS): Action.STOP,
    (AttemptResult.MISCONFIGURED, MOVES_MONEY): Action.STOP,
    (AttemptResult.UNKNOWN, HARMLESS): Action.REPEAT,
    (AttemptResult.UNKNOWN, MOVES_MONEY): Action.ASK,
    (AttemptResult.NO_EFFECT, HARMLESS): Action.REPEAT,
    (AttemptResult.NO_EFFECT, MOVES_MONEY): Action.REPEAT,
    (AttemptResult.ARRIVED, HARMLESS): Action.ASK,
    (AttemptResult.ARRIVED, MOVES_MONEY): Action.ASK,
    (AttemptResult.REFUSED_FOR_NOW, HARMLESS): Action.REPEAT_LATER,
    (AttemptResult.REFUSED_FOR_NOW, MOVES_MONEY): Action.REPEAT_LATER,
    (AttemptResult.REFUSED, HARMLESS): Action.STOP,
    (AttemptResult.REFUSED, MOVES_MONEY): Action.STOP,
}


def test_the_table() -> None:
    """Every failure has its row, and every kind of repeat its column; success has none."""
    assert dict(ACTIONS) == TABLE
    assert {happened for happened, _ in TABLE} == set(AttemptResult) - {AttemptResult.ACCEPTED}
    assert {repeat for _, repeat in TABLE} == set(Repeat)


@pytest.mark.parametrize(("row", "action"), TABLE.items())
async def test_only_what_the_table_repeats_is_repeated(clock, row, action) -> None:
    """A call that may have moved money is never sent a second time."""
    happened, repeat = row
    repeats = action in {Action.REPEAT, Action.REPEAT_LATER}

    verdict, stopped_by = await run_with_policy(clock, Verdict(happened), ACCEPTED, repeat=repeat)

    assert verdict.happened is (AttemptResult.ACCEPTED if repeats else happened)
    assert (len(clock.waits), stopped_by) == (int(repeats), None)


@pytest.mark.parametrize("last", [AttemptResult.MISCONFIGURED, AttemptResult.REFUSED])
async def test_the_last_verdict_is_the_callers(clock, last) -> None:
    """A retry that is refused ends the call with that refusal."""
    verdict, stopped_by = await run_with_policy(clock, UNKNOWN, Verdict(last))
    assert (verdict.happened, stopped_by) == (last, None)


# Waits.


@pytest.mark.parametrize(
    ("verdict", "waits"),
    [
        (NOT_SENT, [0.025, 0.05, 0.1, 0.2, 0.4, 0.5, 0.5]),
        (UNKNOWN, [0.025, 0.05, 0.1, 0.2, 0.4, 0.5, 0.5]),
        (LATER, [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (later(0.25), [0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]),
        (later(3.0), [3.25, 3.5, 3.5, 3.5, 3.5, 3.5, 3.5]),
        (later(0.0), [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (
            Verdict(AttemptResult.UNKNOWN, retry_after_seconds=1.0),
            [1.025, 1.05, 1.1, 1.2, 1.4, 1.5, 1.5],
        ),
    ],
)
async def test_waits_double_up_to_the_longest(clock, verdict, waits) -> None:
    """Half of the range each time, with a random value of one half; on top of Retry-After."""
    _, stopped_by = await run_with_policy(
        clock,
        verdict,
        verdict,
        attempts=8,
        initial_delay_seconds=0.05,
        throttled_initial_delay_seconds=0.5,
        max_delay_seconds=1.0,
    )
    assert (clock.waits, stopped_by) == (waits, "attempts")


@pytest.mark.parametrize("shown", [0.0, 0.25, 0.999])
async def test_waits_are_full_jitter(clock, shown) -> None:
    """Anything from zero to the whole range."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing(lambda: shown))
    await retrier.retry(UNKNOWN, script(retrier, UNKNOWN), CallRules(HARMLESS, 3, 30.0))
    assert clock.waits == [shown * 0.05, shown * 0.1]


async def test_very_many_attempts(clock) -> None:
    """The doubling stops at the longest wait, without an overflow."""
    _, stopped_by = await run_with_policy(
        clock, NOT_SENT, NOT_SENT, attempts=1100, budget_tokens=10**6, deadline_seconds=10**6
    )
    assert (len(clock.waits), stopped_by) == (1099, "attempts")


@given(policy=policies, asked=st.floats(0.0, 120.0), shown=dice)
async def test_our_own_wait_comes_on_top_of_retry_after(policy, asked, shown) -> None:
    """The client waits at least Retry-After, and throttled clients don't return together."""
    clock = Clock()
    policy = attrs.evolve(policy, attempts=2, deadline_seconds=1e6, budget_tokens=100)
    retrier = Retrier(policy, clock.timing(lambda: shown))
    own = shown * min(policy.max_delay_seconds, policy.throttled_initial_delay_seconds)

    _, stopped_by = await retrier.retry(
        later(asked), script(retrier, ACCEPTED), CallRules(HARMLESS, 2, 1e6)
    )

    if asked > policy.max_retry_after_seconds:
        assert (clock.waits, stopped_by) == ([], "retry_after")
    else:
        assert (clock.waits, stopped_by) == ([asked + own], None)


# What ends the call.


@pytest.mark.parametrize(
    ("first", "policy", "stopped_by", "waits"),
    [
        (UNKNOWN, {"attempts": 1}, "attempts", 0),
        (UNKNOWN, {"attempts": 4}, "attempts", 3),
        (later(60.0), {"deadline_seconds": 1e6}, "attempts", 2),
        (later(60.1), {"deadline_seconds": 1e6}, "retry_after", 0),
        (later(10.0), {"max_retry_after_seconds": 9.0}, "retry_after", 0),
        (later(30.0), {}, "deadline", 0),
        (later(29.4), {}, "deadline", 1),
        (later(14.0), {"attempts": 9}, "deadline", 2),
        (UNKNOWN, {"deadline_seconds": 0.025}, "deadline", 0),
        (UNKNOWN, {"budget_tokens": 13}, "budget", 0),
        (UNKNOWN, {"budget_tokens": 14}, "budget", 1),
        (UNKNOWN, {"budget_tokens": 100, "budget_cost": 25, "attempts": 9}, "budget", 4),
    ],
)
async def test_what_stops_a_call(clock, first, policy, stopped_by, waits) -> None:
    """Each limit by its name, in this order: attempts, retry_after, deadline, budget."""
    verdict, stopped = await run_with_policy(clock, first, first, **policy)
    assert (stopped, len(clock.waits), verdict) == (stopped_by, waits, first)


@given(
    policy=policies,
    verdicts=st.lists(failures, min_size=1, max_size=8),
    shown=st.lists(dice, min_size=1, max_size=5),
    takes=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=5),
    pause=st.none() | seconds,
)
async def test_no_wait_passes_the_deadline(policy, verdicts, shown, takes, pause) -> None:
    """Whatever policy, jitter and provider are: no sleep ends after the deadline."""
    clock, roll, lasts, ends = Clock(), cycle(shown), cycle(takes), []

    async def sleep(wait: float) -> None:
        ends.append(clock.now + wait)
        await clock.sleep(wait)

    retrier = Retrier(policy, attrs.evolve(clock.timing(lambda: next(roll)), sleep=sleep))
    retrier.paused_until = pause or 0.0
    deadline, rest = policy.deadline_seconds, iter(verdicts[1:])

    async def attempt() -> Verdict:
        if not await retrier.wait_for_pause(deadline):
            return NOT_SENT
        clock.now += next(lasts)
        verdict = next(rest, ACCEPTED)
        retrier.pause_client(verdict)
        return verdict

    if await retrier.wait_for_pause(deadline):
        await retrier.retry(verdicts[0], attempt, CallRules(HARMLESS, policy.attempts, deadline))

    assert all(end <= deadline for end in ends)


# The pause of all calls after a 429.


@pytest.mark.parametrize(
    ("verdict", "until"),
    [
        (later(5.0), 5.0),
        (later(60.0), 60.0),
        (later(1e6), 60.0),
        (later(0.0), 0.0),
        (LATER, 0.0),
        (Verdict(AttemptResult.UNKNOWN, retry_after_seconds=5.0), 0.0),
        (ACCEPTED, 0.0),
    ],
)
def test_only_a_429_pauses_the_client(clock, verdict, until) -> None:
    """For as long as Retry-After, up to the policy's limit."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    retrier.pause_client(verdict)
    assert retrier.paused_until == until


def test_a_shorter_pause_does_not_end_a_longer_one(clock) -> None:
    """The longest pause counts."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    retrier.pause_client(later(9.0))
    retrier.pause_client(later(2.0))
    assert retrier.paused_until == 9.0


async def test_pause_is_waited_for(clock) -> None:
    """With jitter, so that paused calls don't all resume at once."""
    retrier = Retrier(sg.RetryPolicy(throttled_initial_delay_seconds=0.5), clock.timing())
    retrier.pause_client(later(5.0))

    assert await retrier.wait_for_pause(30.0)
    assert clock.waits == [5.0, 0.25]
    assert await retrier.wait_for_pause(30.0)
    assert clock.waits == [5.0, 0.25]


@pytest.mark.parametrize("deadline", [1.0, 5.0])
async def test_pause_beyond_the_deadline_does_not_start(clock, deadline) -> None:
    """The call ends at once."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    retrier.pause_client(later(5.0))

    assert not await retrier.wait_for_pause(deadline)
    assert clock.waits == []


async def test_the_spread_after_a_pause_stays_within_the_deadline(clock) -> None:
    """The jitter ends before the deadline, or isn't added."""
    retrier = Retrier(sg.RetryPolicy(initial_delay_seconds=0.5), clock.timing())
    retrier.pause_client(later(5.0))

    await retrier.wait_for_pause(5.1)

    assert clock.now <= 5.1


class VirtualClock:
    """A virtual clock for many concurrent calls, without real waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def monotonic(self) -> float:
        """Return the virtual time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the virtual time has passed."""
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self.now + seconds, next(self._numbers), woken))
        await woken

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run some work to its end; advance the time whenever all of it waits."""
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(5):
                await asyncio.sleep(0)
            if self._sleeping and not task.done():
                self.now = self._sleeping[0][0]
                while self._sleeping and self._sleeping[0][0] == self.now:
                    heapq.heappop(self._sleeping)[2].set_result(None)
        await task


@pytest.mark.parametrize(
    ("rate", "pause", "most"),
    [(17, 5.0, 44), (100, 2.0, 240), (5, 30.0, 18), (1, 5.0, 5)],
)
async def test_paused_calls_resume_gradually(rate, pause, most) -> None:
    """Calls held back by a pause resume over an equally long time, beside new ones.

    In no second after a pause are there much more than twice as many calls as before it.
    """
    virtual_clock, left, chance = VirtualClock(), [], random.Random(7)  # noqa: S311 - a test that repeats
    timing = sg.Timing(
        monotonic=virtual_clock.monotonic, sleep=virtual_clock.sleep, random=chance.random
    )
    retrier = Retrier(sg.RetryPolicy(), timing)
    retrier.pause_client(later(pause))

    async def call(at: float) -> None:
        await virtual_clock.sleep(at)
        assert await retrier.wait_for_pause(at + 300.0)
        left.append(virtual_clock.now)

    async def calls() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * pause * 3)):
                group.create_task(call(number / rate + 0.001))

    await virtual_clock.run(calls())

    seconds = Counter(int(moment) for moment in left)
    assert min(left) >= pause
    assert max(seconds.values()) <= most
    assert sum(seconds.values()) == int(rate * pause * 3)


async def test_throttled_calls_resume_gradually() -> None:
    """A hundred calls that get a 429 at once don't all return within one second."""
    virtual_clock, back, chance = VirtualClock(), [], random.Random(7)  # noqa: S311 - a test that repeats
    timing = sg.Timing(
        monotonic=virtual_clock.monotonic, sleep=virtual_clock.sleep, random=chance.random
    )
    retrier = Retrier(sg.RetryPolicy(budget_tokens=10_000), timing)

    async def call() -> None:
        async def again() -> Verdict:
            assert await retrier.wait_for_pause(300.0)
            retrier.take_from_budget()
            back.append(virtual_clock.now)
            return ACCEPTED

        retrier.pause_client(later(5.0))
        await retrier.retry(later(5.0), again, CallRules(HARMLESS, 3, 300.0))

    async def calls() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(call())

    await virtual_clock.run(calls())

    seconds = Counter(int(moment) for moment in back)
    assert (len(back), min(back) >= 5.0) == (100, True)
    assert max(seconds.values()) <= 40


# The budget.


@pytest.mark.parametrize("waits_for", ["back-off", "pause"])
async def test_a_retry_that_is_cancelled_in_its_wait_costs_nothing(clock, waits_for) -> None:
    """The budget is charged when a retry is sent, not when it is planned."""
    retrier = Retrier(sg.RetryPolicy(), attrs.evolve(clock.timing(), sleep=for_ever))

    async def again() -> Verdict:
        raise AssertionError("never sent")

    async def call() -> None:
        if waits_for == "pause":
            retrier.paused_until = clock.now + 5.0
            await retrier.wait_for_pause(30.0)
        await retrier.retry(UNKNOWN, again, CallRules(HARMLESS, 3, 30.0))

    tasks = [asyncio.ensure_future(call()) for _ in range(60)]
    await asyncio.sleep(0)
    assert retrier.held == 60
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert (retrier.budget.tokens, retrier.held) == (500, 0)


async def for_ever(_seconds: float) -> None:
    """Sleep until cancelled."""
    await asyncio.Event().wait()


async def test_a_budget_that_others_spend_meanwhile_stops_a_retry(clock) -> None:
    """It was enough at the start of the wait, and isn't at its end."""
    retrier = Retrier(sg.RetryPolicy(budget_tokens=14), clock.timing())

    async def again() -> Verdict:
        retrier.budget.tokens = 0
        retrier.take_from_budget()
        raise AssertionError("unreachable")

    verdict, stopped_by = await retrier.retry(UNKNOWN, again, CallRules(HARMLESS, 3, 30.0))
    assert (verdict, stopped_by) == (UNKNOWN, "budget")


@pytest.mark.parametrize(
    ("steps", "tokens"),
    [
        ("", 100),
        ("t", 86),
        ("tt", 72),
        ("ts", 87),
        ("tr", 100),
        ("ttr", 86),
        ("s", 100),
        ("r", 100),
        ("ttttttt", 2),
        ("tttttttt", 2),
        ("tttttttts", 3),
        ("ttttttttr", 16),
        ("ttttttttrt", 2),
    ],
)
def test_budget_arithmetic(steps, tokens) -> None:
    """A retry pays its cost, its success returns it, a first success adds one."""
    budget = RetryBudget(100, 14)
    for step in steps:
        budget.take() if step == "t" else budget.succeeded(after_retry=step == "r")
    assert budget.tokens == tokens


@given(steps=st.lists(st.sampled_from("tsr")), capacity=st.integers(1, 50), cost=st.integers(1, 60))
def test_a_budget_stays_within_its_bounds(steps, capacity, cost) -> None:
    """Never below zero or above its initial value; it pays only what it has."""
    budget = RetryBudget(capacity, cost)
    for step in steps:
        before = budget.tokens
        if step == "t":
            assert budget.take() is (before >= cost)
        else:
            budget.succeeded(after_retry=step == "r")
        assert 0 <= budget.tokens <= capacity


async def test_calls_of_one_client_share_the_budget(clock) -> None:
    """In an outage, a hundred calls of three attempts make 135 attempts, not 300."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    for _ in range(100):
        deadline = clock.now + 30
        await retrier.retry(UNKNOWN, script(retrier, UNKNOWN), CallRules(HARMLESS, 3, deadline))

    assert (len(clock.waits), retrier.budget.tokens) == (35, 10)


# The policy as a record.

NUMBERS: Final = [f.name for f in attrs.fields(sg.RetryPolicy)]


@pytest.mark.parametrize("value", [0, -1, -0.5, True, False, "3", None, float("nan")])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_a_policy_are_above_zero(name, value) -> None:
    """The error names the field."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.RetryPolicy(**{name: value})
    assert re.fullmatch(
        rf"RetryPolicy\.{name}: must be a (whole )?number above zero", str(caught.value)
    )


@pytest.mark.parametrize("name", ["attempts", "budget_tokens", "budget_cost"])
def test_counts_of_a_policy_are_whole(name) -> None:
    """Fractions of attempts are refused."""
    with pytest.raises(sg.InvalidRequest, match=f"RetryPolicy.{name}"):
        sg.RetryPolicy(**{name: 2.5})


def test_a_policy_prints_its_table() -> None:
    """`print(policy)` shows every row and every number."""
    text = str(sg.RetryPolicy(attempts=7, deadline_seconds=41, budget_tokens=333, budget_cost=9))

    for (happened, repeat), action in ACTIONS.items():
        row = next(line for line in text.splitlines() if line.startswith(happened.value + "  "))
        first, last = (part for part in row[len(happened.value) :].split("  ") if part.strip())
        assert (first if repeat is HARMLESS else last).strip() == action.value
    for number in ("7", "41", "333", "9", "0.05", "20", "15", "60"):
        assert f" {number}" in text
    assert all(line == line.rstrip() for line in text.splitlines())


async def test_timing_is_the_real_one_by_default() -> None:
    """A monotonic clock, aware datetimes, random values from 0 to below 1."""
    timing = sg.Timing()
    assert timing.monotonic() <= timing.monotonic()
    assert timing.now().tzinfo is not None
    assert 0.0 <= timing.random() < 1.0
    await timing.sleep(0)
