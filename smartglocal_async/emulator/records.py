"""What the emulator tells about itself; no I/O, and never a body or a signature."""

from collections.abc import Mapping
from datetime import datetime

from attrs import asdict, frozen


@frozen(kw_only=True)
class Seen:
    """One request as it was met; handed to ``on_request`` before the answer leaves."""

    time: datetime
    operation: str
    """``session/create``, ``session/status``, or the path if there is no such call."""
    key: str | None = None
    """What the request was counted under; see `Rules.key_field`."""
    attempt: int = 0
    """Which request of its key this is, or of the server if it has none; 0: turned away."""
    fault: str | None = None
    """The `FaultKind` that met it."""
    http_status: int | None = None
    """None if no answer was sent at all."""
    error_code: str | None = None
    """Code of the bank's refusal, even if a fault kept it from the client."""
    session_id: str | None = None
    """Session of the bank's answer, even if a fault kept it from the client."""


@frozen(kw_only=True)
class Order:
    """What arrived and what was made under one key."""

    key: str
    attempts: int = 0
    """Requests that arrived, those that met a fault included."""
    asked: int = 0
    """Requests that reached the bank: made, replayed or refused a session."""
    session_ids: tuple[str, ...] = ()
    digests: frozenset[str] = frozenset()
    """SHA-256 of each different body that arrived."""
    signatures: frozenset[str] = frozenset()
    """SHA-256 of each different signature header that arrived."""

    @property
    def made(self) -> int:
        """Number of sessions."""
        return len(self.session_ids)


@frozen(kw_only=True)
class Report:
    """Counts since the start."""

    requests: int
    """All requests, but those for this report."""
    orders: int
    """Different keys that arrived."""
    sessions: int
    duplicates: int
    """Sessions beyond the first of a key."""
    changed: int
    """Keys whose requests did not all have identical bytes."""
    bad_signatures: int
    refused: int
    """Error envelopes for any other reason than a signature or a fault."""
    faults: Mapping[str, int]
    """How often each `FaultKind` struck; kinds that never did are absent."""

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain JSON values."""
        plain: dict[str, object] = asdict(self)
        plain["faults"] = dict(self.faults)
        return plain
