"""The preflight check: totals, errors, duplicates and flat memory."""

import os
import sqlite3
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, get_args

import attrs
import pytest
from places import ROOT

import smartglocal_async as sg
from smartglocal_async.payouts import preflight
from smartglocal_async.payouts.files.columns import KINDS

HEADER: Final = "key,amount,currency,card_token,full_name\n"
JANE: Final = sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe"))


def order(key: str, paid: Any = "tok", amount: int = 100, currency: str = "usd") -> sg.PayoutOrder:
    """Return an order."""
    return sg.PayoutOrder(
        key=key,
        payment_method=sg.EncryptedCard(number_hash=paid) if isinstance(paid, str) else paid,
        amount_details=sg.AmountDetails(amount, currency),
        participant_details=JANE,
    )


def file_of(tmp_path: Path, *rows: str) -> sg.PayoutFile:
    """Write a file and return it as a `PayoutFile`."""
    path = tmp_path / "p.csv"
    path.write_text(HEADER + "\n".join(rows), encoding="utf-8")
    return sg.PayoutFile(path)


def test_totals_of_a_file(tmp_path):
    """Totals by currency, in minor units."""
    file = file_of(tmp_path, "a,1.50,usd,t1,Jane", "b,7,jpy,t2,Jane", "c,100,USD,t3,Jane")
    found = sg.payouts.check(file)
    assert (found.count, found.totals, found.is_fit) == (3, {"jpy": 7, "usd": 10_150}, True)


def test_bad_rows_are_all_counted_and_some_kept(tmp_path):
    """Bad rows are counted and some are listed; they aren't in the totals, and prevent paying."""
    file = file_of(tmp_path, "a,1,usd,t1,Jane", *(f"b{n},x,usd,t{n},Jane" for n in range(7)))
    found = sg.payouts.check(file, max_problems=3)
    assert [(p.line, p.column) for p in found.problems] == [(n, "amount") for n in (3, 4, 5)]
    assert (found.count, found.bad_rows, found.problem_count) == (1, 7, 7)
    assert found.totals == {"usd": 100}
    assert not found.is_fit


def test_a_key_twice(tmp_path):
    """Both lines are listed, and paying is prevented; it isn't also listed as a repeat."""
    found = sg.payouts.check(
        file_of(tmp_path, "a,1,usd,t1,Jane", "b,1,usd,t2,Jane", "a,1,usd,t1,Jane")
    )
    assert found.duplicates == (sg.payouts.PossibleDuplicate(first_line=2, line=4, key="a"),)
    assert (found.duplicate_count, found.repeat_count, found.is_fit) == (1, 0, False)


def test_a_repeat_is_a_warning():
    """The same payment under another key is listed, and can be paid."""
    orders = [
        order("a"),
        order("b"),
        order("c", amount=101),
        order("d", currency="eur"),
        order("e"),
    ]
    found = sg.payouts.check(orders)
    assert found.repeats == (
        sg.payouts.PossibleDuplicate(first_line=1, line=2, key="b"),
        sg.payouts.PossibleDuplicate(first_line=1, line=5, key="e"),
    )
    assert found.is_fit


TELLING: Final = {
    sg.BankCard: ("number",),
    sg.EncryptedCard: ("number_hash",),
    sg.GlobalAccount: (
        *("iban", "swift_bic_code", "bank_account_number", "account_number", "branch_number"),
        *("sort_code", "routing_code", "bsb_number", "extra"),
    ),
    sg.RussianAccount: ("bik", "account"),
    sg.FasterPayment: ("phone", "bank_id"),
    sg.FasterPaymentVerification: ("phone", "bank_id"),
    sg.GlobalWallet: ("name", "msisdn"),
    sg.Recurrent: ("token",),
    sg.models.TokenizedCard: ("token",),
    sg.models.SteamWallet: ("account",),
    sg.models.QiwiWallet: ("account",),
    sg.models.YooMoneyWallet: ("account",),
    sg.models.MonetaWallet: ("account",),
}
"""Fields that identify a payee, listed by hand: rows that differ in one are two payees."""
NOT_PAYEE_FIELDS: Final = {
    sg.BankCard: (
        *("expiration_month", "expiration_year", "security_code", "cardholder_name", "extra"),
    ),
    sg.EncryptedCard: (
        *("expiration_date_hash", "security_code_hash", "cardholder_name_hash", "extra"),
    ),
    sg.GlobalAccount: ("account_type", "description"),
    sg.RussianAccount: ("full_name", "description", "inn", "kpp", "extra"),
    sg.FasterPayment: ("description", "extra"),
    sg.FasterPaymentVerification: ("extra",),
    sg.GlobalWallet: ("description", "extra"),
    sg.Recurrent: ("initiator", "extra"),
    sg.models.TokenizedCard: ("extra",),
    sg.models.SteamWallet: ("extra",),
    sg.models.QiwiWallet: ("extra",),
    sg.models.YooMoneyWallet: ("extra",),
    sg.models.MonetaWallet: ("extra",),
}
"""Fields in which two rows may differ and still have the same payee."""
FIELDS: Final = [
    *((record, name, True) for record, names in TELLING.items() for name in names),
    *((record, name, False) for record, names in NOT_PAYEE_FIELDS.items() for name in names),
]


@pytest.mark.parametrize(("record", "name", "tells"), FIELDS)
def test_repeats_of_each_kind(record, name, tells):
    """The purpose doesn't distinguish payees, the account does."""
    texts = dict.fromkeys((*TELLING[record], *NOT_PAYEE_FIELDS[record]), "4242424242424242")
    del texts["extra"]
    first = record(**texts, extra={"branch": "1"})
    changed = {"branch": "2"} if name == "extra" else "4000056655665556"
    other = attrs.evolve(first, **{name: changed})
    with preflight.seen_rows() as memory:
        for line, one in enumerate((order("a", first), order("b", first), order("c", other)), 1):
            _ = memory.add(line, one)
        duplicates, repeats = memory.compare()
    same = sg.payouts.PossibleDuplicate(first_line=1, line=2, key="b")
    twin = sg.payouts.PossibleDuplicate(first_line=1, line=3, key="c")
    assert (duplicates, repeats) == ([], [same] if tells else [same, twin])


def test_no_field_is_left_out():
    """Each field of each kind of payee is in one of the two tables."""
    assert dict(preflight._PAYEE_FIELDS) == TELLING
    assert {kind.record for kind in KINDS} <= set(TELLING)
    assert set(get_args(sg.models.PayoutInstrument)) - set(TELLING) == {sg.OtherInstrument}
    for record, names in TELLING.items():
        fields = {field.name for field in attrs.fields(record)}
        assert fields == {*names, *NOT_PAYEE_FIELDS[record]}


def test_spelling_hides_no_repeat():
    """An IBAN in lower case is the same; an unknown instrument is compared as a whole."""
    ibans = [
        sg.GlobalAccount(iban=text) for text in ("DE89370400440532013000", "de89370400440532013000")
    ]
    assert sg.payouts.check([order("a", ibans[0]), order("b", ibans[1])]).repeat_count == 1
    others = [sg.OtherInstrument({"type": "x", "x": {"id": number}}) for number in (1, 1, 2)]
    assert sg.payouts.check(order(str(n), paid) for n, paid in enumerate(others)).repeat_count == 1


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
    """An unexpected currency is a difference, too; differences are in minor units."""
    orders = [order("a", amount=300), order("b", amount=7, currency="jpy")]
    found = sg.payouts.check(orders, expect_total=expected)
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
def test_invalid_expectation(expected, words):
    """A bare number is refused, because its unit is unclear."""
    with pytest.raises(sg.InvalidRequest, match=words):
        sg.payouts.check([], expect_total=expected)


def test_orders_are_held_to_the_rules():
    """Problems have the position of the order and the path of the field."""
    found = sg.payouts.check([order("a"), order("b", sg.BankCard(number="4000056655665555"))])
    (problem,) = found.problems
    assert (problem.line, problem.column) == (2, "payment_method.card.bank_card.number")
    assert "4000056655665555" not in str(found)


def test_invalid_item():
    """An invalid item is reported by its position."""
    with pytest.raises(sg.InvalidRequest, match=r"source\[1\]: expected PayoutOrder, got dict"):
        sg.payouts.check([order("a"), {"key": "b"}])  # type: ignore[list-item]


def test_no_room_for_the_database(tmp_path):
    """The temporary database can't grow: an error of the system with a message."""
    program = (
        "import resource, smartglocal_async as sg\n"
        "path = sg.PayoutFile('p.csv', rules=sg.RuleUse.OFF)\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from smartglocal_async.payouts import preflight\n"
        "preflight._PRAGMAS = (*preflight._PRAGMAS, 'cache_size = 2')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: sg.payouts.check(path)\n"
        "except OSError as error: print(error)\n"
    )
    _ = file_of(tmp_path, *(f"{n},1,usd,t{n},Jane" for n in range(2000)))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the temporary database of the pre-flight" in done.stdout, done.stderr


def test_nothing_readable_is_kept_on_the_disk():
    """The database contains digests and positions, and no text of an order."""
    database = sqlite3.connect(":memory:")
    database.execute(preflight._TABLE)
    memory = preflight.SeenRows(database)
    secret = order("key-4711", "token-of-jane")
    _ = memory.add(1, secret)
    assert memory.compare() == ([], [])
    dumped = database.serialize()
    database.close()
    assert b"4711" not in dumped
    assert b"token-of-jane" not in dumped


def peak(tmp_path: Path, rows: int) -> int:
    """Return the peak memory of Python during a preflight check, in bytes."""
    file = file_of(tmp_path, *(f"p-{n},1.00,usd,t{n},Jane" for n in range(rows)))
    tracemalloc.start()
    try:
        assert sg.payouts.check(attrs.evolve(file, rules=sg.RuleUse.OFF)).count == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_is_flat(tmp_path, monkeypatch):
    """Ten times the rows need the same memory, if they are more than are compared at once."""
    monkeypatch.setattr(preflight, "_CHUNK", 500)
    peak(tmp_path, 10)  # Load what is loaded once.
    few, many = peak(tmp_path, 600), peak(tmp_path, 6_000)
    assert many < few * 1.3 + 50_000, (few, many)


def test_equal_problems_are_one_group(tmp_path) -> None:
    """5,000 of them are one line: the column, how many, and where the first one is."""
    path = tmp_path / "p.csv"
    rows = "\n".join(f"p-{number},{number}.{number % 10}00,eur,t,Jane" for number in range(5_000))
    path.write_text(f"key,amount,currency,card_token,full_name\n{rows}\n,1,x,t,Jane\n", "utf-8")
    found = sg.payouts.check(sg.PayoutFile(path))
    assert found.problem_count == 5_002
    assert [(group.column, group.count, group.first_line) for group in found.groups] == [
        ("amount", 5_000, 2),
        ("currency", 1, 5_002),
        ("key", 1, 5_002),
    ]
    assert str(found.groups[0]) == (
        "amount: 5,000 rows, first in line 2: three digits behind one separator are thousands in "
        "some countries and decimals in others; write 0.00"
    )


def test_advice_has_its_own_groups(tmp_path) -> None:
    """After what forbids to pay."""
    path = tmp_path / "p.csv"
    path.write_text(
        "key,amount,currency,bank_account_number\np-1,1,eur,1\np-2,1,eur,1\np-3,x,eur,1\n", "utf-8"
    )
    groups = sg.payouts.check(sg.PayoutFile(path)).groups
    assert [group.is_advice for group in groups] == sorted(group.is_advice for group in groups)
    assert str(groups[0]) == "amount: 1 row, first in line 4: expected a number such as '100.00'"
    assert [group.count for group in groups if group.column == "description"] == [3]
