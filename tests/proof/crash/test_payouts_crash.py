"""Killed at every step and restarted: each payout is made once, and none is lost."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import frozen
from fault_matrix import CALLS, EACH_JOURNAL, JOURNALS
from places import PYTHONPATH
from postgres_schemas import DSN, execute
from proof_tables import KILLS
from sampling import RUN_ALL, sample

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind, Permission, Reaction
from smartglocal_async.payouts.protocol import PayoutCall

HERE: Final = Path(__file__).parent
MAX_RUNS: Final = 400
LOST: Final = tuple(
    Fault(FaultKind.BEFORE, nth=(1,), key=f"lost-{run}", operation="session/start/payout")
    for run in range(MAX_RUNS)
)
POINTS: Final = "all" if RUN_ALL else "own"
"""Whether the journal's own fault points count, too."""
POINTS_NAME: Final = "every point" if RUN_ALL else "every eleventh point"
STRIDE: Final = 1 if RUN_ALL else 11  # Points come in pairs; an odd stride reaches both kinds.
WRONG_ANSWERS_STRIDE: Final = 1 if RUN_ALL else 23
WRONG_ANSWERS: Final[tuple[dict[str, Any], ...]] = (
    *({"kind": FaultKind.SWAPPED, "shows": shows} for shows in emulator.Foreign),
    {"kind": FaultKind.SURPLUS},
    *({"kind": FaultKind.TWICE, "answer": answer} for answer in emulator.TwiceAnswer),
    {"kind": FaultKind.TWICE, "seconds": 0.01},
    {"kind": FaultKind.STALE},
    *({"kind": FaultKind.BARE_ERROR, "processed": processed} for processed in (False, True)),
    *({"kind": FaultKind.UNKNOWN_CODE, "processed": processed} for processed in (False, True)),
    {"kind": FaultKind.BOM},
    {"kind": FaultKind.SURROGATE},
    *({"kind": FaultKind.AMOUNT, "moved": moved} for moved in (False, True)),
)
"""Wrong answers; in each run the first answer to each call is one of these."""
MODES: Final = ("MANUAL", "AUTOMATIC")
SWEEPS: Final = tuple(itertools.product(MODES, JOURNALS))
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks"),
]


@pytest.fixture
def database(journal: str, schema: str) -> Iterator[tuple[str, str]]:
    """Yield the database and the prefix of the schema names, or two empty texts for SQLite."""
    if journal == "sqlite":
        yield ("", "")
        return
    yield DSN, schema
    names = ", ".join(f"{schema}_{place}" for place in range(len(WRONG_ANSWERS)))
    asyncio.run(execute(f"DROP SCHEMA IF EXISTS {names} CASCADE"))


@frozen
class KillResults:
    """The results of the kills at each point, after the restart."""

    runs: list[Any]
    moved: dict[tuple[int, str], list[tuple[int, str]]]
    """The amounts that moved, by provider and key."""

    @property
    def states(self) -> dict[tuple[int, str], str]:
        """The reported state of each key."""
        return {
            (run["place"], key): state for run in self.runs for key, state in run["states"].items()
        }

    @property
    def counts(self) -> dict[str, int]:
        """The counts of kills, payouts and end states, and the errors, which must be 0."""
        ended = Counter(self.states.values())
        return {
            "kills": sum(bool(run["label"]) for run in self.runs),
            "payouts": len(self.moved),
            **{state: ended[state] for state in ("succeeded", "open")},
            "paid twice": sum(len(amounts) > 1 for amounts in self.moved.values()),
            "lost": len(self.moved) - ended.total(),
        }

    @property
    def wrong_reports(self) -> dict[str, list[tuple[int, str]]]:
        """The payouts that were paid twice or reported with a wrong state."""
        states = self.states.items()
        return {
            "paid twice": [key for key, amounts in self.moved.items() if len(amounts) > 1],
            "reported paid, not paid": [
                key for key, state in states if state == "succeeded" and self.moved[key] != [AMOUNT]
            ],
            "reported failed, paid": [
                key for key, state in states if state in NOT_PAID and self.moved[key]
            ],
            # The emulator declines none of these.
            "reported failed": [key for key, state in states if state in NOT_PAID],
        }


AMOUNT: Final = (10_000, "usd")
NOT_PAID: Final = frozenset({"failed", "cancelled"})
NO_WRONG_REPORTS: Final[dict[str, list[tuple[int, str]]]] = {
    "paid twice": [],
    "reported paid, not paid": [],
    "reported failed, paid": [],
    "reported failed": [],
}


@pytest.mark.parametrize("journal", EACH_JOURNAL)
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_every_point(mode, journal, database, key, tmp_path, prove):  # noqa: PLR0913, PLR0917
    """At every point, each key is paid exactly once in the end, and the journal shows it."""
    results = kill_at_every_point(mode, [()], key, tmp_path, database=database)
    prove(KILLS, f"{mode.lower()}, {journal}, {POINTS_NAME}", results.counts)

    assert {name: amounts for name, amounts in results.moved.items() if amounts != [AMOUNT]} == {}
    assert set(results.states.values()) == {"succeeded"}


@pytest.mark.parametrize("journal", EACH_JOURNAL)
@pytest.mark.parametrize("mode", MODES)
def test_killed_with_wrong_answers(mode, journal, database, key, tmp_path):
    """Each key is paid once and reported so; only a wrong amount leaves payouts to a person."""
    wrong_answers = sample(WRONG_ANSWERS, SWEEPS.index((mode, journal)), len(SWEEPS))
    faults = [at_each_call(mode, one) for one in wrong_answers]
    # The kills reach the journal's own points without wrong answers.
    results = kill_at_every_point(
        mode, faults, key, tmp_path, database=database, stride=WRONG_ANSWERS_STRIDE, points="own"
    )

    assert results.wrong_reports == NO_WRONG_REPORTS
    amounts = {place for place, one in enumerate(wrong_answers) if one["kind"] is FaultKind.AMOUNT}
    assert {run["place"] for run in results.runs if run["halts"]} == amounts
    unpaid = {name: state for name, state in results.states.items() if state != "succeeded"}
    assert {place for place, _ in unpaid} <= amounts
    assert set(unpaid.values()) <= {"unknown", "open"}


def test_killed_if_no_session_can_be_closed(key, tmp_path, prove):
    """A created session can't be cancelled: each payout is paid once, or open and not paid."""
    results = kill_at_every_point("AUTOMATIC", [()], key, tmp_path, cancel=Permission.REFUSE)
    prove(KILLS, f"automatic, created can't be cancelled, {POINTS_NAME}", results.counts)

    assert set(results.states.values()) == {"succeeded", "open"}
    paid = {name: [AMOUNT] * (state == "succeeded") for name, state in results.states.items()}
    assert results.moved == paid


def at_each_call(mode: str, options: dict[str, Any]) -> tuple[Fault, ...]:
    """Return faults for the first of each call of each key.

    A create that is refused with an unlisted code is tried once more, under another key, and its
    second refusal is final; so only the first create of a payout meets this fault.
    """
    calls = [call for call in CALLS[sg.Mode[mode]] if Fault(options["kind"]).concerns(call.value)]
    once = {"rate": 1, "times": 1}
    if options["kind"] is not FaultKind.UNKNOWN_CODE:
        return tuple(Fault(operation=call.value, **once, **options) for call in calls)
    creates = (
        Fault(nth=(1,), key=f"{name}-{run}:1.1", operation=PayoutCall.CREATE.value, **options)
        for run in range(MAX_RUNS)
        for name in ("plain", "lost")
    )
    others = (call for call in calls if call is not PayoutCall.CREATE)
    return (*creates, *(Fault(operation=call.value, **once, **options) for call in others))


def rules_for(mode: str, faults: tuple[Fault, ...], cancel: Permission) -> emulator.Rules:
    """Return the worst provider; it refuses a second start if a start may be carried out twice."""
    comes_twice = any(fault.kind is FaultKind.TWICE for fault in faults)
    return emulator.Rules(
        confirmation=Confirmation[mode],
        second_start=Permission.REFUSE if comes_twice else Permission.ALLOW,
        idempotency_header=Reaction.IGNORE,
        cancel_created=cancel,
    )


def kill_at_every_point(  # noqa: PLR0913
    mode: str,
    faults: list[tuple[Fault, ...]],
    key: sg.PrivateKey,
    folder: Path,
    *,
    database: tuple[str, str] = ("", ""),
    cancel: Permission = Permission.ALLOW,
    stride: int = STRIDE,
    points: str = POINTS,
) -> KillResults:
    """Kill at every point, with one provider for each set of faults; return the results."""
    (folder / "shop.pem").write_bytes(key.pem())
    with ExitStack() as stack:
        providers = [
            stack.enter_context(
                emulator.run_in_thread(
                    public_key=key.public,
                    faults=emulator.FaultScript((*LOST, *some)),
                    rules=rules_for(mode, some, cancel),
                )
            )
            for some in faults
        ]
        urls = ",".join(provider.url for provider in providers)
        done = subprocess.run(
            [
                *(sys.executable, str(HERE / "payout_worker.py"), urls),
                *(str(folder / "shop.pem"), str(folder), mode, str(stride), points, *database),
            ],
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        runs = [json.loads(line) for line in done.stdout.splitlines()]
        moved = {
            (run["place"], name): [
                (one.amount, one.currency) for one in providers[run["place"]].order(name).movements
            ]
            for run in runs
            for name in run["states"]
        }

    assert len(moved) == 2 * len(runs)
    assert {run["label"].partition(" ")[0] for run in runs} >= {"before", "after", ""}
    return KillResults(runs, moved)
