"""``smartglocal payouts check``: rows of a CSV file, with IBAN and names, in a second of CPU."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

from ..goals import Goal, Profile, table
from ..machine import say
from ..setting import Setting
from ..spread import Spread

_COLUMNS: Final = (
    *("key", "amount", "currency", "iban", "description", "first_name", "last_name", "country"),
    *("recipient_currency", "bank_name"),
)
_BANK: Final = "37040044"
_LEAST: Final = 20_000


@frozen(kw_only=True)
class Checks:
    """What the command took, round by round."""

    rows: int
    cpu_seconds: list[float]
    wall_seconds: list[float]

    @property
    def rate(self) -> Spread:
        """Rows in a second of CPU time, the start of the command included."""
        return Spread.of([self.rows / seconds for seconds in self.cpu_seconds])


def measure(setting: Setting) -> Checks:
    """Return what it takes to check a file that has nothing wrong in it."""
    rows = 2_000 if setting.is_quick else 100_000
    say(f"a check of {rows:,} rows")
    path = setting.folder / "payouts.csv"
    write(path, rows)
    checks = Checks(rows=rows, cpu_seconds=[], wall_seconds=[])
    for _ in range(setting.processes):  # Each is a process of its own.
        _check(path, checks)
    return checks


def write(path: Path, rows: int) -> None:
    """Write a file of so many payouts to German accounts."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(_COLUMNS)
        for number in range(rows):
            names = ("Jane", f"Roe-{number}", "DEU", "eur", "All Banks Germany")
            amount = f"{100 + number % 1_000}.50"
            lines.writerow((f"salary-{number}", amount, "eur", _iban(number), "Salary", *names))


def _iban(number: int) -> str:
    account = f"{_BANK}{number:010}"
    digits = 98 - int(f"{account}131400") % 97  # DE is 1314; ISO 13616 has the rule.
    return f"DE{digits:02}{account}"


def script() -> str:
    """Return the path of the command, as it is installed beside this interpreter."""
    path = shutil.which("smartglocal", path=Path(sys.executable).parent)
    if path is None:
        raise SystemExit("smartglocal isn't installed beside this interpreter")
    return path


def _check(path: Path, checks: Checks) -> None:
    begun = os.times()
    with subprocess.Popen(  # noqa: S603 - see above
        [sys.executable, script(), "payouts", "check", str(path)], stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the check ended with {process.returncode}")
    checks.cpu_seconds.append(used.ru_utime + used.ru_stime)
    checks.wall_seconds.append(os.times().elapsed - begun.elapsed)


def goals(found: Checks) -> Iterator[Goal]:
    """Yield goal 13."""
    yield Goal(
        number=13,
        figure=f"`payouts check`, rows in a second of CPU, {found.rows:,} rows of CSV",
        target=f"≥ {_LEAST:,}",
        measured=found.rate.text(0),
        is_reached=found.rate.median >= _LEAST,
        profile=Profile.CHECK,
    )


def tables(found: Checks) -> str:
    """Return what the command took, as a table."""
    row = (
        f"{found.rows:,} rows of CSV, with IBAN and names",
        Spread.of(found.cpu_seconds).text(1),
        found.rate.text(0),
        Spread.of(found.wall_seconds).text(1),
    )
    heads = ("`smartglocal payouts check`", "CPU seconds", "rows in a second of CPU")
    return table((*heads, "seconds from start to end"), [row])
