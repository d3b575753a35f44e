"""What a run of payouts has come to: counts, sums, what a person has to look at, the exit code."""

import shlex
from collections import Counter
from typing import Any, Final

from attrs import define, field, frozen

from ..errors import BatchStopped, JournalUnusable, PayoutsHalted, SmartGlocalError
from ..payouts.orders import PayoutOutcome, PayoutState
from .failures import ExitCode, code_of, facts_of

_MOST_LISTED: Final = 100
_NOT_PAID: Final = frozenset({PayoutState.FAILED, PayoutState.REFUSED, PayoutState.CANCELLED})


@define(eq=False)
class Sums:
    """Counts, as the outcomes come."""

    asked: int | None = None
    """How many payouts there are; None where nobody counted them."""
    states: Counter[PayoutState] = field(factory=Counter[PayoutState], init=False)
    money: Counter[tuple[PayoutState, str]] = field(
        factory=Counter[tuple[PayoutState, str]], init=False
    )
    """In minor units, by state and currency."""
    replayed: int = field(default=0, init=False)
    waiting: int = field(default=0, init=False)
    """Written down only: nothing was ever sent for them. They are in no state."""
    may_move: int = field(default=0, init=False)
    """Open or unknown, with a session at the provider."""
    listed: list[PayoutOutcome] = field(factory=list[PayoutOutcome], init=False)
    """The first that weren't paid."""
    unlisted: int = field(default=0, init=False)

    def add(self, outcome: PayoutOutcome) -> None:
        """Take an outcome into account."""
        if _is_waiting(outcome):
            self.waiting += 1
            return
        self.states[outcome.state] += 1
        self.replayed += outcome.replayed
        if outcome.amount is not None and outcome.currency is not None:
            self.money[outcome.state, outcome.currency] += outcome.amount
        if outcome.is_paid:
            return
        if outcome.state not in _NOT_PAID:
            self.may_move += _may_move(outcome)
        if len(self.listed) < _MOST_LISTED:
            self.listed.append(outcome)
        else:
            self.unlisted += 1

    @property
    def settled(self) -> int:
        """How many outcomes there were."""
        return sum(self.states.values())

    @property
    def not_begun(self) -> int:
        """How many were not taken up."""
        return self.waiting if self.asked is None else self.asked - self.settled

    @property
    def is_open(self) -> bool:
        """Whether some are open or unknown."""
        return bool(self.states[PayoutState.OPEN] or self.states[PayoutState.UNKNOWN])

    def as_dict(self) -> dict[str, Any]:
        """Give them as plain JSON values; sums are in minor units."""
        sums: dict[str, dict[str, int]] = {}
        for (state, currency), units in sorted(
            self.money.items(), key=lambda item: (item[0][1], item[0][0].value)
        ):
            sums.setdefault(currency, {})[state.value] = units
        return {
            "asked": self.settled if self.asked is None else self.asked,
            **{state.value: self.states[state] for state in PayoutState},
            "not_begun": self.not_begun,
            "replayed": self.replayed,
            "sums": sums,
        }


@frozen(kw_only=True)
class Ran:
    """How a run ended."""

    sums: Sums
    seconds: float
    is_missed: bool
    """Whether nothing reached the provider, though it was tried."""
    error: SmartGlocalError | OSError | None
    """What ended it early."""
    left_open: int = 0
    """Where an error ended it: payouts that may be out, by the journal."""
    journal: str
    results: str | None
    next_step: str
    """The command that goes on."""

    @property
    def code(self) -> ExitCode:
        """What it came to: the worst first."""
        if isinstance(self.error, PayoutsHalted):
            return ExitCode.HALTED
        is_lost = isinstance(self.error, JournalUnusable)
        if self.sums.may_move or self.left_open or is_lost:
            return ExitCode.OUTCOME_UNKNOWN
        if self.sums.is_open:
            return ExitCode.NOT_SENT if self.is_missed else ExitCode.OUTCOME_UNKNOWN
        if self.error is not None:
            # Misuse says that nothing was sent: not where a file turned bad on the way.
            code = code_of(self.error)
            return ExitCode.STOPPED if code is ExitCode.MISUSE and self.sums.settled else code
        is_whole = not (self.sums.not_begun or _NOT_PAID & self.sums.states.keys())
        return ExitCode.DONE if is_whole else ExitCode.FAILED

    @property
    def next(self) -> str | None:
        """The command that goes on, where there is something to go on with."""
        if isinstance(self.error, PayoutsHalted):
            lift = shlex.join(["smartglocal", "payouts", "lift", "--journal", self.journal])
            return f"look into it, then: {lift}"
        return self.next_step if self.sums.is_open or self.error is not None else None

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        stopped = self.error.reason if isinstance(self.error, BatchStopped) else None
        halted = str(self.error) if isinstance(self.error, PayoutsHalted) else None
        is_other = self.error is not None and stopped is None and halted is None
        return {
            **self.sums.as_dict(),
            "not_paid": [facts_of_outcome(outcome) for outcome in self.sums.listed],
            "stopped": stopped,
            "halted": halted,
            "error": facts_of(self.error) if self.error is not None and is_other else None,
            "seconds": round(self.seconds, 3),
            "journal": self.journal,
            "results": self.results,
            "next": self.next,
            "exit_code": int(self.code),
        }


def _is_waiting(outcome: PayoutOutcome) -> bool:
    """Say whether an order was only written down."""
    is_untouched = outcome.attempts == 0 and outcome.session_id is None and outcome.error is None
    return outcome.state is PayoutState.OPEN and is_untouched and not outcome.needs_request


def _may_move(outcome: PayoutOutcome) -> bool:
    return outcome.session_id is not None or outcome.state is PayoutState.UNKNOWN


def facts_of_outcome(outcome: PayoutOutcome) -> dict[str, Any]:
    """Give what became of a payout as plain JSON values."""
    return {
        "key": outcome.key,
        "state": outcome.state.value,
        "session_id": outcome.session_id,
        "code": outcome.code,
        "reason": why(outcome),
    }


def why(outcome: PayoutOutcome) -> str | None:
    """Say why a payout stands where it stands."""
    if outcome.reason is None and outcome.state is PayoutState.OPEN:
        return "it was not settled in time"
    return outcome.reason or (None if outcome.error is None else str(outcome.error))
