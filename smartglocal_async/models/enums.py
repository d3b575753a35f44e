"""Statuses as the provider names them; an unknown one stays plain text."""

from enum import StrEnum


class SessionStatus(StrEnum):
    """Status of a session (the provider's page of objects)."""

    CREATED = "created"
    """Waits to be started or cancelled."""
    IN_PROGRESS = "in_progress"
    ACCEPTED = "accepted"
    """Completed successfully."""
    CANCELLED = "cancelled"
    CANCELED = "canceled"
    """The same, as the pages about deadlines spell it; `Session.is_cancelled` takes both."""
    ERROR = "error"
    """An unexpected error. Not final: contact support and wait for a final status."""


class OperationStatus(StrEnum):
    """Status of a payout or a payment (the provider's page of objects)."""

    IN_PROGRESS = "in_progress"
    PENDING = "pending"
    """Waits for the merchant to confirm, cancel or capture, or for the payer."""
    SUCCEEDED = "succeeded"
    """Completed. The recipient's bank may still return a payout (payouts/payout-refunds):
    `Payout.refunds`, `PaymentRefunded` and the daily report show it, and an older page says that
    no notice comes."""
    FAILED = "failed"
    """Failed; final only if the status of the session isn't ``error``."""
    CANCELLED = "cancelled"
    """Ended by time or by a cancel."""
    CANCELED = "canceled"
    """The same, as the pages about deadlines spell it."""


class RefundStatus(StrEnum):
    """Status of a refund; ``declined`` and ``error`` are the sister platform's."""

    IN_PROGRESS = "in_progress"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    ERROR = "error"


class NextAction(StrEnum):
    """What the provider awaits from the merchant."""

    CONFIRM = "confirm"
    CAPTURE = "capture"


class InteractionType(StrEnum):
    """What the payer has to do; ``inform`` shows a QR code, as for Faster Payments.

    The page shows its content; the word itself is the sister platform's.
    """

    REDIRECT = "redirect"
    INFORM = "inform"
