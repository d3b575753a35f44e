"""The workers over a journal: who is alive, who has something to do, and who died with payouts."""

from collections.abc import Iterable
from typing import Self

from attrs import fields, frozen

from ..journal.limits import AtWork
from ..journal.postgres.journal import PostgresJournal
from .screen import counted


@frozen(kw_only=True)
class Crew:
    """How many there are."""

    workers: int
    """That are alive."""
    at_work: int
    """Of those: who has payouts under way."""
    dead: int
    """Whose payouts others take over, when their leases end."""
    under_way: int
    """Payouts that somebody has, dead or alive."""

    @classmethod
    async def over(cls, journal: object) -> Self | None:
        """Ask a journal; None where it is one process's."""
        return cls.of(await journal.workers()) if isinstance(journal, PostgresJournal) else None

    @classmethod
    def of(cls, found: Iterable[AtWork]) -> Self:
        """Count them."""
        listed = list(found)
        alive = [one for one in listed if one.is_alive]
        return cls(
            workers=len(alive),
            at_work=sum(one.payouts > 0 for one in alive),
            dead=len(listed) - len(alive),
            under_way=sum(one.payouts for one in listed),
        )

    def __str__(self) -> str:
        under_way = f"{self.at_work:,} at work, {counted(self.under_way, 'payout')} under way"
        told = f"{counted(self.workers, 'worker')} alive, {under_way}"
        if self.dead:
            told += f"; {self.dead:,} died, and others take over"
        return told


def crew_facts(crew: Crew | None) -> dict[str, int | None]:
    """Give what a program is told; of a journal in a file nobody can tell."""
    names = (one.name for one in fields(Crew))
    return {name: None if crew is None else getattr(crew, name) for name in names}
