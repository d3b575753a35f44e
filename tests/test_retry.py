"""The retry policy: what is asked again, after what wait, and what ends it."""

import re
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any, Final

import attrs
import pytest
from conftest import Clock
from hypothesis import given
from hypothesis import strategies as st
from strategies import dice, failures, policies, seconds

import smartglocal_async as sg
from smartglocal_async.envelope import Happened, Verdict
from smartglocal_async.operations import Repeat
from smartglocal_async.retry import ACTIONS, Action, CallRules, Retrier, RetryBudget

UNKNOWN: Final = Verdict(Happened.UNKNOWN)
NOT_SENT: Final = Verdict(Happened.NOT_SENT)
LATER: Final = Verdict(Happened.REFUSED_FOR_NOW)
ACCEPTED: Final = Verdict(Happened.ACCEPTED)
HARMLESS, MOVES_MONEY = Repeat.HARMLESS, Repeat.MOVES_MONEY


def later(retry_after: float) -> Verdict:
    """Give a 429 that asks for patience."""
    return Verdict(Happened.REFUSED_FOR_NOW, retry_after_seconds=retry_after)


def script(*verdicts: Verdict) -> Callable[[], Awaitable[Verdict]]:
    """Give attempts that come to these verdicts, the last of them for ever."""
    rest = list(verdicts)

    async def attempt() -> Verdict:
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return attempt


async def go_on(
    clock: Clock, first: Verdict, *then: Verdict, repeat: Repeat = HARMLESS, **policy: Any
) -> tuple[Verdict, str | None]:
    """Repeat a call under a policy, with dice that always show one half."""
    retrier = Retrier(sg.RetryPolicy(**policy), clock.timing())
    rules = CallRules(repeat, retrier.policy.attempts, retrier.policy.deadline_seconds)
    return await retrier.go_on(first, script(*then), rules)


# Whether.


def test_the_table_is_complete() -> None:
    """Every failure has its row, and every kind of repeat its column; success has none."""
    failed = set(Happened) - {Happened.ACCEPTED}
    assert set(ACTIONS) == {(happened, repeat) for happened in failed for repeat in Repeat}


@pytest.mark.parametrize(
    ("happened", "harmless", "moves_money"),
    [
        (Happened.NOT_SENT, Action.REPEAT, Action.REPEAT),
        (Happened.MISCONFIGURED, Action.STOP, Action.STOP),
        (Happened.UNKNOWN, Action.REPEAT, Action.ASK),
        (Happened.ARRIVED, Action.ASK, Action.ASK),
        (Happened.REFUSED_FOR_NOW, Action.REPEAT_LATER, Action.REPEAT_LATER),
        (Happened.REFUSED, Action.STOP, Action.STOP),
    ],
)
def test_the_table(happened, harmless, moves_money) -> None:
    """What happened, and what a repeat would do: nothing else decides."""
    assert ACTIONS[happened, HARMLESS] is harmless
    assert ACTIONS[happened, MOVES_MONEY] is moves_money


@pytest.mark.parametrize(("row", "action"), ACTIONS.items())
async def test_only_what_the_table_repeats_is_repeated(clock, row, action) -> None:
    """A call that may have moved money is never sent a second time."""
    happened, repeat = row
    repeats = action in {Action.REPEAT, Action.REPEAT_LATER}

    verdict, stopped_by = await go_on(clock, Verdict(happened), ACCEPTED, repeat=repeat)

    assert verdict.happened is (Happened.ACCEPTED if repeats else happened)
    assert (len(clock.waits), stopped_by) == (int(repeats), None)


@pytest.mark.parametrize("last", [h for h in Happened if ACTIONS.get((h, HARMLESS)) is Action.STOP])
async def test_the_last_verdict_is_the_callers(clock, last) -> None:
    """A repeat that is refused ends the call with that refusal."""
    verdict, stopped_by = await go_on(clock, UNKNOWN, Verdict(last))
    assert (verdict.happened, stopped_by) == (last, None)


# How long.


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
            Verdict(Happened.UNKNOWN, retry_after_seconds=1.0),
            [1.025, 1.05, 1.1, 1.2, 1.4, 1.5, 1.5],
        ),
    ],
)
async def test_waits_double_up_to_the_longest(clock, verdict, waits) -> None:
    """Half of the range each time, for the dice show one half; on top of Retry-After."""
    _, stopped_by = await go_on(
        clock,
        verdict,
        verdict,
        attempts=8,
        first_wait_seconds=0.05,
        throttled_first_wait_seconds=0.5,
        longest_wait_seconds=1.0,
    )
    assert (clock.waits, stopped_by) == (waits, "attempts")


@pytest.mark.parametrize("shown", [0.0, 0.25, 0.999])
async def test_waits_are_full_jitter(clock, shown) -> None:
    """Anything from nothing to the whole of the range."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing(lambda: shown))
    await retrier.go_on(UNKNOWN, script(UNKNOWN), CallRules(HARMLESS, 3, 30.0))
    assert clock.waits == [shown * 0.05, shown * 0.1]


async def test_very_many_attempts(clock) -> None:
    """Doubling stops at the longest wait; it doesn't grow out of the numbers."""
    _, stopped_by = await go_on(
        clock, NOT_SENT, NOT_SENT, attempts=1100, budget_tokens=10**6, deadline_seconds=10**6
    )
    assert (len(clock.waits), stopped_by) == (1099, "attempts")


@given(policy=policies, asked=st.floats(0.0, 120.0), shown=dice)
async def test_our_own_wait_comes_on_top_of_retry_after(policy, asked, shown) -> None:
    """The provider gets what it asked for, and those turned away together don't return so."""
    clock = Clock()
    policy = attrs.evolve(policy, attempts=2, deadline_seconds=1e6, budget_tokens=100)
    retrier = Retrier(policy, clock.timing(lambda: shown))
    own = shown * min(policy.longest_wait_seconds, policy.throttled_first_wait_seconds)

    _, stopped_by = await retrier.go_on(later(asked), script(ACCEPTED), CallRules(HARMLESS, 2, 1e6))

    if asked > policy.longest_retry_after_seconds:
        assert (clock.waits, stopped_by) == ([], "retry_after")
    else:
        assert (clock.waits, stopped_by) == ([asked + own], None)


# What ends it.


@pytest.mark.parametrize(
    ("first", "policy", "stopped_by", "waits"),
    [
        (UNKNOWN, {"attempts": 1}, "attempts", 0),
        (UNKNOWN, {"attempts": 4}, "attempts", 3),
        (later(60.0), {"deadline_seconds": 1e6}, "attempts", 2),
        (later(60.1), {"deadline_seconds": 1e6}, "retry_after", 0),
        (later(10.0), {"longest_retry_after_seconds": 9.0}, "retry_after", 0),
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
    """Each brake by its name, in this order: attempts, retry_after, deadline, budget."""
    verdict, stopped = await go_on(clock, first, first, **policy)
    assert (stopped, len(clock.waits), verdict) == (stopped_by, waits, first)


@given(
    policy=policies,
    verdicts=st.lists(failures, min_size=1, max_size=8),
    shown=st.lists(dice, min_size=1, max_size=5),
    takes=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=5),
    pause=st.none() | seconds,
)
async def test_no_wait_passes_the_deadline(policy, verdicts, shown, takes, pause) -> None:
    """Whatever the policy, the dice and the provider say: no sleep ends after the deadline."""
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
        retrier.heed(verdict)
        return verdict

    if await retrier.wait_for_pause(deadline):
        await retrier.go_on(verdicts[0], attempt, CallRules(HARMLESS, policy.attempts, deadline))

    assert all(end <= deadline for end in ends)


# The pause that a 429 asks of everyone.


@pytest.mark.parametrize(
    ("verdict", "until"),
    [
        (later(5.0), 5.0),
        (later(60.0), 60.0),
        (later(1e6), 60.0),
        (later(0.0), 0.0),
        (LATER, 0.0),
        (Verdict(Happened.UNKNOWN, retry_after_seconds=5.0), 0.0),
        (ACCEPTED, 0.0),
    ],
)
def test_only_a_429_pauses_the_client(clock, verdict, until) -> None:
    """For as long as it asked, up to the policy's patience."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    retrier.heed(verdict)
    assert retrier.paused_until == until


def test_a_shorter_pause_does_not_end_a_longer_one(clock) -> None:
    """The longest wish that was heard counts."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    retrier.heed(later(9.0))
    retrier.heed(later(2.0))
    assert retrier.paused_until == 9.0


async def test_a_pause_is_sat_out(clock) -> None:
    """And a little longer, so that those who waited together don't leave together."""
    retrier = Retrier(sg.RetryPolicy(throttled_first_wait_seconds=0.5), clock.timing())
    retrier.heed(later(5.0))

    assert await retrier.wait_for_pause(30.0)
    assert clock.waits == [5.25]
    assert await retrier.wait_for_pause(30.0)
    assert clock.waits == [5.25]


@pytest.mark.parametrize("deadline", [1.0, 5.0])
async def test_a_pause_that_outlasts_the_call_is_not_begun(clock, deadline) -> None:
    """There is nothing to wait for."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    retrier.heed(later(5.0))

    assert not await retrier.wait_for_pause(deadline)
    assert clock.waits == []


async def test_the_spread_after_a_pause_stays_within_the_deadline(clock) -> None:
    """The little longer is spent before the deadline, or not at all."""
    retrier = Retrier(sg.RetryPolicy(first_wait_seconds=0.5), clock.timing())
    retrier.heed(later(5.0))

    await retrier.wait_for_pause(5.1)

    assert clock.now <= 5.1


# The budget.


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
    """A retry pays the cost, its success gives it back, a plain success gives one."""
    budget = RetryBudget(100, 14)
    for step in steps:
        budget.take() if step == "t" else budget.succeeded(after_retry=step == "r")
    assert budget.tokens == tokens


@given(steps=st.lists(st.sampled_from("tsr")), capacity=st.integers(1, 50), cost=st.integers(1, 60))
def test_a_budget_stays_within_its_bounds(steps, capacity, cost) -> None:
    """Never below nothing, never above what it began with; it pays only what it has."""
    budget = RetryBudget(capacity, cost)
    for step in steps:
        before = budget.tokens
        if step == "t":
            assert budget.take() is (before >= cost)
        else:
            budget.succeeded(after_retry=step == "r")
        assert 0 <= budget.tokens <= capacity


async def test_calls_of_one_client_share_the_budget(clock) -> None:
    """In an outage, a hundred calls of three attempts make 135 attempts, and not 300."""
    retrier = Retrier(sg.RetryPolicy(), clock.timing())
    for _ in range(100):
        deadline = clock.now + 30
        await retrier.go_on(UNKNOWN, script(UNKNOWN), CallRules(HARMLESS, 3, deadline))

    assert (len(clock.waits), retrier.budget.tokens) == (35, 10)


# The policy as a record.

NUMBERS: Final = [f.name for f in attrs.fields(sg.RetryPolicy)]


@pytest.mark.parametrize("value", [0, -1, -0.5, True, False, "3", None, float("nan")])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_a_policy_are_above_zero(name, value) -> None:
    """The refusal names the field."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.RetryPolicy(**{name: value})
    assert re.fullmatch(
        rf"RetryPolicy\.{name}: must be a (whole )?number above zero", str(caught.value)
    )


@pytest.mark.parametrize("name", ["attempts", "budget_tokens", "budget_cost"])
def test_counts_of_a_policy_are_whole(name) -> None:
    """There is no half attempt."""
    with pytest.raises(sg.InvalidRequest, match=f"RetryPolicy.{name}"):
        sg.RetryPolicy(**{name: 2.5})


def test_a_policy_prints_its_table() -> None:
    """`print(policy)` shows every row, and every number of it."""
    text = str(sg.RetryPolicy(attempts=7, deadline_seconds=41, budget_tokens=333, budget_cost=9))

    for (happened, repeat), action in ACTIONS.items():
        row = next(line for line in text.splitlines() if line.startswith(happened.value + "  "))
        first, last = (part for part in row[len(happened.value) :].split("  ") if part.strip())
        assert (first if repeat is HARMLESS else last).strip() == action.value
    for number in ("7", "41", "333", "9", "0.05", "20", "15", "60"):
        assert f" {number}" in text
    assert all(line == line.rstrip() for line in text.splitlines())


async def test_timing_is_the_real_one_by_default() -> None:
    """A clock that does not go back, aware moments, dice from nothing to below one."""
    timing = sg.Timing()
    assert timing.monotonic() <= timing.monotonic()
    assert timing.now().tzinfo is not None
    assert 0.0 <= timing.dice() < 1.0
    await timing.sleep(0)
