"""The metrics of this package, in one table for every exporter, and what an event adds to them.

Names and units follow the semantic conventions of OpenTelemetry. Attributes have few values each:
no key, no session and no batch is among them.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from ..operations import OPERATIONS
from .events import (
    AttemptEnded,
    CallEnded,
    CallStarted,
    ClientPaused,
    JournalWritten,
    KeyShared,
    ObserverEvent,
    PayoutEnded,
    PayoutsHaltRaised,
    PayoutStarted,
    PoolWaited,
    RequestSigned,
    RetryScheduled,
    WebhookHandled,
    WebhookReceived,
)


class MetricKind(enum.Enum):
    """How measurements are combined."""

    COUNTER = "counter"
    UP_DOWN = "up-down counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


SECONDS: Final = "s"
_CALL_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHORT_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_ATTEMPT_BUCKETS: Final = (1.0, 2.0, 3.0, 5.0, 10.0)


@frozen
class Metric:
    """One metric: its name, how it is combined, its unit, its attributes and its buckets."""

    name: str
    kind: MetricKind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram."""

    @property
    def prometheus_name(self) -> str:
        """The name by Prometheus's rules, which has the unit at its end."""
        name = self.name.replace(".", "_")
        if self.kind is MetricKind.COUNTER:
            return f"{name}_total"
        return f"{name}_seconds" if self.unit == SECONDS else name


_COUNTER, _UP_DOWN = MetricKind.COUNTER, MetricKind.UP_DOWN
_HISTOGRAM: Final = MetricKind.HISTOGRAM

CALL_DURATION: Final = Metric(
    "smartglocal.call.duration",
    _HISTOGRAM,
    SECONDS,
    "Duration of calls, with their retries and waits.",
    ("operation", "outcome"),
    _CALL_BUCKETS,
)
CALL_ATTEMPTS: Final = Metric(
    "smartglocal.call.attempts",
    _HISTOGRAM,
    "{attempt}",
    "Attempts of a call.",
    ("operation", "outcome"),
    _ATTEMPT_BUCKETS,
)
ACTIVE_CALLS: Final = Metric(
    "smartglocal.call.active", _UP_DOWN, "{call}", "Calls in flight.", ("operation",)
)
ATTEMPT_DURATION: Final = Metric(
    "smartglocal.attempt.duration",
    _HISTOGRAM,
    SECONDS,
    "Duration of attempts, with their wait for the pool.",
    ("operation", "result"),
    _CALL_BUCKETS,
)
RETRIES: Final = Metric(
    "smartglocal.retries",
    _COUNTER,
    "{retry}",
    "Retries by the result of the attempt before.",
    ("operation", "cause"),
)
BUDGET: Final = Metric(
    "smartglocal.retry_budget.tokens",
    MetricKind.GAUGE,
    "{token}",
    "Tokens that are left for retries.",
)
PAUSES: Final = Metric(
    "smartglocal.client.pauses", _COUNTER, "{pause}", "Pauses that the provider asked for."
)
POOL_WAIT: Final = Metric(
    "smartglocal.pool.wait.duration",
    _HISTOGRAM,
    SECONDS,
    "Waits of attempts that found the pool full.",
    ("result",),
    _CALL_BUCKETS,
)
SIGNATURE: Final = Metric(
    "smartglocal.signature.duration",
    _HISTOGRAM,
    SECONDS,
    "Duration of signatures, with the wait for a thread.",
    (),
    _SHORT_BUCKETS,
)
SHARED_KEYS: Final = Metric(
    "smartglocal.key.shared",
    _COUNTER,
    "{call}",
    "Calls that joined another one with their key.",
    ("operation",),
)
PAYOUTS: Final = Metric(
    "smartglocal.payouts", _COUNTER, "{payout}", "Payouts that were worked on.", ("state",)
)
PAYOUT_DURATION: Final = Metric(
    "smartglocal.payout.duration",
    _HISTOGRAM,
    SECONDS,
    "Duration of the work on a payout.",
    ("state",),
    _CALL_BUCKETS,
)
ACTIVE_PAYOUTS: Final = Metric(
    "smartglocal.payout.active", _UP_DOWN, "{payout}", "Payouts that are worked on."
)
HALTS: Final = Metric(
    "smartglocal.payout.halts", _COUNTER, "{halt}", "Halts that were raised.", ("kind",)
)
JOURNAL: Final = Metric(
    "smartglocal.journal.commit.duration",
    _HISTOGRAM,
    SECONDS,
    "Duration of commits to the journal.",
    ("written", "result"),
    _SHORT_BUCKETS,
)
WEBHOOKS: Final = Metric(
    "smartglocal.webhooks", _COUNTER, "{delivery}", "Deliveries of webhooks.", ("state",)
)
WEBHOOK_DURATION: Final = Metric(
    "smartglocal.webhook.duration",
    _HISTOGRAM,
    SECONDS,
    "Duration of the handlers of an event.",
    ("result",),
    _CALL_BUCKETS,
)
METRICS: Final = (
    *(CALL_DURATION, CALL_ATTEMPTS, ACTIVE_CALLS, ATTEMPT_DURATION, RETRIES, BUDGET, PAUSES),
    *(POOL_WAIT, SIGNATURE, SHARED_KEYS, PAYOUTS, PAYOUT_DURATION, ACTIVE_PAYOUTS, HALTS),
    *(JOURNAL, WEBHOOKS, WEBHOOK_DURATION),
)


def metrics_table() -> str:
    """Return the metrics as a table in Markdown."""
    lines = ["| OpenTelemetry | Prometheus | What | By |", "|---|---|---|---|"]
    for metric in METRICS:
        attributes = ", ".join(f"`{name}`" for name in metric.attributes)
        names = f"`{metric.name}` | `{metric.prometheus_name}`"
        lines.append(f"| {names} | {metric.description} | {attributes} |")
    return "\n".join(lines)


Labels = Mapping[str, str]
Measurement = tuple[Metric, float, Labels]
"""A metric, the value to add, observe or set, and the attributes with their values."""


def measurements(event: ObserverEvent) -> Iterator[Measurement]:
    """Yield what an event adds to the metrics."""
    match event:
        case CallStarted() | CallEnded() | AttemptEnded() | RetryScheduled() | KeyShared():
            yield from _of_call(event)
        case ClientPaused():
            yield PAUSES, 1, {}
        case PoolWaited():
            yield POOL_WAIT, event.seconds, {"result": "gave up" if event.gave_up else "sent"}
        case RequestSigned():
            yield SIGNATURE, event.seconds, {}
        case PayoutStarted() | PayoutEnded() | PayoutsHaltRaised() | JournalWritten():
            yield from _of_payout(event)
        case WebhookReceived():
            yield WEBHOOKS, 1, {"state": event.state}
        case WebhookHandled():
            result = "handled" if event.is_handled else "failed"
            yield WEBHOOK_DURATION, event.elapsed_seconds, {"result": result}
        case _:
            return


def _of_call(
    event: CallStarted | CallEnded | AttemptEnded | RetryScheduled | KeyShared,
) -> Iterator[Measurement]:
    operation = {"operation": known_operation(event.operation)}
    match event:
        case CallStarted():
            yield ACTIVE_CALLS, 1, operation
        case CallEnded():
            labels = operation | {"outcome": event.outcome}
            yield ACTIVE_CALLS, -1, operation
            yield CALL_DURATION, event.elapsed_seconds, labels
            yield CALL_ATTEMPTS, event.attempts, labels
            yield BUDGET, event.budget_tokens, {}
        case AttemptEnded():
            result = "cancelled" if event.happened is None else event.happened.name.lower()
            yield ATTEMPT_DURATION, event.elapsed_seconds, operation | {"result": result}
        case RetryScheduled():
            yield RETRIES, 1, operation | {"cause": event.happened.name.lower()}
        case KeyShared():
            yield SHARED_KEYS, 1, operation


def _of_payout(
    event: PayoutStarted | PayoutEnded | PayoutsHaltRaised | JournalWritten,
) -> Iterator[Measurement]:
    match event:
        case PayoutStarted():
            yield ACTIVE_PAYOUTS, 1, {}
        case PayoutEnded():
            yield ACTIVE_PAYOUTS, -1, {}
            if not event.replayed:
                yield PAYOUTS, 1, {"state": event.state}
                yield PAYOUT_DURATION, event.elapsed_seconds, {"state": event.state}
        case PayoutsHaltRaised():
            yield HALTS, 1, {"kind": event.kind}
        case JournalWritten():
            result = "written" if event.error is None else "failed"
            yield JOURNAL, event.seconds, {"written": event.written or "claim", "result": result}


def known_operation(path: str) -> str:
    """Return the path of a call, or ``other`` for one that isn't in the table of the API."""
    return path if path in _PATHS else "other"


_PATHS: Final = frozenset(operation.path for operation in OPERATIONS)
