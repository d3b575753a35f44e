"""What the emulator tells about itself; no I/O, and never a body or a signature."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attrs import asdict, field, frozen

EXECUTIONS: Final = ("payout", "capture")


@frozen(kw_only=True)
class Seen:
    """One request as it was met; handed to ``on_request`` before the answer leaves."""

    time: datetime
    operation: str
    """Such as ``session/create``, or the path if there is no such call."""
    key: str | None = None
    """What the request was counted under: its own name, else its session's."""
    attempt: int = 0
    """Which request for this call of its key this is, or of the server if it has none.

    0: it was turned away.
    """
    fault: str | None = None
    """The `FaultKind` that met it."""
    http_status: int | None = None
    """None if no answer was sent at all."""
    error_code: str | None = None
    """Code of the bank's refusal, even if a fault kept it from the client."""
    session_id: str | None = None
    """Session of the bank's answer, even if a fault kept it from the client."""


@frozen(kw_only=True)
class Movement:
    """Money that was moved for good."""

    kind: str
    """``payout``, ``capture``, ``refund`` or ``chargeback``."""
    item_id: str
    session_id: str
    amount: int
    """Minor units."""
    currency: str


@frozen(kw_only=True)
class Delivery:
    """One attempt to deliver a webhook, after it ended."""

    type: str
    session_id: str
    attempt: int
    """Counted from 1 for each copy of a webhook."""
    http_status: int | None
    """None if there was no answer."""
    time: datetime
    """When it was sent."""


@frozen(kw_only=True)
class Order:
    """What arrived, what was made and what was moved under one key.

    ``attempts``, ``asked``, ``digests`` and ``signatures`` are of the calls that make a
    session: ``session/create`` and ``session/init/...``.
    """

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
    calls: Mapping[str, int] = field(factory=dict[str, int])
    """Requests that arrived for each call, such as ``session/confirm``."""
    movements: tuple[Movement, ...] = ()
    """Money, in the order in which it moved."""

    @property
    def made(self) -> int:
        """Number of sessions."""
        return len(self.session_ids)

    @property
    def moved(self) -> int:
        """Number of payouts and payments that were executed."""
        return sum(movement.kind in EXECUTIONS for movement in self.movements)


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
    """Keys whose requests for one call in one session did not all have identical bytes."""
    bad_signatures: int
    refused: int
    """Error envelopes for any other reason than a signature or a fault."""
    faults: Mapping[str, int]
    """How often each `FaultKind` struck; kinds that never did are absent."""
    moved: int = 0
    """Payouts and payments that were executed."""
    moved_twice: int = 0
    """Keys under which more than one payout or payment was executed."""
    balances: Mapping[str, Mapping[str, int]] = field(factory=dict[str, Mapping[str, int]])
    """What each account holds, by currency; see the emulator's ledger."""

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain JSON values."""
        plain: dict[str, object] = asdict(self)
        plain["faults"] = dict(self.faults)
        plain["balances"] = {code: dict(accounts) for code, accounts in self.balances.items()}
        return plain
