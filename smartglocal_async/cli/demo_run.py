"""The demo's two acts, one session and then many, and what both sides counted; no output."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from ..client import SmartGlocal
from ..emulator import Provider, Report
from ..errors import CallOutcome
from ..outcome import Outcome
from ..retry import RetryPolicy
from ..settings import AttemptDetails, Settings
from ..signing import PrivateKey
from ..values.answers import Session
from ..values.money import AmountDetails
from ..values.requests import CreateSession
from .demo_causes import Cause, Retries
from .tap import tapped

PROJECT: Final = "demo"
# Eight attempts at 10 % of faults lose one order in a hundred million.
_ATTEMPTS: Final = 8
# Nobody watches a demo that waits; a real client is more patient.
_LONGEST_WAIT_SECONDS: Final = 1.0
_FAILED: Final = (CallOutcome.NOT_SENT, CallOutcome.REFUSED, CallOutcome.UNKNOWN)
_PERCENT: Final = 100

Settled = Callable[[Outcome[CreateSession]], None]


@frozen(kw_only=True)
class Plan:
    """What to do."""

    orders: int
    faults: float
    seed: int
    concurrency: int

    @property
    def retry(self) -> RetryPolicy:
        """The policy under which random faults lose nothing by chance."""
        usual = RetryPolicy()
        return RetryPolicy(
            attempts=_ATTEMPTS,
            longest_wait_seconds=_LONGEST_WAIT_SECONDS,
            # Every order in flight may be at a retry at once; an outage still ends it.
            budget_tokens=max(usual.budget_tokens, usual.budget_cost * self.concurrency),
        )

    def settings(self, on_attempt: Callable[[AttemptDetails], None]) -> Settings:
        """Give the settings of the client, which counts its attempts."""
        return Settings(retry=self.retry, on_attempt=on_attempt)

    def requests(self) -> Iterator[CreateSession]:
        """Give the orders, one after another."""
        for number in range(1, self.orders + 1):
            yield _order(f"order-{number:05}")


@frozen(kw_only=True)
class First:
    """One session: the bytes that left, those that came back, and what they mean."""

    request: bytes
    answer: bytes
    session: Session


@frozen(kw_only=True)
class Result:
    """What both sides counted."""

    plan: Plan
    sessions: int
    """Sessions that the client was given."""
    missing: Mapping[str, int]
    """Orders without a session, by what is known of them; ``lost``: nothing."""
    attempts: int
    signatures: int
    causes: Mapping[Cause, int]
    errors: Mapping[str, int]
    p50_seconds: float
    p99_seconds: float
    seconds: float
    report: Report

    @property
    def is_good(self) -> bool:
        """Whether each order has one session, and every attempt of an order the same bytes."""
        seen, without = self.report, sum(self.missing.values())
        return not (without or seen.duplicates or seen.changed or seen.bad_signatures)

    @property
    def retries(self) -> int:
        """Attempts after the first of an order."""
        return sum(self.causes.values())

    def as_dict(self) -> dict[str, Any]:
        """Give the result as plain JSON values."""
        return {
            "ok": self.is_good,
            "orders": self.plan.orders,
            "seed": self.plan.seed,
            "fault_rate": self.plan.faults,
            "sessions": self.sessions,
            **self.missing,
            "duplicates": self.report.duplicates,
            "attempts": self.attempts,
            "retries": self.retries,
            "retries_by_cause": [
                {"cause": cause.what, "happened": cause.happened, "retries": times}
                for cause, times in self.causes.items()
            ],
            "signatures": self.signatures,
            "errors": dict(self.errors),
            "p50_ms": round(self.p50_seconds * 1000, 3),
            "p99_ms": round(self.p99_seconds * 1000, 3),
            "seconds": round(self.seconds, 3),
            "requests_per_second": round(self.report.requests / self.seconds, 1),
            "provider": self.report.as_dict(),
        }


async def create_one(provider: Provider, key: PrivateKey) -> First:
    """Create one session through a relay that keeps the bytes."""
    async with (
        tapped(provider.url) as tap,
        SmartGlocal(provider.project, key, tap.url) as api,
    ):
        session = await api.session.create(_order("order-00000"), key="order-00000")
        return First(request=bytes(tap.sent), answer=bytes(tap.answered), session=session)


async def create_many(plan: Plan, provider: Provider, key: PrivateKey, told: Settled) -> Result:
    """Create a session for every order at once, and compare both sides' books."""
    retries, outcomes = Retries(), _Outcomes()
    settings = plan.settings(retries)
    started = time.perf_counter()
    async with SmartGlocal(provider.project, key, provider.url, settings=settings) as api:
        many = api.session.create_many(
            plan.requests(), concurrency=plan.concurrency, keys=_order_id
        )
        async for outcome in many:
            outcomes.add(outcome)
            told(outcome)
        seconds = time.perf_counter() - started
        stats = api.stats().pool
    return Result(
        plan=plan,
        sessions=len(outcomes.sessions),
        missing=outcomes.missing(plan.orders, provider),
        attempts=stats.attempts,
        signatures=stats.signatures,
        causes=dict(retries.causes.most_common()),
        errors=dict(outcomes.errors.most_common()),
        p50_seconds=outcomes.percentile(50),
        p99_seconds=outcomes.percentile(99),
        seconds=seconds,
        report=provider.report(),
    )


@define(eq=False)
class _Outcomes:
    sessions: dict[str, str] = field(factory=dict[str, str])
    errors: Counter[str] = field(factory=Counter[str])
    endings: Counter[CallOutcome] = field(factory=Counter[CallOutcome])
    waits: list[float] = field(factory=list[float])

    def add(self, outcome: Outcome[CreateSession]) -> None:
        self.waits.append(outcome.elapsed_seconds)
        self.endings[outcome.outcome] += 1
        if outcome.session is not None and outcome.key is not None:
            self.sessions[outcome.key] = outcome.session.id
        else:
            why = getattr(outcome.error, "stopped_by", None)
            name = type(outcome.error).__name__
            self.errors[f"{name}, stopped by {why}" if why else name] += 1

    def missing(self, orders: int, provider: Provider) -> dict[str, int]:
        """Count the orders that haven't the same session on both sides."""
        agreed = sum(
            session_id in provider.order(key).session_ids
            for key, session_id in self.sessions.items()
        )
        told = {outcome.value: self.endings[outcome] for outcome in _FAILED}
        return {**told, "lost": orders - agreed - sum(told.values())}

    def percentile(self, percent: int) -> float:
        ranked = sorted(self.waits)
        return ranked[max(0, -(-len(ranked) * percent // _PERCENT) - 1)]


def _order(name: str) -> CreateSession:
    return CreateSession(amount_details=AmountDetails(10_000, "usd"), metadata={"order": name})


def _order_id(request: CreateSession) -> str:
    name: str = request.metadata["order"]
    return name
