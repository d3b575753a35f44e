"""Print the results of the mutation tests: a table by module, and each change that no test found.

``python tests/support/mutants.py`` reads the folder ``mutants`` and exits with 1 if less than 95 %
of the relevant changes were found. `nox -s mutation` runs mutmut first.
"""

import difflib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

FOLDER: Final = Path("mutants") / "smartglocal_async"
FEWEST_FOUND: Final = 0.95
NO_CASE: Final = ["-        case _:", "-            pass"]
NO_TEST: Final = frozenset({5, 33})
"""Exit codes that mean that no test reaches the changed function."""
SQL: Final = re.compile(r"\b(?:SELECT|INSERT INTO)\b", re.IGNORECASE)
CAST: Final = re.compile(r"\bcast\(\s*(?:None|\"[^\"]*\"),")


@frozen
class Mutant:
    """A change, as a diff to the code."""

    module: str
    name: str
    exit_code: int | None
    """The exit code of its tests: 0 if all passed, None if it wasn't tried."""
    diff: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Return ``found``, ``survived``, ``equivalent`` or ``not tried``."""
        if self.exit_code is None:
            return "not tried"
        if self.exit_code != 0 and self.exit_code not in NO_TEST:
            return "found"
        return "equivalent" if self.is_equivalent else "survived"

    @property
    def is_equivalent(self) -> bool:
        """Whether it changes only what type checkers read, or the case of SQL."""
        if [line.rstrip() for line in self.diff] == NO_CASE:
            return True
        before = [CAST.sub("cast(", line[1:]) for line in self.diff if line.startswith("-")]
        after = [CAST.sub("cast(", line[1:]) for line in self.diff if line.startswith("+")]
        if before and all(map(SQL.search, before)):
            return [line.lower() for line in before] == [line.lower() for line in after]
        return bool(before) and before == after


def mutants() -> Iterator[Mutant]:
    """Yield each change of each module."""
    for meta in sorted(FOLDER.glob("**/*.meta")):
        source = meta.with_suffix("").read_text(encoding="utf-8")
        module = str(meta.relative_to(FOLDER).with_suffix(""))
        codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        for key, code in codes.items():
            name = key.rpartition(".")[2]
            diff = tuple(_diff(source, name)) if code == 0 or code in NO_TEST else ()
            yield Mutant(module, name, code, diff)


def _diff(source: str, name: str) -> Iterator[str]:
    function = name.rpartition("__mutmut_")[0]
    before, after = (body_of(source, which) for which in (f"{function}__mutmut_orig", name))
    for line in difflib.unified_diff(before, after, lineterm="", n=0):
        if not line.startswith(("---", "+++", "@@")):
            yield line


def body_of(source: str, name: str) -> list[str]:
    """Return the lines of one function, under its own name."""
    function = name.rpartition("__mutmut_")[0]
    found = re.search(
        rf"^( *)(?:async )?def {re.escape(name)}\(.*?(?=^\1(?:async )?def |^\1@|^[^\s)]|\Z)",
        source,
        re.DOTALL | re.MULTILINE,
    )
    return [] if found is None else found[0].replace(name, function).rstrip().splitlines()


def main() -> int:
    """Print the table and the survivors; return 1 if too few were found."""
    all_ = list(mutants())
    counts = Counter((one.module, one.verdict) for one in all_)
    verdicts = ("found", "equivalent", "survived", "not tried")
    print("| module | mutants | " + " | ".join(verdicts) + " |\n|---|---:|---:|---:|---:|---:|")  # noqa: T201
    for module in sorted({one.module for one in all_}):
        row = [counts[module, verdict] for verdict in verdicts]
        print(f"| `{module}` | {sum(row)} | " + " | ".join(map(str, row)) + " |")  # noqa: T201
    totals = [sum(one.verdict == verdict for one in all_) for verdict in verdicts]
    print(f"| **all** | {sum(totals)} | " + " | ".join(map(str, totals)) + " |")  # noqa: T201
    for one in all_:
        if one.verdict == "survived":
            print(f"\n{one.module}: {one.name}", *one.diff, sep="\n")  # noqa: T201
    found, _, survived, _ = totals
    return int(found < FEWEST_FOUND * (found + survived))


if __name__ == "__main__":
    sys.exit(main())
