"""Facts that several parts of the package need, and that one place states."""

import ast
from pathlib import Path

import pytest
from attrs import fields
from places import ROOT

from smartglocal_async import keys, settings
from smartglocal_async.codec import instruments
from smartglocal_async.journal.entries import Entry
from smartglocal_async.journal.postgres import schema
from smartglocal_async.journal.rows import COLUMNS
from smartglocal_async.journal.sqlite import file
from smartglocal_async.validation import checks
from smartglocal_async.webhooks import verifier

PACKAGE = ROOT / "smartglocal_async"
ONE_NAME = {
    "reading a PEM": (keys.read_pem, settings.read_pem, verifier.read_pem),
    "the wrappings of instruments": (instruments.unwrapped, checks.unwrapped),
}


@pytest.mark.parametrize("places", ONE_NAME.values(), ids=ONE_NAME.keys())
def test_both_sides_use_one_function(places) -> None:
    """The sides that need it call the same function."""
    assert len(set(map(id, places))) == 1


def names_and_numbers(path: Path) -> tuple[set[str], set[int]]:
    """Return the names that a module uses, and the whole numbers that are written in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    numbers = {n.value for n in nodes if isinstance(n, ast.Constant) and type(n.value) is int}
    return {node.id for node in nodes if isinstance(node, ast.Name)}, numbers


@pytest.mark.parametrize(
    "module",
    [
        "webhooks/receiver.py",
        "emulator/bank/webhooks.py",
        "cli/webhooks.py",
        "cli/demo/story.py",
    ],
)
def test_the_status_of_a_delivered_webhook(module) -> None:
    """Client, emulator and command line have it from one constant, and no number of their own."""
    names, numbers = names_and_numbers(PACKAGE / module)
    assert "DELIVERED" in names
    assert verifier.DELIVERED not in numbers


def columns_of(statement: str, table: str) -> list[str]:
    """Return the columns that a statement creates a table with."""
    body = statement.partition(f"{table} (")[2]
    depth, parts, part = 0, [], ""
    for sign in body:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            break
        if sign == "," and not depth:
            parts, part = [*parts, part], ""
        else:
            part += sign
    return [one.split()[0] for one in [*parts, part]]


@pytest.mark.parametrize(
    ("statements", "table"),
    [(schema._TABLES, "{schema}.entry"), (file._TABLES, "entry")],
    ids=["PostgreSQL", "SQLite"],
)
def test_both_journals_have_the_columns_of_an_entry(statements, table) -> None:
    """No journal has a column that the other one, or the entry, doesn't have."""
    names = {one.name for one in fields(Entry)}
    assert set(COLUMNS) == names
    assert set(columns_of(statements, table)) == names | {"number"}
