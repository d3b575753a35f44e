"""Every fault at every call of a payout, all at the same time, and the expected result of each."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from attrs import Factory, field, frozen
from paying import order
from postgres_schemas import DSN, needs_postgres

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind, Permission, Reaction
from smartglocal_async.payouts.protocol import PayoutCall

JOURNALS: Final[Mapping[str, Callable[[Path, str], sg.journal.Journal]]] = {
    "sqlite": lambda folder, _: sg.SQLiteJournal(folder / "payouts.db"),
    "postgres": lambda _, schema: sg.PostgresJournal(DSN, schema=schema),
}
"""The journals: in a new folder, or in a new schema."""
EACH_JOURNAL: Final = [
    pytest.param(name, marks=needs_postgres if name == "postgres" else ()) for name in JOURNALS
]
CALLS: Final[Mapping[sg.Mode, tuple[PayoutCall, ...]]] = {
    sg.Mode.MANUAL: (
        PayoutCall.CREATE,
        PayoutCall.START,
        PayoutCall.STATUS,
        PayoutCall.CONFIRM,
        PayoutCall.CANCEL,
    ),
    sg.Mode.AUTOMATIC: (PayoutCall.CREATE, PayoutCall.START, PayoutCall.STATUS, PayoutCall.CANCEL),
    sg.Mode.ONE_STEP: (PayoutCall.INIT,),
}
"""The calls of a payout in each mode."""
READABLE: Final = frozenset({FaultKind.SLOW, FaultKind.WRONG_TYPE, FaultKind.CLOSES})
"""Faults after which the client knows the result."""
PATIENCE: Final = sg.RetryPolicy(
    initial_delay_seconds=0.001,
    throttled_initial_delay_seconds=0.001,
    attempt_timeout_seconds=4,
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
_HALTS: Final = 3
_AMOUNT: Final = (10_000, "usd")
"""The amount of each payout."""


async def nap(seconds: float) -> None:
    """Wait a moment, however long it should sleep."""
    await asyncio.sleep(min(seconds, 0.02))


@frozen
class Cell:
    """A call and the fault that it meets."""

    call: PayoutCall
    kind: FaultKind
    processed: bool = False
    options: tuple[tuple[str, object], ...] = ()
    """Other arguments of the fault."""

    @property
    def key(self) -> str:
        """The key of the payout."""
        options = "".join(f"-{value}" for _, value in self.options)
        return f"{self.call.name}-{self.kind}{'-processed' * self.processed}{options}"

    @property
    def met(self) -> Fault:
        """The fault, which happens once."""
        # A session is matched by the key of its create; this is the key of the first create.
        has_key = self.call in {PayoutCall.START, PayoutCall.INIT}
        seconds = {} if self.kind in WRONG_KINDS else {"seconds": 0.01}
        if self.kind is FaultKind.THROTTLE:
            seconds = {"seconds": 0.0}
        return Fault(
            self.kind,
            nth=(1,),
            key=self.key if has_key else f"{self.key}:1.1",
            operation=self.call.value,
            processed=self.processed,
            **(seconds | dict(self.options)),
        )

    @property
    def faults(self) -> list[Fault]:
        """The fault, and the fault that leads to the call: a cancel follows only a lost start."""
        lost = Fault(FaultKind.BEFORE, nth=(1,), key=self.key, operation=PayoutCall.START.value)
        return [self.met, lost] if self.call is PayoutCall.CANCEL else [self.met]

    @property
    def loses_the_start(self) -> bool:
        """Whether the first start is never carried out."""
        if self.call is not PayoutCall.START:
            return self.call is PayoutCall.CANCEL
        return not self.met.processes and self.kind is not FaultKind.LATE

    def stays_open(self, mode: sg.Mode, rules: emulator.Rules) -> bool:
        """Return whether the payout stays open because its session can't be closed."""
        closes = mode is not sg.Mode.AUTOMATIC or rules.cancel_created is Permission.ALLOW
        return self.loses_the_start and not closes

    def documented_states(self, mode: sg.Mode, rules: emulator.Rules) -> set[sg.PayoutState]:
        """Return the states that the documentation allows."""
        if mode is sg.Mode.ONE_STEP and self.kind not in READABLE:
            return {sg.PayoutState.UNKNOWN}
        if self.stays_open(mode, rules):
            return {sg.PayoutState.OPEN}
        closes = mode is not sg.Mode.AUTOMATIC or rules.cancel_created is Permission.ALLOW
        if self.affects_other_calls and self.call is PayoutCall.CREATE and not closes:
            return {sg.PayoutState.SUCCEEDED, sg.PayoutState.OPEN}
        return {sg.PayoutState.SUCCEEDED}

    @property
    def affects_other_calls(self) -> bool:
        """Whether the fault may also affect the next call on the connection."""
        return self.kind is FaultKind.CLOSES

    @property
    def halts(self) -> bool:
        """Whether it may halt all payouts until an operator has checked."""
        return self.kind is FaultKind.AMOUNT

    def may_have_moved(self, state: sg.PayoutState) -> set[int]:
        """Return how often money may have moved if the payout ended in this state."""
        if state is not sg.PayoutState.UNKNOWN:
            return {int(state is sg.PayoutState.SUCCEEDED)}
        if self.kind is FaultKind.LATE:
            return {0, 1}
        return {int(self.met.processes)}


WRONG_KINDS: Final = frozenset(
    {
        *(FaultKind.SWAPPED, FaultKind.SURPLUS, FaultKind.TWICE, FaultKind.STALE),
        *(FaultKind.AMOUNT, FaultKind.BARE_ERROR, FaultKind.UNKNOWN_CODE),
        *(FaultKind.BOM, FaultKind.SURROGATE),
    }
)
"""Wrong or unusual answers that are complete HTTP; they have cells of their own."""
_ERRORS: Final[tuple[dict[str, object], ...]] = tuple(
    {"status": status} for status in (200, 400, 500)
)
_WRONG_ANSWERS: Final[tuple[tuple[FaultKind, bool, dict[str, object]], ...]] = (
    *((FaultKind.SWAPPED, False, {"shows": shows}) for shows in emulator.Foreign),
    *((FaultKind.SURPLUS, False, {"seconds": seconds}) for seconds in (0.0, 0.005)),
    *((FaultKind.TWICE, False, {"answer": answer}) for answer in emulator.TwiceAnswer),
    (FaultKind.TWICE, False, {"seconds": 0.01}),
    (FaultKind.LATE, False, {"seconds": 0.01, "twice": True}),
    (FaultKind.AFTER, False, {"twice": True}),
    *((FaultKind.STALE, False, {"seconds": seconds}) for seconds in (0.005, 1.5, 60.0)),
    *(
        (kind, processed, options)
        for kind in (FaultKind.BARE_ERROR, FaultKind.UNKNOWN_CODE)
        for processed in (False, True)
        for options in _ERRORS
    ),
    (FaultKind.THROTTLE, True, {"seconds": 0.0}),
    (FaultKind.BOM, False, {}),
    (FaultKind.SURROGATE, False, {}),
    *(
        (FaultKind.AMOUNT, False, {**options, "moved": moved})
        for options in ({"factor": 10}, {"factor": 1, "currency": "gbp"})
        for moved in (False, True)
    ),
)
"""A kind of fault, whether the call is carried out, and the other arguments."""
_PAYING_CALLS: Final = frozenset({PayoutCall.START, PayoutCall.INIT})


def wrong_answer_cells(mode: sg.Mode) -> list[Cell]:
    """Return each wrong answer at each call that can meet it."""
    return [
        Cell(call, kind, processed, tuple(options.items()))
        for call in CALLS[mode]
        for kind, processed, options in _WRONG_ANSWERS
        if Fault(kind).concerns(call.value)
    ]


def can_be_paid_once(cell: Cell, mode: sg.Mode, rules: emulator.Rules) -> bool:
    """Return whether a client can prevent a second payment.

    It can't if the provider ignores the idempotency key and takes a second start, and the call is
    carried out twice on its way: without a confirm both are paid; with one, the confirm pays both
    if the second one arrives between the last status call and the confirm (A9).
    """
    if cell.call not in _PAYING_CALLS or cell.met.executions == 1:
        return True
    if rules.idempotency_header is Reaction.REFUSE:
        return True
    if mode is sg.Mode.ONE_STEP:
        return False
    if rules.second_start is Permission.REFUSE:
        return True
    is_apart = cell.kind is FaultKind.TWICE and bool(cell.met.seconds)
    return mode is sg.Mode.MANUAL and not is_apart


def cells_of(mode: sg.Mode) -> list[Cell]:
    """Return every fault at every call."""
    kinds = [kind for kind in FaultKind if kind not in WRONG_KINDS]
    return [
        *(Cell(call, kind) for call in CALLS[mode] for kind in kinds),
        *(Cell(call, FaultKind.SERVER_ERROR, processed=True) for call in CALLS[mode]),
    ]


@frozen(kw_only=True)
class FaultMatrix:
    """A kind of provider, and one payout for each cell."""

    mode: sg.Mode
    rules: emulator.Rules
    cells: list[Cell] = field(
        default=Factory(lambda fault_matrix: cells_of(fault_matrix.mode), takes_self=True)
    )

    def run(self, key: sg.PrivateKey, journal: sg.journal.Journal) -> "MatrixResult":
        """Pay all cells at the same time, except those that affect others, and count."""
        met_faults: set[tuple[str, str, str | None]] = set()
        running = emulator.run_in_thread(
            public_key=key.public,
            faults=emulator.FaultScript([fault for cell in self.cells for fault in cell.faults]),
            rules=self.rules,
            on_request=lambda seen: met_faults.add((seen.operation, seen.key or "", seen.fault)),
        )
        with running as provider:
            outcomes = asyncio.run(self._pay_all(provider, key, journal))
            moved = {
                cell: [(one.amount, one.currency) for one in provider.order(cell.key).movements]
                for cell in self.cells
            }
        met = {cell for cell in self.cells if _aim(cell) in met_faults}
        return MatrixResult(self, outcomes, moved, met)

    async def _pay_all(
        self, provider: emulator.Provider, key: sg.PrivateKey, journal: sg.journal.Journal
    ) -> dict[Cell, sg.PayoutState]:
        separate = [cell for cell in self.cells if cell.affects_other_calls or cell.halts]
        together = [cell for cell in self.cells if cell not in separate]
        outcomes: dict[Cell, sg.PayoutState] = {}
        for cells in (together, *([cell] for cell in separate)):
            outcomes |= await self._pay_some(cells, provider, key, journal)
        return outcomes

    async def _pay_some(
        self,
        cells: list[Cell],
        provider: emulator.Provider,
        key: sg.PrivateKey,
        journal: sg.journal.Journal,
    ) -> dict[Cell, sg.PayoutState]:
        """Pay with a client of its own."""
        settings = sg.Settings(retry=PATIENCE, timing=sg.Timing(sleep=nap))
        one_step = self.mode is sg.Mode.ONE_STEP
        deadline = 60 if len(cells) > 1 else 20  # A single payout waits for nothing else.
        async with (
            sg.SmartGlocal(provider.project, key, provider.url, settings=settings) as api,
            sg.Payouts(api, journal, mode=self.mode, accept_unknown=one_step) as payouts,
            asyncio.TaskGroup() as group,
        ):
            tasks = {cell: group.create_task(_pay(payouts, cell, deadline)) for cell in cells}
            stuck = [cell for cell in cells if cell.stays_open(self.mode, self.rules)]
            moving = [tasks[cell] for cell in cells if cell not in stuck]
            if moving:
                _ = await asyncio.wait(moving)
            await _until_stuck(provider, stuck)
            payouts.stop()
        return {cell: task.result() for cell, task in tasks.items()}


async def _pay(payouts: sg.Payouts, cell: Cell, deadline: float) -> sg.PayoutState:
    """Pay one payout; pay it again if a proxy before the provider refused it."""
    if cell.halts:
        return await _pay_and_lift(payouts, cell, deadline)
    try:
        return (await payouts.pay(order(cell.key), deadline=deadline)).state
    except sg.Refused as refused:
        assert (cell.kind, refused.code) == (FaultKind.REDIRECT, None)  # noqa: PT017
    return (await payouts.pay(order(cell.key), deadline=deadline)).state


async def _pay_and_lift(payouts: sg.Payouts, cell: Cell, deadline: float) -> sg.PayoutState:
    """Pay one payout, and again after each halt; without an outcome it counts as unknown."""
    state = sg.PayoutState.UNKNOWN
    for _ in range(_HALTS):
        try:
            state = (await payouts.pay(order(cell.key), deadline=deadline)).state
        except sg.PayoutConflict:
            await payouts.resume_journal()
            continue
        await payouts.resume_journal()  # Payouts may be halted even though this payout ended well.
        break
    return state


async def _until_stuck(provider: emulator.Provider, cells: list[Cell]) -> None:
    """Wait until the cancel of each of these was refused several times."""
    for cell in cells:
        # The provider is on a thread of its own and has no event to wait for.
        while provider.order(f"{cell.key}:1.1").calls.get(PayoutCall.CANCEL.value, 0) < _CANCELS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _aim(cell: Cell) -> tuple[str, str, str | None]:
    return cell.call.value, cell.met.key or "", cell.kind.value


@frozen
class MatrixResult:
    """The results of a matrix."""

    fault_matrix: FaultMatrix
    outcomes: dict[Cell, sg.PayoutState]
    moved: dict[Cell, list[tuple[int, str]]]
    """The amounts that moved."""
    met: set[Cell]
    """The cells whose fault happened."""

    @property
    def twice(self) -> list[Cell]:
        """The cells that were paid twice."""
        return [cell for cell, amounts in self.moved.items() if len(amounts) > 1]

    @property
    def undocumented(self) -> list[tuple[Cell, sg.PayoutState, int]]:
        """The cells whose result differs from the documentation."""
        found: list[tuple[Cell, sg.PayoutState, int]] = []
        for cell, state in self.outcomes.items():
            times = len(self.moved[cell])
            documented_states = cell.documented_states(
                self.fault_matrix.mode, self.fault_matrix.rules
            )
            if state not in documented_states or times not in cell.may_have_moved(state):
                found.append((cell, state, times))
        return found

    @property
    def wrong_reports(self) -> dict[str, list[Cell]]:
        """The cells that were paid twice or reported with a wrong state."""
        states = self.outcomes.items()
        paid, failed = sg.PayoutState.SUCCEEDED, sg.PayoutState.FAILED
        return {
            "paid twice": self.twice,
            "reported paid, not paid": [
                cell for cell, state in states if state is paid and self.moved[cell] != [_AMOUNT]
            ],
            "reported failed, paid": [
                cell for cell, state in states if state is failed and self.moved[cell]
            ],
            # The emulator declines none of these.
            "reported failed": [cell for cell, state in states if state is failed],
        }

    @property
    def counts(self) -> dict[str, int]:
        """The counts of cells and end states, and of errors, which must be 0."""
        ended = Counter(state.value for state in self.outcomes.values())
        return {
            "cells": len(self.met),
            **{state: ended[state] for state in ("succeeded", "open", "unknown")},
            "paid twice": len(self.twice),
            "unlike the docs": len(self.undocumented),
        }


def rules_like(mode: sg.Mode, **rules: object) -> emulator.Rules:
    """Return rules that confirm as the mode expects, with these other rules."""
    manual = mode is sg.Mode.MANUAL
    confirmation = Confirmation.MANUAL if manual else Confirmation.AUTOMATIC
    return emulator.Rules(confirmation=confirmation, **rules)  # type: ignore[arg-type]
