"""The pre-flight: sums, flaws, what is there twice, and memory that stays flat."""

import os
import sqlite3
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import smartglocal_async as sg
from smartglocal_async.payouts import twins
from smartglocal_async.payouts.files.columns import KINDS

HEADER: Final = "key,amount,currency,card_token,full_name\n"
JANE: Final = sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe"))


def order(key: str, paid: Any = "tok", amount: int = 100, currency: str = "usd") -> sg.PayoutOrder:
    """Give an order."""
    return sg.PayoutOrder(
        key=key,
        payment_method=sg.EncryptedCard(number_hash=paid) if isinstance(paid, str) else paid,
        amount_details=sg.AmountDetails(amount, currency),
        participant_details=JANE,
    )


def file_of(tmp_path: Path, *rows: str) -> sg.PayoutFile:
    """Write a file, and give it."""
    path = tmp_path / "p.csv"
    path.write_text(HEADER + "\n".join(rows), encoding="utf-8")
    return sg.PayoutFile(path)


def test_totals_of_a_file(tmp_path):
    """Per currency, in minor units."""
    file = file_of(tmp_path, "a,1.50,usd,t1,Jane", "b,7,jpy,t2,Jane", "c,100,USD,t3,Jane")
    found = sg.preflight(file)
    assert (found.count, found.totals, found.is_fit) == (3, {"jpy": 7, "usd": 10_150}, True)


def test_bad_rows_are_all_counted_and_some_kept(tmp_path):
    """With line and column; they are in no total, and forbid to pay."""
    file = file_of(tmp_path, "a,1,usd,t1,Jane", *(f"b{n},x,usd,t{n},Jane" for n in range(7)))
    found = sg.preflight(file, most_problems=3)
    assert [(p.line, p.column) for p in found.problems] == [(n, "amount") for n in (3, 4, 5)]
    assert (found.count, found.bad_rows, found.problem_count) == (1, 7, 7)
    assert found.totals == {"usd": 100}
    assert not found.is_fit


def test_a_key_twice(tmp_path):
    """Both lines are told, and it forbids to pay; it is no repeat, too."""
    found = sg.preflight(file_of(tmp_path, "a,1,usd,t1,Jane", "b,1,usd,t2,Jane", "a,1,usd,t1,Jane"))
    assert found.duplicates == (sg.Twin(first_line=2, line=4, key="a"),)
    assert (found.duplicate_count, found.repeat_count, found.is_fit) == (1, 0, False)


def test_a_repeat_is_a_warning():
    """Same instrument, amount and currency under another key: told, and fit all the same."""
    orders = [
        order("a"),
        order("b"),
        order("c", amount=101),
        order("d", currency="eur"),
        order("e"),
    ]
    found = sg.preflight(orders)
    assert found.repeats == (
        sg.Twin(first_line=1, line=2, key="b"),
        sg.Twin(first_line=1, line=5, key="e"),
    )
    assert found.is_fit


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.record.__name__)
def test_repeats_of_each_kind(kind):
    """What the money is for doesn't tell recipients apart; what it goes to does."""
    telling = twins._TELLING[kind.record]
    texts = dict.fromkeys((f.name for f in attrs.fields(kind.record)), "4242424242424242")
    del texts["extra"]
    first = kind.record(**texts)
    for name in texts:
        other = attrs.evolve(first, **{name: "4000056655665556"})
        with twins.remembering() as memory:
            assert memory.same_payment(1, order("a", first)) is None
            twin = memory.same_payment(2, order("b", other))
        assert (twin is not None) == (name not in telling), name


def test_spelling_hides_no_repeat():
    """An IBAN may be written in small letters; an unknown instrument counts whole."""
    ibans = [
        sg.GlobalAccount(iban=text) for text in ("DE89370400440532013000", "de89370400440532013000")
    ]
    assert sg.preflight([order("a", ibans[0]), order("b", ibans[1])]).repeat_count == 1
    others = [sg.OtherInstrument({"type": "x", "x": {"id": number}}) for number in (1, 1, 2)]
    assert sg.preflight(order(str(n), paid) for n, paid in enumerate(others)).repeat_count == 1


@pytest.mark.parametrize(
    ("expected", "differences"),
    [
        ({"usd": "3.00", "jpy": Decimal(7)}, {}),
        ({"USD": sg.AmountDetails(300, "usd"), "jpy": "7"}, {}),
        ({"usd": "3.01", "jpy": "7"}, {"usd": -1}),
        ({"usd": "3"}, {"jpy": 7}),
        ({"usd": "3", "jpy": "7", "eur": "1"}, {"eur": -100}),
        ({}, {"jpy": 7, "usd": 300}),
        (None, {}),
    ],
)
def test_expected_totals(expected, differences):
    """A currency that nobody expected differs, too; the difference is in minor units."""
    orders = [order("a", amount=300), order("b", amount=7, currency="jpy")]
    found = sg.preflight(orders, expect_total=expected)
    assert (found.differences, found.is_fit) == (differences, not differences)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({"usd": 300}, "expect_total.usd: expected '1234.56' or Decimal"),
        ({"usd": sg.AmountDetails(1, "eur")}, "is an amount of eur"),
        ({"usd": "1.001"}, "usd has 2 decimals"),
        ({"usb": "1"}, "ISO 4217"),
    ],
)
def test_an_expectation_that_is_none(expected, words):
    """A bare number might be meant in either unit."""
    with pytest.raises(sg.InvalidRequest, match=words):
        sg.preflight([], expect_total=expected)


def test_orders_are_held_to_the_rules():
    """By the place of the order, and the path of the field."""
    found = sg.preflight([order("a"), order("b", sg.BankCard(number="4000056655665555"))])
    (problem,) = found.problems
    assert (problem.line, problem.column) == (2, "payment_method.card.bank_card.number")
    assert "4000056655665555" not in str(found)


def test_what_is_no_order():
    """It is named by its place."""
    with pytest.raises(sg.InvalidRequest, match=r"source\[1\]: expected PayoutOrder, got dict"):
        sg.preflight([order("a"), {"key": "b"}])  # type: ignore[list-item]


def test_no_room_for_the_database(tmp_path):
    """The temporary database can't grow: an error of the system, in words."""
    program = (
        "import resource, smartglocal_async as sg\n"
        "path = sg.PayoutFile('p.csv', rules=sg.RuleUse.OFF)\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from smartglocal_async.payouts import twins\n"
        "twins._PRAGMAS = (*twins._PRAGMAS, 'cache_size = 2')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: sg.preflight(path)\n"
        "except OSError as error: print(error)\n"
    )
    _ = file_of(tmp_path, *(f"{n},1,usd,t{n},Jane" for n in range(2000)))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the temporary database of the pre-flight" in done.stdout, done.stderr


def test_nothing_readable_is_kept_on_the_disk():
    """The database holds digests and places, and no text of an order."""
    database = sqlite3.connect(":memory:")
    database.execute(twins._TABLE)
    memory = twins.Memory(database)
    secret = order("key-4711", "token-of-jane")
    assert memory.same_key(1, secret) is memory.same_payment(1, secret) is None
    dumped = database.serialize()
    database.close()
    assert b"4711" not in dumped
    assert b"token-of-jane" not in dumped


def peak(tmp_path: Path, rows: int) -> int:
    """Give the peak of what Python held during a pre-flight, in bytes."""
    file = file_of(tmp_path, *(f"p-{n},1.00,usd,t{n},Jane" for n in range(rows)))
    tracemalloc.start()
    try:
        assert sg.preflight(attrs.evolve(file, rules=sg.RuleUse.OFF)).count == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.thorough
def test_memory_is_flat(tmp_path):
    """Ten times the rows take the same room."""
    peak(tmp_path, 10)  # What is made once.
    few, many = peak(tmp_path, 600), peak(tmp_path, 6_000)
    assert many < few * 1.3 + 50_000, (few, many)
