"""What must hold: looked at after every step of a run."""

from typing import TYPE_CHECKING, Any

from attrs import define, field

import smartglocal_async as sg
from smartglocal_async.journal.states import Step

if TYPE_CHECKING:
    from sim_world import World


class Broken(AssertionError):
    """Something that must hold doesn't."""


@define(eq=False)
class Judge:
    """Holds the rows against the provider's money."""

    world: "World"
    seen: dict[str, sg.Entry] = field(factory=dict[str, sg.Entry], init=False)
    """The rows as they were at the last look."""
    _moved: int = field(default=0, init=False)

    def rows(self) -> list[sg.Entry]:
        """Give what is written."""
        rows = self.world.store.rows
        return [] if rows is None else list(rows.entries.values())

    def check(self) -> None:
        """Look at everything that changed in a step."""
        if self.world.failure is not None:
            raise Broken(f"a worker raised {self.world.failure!r}") from self.world.failure
        moved = self.world.network.desk.bank._counts.moved
        if moved == self._moved and not self.world.store.is_touched:
            return
        self.world.store.is_touched = False
        for entry in self.rows():
            before = self.seen.get(entry.key)
            if before is not entry:
                self._check_row(before, entry)
                self.world.last_commit = before, entry
                self.seen[entry.key] = entry
        if moved != self._moved:
            self._moved = moved
            self._check_moves()
        self._check_truth()

    def _check_row(self, before: sg.Entry | None, entry: sg.Entry) -> None:
        self.world.trace("row", entry.key, entry.step.name, entry.session_id, entry.fence)
        if before is None:
            return
        if entry.fence < before.fence:
            raise Broken(f"{entry.key}: the fence fell from {before.fence} to {entry.fence}")
        if before.step.is_final and entry.step is not before.step:
            raise Broken(f"{entry.key}: {before.step.name} was final, and is {entry.step.name}")
        if None not in {before.session_id, entry.session_id} != {entry.session_id}:
            words = f"{before.session_id} was chosen, and is {entry.session_id}"
            raise Broken(f"{entry.key}: {words}, and was never left")

    def _check_moves(self) -> None:
        """Money moves once, and in the session that the row names."""
        for name, keys in self.world.keys.items():
            movements = self._movements(keys)
            if not movements:
                continue
            self.world.trace("money", name, *(movement.session_id for movement in movements))
            if len(movements) > 1:
                raise Broken(f"{name}: money moved {len(movements)} times")
            rows = [entry for entry in self.rows() if entry.key in keys]
            if movements[0].session_id not in {entry.session_id for entry in rows}:
                raise Broken(f"{name}: money moved in {movements[0].session_id}, for {rows}")

    def _movements(self, keys: list[str]) -> list[Any]:
        bank = self.world.network.desk.bank
        return [move for key in sorted(set(keys)) for move in bank.order(key).movements]

    def _check_truth(self) -> None:
        """No final row lies, and nobody saw money move that wasn't confirmed."""
        for entry in self.rows():
            if not entry.step.is_final:
                continue
            moved = len(self._movements([entry.key]))
            if moved != (entry.step is Step.SUCCEEDED):
                raise Broken(f"{entry.key}: {entry.step.name}, and money moved {moved} times")
        halt = self.world.store.rows.halt()
        if halt is not None:
            raise Broken(f"halted without a reason: {halt.reason}")
