"""What the emulator reports: requests, orders, movements of money; no body and no signature."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import asdict, define, field, frozen

from .messages import CREATE, Name

EXECUTIONS: Final = ("payout", "capture")


@frozen(kw_only=True)
class RequestRecord:
    """One request and its answer; passed to ``on_request`` before the answer is sent."""

    time: datetime
    operation: str
    """Such as ``session/create``, or the path if there is no such call."""
    key: str | None = None
    """The key that the request was counted under: its own, else its session's.

    Without a key, ``metadata`` and a short digest of the metadata that it was counted under.
    """
    attempt: int = 0
    """The number of the request, from 1, for this call and key; without a key, on the server.

    0 if it was rejected before it was counted.
    """
    fault: str | None = None
    """The `FaultKind` that was applied."""
    http_status: int | None = None
    """None if no answer was sent at all."""
    error_code: str | None = None
    """Error code of the answer, even if a fault replaced the answer."""
    session_id: str | None = None
    """Session of the answer, even if a fault replaced the answer."""
    counted_under: str | None = field(default=None, repr=False, eq=False)
    """The key, else the JSON text of the metadata, as `Provider.order` takes it."""


@frozen(kw_only=True)
class PayoutMark:
    """The payout that something is for, read from the fields ``payout_...`` of its metadata.

    `smartglocal_async.Payouts` writes them; the provider doesn't know them. Keys are unique
    within a journal only, so that one key may mean two payouts.
    """

    journal: str
    """``payout_journal``: id of the journal."""
    key: str
    """``payout_key``, else the idempotency key: key of the payout in that journal."""
    order: str | None = None
    """``payout_order``: digest of the order."""


@frozen(kw_only=True)
class Movement:
    """A final movement of money: executed, captured, refunded or charged back."""

    kind: str
    """``payout``, ``capture``, ``refund`` or ``chargeback``."""
    item_id: str
    session_id: str
    amount: int
    """Minor units."""
    currency: str
    mark: PayoutMark | None = None
    """The payout that it was for, by the metadata of the start, or else of the session."""
    payee: str = ""
    """Digest of the payout or payment instrument: equal for equal instruments."""


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
    webhook: int = 0
    """Number of the webhook, from 1 since the start; a copy that is sent again has the same."""
    problem: str | None = None
    """Why there was no answer."""


@frozen(kw_only=True)
class Order:
    """The requests, sessions and movements of money under one key.

    ``attempts``, ``reached_bank``, ``digests`` and ``signatures`` are of the calls that make a
    session: ``session/create`` and ``session/init/...``.
    """

    key: str
    attempts: int = 0
    """Requests that arrived, including those that a fault was applied to."""
    reached_bank: int = 0
    """Requests that reached the bank, which created, replayed or refused a session."""
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
    """How often each `FaultKind` was applied; kinds that never were are absent."""
    moved: int = 0
    """Payouts and payments that were executed."""
    moved_twice: int = 0
    """Orders for which more than one payout or payment was executed.

    A movement with a `PayoutMark` counts under its journal and key, any other one under the key of
    its request.
    """
    balances: Mapping[str, Mapping[str, int]] = field(factory=dict[str, Mapping[str, int]])
    """Balance of each account, by currency; see the emulator's ledger."""

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain JSON values."""
        plain: dict[str, object] = asdict(self)
        plain["faults"] = dict(self.faults)
        plain["balances"] = {code: dict(accounts) for code, accounts in self.balances.items()}
        return plain


MAKING: Final = frozenset({CREATE, "session/init/payout", "session/init/payment"})


@define(eq=False)
class _KeyCounts:
    name: Name = field(factory=Name)
    calls: Counter[str] = field(factory=Counter[str])
    reached_bank: int = 0
    sessions: list[str] = field(factory=list[str])
    created: str | None = None
    digests: set[str] = field(factory=set[str])
    signatures: set[str] = field(factory=set[str])
    firsts: dict[tuple[str, str | None], str] = field(factory=dict[tuple[str, str | None], str])
    changed: bool = False
    movements: list[Movement] = field(factory=list[Movement])

    def order(self, key: str) -> Order:
        return Order(
            key=key,
            attempts=sum(self.calls[call] for call in MAKING),
            reached_bank=self.reached_bank,
            session_ids=tuple(self.sessions),
            digests=frozenset(self.digests),
            signatures=frozenset(self.signatures),
            calls=dict(self.calls),
            movements=tuple(self.movements),
        )


@define(eq=False)
class Counts:
    """Counts by key; a request without a key is counted for the server only."""

    moved: int = field(default=0, init=False)
    _requests: int = field(default=0, init=False)
    _by_key: dict[str, _KeyCounts] = field(factory=dict[str, _KeyCounts], init=False)

    def count_request(
        self, name: Name, call: str, about: str | None, *, digest: str, signature: str
    ) -> int:
        """Count a request; return its number for this call of its name, or on the server.

        ``about`` is the session that it names; ``digest`` is that of its body.
        """
        self._requests += 1
        if name.text is None:
            return self._requests
        counts = self._counts_of(name)
        counts.calls[call] += 1
        if counts.firsts.setdefault((call, about), digest) != digest:
            counts.changed = True
        if call in MAKING:
            counts.digests.add(digest)
            counts.signatures.add(signature)
        return counts.calls[call]

    def count_reached_bank(self, name: Name) -> None:
        """Count a request for a session that reached the bank."""
        if name.text is not None:
            self._counts_of(name).reached_bank += 1

    def count_session(self, name: Name, call: str, session_id: str) -> None:
        """Count a session, and record which call created it."""
        if name.text is None:
            return
        counts = self._counts_of(name)
        counts.sessions.append(session_id)
        if call == CREATE and counts.created is None:
            counts.created = session_id

    def first_created(self, name: Name) -> str | None:
        """Return the session of the first ``session/create`` of a name."""
        counts = self._by_key.get(name.text) if name.text is not None else None
        return counts.created if counts else None

    def count_movement(self, name: Name, movement: Movement) -> None:
        """Count a final movement of money."""
        self.moved += movement.kind in EXECUTIONS
        if name.text is not None:
            self._counts_of(name).movements.append(movement)

    def order(self, key: str) -> Order:
        """Return what happened under ``key``; all zeros if it never arrived."""
        return self._by_key.get(key, _KeyCounts()).order(key)

    def marked(self) -> Mapping[tuple[str, str], Sequence[Movement]]:
        """Return the money that was moved, by the journal and key of its `PayoutMark`."""
        marked: dict[tuple[str, str], list[Movement]] = {}
        for movement in self._movements():
            if (mark := movement.mark) is not None:
                marked.setdefault((mark.journal, mark.key), []).append(movement)
        return marked

    def movements(self) -> Iterator[tuple[Name, Sequence[Movement]]]:
        """Return each name that arrived, with the money that was moved under it."""
        return ((counts.name, counts.movements) for counts in self._by_key.values())

    @property
    def orders(self) -> int:
        """Number of keys."""
        return len(self._by_key)

    @property
    def duplicates(self) -> int:
        """Sessions beyond the first of a key."""
        return sum(max(0, len(counts.sessions) - 1) for counts in self._by_key.values())

    @property
    def changed(self) -> int:
        """Keys with requests for one call in one session that differ."""
        return sum(counts.changed for counts in self._by_key.values())

    @property
    def moved_twice(self) -> int:
        """Orders for which more than one payout or payment was executed.

        A movement with a mark counts under its journal and key, any other one under its name.
        """
        executed = Counter(
            _order_of(key, movement)
            for key, counts in self._by_key.items()
            for movement in counts.movements
            if movement.kind in EXECUTIONS
        )
        return sum(number > 1 for number in executed.values())

    def _movements(self) -> Iterator[Movement]:
        return (movement for counts in self._by_key.values() for movement in counts.movements)

    def _counts_of(self, name: Name) -> _KeyCounts:
        key = name.text or ""
        if (counts := self._by_key.get(key)) is None:
            counts = self._by_key[key] = _KeyCounts(name)
        return counts


def _order_of(name: str, movement: Movement) -> tuple[str, ...]:
    mark = movement.mark
    return (name,) if mark is None else (mark.journal, mark.key)
