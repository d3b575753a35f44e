"""The tables of the proof: what the tests counted, put together by table and row, as Markdown."""

import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

Note = tuple[str, str, Mapping[str, int]]
"""A table, a row, and counts; those of one row are added up."""

ORDERS: Final = "Every order of events"
MUST_FIND: Final = "What a search has to find"
FAULTS: Final = "Every fault at every call"
KILLS: Final = "Killed at a point, and started again"
SEEDS: Final = "Simulated"
BUGS: Final = "Bugs that were planted"
POWER: Final = "The power goes"
SEED: Final = "found in seed"
UNTIL: Final = "states until then"
_ALONE: Final = frozenset({SEED, UNTIL})
"""Counts that make no sum."""
TABLES: Final[Mapping[str, str]] = {
    ORDERS: "tests/model",
    MUST_FIND: "tests/model",
    FAULTS: "tests/test_payouts_faults.py, tests/test_worst_provider.py",
    KILLS: "tests/crash",
    SEEDS: "tests/simulation",
    BUGS: "tests/simulation",
    POWER: "tests/test_power_loss.py, tests/test_journal_crash.py",
}
"""Each table, and where its tests are."""


def as_markdown(notes: Iterable[Note], now: datetime) -> str:
    """Give the tables, and when and on what they were counted."""
    tables: dict[str, dict[str, Counter[str]]] = {title: {} for title in TABLES}
    for title, row, counts in notes:
        tables[title].setdefault(row, Counter()).update(counts)
    lines = [f"Counted on {now:%Y-%m-%d}, {_machine()}.", ""]
    for title, rows in tables.items():
        if rows:
            lines += [f"## {title}", "", f"`{TABLES[title]}`", "", *_table(rows), ""]
    return "\n".join(lines)


def rows_in_the_docs(title: str) -> list[str]:
    """Give the names of the rows that a table has on the page of the proof."""
    page = Path(__file__).parents[1] / "docs/explanation/proof.md"
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
    if len(rows) > 1 and not _ALONE & set(columns):
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
