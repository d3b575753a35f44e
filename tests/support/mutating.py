"""A pytest plugin that tries the changes of mutmut, each in a fork of one process.

mutmut starts pytest again for every change. This plugin collects the tests once, in the folder
``mutants``, and runs the tests that reach the changed lines until one fails: first those that found
other changes of the function, then those of the module. `reached_lines` recorded which tests those
are. The names of the changes to try, which may be patterns, are in ``SMARTGLOCAL_MUTANTS``; changes
that were found before aren't tried again.
"""

import ast
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
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import pytest
from coverage import CoverageData
from mutants import body_of
from mutmut.mutation.trampoline import set_mutant_under_test

FOLDER: Final = Path("smartglocal_async")
STATS: Final = Path("mutmut-stats.json")
"""How long each test takes; written by mutmut."""
REACHED: Final = Path("../reached.coverage")
FIRST_TESTS: Final = 20
"""If this many tests don't find a change, more tests try it after the other changes."""
MOST_TESTS: Final = 120
"""A change that this many tests don't find counts as survived, even if others might find it."""
OWN_TESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "call": (
        "test_one_key",
        "test_session_pool",
        "test_client",
        "test_cancellation",
        "test_delivery",
    ),
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
    seconds = json.loads(STATS.read_text())["duration_by_test"]
    items = {item.nodeid: item for item in session.items}
    found, found_ever = Counter[tuple[str, str]](), Counter[str]()
    tried = set[tuple[Path, str]]()
    gc.freeze()  # So that the forks share the existing objects.
    for most in (FIRST_TESTS, MOST_TESTS):
        for meta, name in [one for one in _not_found(patterns) if one not in tried]:
            function = name.partition("__mutmut_")[0]
            ids = [test for test in _tests_of(meta, name) if test in items]
            own = _own_tests(name)
            ids.sort(
                key=lambda id_: (
                    -found[function, id_],
                    not own.search(id_),
                    -found_ever[id_],
                    seconds.get(id_, 0.0),
                )
            )
            code, failed = _try_change(session, name, [items[test] for test in ids[:most]])
            found[function, failed] += 1
            found_ever[failed] += 1
            if code != 0 or len(ids) <= most or most == MOST_TESTS:
                tried.add((meta, name))
                _write(meta, name, code)
    return True


def _tests_of(meta: Path, name: str) -> set[str]:
    """Return the tests that reach the lines that a change changes."""
    module = meta.with_suffix("")
    code, function = _code(module), name.partition("__mutmut_")[0]
    short = name.rpartition(".")[2]
    before = body_of(code, f"{function.rpartition('.')[2]}__mutmut_orig")
    after = body_of(code, short)
    offset = next(
        (n for n, (one, other) in enumerate(zip_longest(before, after)) if one != other), 0
    )
    source = Path("..") / module
    lines = _statement(source, _first_line(source, function.rpartition(".")[2]) + offset)
    contexts = _tests_by_line(source)
    return {test for line in lines for test in contexts.get(line, ())}


@cache
def _code(module: Path) -> str:
    return module.read_text(encoding="utf-8")


@cache
def _tests_by_line(source: Path) -> Mapping[int, Sequence[str]]:
    reached = CoverageData(str(REACHED))
    reached.read()
    return reached.contexts_by_lineno(str(source.resolve()))


@cache
def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def _first_line(source: Path, function: str) -> int:
    """Return the line of the ``def`` of a function or a method, by its name in mutmut."""
    *_, owner, name = ("", *function.removeprefix("x_").removeprefix("xǁ").split("ǁ"))
    places = [
        node
        for parent in ast.walk(_tree(source))
        if (isinstance(parent, ast.ClassDef) and parent.name == owner)
        or (isinstance(parent, ast.Module) and not owner)
        for node in parent.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    return places[0].lineno


def _statement(source: Path, line: int) -> range:
    """Return the lines of the statement at a line; of a block, those of its head."""
    best = range(line, line + 1)
    size = None
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            span = (node.end_lineno or node.lineno) - node.lineno
            if size is None or span <= size:
                body: list[ast.stmt] = getattr(node, "body", [])
                end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
                best, size = range(node.lineno, max(end, node.lineno + 1, line + 1)), span
    return best


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
    part = meta.with_suffix(".part")
    _ = part.write_text(json.dumps(facts, indent=4))
    _ = part.replace(meta)


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
