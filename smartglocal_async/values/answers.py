"""What the provider answers: sessions with their statuses, and its word on errors.

Unknown statuses stay the words they are, and unknown fields are kept in ``extra``.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from .exactness import mask


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


class NextAction(StrEnum):
    """What the provider awaits from the merchant."""

    CONFIRM = "confirm"
    CAPTURE = "capture"


@frozen(kw_only=True)
class ProviderError:
    """The provider's word on what went wrong inside a session."""

    code: str
    description: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Session:
    """A payment session as the provider sees it.

    ``id`` is opaque. ``status`` is a `SessionStatus`, or the provider's word where it is a new
    one; both compare equal to plain text. Times are aware, to the microsecond, and None where
    the provider left them out. Fields without a name here are in ``extra``.
    """

    id: str
    status: SessionStatus | str
    created_at: datetime | None = None
    updated_at: datetime | None = None
    next_action: NextAction | str | None = None
    metadata: Any = field(default=None, hash=False)
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)
