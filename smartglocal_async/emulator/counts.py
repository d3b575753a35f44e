"""What arrived and what was moved under each key; no I/O."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, field

from .asks import Name
from .records import EXECUTIONS, Movement, Order
from .routes import CREATE

MAKING: Final = frozenset({CREATE, "session/init/payout", "session/init/payment"})


@define(eq=False)
class _Tally:
    calls: Counter[str] = field(factory=Counter[str])
    asked: int = 0
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
            asked=self.asked,
            session_ids=tuple(self.sessions),
            digests=frozenset(self.digests),
            signatures=frozenset(self.signatures),
            calls=dict(self.calls),
            movements=tuple(self.movements),
        )


@define(eq=False)
class Counts:
    """Tallies by key; what has no name is counted for the server alone."""

    moved: int = field(default=0, init=False)
    _arrived: int = field(default=0, init=False)
    _tallies: dict[str, _Tally] = field(factory=dict[str, _Tally], init=False)

    def arrive(
        self, name: Name, call: str, about: str | None, *, digest: str, signature: str
    ) -> int:
        """Count a request; give its number for this call of its name, or on the server.

        ``about`` is the session that it names; ``digest`` is that of its body.
        """
        self._arrived += 1
        if name.text is None:
            return self._arrived
        tally = self._tally(name)
        tally.calls[call] += 1
        if tally.firsts.setdefault((call, about), digest) != digest:
            tally.changed = True
        if call in MAKING:
            tally.digests.add(digest)
            tally.signatures.add(signature)
        return tally.calls[call]

    def ask(self, name: Name) -> None:
        """Note that the bank was asked for a session."""
        if name.text is not None:
            self._tally(name).asked += 1

    def make(self, name: Name, call: str, session_id: str) -> None:
        """Note a session, and which call made it."""
        if name.text is None:
            return
        tally = self._tally(name)
        tally.sessions.append(session_id)
        if call == CREATE and tally.created is None:
            tally.created = session_id

    def first_created(self, name: Name) -> str | None:
        """Give the session that the first ``session/create`` of that name made."""
        tally = self._tallies.get(name.text) if name.text is not None else None
        return tally.created if tally else None

    def move(self, name: Name, movement: Movement) -> None:
        """Note money that was moved for good."""
        self.moved += movement.kind in EXECUTIONS
        if name.text is not None:
            self._tally(name).movements.append(movement)

    def order(self, key: str) -> Order:
        """Tell what happened under ``key``; all zeros if it never arrived."""
        return self._tallies.get(key, _Tally()).order(key)

    def movements(self) -> Iterator[tuple[str, Sequence[Movement]]]:
        """Give each key that arrived, and the money that was moved under it."""
        return ((key, tally.movements) for key, tally in self._tallies.items())

    @property
    def orders(self) -> int:
        """Number of keys."""
        return len(self._tallies)

    @property
    def duplicates(self) -> int:
        """Sessions beyond the first of a key."""
        return sum(max(0, len(tally.sessions) - 1) for tally in self._tallies.values())

    @property
    def changed(self) -> int:
        """Keys with requests for one call in one session that differ."""
        return sum(tally.changed for tally in self._tallies.values())

    @property
    def moved_twice(self) -> int:
        """Keys under which more than one payout or payment was executed."""
        executed = (
            sum(movement.kind in EXECUTIONS for movement in tally.movements)
            for tally in self._tallies.values()
        )
        return sum(number > 1 for number in executed)

    def _tally(self, name: Name) -> _Tally:
        key = name.text or ""
        if (tally := self._tallies.get(key)) is None:
            tally = self._tallies[key] = _Tally()
        return tally
