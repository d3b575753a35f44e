"""What a journal costs: payouts a second and CPU for each payout, with each and without."""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from ..goals import Goal, Profile, table
from ..machine import pin, say
from ..server import ROOT
from ..setting import Setting
from ..spread import Spread
from .provider import providing
from .work import (
    BY_HAND,
    CONCURRENCY,
    MEMORY,
    POSTGRESQL,
    SQLITE,
    WAYS,
    Payer,
    Place,
    has_postgres,
    orders,
)

_MICRO: Final = 1e6
_MOST_CPU: Final = 1.1


@frozen
class Paid:
    """One turn of paying."""

    rate: float
    """Payouts a second."""
    cpu_us: float
    """Each payout's share of the CPU time of the client's process, its threads included."""


@frozen(kw_only=True)
class Rates:
    """What every turn of every round took, by way."""

    payouts: int
    """Of a turn."""
    turns: dict[str, list[Paid]]

    def rates(self, name: str) -> list[float]:
        """Return the payouts a second, round by round."""
        return [turn.rate for turn in self.turns[name]]

    def cpu(self, name: str) -> list[float]:
        """Return the CPU microseconds of a payout, round by round."""
        return [turn.cpu_us for turn in self.turns[name]]


def measure(setting: Setting) -> Rates:
    """Return what each way to pay takes; one process after another has all of them take turns."""
    ways = list(WAYS)
    if not asyncio.run(has_postgres()):
        say("PostgreSQL is passed over: none at SMARTGLOCAL_TEST_POSTGRES, nor at its default")
        ways.remove(POSTGRESQL)
    payouts, cores = 100 if setting.is_quick else 300, setting.cores
    turns: dict[str, list[Paid]] = {name: [] for name in ways}
    with providing(cores.server, setting.pem) as url:
        for number in range(setting.processes):
            say(f"payouts a second, process {number + 1} of {setting.processes}")
            task: dict[str, object] = {
                "url": url,
                "key_file": str(setting.key_file),
                "folder": str(setting.folder),
                "server_core": cores.server,
                "client_cores": cores.of_client,
                "ways": ways,
                "rounds": setting.rounds,
                "payouts": payouts,
                "seed": setting.order.randrange(10_000),
            }
            for name, paid in _run(task).items():
                turns[name] += [Paid(**turn) for turn in paid]
    return Rates(payouts=payouts, turns=turns)


def _run(task: dict[str, object]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.payouts.rates", json.dumps(task)]
    printed = subprocess.run(  # noqa: S603 - this very file
        command, stdout=subprocess.PIPE, check=True, cwd=ROOT
    ).stdout
    turns: dict[str, Any] = json.loads(printed)
    return turns


async def _take_turns(
    ways: Sequence[str], place: Place, rounds: int, payouts: int, order: random.Random
) -> dict[str, list[Paid]]:
    turns: dict[str, list[Paid]] = {name: [] for name in ways}
    async with AsyncExitStack() as stack:
        payers = {name: await stack.enter_async_context(WAYS[name](place)) for name in ways}
        for payer in payers.values():
            _ = await _turn(payer, CONCURRENCY)
        for _ in range(rounds):
            for name in order.sample(list(payers), len(payers)):
                turns[name].append(await _turn(payers[name], payouts))
    return turns


async def _turn(pay: Payer, payouts: int) -> Paid:
    used, begun = time.process_time(), time.perf_counter()
    paid = await pay(orders(payouts))
    used, seconds = time.process_time() - used, time.perf_counter() - begun
    if paid != payouts:
        raise SystemExit(f"{paid} of {payouts} were paid")
    return Paid(payouts / seconds, used / payouts * _MICRO)


def goals(found: Rates) -> Iterator[Goal]:
    """Yield the goals 10 and 11."""
    cpu = Spread.of_ratios(found.cpu(SQLITE), found.cpu(BY_HAND))
    yield Goal(
        number=10,
        figure=f"CPU of a signed payout, {SQLITE} ÷ {BY_HAND}",
        target=f"≤ {_MOST_CPU}",
        measured=cpu.text(2),
        is_reached=cpu.median <= _MOST_CPU,
        profile=Profile.SQLITE,
    )
    for name, least in ((SQLITE, 0.95), (POSTGRESQL, 0.92)):
        if name in found.turns:
            ratio = Spread.of_ratios(found.rates(name), found.rates(MEMORY))
            yield Goal(
                number=11,
                figure=f"payouts a second, {name} ÷ in memory, {CONCURRENCY} in flight",
                target=f"≥ {least}",
                measured=ratio.text(2),
                is_reached=ratio.median >= least,
                profile=Profile.SQLITE if name == SQLITE else Profile.POSTGRESQL,
            )


def tables(found: Rates) -> str:
    """Return the ways as a table."""
    rows = [
        (
            name,
            Spread.of(found.rates(name)).text(0),
            Spread.of_ratios(found.rates(name), found.rates(MEMORY)).text(2),
            Spread.of(found.cpu(name)).text(0),
            Spread.of_ratios(found.cpu(name), found.cpu(BY_HAND)).text(2),
        )
        for name in found.turns
    ]
    heads = (
        *(f"{found.payouts} payouts, {CONCURRENCY} in flight", "payouts a second"),
        *("÷ in memory", "CPU µs a payout", "÷ by hand"),
    )
    return table(heads, rows)


def for_readme(found: Rates) -> str:
    """Return the payouts a second with each journal, for the README."""
    words = {
        BY_HAND: "with own code on aiohttp and tenacity, without a journal",
        MEMORY: "with a journal in memory",
        SQLITE: "with `SQLiteJournal`",
        POSTGRESQL: "with `PostgresJournal`",
    }
    rates = [
        f"{Spread.of(found.rates(name)).median:.0f} {text}"
        for name, text in words.items()
        if name in found.turns
    ]
    return f"| Payouts a second, five calls each, {CONCURRENCY} in flight | {'; '.join(rates)} |"


def _main(task: dict[str, Any]) -> None:
    place = Place(
        url=task["url"],
        pem=Path(task["key_file"]).read_bytes(),
        folder=Path(task["folder"]),
        server_core=task["server_core"],
    )
    pin(*task["client_cores"])
    order = random.Random(task["seed"])  # noqa: S311 - the order of turns guards nothing
    turns = asyncio.run(_take_turns(task["ways"], place, task["rounds"], task["payouts"], order))
    print(json.dumps({name: [asdict(turn) for turn in paid] for name, paid in turns.items()}))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
