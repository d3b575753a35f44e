"""Killed at every step, and started again: everybody is paid once, and nobody is forgotten."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from postgres_schemas import DSN, needs_postgres
from proving import KILLS

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind, Permission, Reaction

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]

HERE: Final = Path(__file__).parent
MOST_LIVES: Final = 1_000
LOST: Final = emulator.FaultScript(
    Fault(FaultKind.BEFORE, nth=(1,), key=f"lost-{life}", operation="session/start/payout")
    for life in range(MOST_LIVES)
)
EVERY: Final = "SMARTGLOCAL_EVERY_POINT" in os.environ
POINTS: Final = "all" if EVERY else "own"
NO_DATABASE: Final = ("", "")
WHICH: Final = "every point" if EVERY else "every eleventh point"
STRIDE: Final = "1" if EVERY else "11"  # Points come in pairs: both are met.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
@pytest.mark.parametrize("journal", ["sqlite", pytest.param("postgres", marks=needs_postgres)])
@pytest.mark.parametrize("mode", ["MANUAL", "AUTOMATIC"])
def test_killed_at_every_point(mode, journal, key, tmp_path, schema, prove):  # noqa: PLR0913, PLR0917
    """Whatever the point, each key is paid exactly once in the end, and the journal says so."""
    place = (DSN, schema) if journal == "postgres" else NO_DATABASE
    lives, moved = killed_everywhere(mode, Permission.ALLOW, key, tmp_path, place)
    prove(KILLS, f"{mode.lower()}, {journal}, {WHICH}", counts(lives, moved))

    assert {name: times for name, times in moved.items() if times != 1} == {}
    assert {state for life in lives for state in life["told"].values()} == {"succeeded"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_killed_where_no_session_can_be_closed(key, tmp_path, prove):
    """Automatic, and a session that was created can't be cancelled: once, or open and not paid."""
    lives, moved = killed_everywhere("AUTOMATIC", Permission.REFUSE, key, tmp_path)
    prove(KILLS, f"automatic, created can't be cancelled, {WHICH}", counts(lives, moved))

    states = {name: state for life in lives for name, state in life["told"].items()}
    assert set(states.values()) == {"succeeded", "open"}
    assert moved == {name: int(state == "succeeded") for name, state in states.items()}


def counts(lives: list[Any], moved: dict[str, int]) -> dict[str, int]:
    """Give the kills, the payouts, what these ended as, and what must be none."""
    ended = Counter(state for life in lives for state in life["told"].values())
    return {
        "kills": sum(bool(life["label"]) for life in lives),
        "payouts": len(moved),
        **{state: ended[state] for state in ("succeeded", "open")},
        "paid twice": sum(times > 1 for times in moved.values()),
        "lost": len(moved) - ended.total(),
    }


def killed_everywhere(
    mode: str,
    cancel: Permission,
    key: sg.PrivateKey,
    folder: Path,
    journal: tuple[str, str] = NO_DATABASE,
) -> tuple[list[Any], dict[str, int]]:
    """Kill at every point; give what the lives told, and how often money moved for each key."""
    (folder / "shop.pem").write_bytes(key.pem())
    rules = emulator.Rules(
        confirmation=Confirmation[mode],
        second_start=Permission.ALLOW,
        idempotency_header=Reaction.IGNORE,
        cancel_created=cancel,
    )
    with emulator.run_in_thread(public_key=key.public, faults=LOST, rules=rules) as provider:
        done = subprocess.run(
            [
                *(sys.executable, str(HERE / "payout_worker.py"), provider.url),
                *(str(folder / "shop.pem"), str(folder), mode, STRIDE, POINTS, *journal),
            ],
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lives = [json.loads(line) for line in done.stdout.splitlines()]
        keys = [name for life in lives for name in life["told"]]
        moved = {name: provider.order(name).moved for name in keys}

    assert len(keys) == 2 * len(lives)
    assert {life["label"].partition(" ")[0] for life in lives} >= {"before", "after", ""}
    return lives, moved
