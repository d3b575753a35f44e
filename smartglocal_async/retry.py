"""The tenacity policy: wait, stop, budget, deadline; asks again only when it is safe."""

import asyncio
import enum
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import Attribute, define, field, frozen
from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from .envelope import AttemptResult, Verdict
from .models.validators import above_zero
from .operations import Repeat

_MOST_DOUBLINGS: Final = 60  # Far beyond any cap, and short of what a float can hold.


class Action(enum.Enum):
    """What may follow an attempt that failed."""

    REPEAT = "send again"
    REPEAT_LATER = "send again after a longer wait"
    ASK = "ask for the status"
    STOP = "stop"


ACTIONS: Final[Mapping[tuple[AttemptResult, Repeat], Action]] = {
    (AttemptResult.NOT_SENT, Repeat.HARMLESS): Action.REPEAT,
    (AttemptResult.NOT_SENT, Repeat.MOVES_MONEY): Action.REPEAT,
    (AttemptResult.MISCONFIGURED, Repeat.HARMLESS): Action.STOP,
    (AttemptResult.MISCONFIGURED, Repeat.MOVES_MONEY): Action.STOP,
    (AttemptResult.UNKNOWN, Repeat.HARMLESS): Action.REPEAT,
    (AttemptResult.UNKNOWN, Repeat.MOVES_MONEY): Action.ASK,
    (AttemptResult.NO_EFFECT, Repeat.HARMLESS): Action.REPEAT,
    (AttemptResult.NO_EFFECT, Repeat.MOVES_MONEY): Action.REPEAT,
    (AttemptResult.ARRIVED, Repeat.HARMLESS): Action.ASK,
    (AttemptResult.ARRIVED, Repeat.MOVES_MONEY): Action.ASK,
    (AttemptResult.REFUSED_FOR_NOW, Repeat.HARMLESS): Action.REPEAT_LATER,
    (AttemptResult.REFUSED_FOR_NOW, Repeat.MOVES_MONEY): Action.REPEAT_LATER,
    (AttemptResult.REFUSED, Repeat.HARMLESS): Action.STOP,
    (AttemptResult.REFUSED, Repeat.MOVES_MONEY): Action.STOP,
}
"""What happened, and what a repeat would do: nothing else decides about a retry."""


def _positive(_instance: object, attribute: "Attribute[Any]", value: object) -> None:
    above_zero(f"RetryPolicy.{attribute.name}", value, whole=attribute.type is int)


@frozen(kw_only=True)
class RetryPolicy:
    """How often, how long and how patiently a call is tried; ``print()`` it to read it.

    Waits are full jitter: anything from nothing to ``initial_delay_seconds``, doubled for every
    attempt up to ``max_delay_seconds``. After HTTP 429 they start at
    ``throttled_initial_delay_seconds``. The numbers are the AWS SDKs' defaults since November 2026.
    """

    attempts: int = field(default=3, validator=_positive)
    initial_delay_seconds: float = field(default=0.05, validator=_positive)
    max_delay_seconds: float = field(default=20.0, validator=_positive)
    throttled_initial_delay_seconds: float = field(default=1.0, validator=_positive)
    max_retry_after_seconds: float = field(default=60.0, validator=_positive)
    """A ``Retry-After`` above this ends the call at once; one below is obeyed."""
    deadline_seconds: float = field(default=30.0, validator=_positive)
    """For the whole call: attempts, waits, connecting, reading."""
    attempt_timeout_seconds: float = field(default=15.0, validator=_positive)
    budget_tokens: int = field(default=500, validator=_positive)
    """Shared by all calls of a client; a retry takes ``budget_cost``, which a success returns; a
    success at the first attempt adds one."""
    budget_cost: int = field(default=14, validator=_positive)

    def __str__(self) -> str:
        rows = [("what happened", "a repeat is harmless", "a repeat moves money")]
        rows += [
            (happened.value, *(ACTIONS[happened, repeat].value for repeat in Repeat))
            for happened in AttemptResult
            if happened is not AttemptResult.ACCEPTED
        ]
        widths = [max(len(cell) for cell in column) + 2 for column in zip(*rows, strict=True)]
        table = [
            "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*table, "", *self._numbers()])

    def _numbers(self) -> list[str]:
        first, throttled = self.initial_delay_seconds, self.throttled_initial_delay_seconds
        return [
            f"attempts     {self.attempts}, each up to {self.attempt_timeout_seconds:g} s",
            f"deadline     {self.deadline_seconds:g} s for all of them and the waits between",
            f"waits        full jitter from {first:g} s, from {throttled:g} s after 429",
            f"             doubled for each attempt, up to {self.max_delay_seconds:g} s",
            f"Retry-After  obeyed up to {self.max_retry_after_seconds:g} s",
            f"budget       {self.budget_tokens} tokens, {self.budget_cost} a retry",
        ]


# Functions of this module, which settings that are pickled can name; `random.random` would take
# the state of its generator along, and all processes would throw the same.
def _random() -> float:
    return random.random()  # noqa: S311 - spreads waits, and guards no secret


def _utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the clock itself


@frozen(kw_only=True)
class Timing:
    """Where time and chance come from; a test hands in its own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = _random
    """Uniform in [0, 1); spreads the waits, and guards no secret."""
    now: Callable[[], datetime] = _utc_now

    async def sleep_unless_set(self, event: asyncio.Event, seconds: float) -> None:
        """Sleep for this many seconds, or until the event is set."""
        sleep = asyncio.ensure_future(self.sleep(seconds))
        woken = asyncio.ensure_future(event.wait())
        try:
            _ = await asyncio.wait({sleep, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, woken):
                _ = task.cancel()
            _ = await asyncio.wait({sleep, woken})


class OutOfBudget(Exception):
    """The retry budget has too few tokens for a retry that is about to be sent."""


@define(eq=False)
class RetryBudget:
    """A bucket of tokens that keeps an outage from becoming a storm of retries."""

    capacity: int
    cost: int
    tokens: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tokens = self.capacity

    @property
    def has_enough(self) -> bool:
        """Whether there is enough for a retry."""
        return self.tokens >= self.cost

    def take(self) -> bool:
        """Take the tokens of a retry; False if there are too few."""
        if not self.has_enough:
            return False
        self.tokens -= self.cost
        return True

    def succeeded(self, *, after_retry: bool) -> None:
        """Return what the last retry took, or add one token after a success without any."""
        self.tokens = min(self.capacity, self.tokens + (self.cost if after_retry else 1))


@define(eq=False)
class Retrier:
    """Repeat what may be repeated, for one client; the state of each call is its own."""

    policy: RetryPolicy
    timing: Timing
    budget: RetryBudget = field(init=False)
    paused_until: float = field(default=0.0, init=False)
    held: int = field(default=0, init=False)
    """Calls that wait to send: for a pause to end, or between two attempts."""
    _pause_seconds: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.budget = RetryBudget(self.policy.budget_tokens, self.policy.budget_cost)

    async def wait_for_pause(self, deadline: float) -> bool:
        """Sit out the pause that a 429 asked of the whole client; False if it outlasts the call."""
        while (left := self.paused_until - (now := self.timing.monotonic())) > 0:
            if now + left >= deadline:
                return False
            self.held += 1
            try:
                await self.timing.sleep(left)
                # All that waited wake up at once: by now their number is known.
                room = deadline - self.timing.monotonic()
                spread = min(self._spread(self.held, self._pause_seconds), max(0.0, room / 2))
                await self.timing.sleep(self.timing.random() * spread)
            finally:
                self.held -= 1
        return True

    def _spread(self, calls: int, pause_seconds: float) -> float:
        """Return over how many seconds calls leave after a pause that kept all of them back.

        As long as the pause itself, where many wait: what gathered in five seconds leaves in five,
        beside what comes by then. A few leave sooner.
        """
        return min(pause_seconds, calls * self.policy.throttled_initial_delay_seconds)

    def pause_client(self, verdict: Verdict) -> float | None:
        """Pause all calls of the client if a 429 asks for it; return the seconds, or None.

        It is paused for as long as the answer asked, up to ``max_retry_after_seconds``.
        """
        patience = self.policy.max_retry_after_seconds
        asked = verdict.retry_after_seconds
        if verdict.happened is not AttemptResult.REFUSED_FOR_NOW or asked is None:
            return None
        pause = min(asked, patience)
        until = self.timing.monotonic() + pause
        if until > self.paused_until:
            self.paused_until, self._pause_seconds = until, pause
        return pause

    def take_from_budget(self) -> None:
        """Take the tokens of a retry, just before it is sent: one cancelled earlier takes none.

        Raises:
            OutOfBudget: the budget has too few tokens; the retry must not be sent.

        """
        if not self.budget.take():
            raise OutOfBudget

    async def retry(
        self, first: Verdict, again: Callable[[], Awaitable[Verdict]], rules: "CallRules"
    ) -> tuple[Verdict, str | None]:
        """Retry a call whose first attempt failed.

        Returns the last verdict, and what stopped the call short of success: ``attempts``,
        ``retry_after``, ``deadline``, ``budget``, or None if a repeat was out of the question.
        """
        brakes = _Brakes(self, rules)
        is_first, last = True, first

        async def attempt() -> Verdict:
            # tenacity is woken by the first failure only: a call that succeeds at once would
            # pay it a third of its time. The first verdict is handed in as its first attempt.
            nonlocal is_first, last
            if is_first:
                is_first = False
                return last
            try:
                last = await again()
            except OutOfBudget:
                brakes.is_out_of_budget = True
            return last

        async def sleep(seconds: float) -> None:
            rules.on_wait(last, seconds)
            await self._sleep(seconds)

        tenacity = AsyncRetrying(
            retry=retry_if_result(lambda verdict: _may_repeat(verdict, rules.repeat)),
            wait=lambda state: self._wait(state, rules.deadline),
            stop=brakes,
            sleep=sleep,
            retry_error_callback=_last_verdict,
        )
        verdict: Verdict = await tenacity(attempt)
        return verdict, verdict.ends_call or brakes.stopped_by

    async def _sleep(self, seconds: float) -> None:
        self.held += 1
        try:
            await self.timing.sleep(seconds)
        finally:
            self.held -= 1

    def _wait(self, state: RetryCallState, deadline: float) -> float:
        policy, verdict = self.policy, _last_verdict(state)
        later = ACTIONS[verdict.happened, Repeat.HARMLESS] is Action.REPEAT_LATER
        base = policy.throttled_initial_delay_seconds if later else policy.initial_delay_seconds
        doublings = min(state.attempt_number - 1, _MOST_DOUBLINGS)
        doubled = min(policy.max_delay_seconds, base * 2.0**doublings)
        if (asked := verdict.retry_after_seconds) is None:
            return self.timing.random() * doubled
        # On top of what was asked, or all that were turned away together would come together;
        # but half of what the deadline leaves after it is for the attempt itself.
        spread = max(doubled, self._spread(self.held, asked))
        room = deadline - self.timing.monotonic() - asked
        return asked + self.timing.random() * (min(spread, room / 2) if room > 0 else spread)


def _ignore_wait(_verdict: Verdict, _seconds: float) -> None:
    pass


@frozen
class CallRules:
    """What bounds the repeats of one call."""

    repeat: Repeat
    attempts: int
    deadline: float
    """On the monotonic clock."""
    on_wait: Callable[[Verdict, float], None] = _ignore_wait
    """Called before each wait with the verdict that it follows, and its seconds."""


@define(eq=False)
class _Brakes:
    """tenacity's stop: asked only when a repeat is wanted and its wait is known."""

    retrier: Retrier
    rules: CallRules
    stopped_by: str | None = None
    is_out_of_budget: bool = False
    """Whether others spent the rest of the budget while this call waited."""

    def __call__(self, state: RetryCallState) -> bool:
        self.stopped_by = self._reason(state)
        return self.stopped_by is not None

    def _reason(self, state: RetryCallState) -> str | None:
        policy, timing = self.retrier.policy, self.retrier.timing
        if state.attempt_number >= self.rules.attempts:
            return "attempts"
        if (_last_verdict(state).retry_after_seconds or 0.0) > policy.max_retry_after_seconds:
            return "retry_after"
        if timing.monotonic() + state.upcoming_sleep >= self.rules.deadline:
            return "deadline"
        if self.is_out_of_budget or not self.retrier.budget.has_enough:
            return "budget"
        return None


def _may_repeat(verdict: Verdict, repeat: Repeat) -> bool:
    if verdict.happened is AttemptResult.ACCEPTED or verdict.ends_call is not None:
        return False
    return ACTIONS[verdict.happened, repeat] in {Action.REPEAT, Action.REPEAT_LATER}


def _last_verdict(state: RetryCallState) -> Verdict:
    assert state.outcome is not None  # noqa: S101 - tenacity asks after an attempt
    verdict: Verdict = state.outcome.result()
    return verdict
