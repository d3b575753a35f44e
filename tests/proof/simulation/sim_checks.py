"""Checks that run after every step of a simulation."""

from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen
from sim_merchant import SimMerchant

import smartglocal_async as sg
from smartglocal_async.emulator.bank.sessions import Item, ItemStage
from smartglocal_async.journal.entries import HaltKind
from smartglocal_async.journal.states import Step

if TYPE_CHECKING:
    from sim_world import World


_UNSHOWN: Final = frozenset({Step.SENT_ONE_STEP, Step.UNKNOWN})


class Broken(AssertionError):
    """A check failed."""


@frozen
class Movement:
    """A movement of money, with the journal and key in the payout's own metadata."""

    journal_id: str
    key: str
    session_id: str
    amount: int
    currency: str

    @property
    def payout(self) -> tuple[str, str]:
        """The journal and the key."""
        return self.journal_id, self.key


@define(eq=False)
class Checker:
    """Compares the rows with the provider's money."""

    world: "World"
    seen: dict[tuple[int, str], sg.journal.Entry] = field(
        factory=dict[tuple[int, str], sg.journal.Entry], init=False
    )
    """The rows at the last check, by merchant and key."""
    moves: list[Movement] = field(factory=list[Movement], init=False)
    reversed: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False)
    """Journal and key of payouts that the provider paid after it had declined them."""
    _moved: int = field(default=0, init=False)
    _parked: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False)
    """Journal and key of payouts that were UNKNOWN at some time."""

    def check(self) -> None:
        """Check everything that changed in a step."""
        world = self.world
        if world.failure is not None:
            raise Broken(f"a worker raised {world.failure!r}") from world.failure
        moved = world.network.dispatcher.bank._counts.moved
        touched = [merchant for merchant in world.merchants if merchant.is_touched]
        if moved == self._moved and not touched:
            return
        for merchant in touched:
            merchant.is_touched = False
            self._check_rows(merchant)
        if moved != self._moved:
            self._moved, self.moves = moved, self._all_moves()
            for merchant in world.merchants:
                self._check_moves(merchant)
            touched = world.merchants
        for merchant in touched:
            self._check_final_states(merchant)

    def accept_rows(self, merchant: SimMerchant) -> None:
        """Accept the rows of a merchant as they are, because an older copy replaced them."""
        self.seen = {place: one for place, one in self.seen.items() if place[0] != merchant.number}

    def check_end(self) -> None:
        """Check the end of a run, when sending more calls would settle nothing more."""
        for merchant in self.world.merchants:
            kind = None if merchant.halt is None else merchant.halt.kind
            if merchant.missing_commits is not None and (
                kind is None or not merchant.halt.needs_check
            ):
                words = f"the halt is {kind}, which may be ended without a check"
                raise Broken(f"the journal lacks commits ({merchant.missing_commits}): {words}")
            # Of a payout in one step that is unknown and has no session, no answer showed anything.
            unseen = {
                one.key
                for one in merchant.entries
                if one.step is Step.UNKNOWN and one.session_id is None
            }
            wrong = [
                move
                for move in self.moves
                if not self._is_ordered(merchant, move) and move.key not in unseen
            ]
            if wrong and kind is None:
                raise Broken(f"money moved otherwise than ordered, and nothing is halted: {wrong}")
            paid_late = {
                key for journal_id, key in self.reversed if journal_id == merchant.journal_id
            }
            unhandled = [
                one.key
                for one in merchant.entries
                if one.key in paid_late and one.step is Step.FAILED
            ]
            was_told = not self.world.network.undelivered
            if unhandled and was_told and kind is not HaltKind.CONFLICT:
                raise Broken(
                    f"money moved for {unhandled}, which are FAILED, and nothing is halted"
                )

    def check_reported(self, merchant: SimMerchant, key: str, state: sg.PayoutState) -> None:
        """Compare the state that a caller received with what happened."""
        if (merchant.journal_id, key) in self.reversed:
            return
        right = len(
            [move for move in self._moves_of(merchant, {key}) if self._is_ordered(merchant, move)]
        )
        if right != (state is sg.PayoutState.SUCCEEDED):
            raise Broken(f"{key}: reported {state.value}, and money moved {right} times as ordered")

    def _check_rows(self, merchant: SimMerchant) -> None:
        for entry in merchant.entries:
            before = self.seen.get((merchant.number, entry.key))
            if before is not entry:
                self._check_row(merchant, before, entry)
                self.world.last_commit = merchant, before, entry
                self.seen[merchant.number, entry.key] = entry
        halt = merchant.halt
        if halt is not None and halt.kind.value not in merchant.halts:
            raise Broken(f"halted without a reason: {halt.kind.value}: {halt.reason}")

    def _check_row(
        self, merchant: SimMerchant, before: sg.journal.Entry | None, entry: sg.journal.Entry
    ) -> None:
        row = (entry.key, entry.step.name, entry.session_id, entry.fence)
        self.world.trace("row", merchant.number, *row)
        if entry.step is Step.UNKNOWN:
            self._parked.add((merchant.journal_id, entry.key))
        if before is None:
            return
        if entry.fence < before.fence:
            raise Broken(f"{entry.key}: the fence fell from {before.fence} to {entry.fence}")
        is_retried = self.world.plan.retries and before.step is Step.FAILED
        if is_retried and entry.step is Step.NEW and entry.fence == before.fence + 1:
            self.world.trace("retried", entry.key, before.session_id)
        elif before.step.is_final and entry.step is not before.step:
            raise Broken(f"{entry.key}: {before.step.name} was final, and is {entry.step.name}")
        if None not in {before.session_id, entry.session_id} != {entry.session_id}:
            words = f"{before.session_id} was chosen, and is {entry.session_id}"
            raise Broken(f"{entry.key}: {words}, and was never left")

    def _check_moves(self, merchant: SimMerchant) -> None:
        """Check that money moved once, and in the session of the row."""
        for name, keys in merchant.keys.items():
            moves = self._moves_of(merchant, set(keys))
            if not moves:
                continue
            self.world.trace("money", merchant.number, name, *(move.session_id for move in moves))
            if len(moves) > 1:
                raise Broken(f"{name}: money moved {len(moves)} times")
            rows = [entry for entry in merchant.entries if entry.key in keys]
            if merchant.was_restored or any(move.payout in self.reversed for move in moves):
                continue
            # A payout in one step has no session in its row until an answer shows it.
            is_shown = any(row.session_id is not None or row.step not in _UNSHOWN for row in rows)
            if is_shown and moves[0].session_id not in {entry.session_id for entry in rows}:
                raise Broken(f"{name}: money moved in {moves[0].session_id}, for {rows}")

    def _check_final_states(self, merchant: SimMerchant) -> None:
        """Check final states: a paid row was paid once as ordered, a failed one was declined.

        Raises:
            Broken: a final state is wrong.

        """
        for entry in merchant.entries:
            payout = merchant.journal_id, entry.key
            if not entry.step.is_final or payout in self.reversed:
                continue
            if entry.step is Step.FAILED and entry.key in merchant.decided:
                continue
            moves = self._moves_of(merchant, {entry.key})
            right = sum(self._is_ordered(merchant, move) for move in moves)
            if len(moves) != (entry.step is Step.SUCCEEDED) or len(moves) != right:
                words = f"{entry.step.name}, and money moved {len(moves)} times, {right} as ordered"
                raise Broken(f"{entry.key}: {words}")
            if entry.step is Step.FAILED and not self._was_declined(payout):
                raise Broken(f"{entry.key}: FAILED, and the provider neither declined nor refused")

    def _was_declined(self, payout: tuple[str, str]) -> bool:
        # A parked payout also ends when its session closes without a payment.
        if payout in self.world.network.refused or payout in self._parked:
            return True
        return any(
            item.stage is ItemStage.DECLINED and owner_of(item) == payout
            for session in self.world.network.session_service.sessions.values()
            for item in session.items
        )

    def _is_ordered(self, merchant: SimMerchant, move: Movement) -> bool:
        if move.journal_id != merchant.journal_id:
            return True
        ordered = merchant.order(move.key).amount_details
        return (move.amount, move.currency) == (ordered.amount, ordered.currency)

    def _moves_of(self, merchant: SimMerchant, keys: set[str]) -> list[Movement]:
        mine = (move for move in self.moves if move.journal_id == merchant.journal_id)
        return [move for move in mine if move.key in keys]

    def _all_moves(self) -> list[Movement]:
        """Return all movements of money, by the metadata of the payouts."""
        network, moves = self.world.network, list[Movement]()
        for _, movements in network.dispatcher.bank.movements():
            for movement in movements:
                found = network.session_service.item(movement.item_id)
                assert found is not None
                money = (movement.session_id, movement.amount, movement.currency)
                moves.append(Movement(*owner_of(found[1]), *money))
        return moves


def owner_of(item: Item) -> tuple[str, str]:
    """Return journal and key of a payout; the names in the metadata are spelled out on purpose."""
    marks = item.terms["metadata"]
    assert isinstance(marks, dict)
    return str(marks["payout_journal"]), str(marks["idempotency_key"])
