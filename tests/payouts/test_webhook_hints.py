"""Reports and webhooks about payouts, a journal that lacks commits, and an operator's decisions."""

import asyncio
import csv
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from paying import QUICK, START, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal.states import Event
from smartglocal_async.payouts.calls import fingerprint_of
from smartglocal_async.payouts.webhook_hints import WebhookHints

AUTOMATIC = emulator.Rules(confirmation=Confirmation.AUTOMATIC)
MANUAL = emulator.Rules()
INIT = "session/init/payout"
PRINTED = (
    *("operationId", "paymentSessionId", "paymentSessionMerchantMetadata", "typeOfPayment"),
    *("paymentLocalAmount", "Currency amount"),
)
"""The columns of the provider's report page that are read."""
COLUMNS = ("operationId", "paymentSessionId", "paymentSessionMerchantMetadata", "typeOfPayment")


def row(
    outcome: sg.PayoutOutcome, journal: sg.journal.Journal, line: int = 2, **changes: Any
) -> Any:
    """Return the report row of a payout that was made."""
    told = {"payout_key": outcome.key, "payout_journal": journal.journal_id}
    fields = {
        "line": line,
        "payout_id": outcome.payout_id or f"po_{line}",
        "session_id": outcome.session_id,
        "metadata": told,
    }
    return sg.payouts.ReportRow(**{**fields, **changes})


def marks_of(key: str, journal: sg.journal.Journal) -> dict[str, object]:
    """Return the metadata of the session of an order, as a report shows it."""
    digest = fingerprint_of(order(key), journal.secret).short
    return {"payout_key": key, "payout_journal": journal.journal_id, "payout_order": digest}


async def lost_one_step(run_provider, connect, journal, count: int = 1) -> Any:
    """Pay in one step and lose the answers, so that the session isn't known."""
    lost = [
        Fault(FaultKind.AFTER, nth=(1,), key=f"k-{n}", operation=INIT) for n in range(1, count + 1)
    ]
    provider = run_provider(rules=AUTOMATIC, faults=emulator.FaultScript(lost))
    api = connect(provider, settings=QUICK)
    return provider, sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True)


class LateJournal(sg.journal.MemoryJournal):
    """A journal whose next look-up by session ends before another write does."""

    is_late = False

    async def by_session(self, session_id: str) -> sg.journal.Entry | None:
        """Return None once, as before the session was written."""
        if self.is_late:
            self.is_late = False
            return None
        return await super().by_session(session_id)


@pytest.mark.parametrize(
    ("mode", "rules"),
    [(sg.Mode.ONE_STEP, AUTOMATIC), (sg.Mode.AUTOMATIC, AUTOMATIC), (sg.Mode.MANUAL, MANUAL)],
)
async def test_a_session_that_is_written_beside_its_webhook(mode, rules, run_provider, connect):
    """The journal knows the payout, so nothing is halted."""
    api, journal = connect(run_provider(rules=rules), settings=QUICK), LateJournal(unsafe=True)
    async with sg.Payouts(
        api, journal, mode=mode, accept_unknown=mode is sg.Mode.ONE_STEP
    ) as payouts:
        paid = await payouts.pay(order())
        session = await api.session.status(sg.SessionRef(paid.session_id))
        journal.is_late = True
        event = sg.PaymentFinished(type="payment_finished", session=session)
        assert await payouts.handle_event(event)
        assert not journal.is_late
        assert (await payouts.summary()).halt is None


# --- Reports -------------------------------------------------------------------------------------


async def test_a_report_that_agrees(payouts, journal):
    """The reconciliation is clean; foreign rows are counted separately."""
    paid = [await payouts.pay(order(f"k-{n}")) for n in range(3)]
    rows = [row(one, journal, line) for line, one in enumerate(paid, 2)]
    other = sg.payouts.ReportRow(line=9, payout_id="po_x", session_id="ps_x")
    found = await payouts.reconcile([*rows, other])
    assert found.is_clean
    assert (found.rows, found.agreed, found.settled, found.others) == (4, 3, 0, 1)


async def test_a_report_settles_what_was_unknown(run_provider, connect, journal):
    """The payout gets its session, and stays settled."""
    provider, payouts = await lost_one_step(run_provider, connect, journal)
    async with payouts:
        lost = await payouts.pay(order())
        assert lost.state is sg.PayoutState.UNKNOWN
        session_id = provider.session_ids[-1]
        found = await payouts.reconcile([row(lost, journal, session_id=session_id)])
        told = await payouts.pay(order())
    assert (found.settled, found.is_clean) == (1, True)
    assert told.is_paid
    assert told.replayed
    assert told.session_id == session_id
    assert provider.report().moved == 1


async def test_a_payout_that_is_reported_twice(payouts, journal):
    """One of the two has to be claimed back; the same row again is no second payout."""
    paid = await payouts.pay(order())
    first = row(paid, journal)
    found = await payouts.reconcile([first, first])
    assert found.is_clean
    found = await payouts.reconcile([first, row(paid, journal, 3, payout_id="po_2")])
    assert [(one.kind, one.key, one.line) for one in found.discrepancies] == [
        (sg.payouts.DiscrepancyKind.PAID_TWICE, "k-1", 3)
    ]


@pytest.mark.parametrize(
    ("amount", "changes", "kind_and_words"),
    [
        (10_000, {"amount": sg.AmountDetails(9_999, "usd")}, ("another amount", r"of 99.99 USD")),
        (10_000, {"amount": sg.AmountDetails(10_000, "eur")}, ("another amount", r"of 100.00 EUR")),
        (10_000, {"payout_id": "po_77"}, ("paid twice", r"payout po_77 .* SUCCEEDED")),
        (66601, {}, ("reported as paid, and recorded as not paid", r"recorded as FAILED in ps_1")),
    ],
)
async def test_contradicting_report_halts(payouts, journal, amount, changes, kind_and_words):
    """Money moved differently than written: payouts are halted, with both sides in the message."""
    kind, words = kind_and_words
    paid = await payouts.pay(order("k-1", amount))
    found = await payouts.reconcile([row(paid, journal, 2, **changes)])
    assert [(one.kind.value, one.line) for one in found.discrepancies] == [(kind, 2)]
    with pytest.raises(sg.PayoutConflict, match=words):
        _ = await payouts.pay(order("k-3"))


async def test_a_payout_of_another_journal_is_a_finding(payouts, journal):
    """It halts nothing, because another system may pay for this project."""
    paid = await payouts.pay(order("k-1"))
    other = row(paid, journal, 4, metadata={"payout_journal": "another"}, session_id="ps_other")
    found = await payouts.reconcile([other])
    assert [one.kind for one in found.discrepancies] == [sg.payouts.DiscrepancyKind.FOREIGN]
    assert (await payouts.pay(order("k-3"))).is_paid


@pytest.mark.parametrize(
    "kind",
    [
        sg.payouts.ReportKind.REFUND,
        sg.payouts.ReportKind.ADJUSTMENT,
        sg.payouts.ReportKind.CHARGEBACK,
        sg.payouts.ReportKind.OTHER,
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
async def test_what_is_no_payout_settles_nothing(run_provider, connect, journal, kind, is_open):
    """A returned payout is a finding; another row has to show that it was paid."""
    _, payouts = await lost_one_step(run_provider, connect, journal)
    async with payouts:
        outcome = await payouts.pay(order("k-1" if is_open else "k-2"))
        session_id = outcome.session_id or "ps_9"
        found = await payouts.reconcile([row(outcome, journal, kind=kind, session_id=session_id)])
        after = await payouts.pay(order("k-1" if is_open else "k-2"))
        assert await payouts.adopt([row(outcome, journal, kind=kind, session_id="ps_9")]) == 0
    assert (found.settled, found.agreed) == (0, 0)
    names = {
        sg.payouts.ReportKind.REFUND: "returned by the bank",
        sg.payouts.ReportKind.ADJUSTMENT: "cancelled in part",
        sg.payouts.ReportKind.CHARGEBACK: "charged back",
        sg.payouts.ReportKind.OTHER: "of an unknown kind",
    }
    assert [one.kind.value for one in found.discrepancies] == [names[kind]]
    assert after.state is (sg.PayoutState.UNKNOWN if is_open else sg.PayoutState.SUCCEEDED)


async def test_what_is_missing(payouts, tmp_path):
    """Paid in the time of the report, and not in it."""
    await payouts.pay(order())
    path = write_report(tmp_path, [])
    now = datetime.now(UTC)  # noqa: TID251 - the journal's clock is the real one here
    day = timedelta(days=1)
    covering = sg.payouts.PayoutReport(path=path, since=now - day, until=now + day)
    found = await payouts.reconcile(covering)
    assert [(one.kind, one.key) for one in found.discrepancies] == [
        (sg.payouts.DiscrepancyKind.MISSING, "k-1")
    ]
    assert (await payouts.reconcile(sg.payouts.PayoutReport(path=path))).is_clean
    before = sg.payouts.PayoutReport(path=path, since=now - 2 * day, until=now - day)
    assert (await payouts.reconcile(before)).is_clean


async def test_what_was_adopted_is_not_missing(payouts, journal, tmp_path):
    """It is in the report, in one pass; a second payout of it is still found."""
    marks = json.dumps({"payout_key": "k-9", "payout_journal": journal.journal_id})
    now = datetime.now(UTC)  # noqa: TID251 - the journal's clock is the real one here
    day = timedelta(days=1)
    path = write_report(tmp_path, [["po_9", "ps_9", marks, "Advice"]])
    covering = sg.payouts.PayoutReport(path=path, since=now - day, until=now + day)
    found = await payouts.reconcile(covering, adopt=True)
    assert (found.rows, found.adopted, found.is_clean) == (1, 1, True)
    told = {"payout_key": "k-8", "payout_journal": journal.journal_id}
    rows = (
        sg.payouts.ReportRow(line=line, payout_id=f"po_{line}", session_id="ps_8", metadata=told)
        for line in (2, 3)
    )
    found = await payouts.reconcile(rows, adopt=True)
    assert (found.adopted, [(one.kind, one.line) for one in found.discrepancies]) == (
        1,
        [(sg.payouts.DiscrepancyKind.PAID_TWICE, 3)],
    )


def write_report(folder: Path, rows: list[Any], columns: tuple[str, ...] = COLUMNS) -> Path:
    """Write a report as the provider would."""
    path = folder / "report.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


async def test_a_report_from_a_file(payouts, journal, tmp_path):
    """The documented columns, metadata as JSON, amounts if their columns are named."""
    paid = await payouts.pay(order())
    told = json.dumps({"payout_key": "k-1", "payout_journal": journal.journal_id})
    columns = (*COLUMNS, "sum", "cur", "fee")
    rows = [
        [paid.payout_id, paid.session_id, told, "Advice", "100.00", "USD", "1.50"],
        ["po_9", "ps_9", "order123", "Advice", "1", "USD", ""],
        ["po_8", "ps_8", "[1]", "Advice", "1", "USD", ""],
    ]
    path = write_report(tmp_path, rows, columns)
    named = sg.payouts.ReportColumns(amount="sum", currency="cur")
    report = sg.payouts.PayoutReport(path=path, columns=named)
    assert [one.line for one in report] == [2, 3, 4]
    assert next(iter(report)).amount == sg.AmountDetails(10_000, "usd")
    found = await payouts.reconcile(report)
    assert (found.agreed, found.others, found.is_clean) == (1, 2, True)
    assert "payout_key" not in repr(next(iter(report)))


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("Advice", "Advice"),
        (" advice ", "Advice"),
        ("Refund", "Refund"),
        ("REFUND", "Refund"),
        ("Chargeback", "Chargeback"),
        ("ADJUSTMENT", "Adjustment"),
        ("Advice refund", "another"),
        ("", "another"),
    ],
)
def test_the_kind_of_a_row(tmp_path, word, kind):
    """A payout, a return, or something else; never a payout by default."""
    path = write_report(tmp_path, [["po_1", "ps_1", "{}", word, "x", "usd"]], PRINTED)
    [read] = sg.payouts.PayoutReport(path=path)
    assert (read.kind.value, read.amount) == (kind, None)
    # A return may have a negative amount, or none.
    assert ("line 2: paymentLocalAmount, Currency amount" in str(read.error)) is (kind == "Advice")


@pytest.mark.parametrize(
    ("columns", "cells", "amount"),
    [
        (PRINTED, ["430", "USD"], (43_000, "usd")),
        (PRINTED, ["430.5", "eur"], (43_050, "eur")),
        (PRINTED, ["430,50", "eur"], (43_050, "eur")),
        (PRINTED, ["1.430,50", "eur"], (143_050, "eur")),
        (PRINTED, ["430", "JPY"], (430, "jpy")),
        (PRINTED, ["", "USD"], None),
        (PRINTED, ["430", ""], None),
        ((*COLUMNS, "paymentLocalAmount", "currency"), ["430", "USD"], (43_000, "usd")),
        ((*COLUMNS, "grossLocalAmount", "Currency amount"), ["436", "USD"], None),
        (COLUMNS, [], None),
    ],
)
def test_the_sum_of_a_row(tmp_path, columns, cells, amount):
    """The payout without its fee, from the documented columns, if both are filled."""
    path = write_report(tmp_path, [["po_1", "ps_1", "{}", "Advice", *cells]], columns)
    [read] = sg.payouts.PayoutReport(path=path)
    told = read.amount and (read.amount.amount, read.amount.currency)
    assert told == amount


@pytest.mark.parametrize(
    ("columns", "rows", "words"),
    [
        (("a", "b"), [], r"report.csv, line 1: has no column 'paymentSessionId'"),
        (COLUMNS[:3], [], "line 1: has no column 'typeOfPayment', which separates payouts from"),
    ],
)
def test_a_report_that_can_not_be_read(tmp_path, columns, rows, words):
    """The error names file, line and column."""
    report = sg.payouts.PayoutReport(path=write_report(tmp_path, rows, columns))
    with pytest.raises(sg.InvalidRequest, match=words):
        _ = list(report)


def test_a_report_of_other_bytes(tmp_path):
    """No value is quoted, and no foreign error is raised."""
    path = write_report(tmp_path, [["po", "ps", "{}"]])
    path.write_bytes(path.read_bytes() + b"po,ps,\xff\xfe,Advice\n")
    with pytest.raises(sg.InvalidRequest, match=r"report.csv, line \d: can't be read"):
        _ = list(sg.payouts.PayoutReport(path=path))
    amounts = sg.payouts.ReportColumns(amount="sum", currency="cur")
    path = write_report(
        tmp_path, [["po", "ps", "{}", "Advice", "x", "usd"]], (*COLUMNS, "sum", "cur")
    )
    (read,) = sg.payouts.PayoutReport(path=path, columns=amounts)
    assert "line 2: sum, cur: expected a number" in str(read.error)
    assert (read.session_id, read.amount) == ("ps", None)
    with pytest.raises(sg.InvalidRequest, match=r"PayoutReport.since: has no offset"):
        _ = sg.payouts.PayoutReport(path=path, since=datetime(2026, 1, 1))  # noqa: DTZ001 - refused


MONEY = (*COLUMNS, "paymentLocalAmount", "Currency amount")


async def test_rows_of_others_may_be_unreadable(payouts, tmp_path):
    """Totals at the end and rows of other systems don't prevent reading the rest."""
    paid = await payouts.pay(order())
    rows = [
        ["po_x", "ps_x", "", "Advice", "1.234", "eur"],
        ["po_1", paid.session_id, "", "Advice", "100.00", "usd"],
        ["Total", "", "", "", "1334.50"],
        ["Total"],
    ]
    report = sg.payouts.PayoutReport(path=write_report(tmp_path, rows, MONEY))
    found = await payouts.reconcile(report)
    assert found.is_clean
    assert (found.rows, found.agreed, found.others, found.unreadable_count) == (4, 1, 3, 3)
    assert [str(one).partition(": ")[0] for one in found.unreadable] == [
        "report.csv, line 2",
        "report.csv, line 4",
        "report.csv, line 5",
    ]
    assert await payouts.adopt(report) == 0


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (["ps_1", "{}", "1,234"], ("unreadable", "line 2: paymentLocalAmount, Curr")),
        (["ps_9", "ours", "?"], ("paid twice", "line 2: paymentLocalAmount, Currency")),
        (["", "ours", "100.00"], ("unreadable", "line 2: paymentSessionId is empty")),
    ],
)
async def test_a_row_of_ours_that_can_not_be_read(payouts, journal, tmp_path, cells, shown):
    """It is a finding, by its session or its metadata, and the rows after it are compared."""
    assert (await payouts.pay(order())).session_id == "ps_1"
    mark = json.dumps({"payout_key": "k-1", "payout_journal": journal.journal_id})
    session_id, metadata, amount = [mark if one == "ours" else one for one in cells]
    bad = ["po_1", session_id, metadata, "Advice", amount, "usd"]
    rows = [bad, ["po_7", "ps_70", "", "Advice"]]
    report = sg.payouts.PayoutReport(path=write_report(tmp_path, rows, MONEY))
    found = await payouts.reconcile(report)
    (one,) = found.discrepancies
    assert one.kind.value == shown[0]
    assert shown[1] in (one.problem or "")
    assert (found.rows, found.others) == (2, 1)
    assert await payouts.adopt(report) == 0


# --- A journal that lacks commits ----------------------------------------------------------------


async def pay_with_file(connect, provider, path: Path, keys: list[str]) -> list[sg.PayoutOutcome]:
    """Pay with the journal of a file."""
    async with sg.Payouts(connect(provider, settings=QUICK), sg.SQLiteJournal(path)) as payouts:
        return [await payouts.pay(order(key)) for key in keys]


def copy_of(path: Path, folder: str) -> Path:
    """Copy a closed journal, with the file that counts its commits."""
    into = path.parent / folder
    into.mkdir()
    _ = shutil.copy(path.with_name(f"{path.name}.lock"), into)
    return Path(shutil.copy(path, into / path.name))


async def test_an_older_copy_is_noticed_when_it_is_opened(connect, provider, tmp_path):
    """The file beside it has the commit count; nothing is paid until an operator acts."""
    path = tmp_path / "payouts.db"
    _ = await pay_with_file(connect, provider, path, ["k-1"])
    old = copy_of(path, "backup")
    paid = await pay_with_file(connect, provider, path, ["k-2"])
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    shutil.copy(old, path)

    journal = sg.SQLiteJournal(path)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        for key in ("k-1", "k-2", "k-3"):
            if key == "k-1":
                assert (await payouts.pay(order(key))).replayed
            else:
                with pytest.raises(sg.errors.JournalForgot, match="it is an older copy"):
                    _ = await payouts.pay(order(key))
        assert (await payouts.summary()).halt.kind is sg.journal.HaltKind.FORGOT
        marks, now = marks_of("k-2", journal), datetime(2999, 1, 1, tzinfo=UTC)
        shown = row(paid[0], journal, metadata=marks, finished_at=now)
        assert await payouts.adopt([shown]) == 1
        await payouts.resume_journal()
        told = [await payouts.pay(order(key)) for key in ("k-2", "k-3")]
    assert [one.is_paid for one in told] == [True, True]
    assert [one.replayed for one in told] == [True, False]
    assert provider.report().moved == 3
    assert provider.report().moved_twice == 0


async def test_a_journal_that_was_deleted_is_noticed(connect, provider, tmp_path):
    """The file beside it stays, and shows that there was a journal."""
    path = tmp_path / "payouts.db"
    _ = await pay_with_file(connect, provider, path, ["k-1"])
    path.unlink()
    with pytest.raises(sg.errors.JournalForgot, match="another journal was here, which had"):
        _ = await pay_with_file(connect, provider, path, ["k-1"])
    assert provider.report().moved == 1


@pytest.mark.parametrize("knows_the_key", [True, False])
async def test_webhook_shows_a_missing_payout(connect, provider, tmp_path, knows_the_key):
    """A payout of ours in an unknown session halts all workers until it is ended."""
    path, api = tmp_path / "payouts.db", connect(provider, settings=QUICK)
    journal = sg.SQLiteJournal(path)
    async with sg.Payouts(api, journal) as payouts:
        if knows_the_key:
            _ = await payouts._claimer.accept(order("k-2"))
    old = copy_of(path, "restored")
    _ = await pay_with_file(connect, provider, path, ["k-2"])
    session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
    event = sg.PaymentFinished(type="payment_finished", session=session)

    for attempt in ("noticed", "remembered"):
        async with sg.Payouts(api, sg.SQLiteJournal(old)) as payouts:
            if attempt == "noticed":
                assert (await payouts.summary()).halt is None
                assert await payouts.handle_event(event)
            with pytest.raises(sg.errors.JournalForgot, match="'k-2'"):
                _ = await payouts.pay(order("k-2"))
    assert provider.order("k-2").moved == 1


async def test_report_shows_a_missing_payout(connect, provider, tmp_path):
    """It halts; once adopted, the payout is known as paid, whatever was known before."""
    path, api = tmp_path / "payouts.db", connect(provider, settings=QUICK)
    _ = await pay_with_file(connect, provider, path, [])
    old = copy_of(path, "restored")
    paid = await pay_with_file(connect, provider, path, ["k-1", "k-2"])

    journal = sg.SQLiteJournal(old)
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts._claimer.accept(order("k-2"))
        rows = [
            row(one, journal, line, metadata=marks_of(one.key, journal))
            for line, one in enumerate(paid, 2)
        ]
        found = await payouts.reconcile(rows)
        assert [(one.kind, one.key) for one in found.discrepancies] == [
            (sg.payouts.DiscrepancyKind.FORGOTTEN, "k-1"),
            (sg.payouts.DiscrepancyKind.FORGOTTEN, "k-2"),
        ]
        with pytest.raises(sg.errors.JournalForgot):
            _ = await payouts.pay(order("k-3"))
        assert await payouts.adopt(rows) == 2
        assert await payouts.adopt(rows) == 0, "once is enough"
        await payouts.resume_journal()
        assert (await payouts.reconcile(rows)).is_clean
        told = [await payouts.pay(order(key)) for key in ("k-1", "k-2", "k-3")]
    assert [(one.is_paid, one.replayed) for one in told] == [(True, True)] * 2 + [(True, False)]
    assert provider.report().moved == 3


@pytest.mark.parametrize(
    ("amount", "changes", "kind"),
    [
        (66601, {}, sg.payouts.DiscrepancyKind.CONTRADICTS),
        (66601, {"session_id": "ps_77"}, sg.payouts.DiscrepancyKind.FORGOTTEN),
        (10_000, {"amount": sg.AmountDetails(9, "usd")}, sg.payouts.DiscrepancyKind.DIFFERS),
        (10_000, {"payout_id": "po_77"}, sg.payouts.DiscrepancyKind.PAID_TWICE),
        (10_000, {"session_id": "ps_77"}, sg.payouts.DiscrepancyKind.PAID_TWICE),
    ],
)
async def test_what_was_paid_otherwise_halts_as_it_is_adopted(
    payouts, journal, amount, changes, kind
):
    """Only the missing payout is written; the rest is found as by any other report."""
    paid = await payouts.pay(order("k-1", amount))
    lost = {"payout_key": "k-9", "payout_journal": journal.journal_id}
    rows = [
        row(paid, journal, 2, **changes),
        sg.payouts.ReportRow(line=3, payout_id="po_99", session_id="ps_99", metadata=lost),
    ]
    found = await payouts.reconcile(rows, adopt=True)
    assert (found.adopted, [one.kind for one in found.discrepancies]) == (1, [kind])
    assert found.halts
    with pytest.raises(sg.PayoutsHalted, match="'k-1'"):
        _ = await payouts.pay(order("k-2"))
    assert (await payouts.pay(order("k-1", amount))).state is paid.state
    assert (await journal.find("k-9")).step is sg.journal.Step.SUCCEEDED


@pytest.mark.parametrize(
    ("amount", "shown", "halts"),
    [
        (None, 10_000, False),
        (None, 7, False),
        (sg.AmountDetails(10_000, "usd"), 10_000, False),
        (sg.AmountDetails(10_000, "usd"), 7, True),
        (sg.AmountDetails(10_000, "eur"), 10_000, True),
    ],
)
async def test_a_webhook_about_what_was_adopted(payouts, journal, amount, shown, halts):
    """It is compared with the amount of the report, if that had one."""
    marks = {"idempotency_key": "k-9", "payout_journal": journal.journal_id}
    told = {"payout_key": "k-9", "payout_journal": journal.journal_id}
    adopted = sg.payouts.ReportRow(line=2, payout_id="po_9", session_id="ps_9", metadata=told)
    assert await payouts.adopt([evolve(adopted, amount=amount)]) == 1
    paid = sg.Payout(
        id="po_9",
        status="succeeded",
        amount_details=sg.Amount(shown, "usd"),
        metadata=marks,
    )
    session = sg.Session(id="ps_9", status="accepted", payout_list=(paid,))
    for _ in range(2):
        assert await payouts.handle_event(
            sg.PaymentFinished(type="payment_finished", session=session)
        )
    assert ((await payouts.summary()).halt is not None) is halts
    report = [evolve(adopted, amount=sg.AmountDetails(10_000, "usd"))]
    is_other_currency = amount is not None and amount.currency == "eur"
    assert (await payouts.reconcile(report)).is_clean is not is_other_currency


async def test_what_a_report_does_not_show_is_not_adopted(payouts, journal, provider):
    """Rows of others, of another journal, and of known payouts aren't adopted."""
    paid = await payouts.pay(order())
    other = row(paid, journal, session_id="ps_x", metadata={"payout_key": "k-9"})
    assert await payouts.adopt([row(paid, journal), other]) == 0
    declined = await payouts.pay(order("k-2", 66601))
    assert await payouts.adopt([row(declined, journal, session_id="ps_y")]) == 0
    assert provider.report().moved == 1


async def test_a_halt_stops_a_batch_and_resume(payouts, journal):
    """The halt is for every user of the journal; settled outcomes are still returned."""
    _ = await payouts.pay(order())
    _ = await payouts._claimer.accept(order("k-2"))
    await journal.halt(sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="seen elsewhere"))
    assert (await payouts.pay(order())).replayed
    with pytest.raises(sg.errors.JournalForgot, match="seen elsewhere"):
        _ = [one async for one in payouts.pay_all([order("k-2")])]
    with pytest.raises(sg.errors.JournalForgot):
        _ = [one async for one in payouts.settle(lambda _: order("k-2"))]


async def test_a_quarantine(payouts, provider, journal):
    """Nothing is paid until it ends; known payouts are still settled."""
    await payouts.quarantine()
    with pytest.raises(sg.errors.Quarantined, match="it was restored, and waits until") as caught:
        _ = await payouts.pay(order())
    now = datetime.now(UTC).timestamp()  # noqa: TID251 - as the journal's
    assert 0 < caught.value.until - now <= 270 * 60
    assert provider.report().sessions == 0
    await payouts.resume_journal()
    assert (await payouts.pay(order())).is_paid
    assert await journal.halted() is None


# --- An operator's decisions ---------------------------------------------------------------------


async def test_payout_that_needs_review(run_provider, connect, journal):
    """A payout that nothing can settle is listed, with its log, until an operator decides."""
    _, payouts = await lost_one_step(run_provider, connect, journal, 2)
    async with payouts:
        for key in ("k-1", "k-2"):
            _ = await payouts.pay(order(key))
        cases = [case async for case in payouts.needing_review()]
        assert [case.key for case in cases] == ["k-1", "k-2"]
        assert "its answer was lost" in cases[0].reason
        assert [line.event for line in cases[0].history] == [Event.INIT_INTENDED, Event.PARKED]
        assert (cases[0].entry.amount, cases[0].entry.currency) == (10_000, "usd")
        paid = await payouts.decide("k-1", is_paid=True, reason=" seen in the Dashboard ")
        not_paid = await payouts.decide("k-2", is_paid=False, reason="support: never arrived")
        assert [case async for case in payouts.needing_review()] == []
    assert (paid.is_paid, paid.reason) == (True, "seen in the Dashboard")
    assert not_paid.state is sg.PayoutState.FAILED
    journal._is_open = True
    assert (await journal.history("k-1"))[-1].reason == "seen in the Dashboard"


async def test_payout_open_for_a_day_needs_review(connect, provider):
    """It may be an error that the provider's support has to check."""
    now = datetime.now(UTC)  # noqa: TID251 - the base of a clock that is set
    journal = sg.journal.MemoryJournal(unsafe=True, clock=lambda: now.timestamp() - 25 * 3600)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        _ = await payouts._claimer.accept(order())
        cases = [case async for case in payouts.needing_review()]
    assert "it has been at NEW for more than a day" in cases[0].reason


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
async def test_a_decision_needs_a_reason(payouts, reason):
    """The reason is needed for later audits."""
    with pytest.raises(sg.InvalidRequest, match="reason"):
        _ = await payouts.decide("k-1", is_paid=True, reason=reason)


async def test_what_can_not_be_decided(payouts, journal):
    """A settled payout can't be decided; one that never started is withdrawn instead."""
    _ = await payouts.pay(order())
    with pytest.raises(sg.Misuse, match="'k-1' is already SUCCEEDED"):
        _ = await payouts.decide("k-1", is_paid=False, reason="no")
    with pytest.raises(sg.Misuse, match="the key 'nobody'"):
        _ = await payouts.decide("nobody", is_paid=False, reason="no")
    _ = await payouts._claimer.accept(order("k-2"))
    with pytest.raises(sg.Misuse, match="nothing was started for it"):
        _ = await payouts.decide("k-2", is_paid=True, reason="no")
    assert (await journal.find("k-2")).owner is None


async def test_a_withdrawal(payouts, provider):
    """A payout that wasn't sent is withdrawn, and is never paid under this key."""
    _ = await payouts._claimer.accept(order())
    withdrawn = await payouts.cancel("k-1", reason="the employee left")
    again = await payouts.pay(order())
    assert withdrawn.state is again.state is sg.PayoutState.CANCELLED
    assert again.replayed
    assert provider.report().sessions == 0


async def test_what_can_not_be_withdrawn(payouts, journal):
    """A call may have been made for it."""
    _ = await payouts._claimer.accept(order())
    entry = await journal.claim("k-1", "the dead", 0.001)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    chosen = sg.journal.Changes(session_id="ps_9")
    await journal.release(await journal.advance(entry, Event.SESSION_CHOSEN, chosen))
    with pytest.raises(sg.Misuse, match="is at STARTING: a call may be in flight"):
        _ = await payouts.cancel("k-1", reason="no")


async def test_a_session_that_may_be_created_hinders_no_withdrawal(payouts, provider, journal):
    """A create moves no money; the withdrawn payout can't choose that session any more."""
    _ = await payouts._claimer.accept(order())
    entry = await journal.claim("k-1", "another", 60)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    await journal.release(entry)
    assert (await payouts.cancel("k-1", reason="no")).state is sg.PayoutState.CANCELLED
    with pytest.raises(sg.errors.LostLease):
        await journal.advance(entry, Event.SESSION_CHOSEN, sg.journal.Changes(session_id="ps_9"))
    assert (await payouts.pay(order())).replayed
    assert provider.report().sessions == 0


async def test_webhook_while_a_payout_is_parked(run_provider, connect):
    """A webhook is written, because it isn't sent again: the answer was lost, and it was paid."""

    class Told(sg.journal.MemoryJournal):
        async def advance(self, entry, event, *args, **options):
            if event is Event.PARKED:
                session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
                news = sg.PaymentFinished(type="payment_finished", session=session)
                assert await WebhookHints(payouts._claimer).take(news)
            return await super().advance(entry, event, *args, **options)

    lost = Fault(FaultKind.AFTER, nth=(1,), key="k-1", operation="session/init/payout")
    rules = emulator.Rules(confirmation=Confirmation.AUTOMATIC)
    provider = run_provider(rules=rules, faults=emulator.FaultScript([lost]))
    api = connect(provider, settings=QUICK)
    journal, mode = Told(unsafe=True), sg.Mode.ONE_STEP
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        outcome = await payouts.pay(order())
        lines = [line.event for line in await journal.history("k-1")]
    assert outcome.is_paid
    assert lines == [Event.INIT_INTENDED, Event.PARKED, Event.PAID]


async def test_a_summary(payouts):
    """Counts by state, with the money of each."""
    _ = [one async for one in payouts.pay_all([order("a"), order("b", 66601)], batch="may")]
    _ = await payouts.pay(order("c", 7))
    summary = await payouts.summary()
    assert summary.counts == {sg.PayoutState.SUCCEEDED: 2, sg.PayoutState.FAILED: 1}
    assert summary.sums[sg.PayoutState.SUCCEEDED, "usd"] == 10_007
    assert (await payouts.summary(batch="may")).counts == {
        sg.PayoutState.SUCCEEDED: 1,
        sg.PayoutState.FAILED: 1,
    }


async def test_second_caller_waits_for_its_own_deadline(connect, provider, journal):
    """A second caller waits for its own deadline, and no longer."""
    confirmed = asyncio.Event()

    def point(label: str) -> None:
        if label == f"after writing {Event.CONFIRM_KNOWN.value}":
            confirmed.set()

    api = connect(provider, settings=QUICK)
    payouts = sg.Payouts(api, journal, fault_point=point)
    async with payouts, asyncio.TaskGroup() as group:
        slow = group.create_task(payouts.pay(order(amount=66610), deadline=30))
        await confirmed.wait()
        with pytest.raises(sg.InProgress, match="'k-1'"):
            _ = await payouts.pay(order(amount=66610), deadline=0.05)
        payouts.stop()
    assert slow.result().state is sg.PayoutState.OPEN
    assert provider.order("k-1").calls[START] == 1
