"""Every fault at every call of a payout, all at the same time, and what has to come of each."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from attrs import field, frozen
from paying import order
from postgres_schemas import DSN, needs_postgres

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind, Permission, Reaction
from smartglocal_async.payouts.protocol import Call

JOURNALS: Final[Mapping[str, Callable[[Path, str], sg.Journal]]] = {
    "sqlite": lambda folder, _: sg.SQLiteJournal(folder / "payouts.db"),
    "postgres": lambda _, schema: sg.PostgresJournal(DSN, schema=schema),
}
"""Where the payouts are written down: in a new folder, or in a schema that isn't there."""
EACH_JOURNAL: Final = [
    pytest.param(name, marks=needs_postgres if name == "postgres" else ()) for name in JOURNALS
]
CALLS: Final[Mapping[sg.Mode, tuple[Call, ...]]] = {
    sg.Mode.MANUAL: (Call.CREATE, Call.START, Call.STATUS, Call.CONFIRM, Call.CANCEL),
    sg.Mode.AUTOMATIC: (Call.CREATE, Call.START, Call.STATUS, Call.CANCEL),
    sg.Mode.ONE_STEP: (Call.INIT,),
}
"""The calls that a payout is made of."""
READABLE: Final = frozenset(
    {FaultKind.SLOW, FaultKind.WRONG_TYPE, FaultKind.STALE, FaultKind.THROTTLE}
)
"""Of these the client knows what came, or that nothing did and it may send again."""
PATIENCE: Final = sg.RetryPolicy(
    first_wait_seconds=0.001,
    throttled_first_wait_seconds=0.001,
    attempt_timeout_seconds=1,
    budget_tokens=1_000_000,
)
DONE: Final = {
    Permission.ALLOW: "allowed",
    Permission.REFUSE: "refused",
    Reaction.IGNORE: "ignored",
    Reaction.REFUSE: "refused",
}
"""The switches in words."""
_CANCELS: Final = 3


async def nap(seconds: float) -> None:
    """Sleep, but hardly."""
    await asyncio.sleep(min(seconds, 0.02))


@frozen
class Cell:
    """One call that one fault meets."""

    call: Call
    kind: FaultKind
    processed: bool = False

    @property
    def key(self) -> str:
        """The payout that is met."""
        return f"{self.call.name}-{self.kind}{'-processed' * self.processed}"

    @property
    def met(self) -> Fault:
        """What goes wrong, once."""
        # A session goes by the key of its create: that of the first one, under the first lease.
        has_key = self.call in {Call.START, Call.INIT}
        return Fault(
            self.kind,
            nth=(1,),
            key=self.key if has_key else f"{self.key}:1.1",
            operation=self.call.value,
            seconds=0.0 if self.kind is FaultKind.THROTTLE else 0.01,
            processed=self.processed,
        )

    @property
    def faults(self) -> list[Fault]:
        """What goes wrong, and what leads there: only where a start was lost is there a cancel."""
        lost = Fault(FaultKind.BEFORE, nth=(1,), key=self.key, operation=Call.START.value)
        return [self.met, lost] if self.call is Call.CANCEL else [self.met]

    @property
    def loses_the_start(self) -> bool:
        """Whether the first start never comes to anything."""
        if self.call is not Call.START:
            return self.call is Call.CANCEL
        return not self.met.processes and self.kind not in {FaultKind.LATE, FaultKind.THROTTLE}

    def stays(self, mode: sg.Mode, rules: emulator.Rules) -> bool:
        """Say whether it stays open: its session can't be closed, so there must be no other."""
        closes = mode is not sg.Mode.AUTOMATIC or rules.cancel_created is Permission.ALLOW
        return self.loses_the_start and not closes

    def promised(self, mode: sg.Mode, rules: emulator.Rules) -> set[sg.PayoutState]:
        """Give what may come of it, as the documentation says."""
        if mode is sg.Mode.ONE_STEP and self.kind not in READABLE:
            return {sg.PayoutState.UNKNOWN}
        if self.stays(mode, rules):
            return {sg.PayoutState.OPEN}
        closes = mode is not sg.Mode.AUTOMATIC or rules.cancel_created is Permission.ALLOW
        if self.is_catching and self.call is Call.CREATE and not closes:
            return {sg.PayoutState.SUCCEEDED, sg.PayoutState.OPEN}
        return {sg.PayoutState.SUCCEEDED}

    @property
    def is_catching(self) -> bool:
        """Whether whoever sends next on its connection may lose a call, and go another way."""
        return self.kind is FaultKind.STALE

    def may_have_moved(self, state: sg.PayoutState) -> set[int]:
        """Give how often money may have moved, if that came of it."""
        if state is not sg.PayoutState.UNKNOWN:
            return {int(state is sg.PayoutState.SUCCEEDED)}
        if self.kind is FaultKind.LATE:
            return {0, 1}
        return {int(self.met.processes)}


def cells_of(mode: sg.Mode) -> list[Cell]:
    """Give every fault at every call."""
    return [
        *(Cell(call, kind) for call in CALLS[mode] for kind in FaultKind),
        *(Cell(call, FaultKind.SERVER_ERROR, processed=True) for call in CALLS[mode]),
    ]


@frozen(kw_only=True)
class Matrix:
    """One kind of provider, and one payout for each cell."""

    mode: sg.Mode
    rules: emulator.Rules
    cells: list[Cell] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "cells", cells_of(self.mode))

    def play(self, key: sg.PrivateKey, journal: sg.Journal) -> "Played":
        """Pay them all at the same time, but for those that harm another; and count."""
        struck: set[tuple[str, str, str | None]] = set()
        running = emulator.run_in_thread(
            public_key=key.public,
            faults=emulator.FaultScript([fault for cell in self.cells for fault in cell.faults]),
            rules=self.rules,
            on_request=lambda seen: struck.add((seen.operation, seen.key or "", seen.fault)),
        )
        with running as provider:
            outcomes = asyncio.run(self._pay_all(provider, key, journal))
            moved = {cell: provider.order(cell.key).moved for cell in self.cells}
        met = {cell for cell in self.cells if _aim(cell) in struck}
        return Played(self, outcomes, moved, met)

    async def _pay_all(
        self, provider: emulator.Provider, key: sg.PrivateKey, journal: sg.Journal
    ) -> dict[Cell, sg.PayoutState]:
        apart = [cell for cell in self.cells if cell.is_catching]
        together = [cell for cell in self.cells if cell not in apart]
        outcomes: dict[Cell, sg.PayoutState] = {}
        for cells in (together, *([cell] for cell in apart)):
            outcomes |= await self._pay_some(cells, provider, key, journal)
        return outcomes

    async def _pay_some(
        self,
        cells: list[Cell],
        provider: emulator.Provider,
        key: sg.PrivateKey,
        journal: sg.Journal,
    ) -> dict[Cell, sg.PayoutState]:
        """Pay over connections of their own."""
        settings = sg.Settings(retry=PATIENCE, timing=sg.Timing(sleep=nap))
        one_step = self.mode is sg.Mode.ONE_STEP
        deadline = 60 if len(cells) > 1 else 5  # Alone, it may wait for nothing.
        async with (
            sg.SmartGlocal(provider.project, key, provider.url, settings=settings) as api,
            sg.Payouts(api, journal, mode=self.mode, accept_unknown=one_step) as payouts,
            asyncio.TaskGroup() as group,
        ):
            tasks = {cell: group.create_task(_pay(payouts, cell, deadline)) for cell in cells}
            stuck = [cell for cell in cells if cell.stays(self.mode, self.rules)]
            moving = [tasks[cell] for cell in cells if cell not in stuck]
            if moving:
                _ = await asyncio.wait(moving)
            await _until_stuck(provider, stuck)
            payouts.stop()
        return {cell: task.result() for cell, task in tasks.items()}


async def _pay(payouts: sg.Payouts, cell: Cell, deadline: float) -> sg.PayoutState:
    """Pay one, and once more where something before the provider said no."""
    try:
        return (await payouts.pay(order(cell.key), deadline=deadline)).state
    except sg.Refused as refused:
        assert (cell.kind, refused.code) == (FaultKind.REDIRECT, None)  # noqa: PT017
    return (await payouts.pay(order(cell.key), deadline=deadline)).state


async def _until_stuck(provider: emulator.Provider, cells: list[Cell]) -> None:
    """Wait until each of these was refused to be cancelled, again and again."""
    for cell in cells:
        # The provider is on a thread of its own, and has no event to wait for.
        while provider.order(f"{cell.key}:1.1").calls.get(Call.CANCEL.value, 0) < _CANCELS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _aim(cell: Cell) -> tuple[str, str, str | None]:
    return cell.call.value, cell.met.key or "", cell.kind.value


@frozen
class Played:
    """What came of a matrix."""

    matrix: Matrix
    outcomes: dict[Cell, sg.PayoutState]
    moved: dict[Cell, int]
    met: set[Cell]
    """The cells whose fault struck."""

    @property
    def twice(self) -> list[Cell]:
        """Those that were paid twice."""
        return [cell for cell, times in self.moved.items() if times > 1]

    @property
    def unlike_the_docs(self) -> list[tuple[Cell, sg.PayoutState, int]]:
        """Those of which something else came than is promised."""
        found: list[tuple[Cell, sg.PayoutState, int]] = []
        for cell, state in self.outcomes.items():
            times = self.moved[cell]
            promised = cell.promised(self.matrix.mode, self.matrix.rules)
            if state not in promised or times not in cell.may_have_moved(state):
                found.append((cell, state, times))
        return found

    @property
    def counts(self) -> dict[str, int]:
        """Cells, what they ended as, and what must be none."""
        ended = Counter(state.value for state in self.outcomes.values())
        return {
            "cells": len(self.met),
            **{state: ended[state] for state in ("succeeded", "open", "unknown")},
            "paid twice": len(self.twice),
            "unlike the docs": len(self.unlike_the_docs),
        }


def provider_like(mode: sg.Mode, **rules: object) -> emulator.Rules:
    """Give a provider that confirms as the mode expects, and is otherwise like this."""
    manual = mode is sg.Mode.MANUAL
    confirmation = Confirmation.MANUAL if manual else Confirmation.AUTOMATIC
    return emulator.Rules(confirmation=confirmation, **rules)  # type: ignore[arg-type]
