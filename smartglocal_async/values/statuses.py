"""Words for where things stand; a word that is new stays the text it is."""

from enum import StrEnum


class SessionStatus(StrEnum):
    """Where a session stands (the provider's page of objects)."""

    CREATED = "created"
    """Waits to be started or cancelled."""
    IN_PROGRESS = "in_progress"
    ACCEPTED = "accepted"
    """Completed successfully."""
    CANCELLED = "cancelled"
    ERROR = "error"
    """An unexpected error. Not final: contact support and wait for a final status."""


class OperationStatus(StrEnum):
    """Where a payout or a payment stands (the provider's page of objects)."""

    IN_PROGRESS = "in_progress"
    PENDING = "pending"
    """Waits for the merchant to confirm, cancel or capture, or for the payer."""
    SUCCEEDED = "succeeded"
    """Completed. A bank may still return a payout, which is settled by hand, without notice."""
    FAILED = "failed"
    """Failed; final only beside a session whose status is another than ``error``."""
    CANCELLED = "cancelled"
    """Not confirmed in time; the provider's pages spell it with one l, too."""


class RefundStatus(StrEnum):
    """Where a refund stands; ``declined`` and ``error`` are the sister platform's."""

    IN_PROGRESS = "in_progress"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    ERROR = "error"


class NextAction(StrEnum):
    """What the provider awaits from the merchant."""

    CONFIRM = "confirm"
    CAPTURE = "capture"


class InteractionType(StrEnum):
    """What the payer has to do; ``inform`` is the sister platform's."""

    REDIRECT = "redirect"
    INFORM = "inform"
