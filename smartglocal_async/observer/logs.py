"""Logs events with the standard library: constant messages, with their fields as attributes too.

Three loggers, ``smartglocal_async`` for calls, and ``smartglocal_async.payouts`` and ``.webhooks``.
Retries are logged at INFO, unknown outcomes and exhausted budgets at WARNING. A record has the
event's name as ``sg_event``, and each of its `facts` as an attribute with the prefix ``sg_``.
"""

import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import InvalidRequest
from .events import (
    AttemptEnded,
    AttemptStarted,
    BatchPhase,
    BatchProgress,
    CallEnded,
    CallHeld,
    CallStarted,
    ClientPaused,
    JournalWritten,
    KeyShared,
    ListenerFailed,
    ObserverEvent,
    PayoutEnded,
    PayoutsHaltRaised,
    PayoutStarted,
    PoolWaited,
    RequestSigned,
    RetryScheduled,
    WebhookFailed,
    WebhookHandled,
    WebhookReceived,
    WebhookStarted,
    facts,
)

CALLS: Final = logging.getLogger("smartglocal_async")
PAYOUTS: Final = logging.getLogger("smartglocal_async.payouts")
WEBHOOKS: Final = logging.getLogger("smartglocal_async.webhooks")
# A program that sets up no logging sees no lines of a library.
CALLS.addHandler(logging.NullHandler())

PREFIX: Final = "sg_"
_VARIABLE: Final = "SMARTGLOCAL_LOG"
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Line = tuple[logging.Logger, int, str, tuple[str, ...]]
"""Logger, level, constant message, and the fields that it is filled with."""


def log(event: ObserverEvent) -> None:
    """Log an event, if its logger is enabled for its level."""
    logger, level, message, names = _line(event)
    if not logger.isEnabledFor(level):
        return
    found = facts(event)
    error = event.error if isinstance(event, WebhookFailed) else None
    logger.log(
        level,
        message,
        *[found.get(name, "-") for name in names],
        exc_info=error,
        extra={f"{PREFIX}event": event.name} | {f"{PREFIX}{name}": found[name] for name in found},
    )


def log_to_stderr(level: str = "info") -> None:
    """Write the lines of this package to standard error, from a level on.

    The level is ``debug``, ``info``, ``warning`` or ``error``; a second call changes it. A program
    that has set up logging, before or later, keeps its handlers, and its lines aren't doubled: only
    the level of the logger ``smartglocal_async`` is set.

    Raises:
        InvalidRequest: an unknown level.

    """
    if level.lower() not in _LEVELS:
        raise InvalidRequest(_VARIABLE, f"expected one of {', '.join(_LEVELS)}")
    known = (*CALLS.handlers, *logging.getLogger().handlers)
    if all(isinstance(handler, logging.NullHandler) for handler in known):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.addFilter(lambda _: not logging.getLogger().handlers)
        CALLS.addHandler(handler)
    CALLS.setLevel(_LEVELS[level.lower()])


@functools.cache
def set_up_from_environment() -> None:
    """Call `log_to_stderr` once, if ``SMARTGLOCAL_LOG`` is set in the environment.

    An unknown level is reported in the log, and ``info`` is used: it must not end the program.
    """
    level = os.environ.get(_VARIABLE)
    if not level:
        return
    try:
        log_to_stderr(level)
    except InvalidRequest as error:
        log_to_stderr("info")
        CALLS.warning("%s; info is used", error)


def _line(event: ObserverEvent) -> Line:
    line = _LINES[type(event)]
    return line(event) if callable(line) else line


def _call_ended(event: Any) -> Line:  # noqa: ANN401 - of the table below
    fields: tuple[str, ...] = (
        *("operation", "outcome", "attempts", "elapsed_seconds"),
        *("key", "session_id"),
    )
    message = "call ended: %s %s after %s attempts in %.3f s (key %s, session %s)"
    if event.outcome == "succeeded":
        return CALLS, logging.DEBUG, message, fields
    fields = (*fields, "code", "http_status", "cause")
    message = f"{message[:-1]}, code %s, HTTP %s): %s"
    if event.stopped_by == "budget":
        return CALLS, logging.WARNING, f"retry budget exhausted, {message}", fields
    level = logging.WARNING if event.outcome == "unknown" else logging.INFO
    return CALLS, level, message, fields


def _pool_waited(event: Any) -> Line:  # noqa: ANN401
    message = "pool full: %s waited %.3f s for a slot"
    level = logging.WARNING if event.gave_up else logging.DEBUG
    return CALLS, level, message, ("operation", "seconds")


def _payout_ended(event: Any) -> Line:  # noqa: ANN401
    fields = ("state", "elapsed_seconds", "key", "session_id", "code", "error")
    message = "payout %s after %.3f s (key %s, session %s, code %s, error %s)"
    if event.replayed:
        return PAYOUTS, logging.DEBUG, f"{message}: it was settled before", fields
    level = logging.WARNING if event.state == "unknown" else logging.INFO
    return PAYOUTS, level, message, fields


def _journal_written(event: Any) -> Line:  # noqa: ANN401
    fields = ("written", "before", "step", "seconds", "key", "session_id")
    if event.error is None:
        message = "journal written: %s, %s to %s in %.3f s (key %s, session %s)"
        return PAYOUTS, logging.DEBUG, message, fields
    message = "journal not written: %s, %s to %s in %.3f s (key %s, session %s): %s"
    return PAYOUTS, logging.INFO, message, (*fields, "error")


def _batch_progress(event: Any) -> Line:  # noqa: ANN401
    level = logging.DEBUG if event.phase is BatchPhase.RUNNING else logging.INFO
    message = "batch %s %s: %s outcomes after %.1f s"
    return PAYOUTS, level, message, ("batch", "phase", "settled", "elapsed_seconds")


def _webhook_received(event: Any) -> Line:  # noqa: ANN401
    if event.fault is not None:
        return WEBHOOKS, logging.WARNING, "a webhook was refused: %s (%s)", ("fault", "detail")
    if event.state == "full":
        message = "a webhook found the backlog full: %s of session %s"
        return WEBHOOKS, logging.WARNING, message, ("type", "session_id")
    message = "a webhook was %s: %s of session %s"
    return WEBHOOKS, logging.DEBUG, message, ("state", "type", "session_id")


_FAILED_WEBHOOKS: Final[Mapping[str, Line]] = {
    "handler": (
        WEBHOOKS,
        logging.ERROR,
        "a webhook handler failed: %s of session %s in %s",
        ("type", "session_id", "handler"),
    ),
    "claim": (
        WEBHOOKS,
        logging.ERROR,
        "a webhook can't be claimed in the store: %s of session %s",
        ("type", "session_id"),
    ),
    "record": (
        WEBHOOKS,
        logging.ERROR,
        "the store didn't record the result of a webhook: %s of session %s",
        ("type", "session_id"),
    ),
    "drain": (WEBHOOKS, logging.WARNING, "webhook handlers were cancelled: %s", ("count",)),
}

_LINES: Final[Mapping[type[ObserverEvent], Line | Callable[[Any], Line]]] = {
    CallStarted: (
        CALLS,
        logging.DEBUG,
        "call started: %s (key %s, session %s)",
        ("operation", "key", "session_id"),
    ),
    CallEnded: _call_ended,
    AttemptStarted: (
        CALLS,
        logging.DEBUG,
        "attempt started: %s, attempt %s: %s %s",
        ("operation", "attempt", "method", "url"),
    ),
    AttemptEnded: (
        CALLS,
        logging.DEBUG,
        "attempt ended: %s, attempt %s: %s in %.3f s (key %s, code %s, HTTP %s): %s",
        (
            *("operation", "attempt", "happened", "elapsed_seconds"),
            *("key", "code", "http_status", "cause"),
        ),
    ),
    RetryScheduled: (
        CALLS,
        logging.INFO,
        "retry of %s in %.3f s, after attempt %s: %s (key %s, code %s, HTTP %s): %s",
        ("operation", "seconds", "attempt", "happened", "key", "code", "http_status", "cause"),
    ),
    ClientPaused: (
        CALLS,
        logging.INFO,
        "all calls pause for %.1f s, as the provider asked after %s",
        ("seconds", "operation"),
    ),
    CallHeld: (
        CALLS,
        logging.DEBUG,
        "call held: %s waited %.3f s for the pause of the client",
        ("operation", "seconds"),
    ),
    PoolWaited: _pool_waited,
    RequestSigned: (
        CALLS,
        logging.DEBUG,
        "request signed: %s in %.4f s",
        ("operation", "seconds"),
    ),
    KeyShared: (
        CALLS,
        logging.DEBUG,
        "key shared: %s joins the call with key %s that is in progress",
        ("operation", "key"),
    ),
    ListenerFailed: (
        CALLS,
        logging.WARNING,
        "a listener wasn't notified of the provider's pause: %s",
        ("error",),
    ),
    PayoutStarted: (
        PAYOUTS,
        logging.DEBUG,
        "payout begins (key %s, batch %s)",
        ("key", "batch"),
    ),
    PayoutEnded: _payout_ended,
    JournalWritten: _journal_written,
    PayoutsHaltRaised: (PAYOUTS, logging.ERROR, "all payouts were halted: %s", ("kind",)),
    BatchProgress: _batch_progress,
    WebhookReceived: _webhook_received,
    WebhookStarted: (
        WEBHOOKS,
        logging.DEBUG,
        "webhook handlers begin: %s of session %s",
        ("type", "session_id"),
    ),
    WebhookHandled: (
        WEBHOOKS,
        logging.DEBUG,
        "webhook handlers ended after %.3f s: %s of session %s (handled: %s)",
        ("elapsed_seconds", "type", "session_id", "is_handled"),
    ),
    WebhookFailed: lambda event: _FAILED_WEBHOOKS[event.where],
}
