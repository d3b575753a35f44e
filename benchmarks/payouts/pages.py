"""What a page of ``payouts serve`` takes over a large journal.

``python -m benchmarks.payouts.pages`` writes a journal and prints a table.
The CPU time is that of server and client together; a database's own is in the elapsed time only.
"""

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import aiohttp

import smartglocal_async as sg
from smartglocal_async.cli.payouts.page.command import served
from smartglocal_async.cli.payouts.page.options import ServeOptions
from smartglocal_async.journal.rows import scope_of
from smartglocal_async.payouts.orders import SUMMARY_PURPOSE

_SERVER: Final = "http://127.0.0.1:9"
_COLUMNS: Final = (
    *("key", "mode", "fingerprint", "amount", "currency", "step", "session_no", "fence"),
    *("attempts", "batch", "ordinal", "created_at", "updated_at", "summary"),
)
_RARE: Final = 1_000
_ROUNDS: Final = 5
_PAID_SHARE: Final = 0.8
_PATHS: Final = {
    "all batches": "/",
    "a batch": "/batch?name=a",
    "its middle": "/batch?name=a&after={middle}",
    "paid": "/batch?name=a&state=succeeded",
    "paid, from where there are no more": "/batch?name=a&state=succeeded&after={paid}",
    "failed": "/batch?name=a&state=failed",
    "failed, the last": "/batch?name=a&state=failed&after={late}",
    "failed, of all batches": "/payouts?state=failed",
    "unknown": "/payouts?state=unknown",
    "open": "/batch?name=a&state=open",
    "one payout": "/payout?key={middle}",
    "search by key": "/search?q={middle}",
    "search by payee, none found": "/payouts?payee=nothing",
}


def _rows(count: int, cipher: sg.RequestCipher) -> Iterator[tuple[Any, ...]]:
    """Yield rows: most are paid, the last ones open, and a few failed or are unknown."""
    now = time.time()  # noqa: TID251 - the time of the run
    for number in range(count):
        key = _key(number)
        step = 80 if number < count * _PAID_SHARE else 0
        step = 81 if number % _RARE == 1 else 70 if number % (50 * _RARE) == 0 else step
        payee = cipher.encrypt(b"Jane Roe, ...3000", key, purpose=SUMMARY_PURPOSE)
        values = (key, "manual", b"\x03", 10_000, "usd", step, 0, 1, 3, "a", number, now, now)
        yield (*values, payee)


def _key(number: int) -> str:
    return f"salary-{number:08}"


async def _write(place: str, count: int, cipher: sg.RequestCipher) -> None:
    """Write the rows into a new journal, past its checks: that would take hours."""
    is_address = place.startswith("postgres")
    journal = sg.PostgresJournal(place) if is_address else sg.SQLiteJournal(place)
    await journal.open(scope_of(_SERVER, "demo", None))
    _ = await journal.put_batch(sg.journal.Batch(name="a", rows=count))
    await journal.close()
    if is_address:
        import asyncpg  # noqa: PLC0415  # an optional extra

        connection = await asyncpg.connect(place.partition("?")[0])
        _ = await connection.copy_records_to_table(
            "entry",
            schema_name=place.partition("?schema=")[2] or "smartglocal",
            columns=_COLUMNS,
            records=_rows(count, cipher),
        )
        _ = await connection.execute("ANALYZE")
        await connection.close()
        return
    marks = ", ".join("?" * len(_COLUMNS))
    with closing(sqlite3.connect(place)) as database, database:
        statement = f"INSERT INTO entry ({', '.join(_COLUMNS)}) VALUES ({marks})"  # noqa: S608
        _ = database.executemany(statement, _rows(count, cipher))


async def _measure(place: str, count: int) -> None:
    keys = {
        "middle": _key(count // 2),
        "paid": _key(int(count * _PAID_SHARE) - 1),
        "late": _key(count - 50 * _RARE),
    }
    started, cpu = time.perf_counter(), time.process_time()
    async with (
        served(ServeOptions(journal=place, port=0)) as page,
        aiohttp.ClientSession(base_url=page.url) as session,
    ):
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(f"| counting, once for each change | {1000 * cpu:,.0f} | {1000 * took:,.0f} |")
        for name, path in _PATHS.items():
            times = list[tuple[float, float]]()
            for _ in range(_ROUNDS):
                started, cpu = time.perf_counter(), time.process_time()
                async with session.get(path.format(**keys)) as answer:
                    _ = await answer.read()
                    answer.raise_for_status()
                times.append((time.process_time() - cpu, time.perf_counter() - started))
            cpu, took = sorted(times)[_ROUNDS // 2]
            print(f"| {name} | {1000 * cpu:,.0f} | {1000 * took:,.0f} |")


async def _run(place: str, count: int) -> None:
    key = sg.RequestCipher.new_key()
    variables = {"PROJECT": "demo", "SERVER": _SERVER, "JOURNAL_KEY": key}
    os.environ.update({f"SMARTGLOCAL_{name}": value for name, value in variables.items()})
    await _write(place, count, sg.RequestCipher(key))
    print(f"{count:,} payouts\n\n| Page | ms of CPU | ms |\n|---|---|---|")
    await _measure(place, count)


def main() -> None:
    """Write a journal, and print what its pages take."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payouts.pages")
    _ = parser.add_argument("--payouts", type=int, metavar="N", default=1_000_000)
    _ = parser.add_argument("--journal", metavar="postgres://...", help="default: a new file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_run(given.journal or str(Path(folder) / "payouts.db"), given.payouts))


if __name__ == "__main__":
    main()
