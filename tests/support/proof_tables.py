"""The tables of the test results: counts of the tests, added up by table and row, as Markdown."""

import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from places import ROOT

Note = tuple[str, str, Mapping[str, int]]
"""A table, a row and its counts; counts of one row are added up."""

ORDERS: Final = "All orders of events"
MUST_FIND: Final = "Faults that the search must find"
FAULTS: Final = "Every fault at every call"
KILLS: Final = "Killed at each point and restarted"
SEEDS: Final = "Simulation"
BUGS: Final = "Planted bugs"
POWER: Final = "Power loss"
SEED: Final = "found in seed"
STATES_SEARCHED: Final = "states searched"
_NOT_SUMMED: Final = frozenset({SEED, STATES_SEARCHED})
"""Columns that aren't summed."""
TABLES: Final[Mapping[str, str]] = {
    ORDERS: "tests/proof/model",
    MUST_FIND: "tests/proof/model",
    FAULTS: "tests/proof/test_payout_faults.py, tests/proof/test_worst_provider.py",
    KILLS: "tests/proof/crash",
    SEEDS: "tests/proof/simulation",
    BUGS: "tests/proof/simulation",
    POWER: "tests/proof/test_power_loss.py, tests/proof/test_journal_crash.py",
}
"""Each table and the folder or files of its tests."""


def as_markdown(notes: Iterable[Note], now: datetime) -> str:
    """Return the tables, with the date and the machine."""
    tables: dict[str, dict[str, Counter[str]]] = {title: {} for title in TABLES}
    for title, row, counts in notes:
        tables[title].setdefault(row, Counter()).update(counts)
    lines = [f"Counted on {now:%Y-%m-%d}, {_machine()}.", ""]
    for title, rows in tables.items():
        if rows:
            lines += [f"## {title}", "", f"`{TABLES[title]}`", "", *_table(rows), ""]
    return "\n".join(lines)


def documented_rows(title: str) -> list[str]:
    """Return the row names of a table on the results page."""
    page = ROOT / "docs/explanation/proof.md"
    _, _, behind = page.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    table, _, _ = behind.partition("\n## ")
    rows = [line.split(" | ")[0][2:] for line in table.splitlines() if line.startswith("| ")]
    return [row for row in rows if row not in {"", "**all**"}]


def _table(rows: Mapping[str, Counter[str]]) -> Iterator[str]:
    columns = list(dict.fromkeys(column for counts in rows.values() for column in counts))
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    for name, counts in sorted(rows.items()):
        yield f"| {name} | {' | '.join(f'{counts[column]:,}' for column in columns)} |"
    if len(rows) > 1 and not _NOT_SUMMED & set(columns):
        total = Counter[str]()
        for counts in rows.values():
            total.update(counts)
        yield f"| **all** | {' | '.join(f'**{total[column]:,}**' for column in columns)} |"


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores ({_cpu()})"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")
