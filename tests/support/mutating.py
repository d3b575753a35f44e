"""A pytest plugin that tries the changes of mutmut, each in a fork of one process.

mutmut starts pytest again for every change. This plugin collects the tests once, in the folder
``mutants``, and runs the tests that reach the changed function until one fails: first those that
found other changes, then those that reach few functions. The names of the changes to try, which may
be patterns, are in ``SMARTGLOCAL_MUTANTS``; changes that were found before aren't tried again.
"""

import gc
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test

FOLDER: Final = Path("smartglocal_async")
STATS: Final = Path("mutmut-stats.json")
"""Which tests reach a function, and how long each takes; written by mutmut."""
FIRST_TESTS: Final = 60
"""If this many tests don't find a change, more tests try it after the other changes."""
MOST_TESTS: Final = 400
"""A change that this many tests don't find counts as survived, even if others might find it."""
OWN_TESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "call": ("test_one_key", "test_client", "test_cancellation"),
    "envelope": ("test_transport",),
    "payouts.calls": ("test_sending", "test_wire", "test_truth"),
    "payouts.worker": ("test_truth", "test_halts", "test_webhook_hints"),
}
"""Files of tests for a module, beside the one that has its name."""
LONGEST_SECONDS: Final = 120.0
NO_TEST, TIMED_OUT = 33, 36
"""Exit codes, as mutmut writes them."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Try all changes, instead of running the tests once."""
    if session.testsfailed:
        raise session.Interrupted("the tests can't be collected")
    patterns = os.environ.get("SMARTGLOCAL_MUTANTS", "*").split()
    stats = json.loads(STATS.read_text())
    tests, seconds = stats["tests_by_mangled_function_name"], stats["duration_by_test"]
    items = {item.nodeid: item for item in session.items}
    found, found_ever = Counter[tuple[str, str]](), Counter[str]()
    reach = Counter(test for those in tests.values() for test in those)
    cost = {test: (reach[test], seconds.get(test, 0.0)) for test in items}
    tried = set[tuple[Path, str]]()
    gc.freeze()  # So that the forks share the existing objects.
    for most in (FIRST_TESTS, MOST_TESTS):
        for meta, name in [one for one in _not_found(patterns) if one not in tried]:
            function = name.partition("__mutmut_")[0]
            ids = [test for test in tests.get(function, ()) if test in items]
            own = _own_tests(name)
            ids.sort(
                key=lambda id_: (
                    -found[function, id_],
                    not own.search(id_),
                    -found_ever[id_],
                    *cost[id_],
                )
            )
            code, failed = _try_change(session, name, [items[test] for test in ids[:most]])
            found[function, failed] += 1
            found_ever[failed] += 1
            if code != 0 or len(ids) <= most or most == MOST_TESTS:
                tried.add((meta, name))
                _write(meta, name, code)
    return True


def _own_tests(name: str) -> re.Pattern[str]:
    """Return a pattern of the tests that are for the module of a change."""
    module = name.removeprefix("smartglocal_async.").rpartition(".")[0]
    files = (f"test_{module.rpartition('.')[2]}", *OWN_TESTS.get(module, ()))
    return re.compile(rf"/(?:{'|'.join(files)})[.]py")


def _not_found(patterns: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield the changes never tried, then those that no test found; filtered by the patterns."""
    for wanted in ({None}, {0, NO_TEST}):
        for pattern in patterns:
            for meta in sorted(FOLDER.glob("**/*.meta")):
                codes = json.loads(meta.read_text())["exit_code_by_key"]
                for name, code in codes.items():
                    if code in wanted and fnmatch(name, pattern):
                        yield meta, name


def _write(meta: Path, name: str, code: int) -> None:
    facts = json.loads(meta.read_text())
    facts["exit_code_by_key"][name] = code
    _ = meta.write_text(json.dumps(facts, indent=4))


def _try_change(
    session: pytest.Session, name: str, items: Sequence[pytest.Item]
) -> tuple[int, str]:
    """Run the tests with a change in a new process; also return the test that failed."""
    if not items:
        return NO_TEST, ""
    _ = sys.stdout.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _run(session, name, items, writer)
        finally:
            os._exit(code)
    os.close(writer)
    ends = time.monotonic() + LONGEST_SECONDS
    code = None
    while code is None and time.monotonic() < ends:
        done, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
        time.sleep(0 if done else 0.01)
    if code is None:
        os.kill(pid, signal.SIGKILL)
        _ = os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as told:
        return TIMED_OUT if code is None else code, told.read().decode()


def _run(session: pytest.Session, name: str, items: Sequence[Any], writer: int) -> int:
    set_mutant_under_test(name)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            _ = os.write(writer, item.nodeid.encode())
            return 1
    return 0
