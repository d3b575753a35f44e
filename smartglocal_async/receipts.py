"""What becomes of a delivery, and what to answer to it."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import frozen

from .values.events import WebhookEvent


class AnswerWhen(enum.Enum):
    """When the provider gets its answer."""

    ACCEPTED = "accepted"
    """At once; handlers run after it. What is lost from then on, nobody delivers again."""
    HANDLED = "handled"
    """After the handlers; when one fails, the answer is 500, and the provider delivers again,
    for up to 30 minutes. How long it waits for an answer is unknown: be quick."""


class ReceiptState(enum.Enum):
    """What became of a delivery."""

    ACCEPTED = "accepted"
    """It will be handled."""
    HANDLED = "handled"
    REPEATED = "repeated"
    """It was handled before."""
    RUNNING = "running"
    """It is being handled, and nobody knows yet how that ends: let it come again."""
    FAILED = "failed"
    """A handler failed, or the store did."""
    FULL = "full"
    """There are too many that wait."""
    STOPPED = "stopped"
    """The application is stopping."""


_STATUS: Final[Mapping[ReceiptState, int]] = MappingProxyType(
    {
        ReceiptState.ACCEPTED: 200,
        ReceiptState.HANDLED: 200,
        ReceiptState.REPEATED: 200,
        ReceiptState.RUNNING: 503,
        ReceiptState.FAILED: 500,
        ReceiptState.FULL: 503,
        ReceiptState.STOPPED: 503,
    }
)


@frozen
class Receipt:
    """A verified event, what became of it, and what to answer."""

    event: WebhookEvent
    state: ReceiptState

    @property
    def http_status(self) -> int:
        """The status to answer with; after any but 200 the provider delivers again."""
        return _STATUS[self.state]
