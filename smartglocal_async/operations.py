"""The API's calls as rows: path, request record, answer record, what a repeat would do."""

import enum
from typing import Final, Generic, TypeVar

from attrs import frozen

from .values.answers import Session
from .values.requests import CreateSession, SessionRef

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Repeat(enum.Enum):
    """What sending the same call a second time would do at the provider."""

    HARMLESS = "harmless"
    """Nothing, or an orphan that moves no money."""
    MOVES_MONEY = "moves money"
    """Money might move a second time."""


@frozen
class Operation(Generic[Request, Answer]):
    """One row of the API."""

    path: str
    request: type[Request]
    answer: type[Answer]
    answer_field: str
    """Where in the envelope the answer stands."""
    repeat: Repeat
    has_metadata: bool
    """Whether the request carries metadata, and with it the idempotency key."""
    is_read: bool = False
    """Whether it changes nothing, so that only its last attempt counts."""


SESSION_CREATE: Final = Operation(
    "session/create", CreateSession, Session, "session", Repeat.HARMLESS, has_metadata=True
)
SESSION_STATUS: Final = Operation(
    "session/status",
    SessionRef,
    Session,
    "session",
    Repeat.HARMLESS,
    has_metadata=False,
    is_read=True,
)

DEMO: Final = "https://demo.smart-glocal.com"
"""The provider's test server."""
LIVE: Final = "https://proxy.smart-glocal.com"
"""The provider's live server: money moves."""
