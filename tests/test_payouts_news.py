"""News of payouts: reports that settle and accuse, a journal that forgot, and a person's word."""

import asyncio
import csv
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from paying import QUICK, START, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal.states import Event
from smartglocal_async.payouts.hints import Hints

AUTOMATIC = emulator.Rules(confirmation=Confirmation.AUTOMATIC)
INIT = "session/init/payout"
COLUMNS = ("operationId", "paymentSessionId", "paymentSessionMerchantMetadata")


def row(outcome: sg.PayoutOutcome, journal: sg.Journal, line: int = 2, **changes: Any) -> Any:
    """Give the row of a report for a payout that was made."""
    told = {"payout_key": outcome.key, "payout_journal": journal.journal_id}
    fields = {
        "line": line,
        "payout_id": outcome.payout_id or f"po_{line}",
        "session_id": outcome.session_id,
        "metadata": told,
    }
    return sg.ReportRow(**{**fields, **changes})


async def lost_one_step(run_provider, connect, journal, count: int = 1) -> Any:
    """Pay in one step and lose the answers: nobody here knows the session."""
    lost = [
        Fault(FaultKind.AFTER, nth=(1,), key=f"k-{n}", operation=INIT) for n in range(1, count + 1)
    ]
    provider = run_provider(rules=AUTOMATIC, faults=emulator.FaultScript(lost))
    api = connect(provider, settings=QUICK)
    return provider, sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True)


# --- Reports ---------------------------------------------------------------------------------


async def test_a_report_that_agrees(payouts, journal):
    """It is clean, and what isn't ours is counted apart."""
    paid = [await payouts.pay(order(f"k-{n}")) for n in range(3)]
    rows = [row(one, journal, line) for line, one in enumerate(paid, 2)]
    other = sg.ReportRow(line=9, payout_id="po_x", session_id="ps_x")
    found = await payouts.reconcile([*rows, other])
    assert found.is_clean
    assert (found.rows, found.agreed, found.settled, found.others) == (4, 3, 0, 1)


async def test_a_report_settles_what_was_unknown(run_provider, connect, journal):
    """It learns the session, and the payout stays as it is then."""
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
    assert [(one.kind, one.key, one.line) for one in found.findings] == [
        (sg.FindingKind.PAID_TWICE, "k-1", 3)
    ]


async def test_what_differs_and_what_contradicts(payouts, journal):
    """Another amount, and a payment of what is written as not paid."""
    paid = await payouts.pay(order("k-1"))
    declined = await payouts.pay(order("k-2", 66601))
    found = await payouts.reconcile(
        [
            row(paid, journal, 2, amount=sg.AmountDetails(9_999, "usd")),
            row(declined, journal, 3, amount=sg.AmountDetails(66601, "usd")),
            row(paid, journal, 4, metadata={"payout_journal": "another"}, session_id="ps_other"),
        ]
    )
    assert [(one.kind, one.line) for one in found.findings] == [
        (sg.FindingKind.DIFFERS, 2),
        (sg.FindingKind.CONTRADICTS, 3),
        (sg.FindingKind.FOREIGN, 4),
    ]
    assert not found.is_clean
    assert (await payouts.pay(order("k-3"))).is_paid, "nothing is halted by these"


async def test_what_is_missing(payouts, tmp_path):
    """Paid in the time that the report covers, and not in it."""
    await payouts.pay(order())
    path = write_report(tmp_path, [])
    now = datetime.now(UTC)  # noqa: TID251 - the journal's clock is the real one here
    day = timedelta(days=1)
    covering = sg.PayoutReport(path=path, since=now - day, until=now + day)
    found = await payouts.reconcile(covering)
    assert [(one.kind, one.key) for one in found.findings] == [(sg.FindingKind.MISSING, "k-1")]
    assert (await payouts.reconcile(sg.PayoutReport(path=path))).is_clean
    before = sg.PayoutReport(path=path, since=now - 2 * day, until=now - day)
    assert (await payouts.reconcile(before)).is_clean


def write_report(folder: Path, rows: list[Any], columns: tuple[str, ...] = COLUMNS) -> Path:
    """Write a report as the provider would."""
    path = folder / "report.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


async def test_a_report_from_a_file(payouts, journal, tmp_path):
    """The documented columns, metadata as JSON, amounts where their columns are named."""
    paid = await payouts.pay(order())
    told = json.dumps({"payout_key": "k-1", "payout_journal": journal.journal_id})
    columns = (*COLUMNS, "sum", "cur", "fee")
    rows = [
        [paid.payout_id, paid.session_id, told, "100.00", "USD", "1.50"],
        ["po_9", "ps_9", "order123", "1", "USD", ""],
        ["po_8", "ps_8", "[1]", "1", "USD", ""],
    ]
    path = write_report(tmp_path, rows, columns)
    named = sg.ReportColumns(amount="sum", currency="cur")
    report = sg.PayoutReport(path=path, columns=named)
    assert [one.line for one in report] == [2, 3, 4]
    assert next(iter(report)).amount == sg.AmountDetails(10_000, "usd")
    found = await payouts.reconcile(report)
    assert (found.agreed, found.others, found.is_clean) == (1, 2, True)
    assert "payout_key" not in repr(next(iter(report)))


@pytest.mark.parametrize(
    ("columns", "rows", "words"),
    [
        (("a", "b"), [], r"report.csv, line 1: has no column 'paymentSessionId'"),
        (COLUMNS, [["po", "", "{}"]], "line 2: paymentSessionId is empty"),
        (COLUMNS, [["po"]], "line 2: paymentSessionId is empty"),
    ],
)
def test_a_report_that_can_not_be_read(tmp_path, columns, rows, words):
    """It names file, line and column."""
    report = sg.PayoutReport(path=write_report(tmp_path, rows, columns))
    with pytest.raises(sg.InvalidRequest, match=words):
        _ = list(report)


def test_a_report_of_other_bytes(tmp_path):
    """No value is shown, and no foreign error raised."""
    path = write_report(tmp_path, [["po", "ps", "{}"]])
    path.write_bytes(path.read_bytes() + b"po,ps,\xff\xfe\n")
    with pytest.raises(sg.InvalidRequest, match=r"report.csv, line \d: can't be read"):
        _ = list(sg.PayoutReport(path=path))
    amounts = sg.ReportColumns(amount="sum", currency="cur")
    path = write_report(tmp_path, [["po", "ps", "{}", "x", "usd"]], (*COLUMNS, "sum", "cur"))
    with pytest.raises(sg.InvalidRequest, match="line 2: sum, cur: expected a number"):
        _ = list(sg.PayoutReport(path=path, columns=amounts))
    with pytest.raises(sg.InvalidRequest, match=r"PayoutReport.since: has no offset"):
        _ = sg.PayoutReport(path=path, since=datetime(2026, 1, 1))  # noqa: DTZ001 - refused


# --- A journal that forgot -------------------------------------------------------------------


async def pay_with_file(connect, provider, path: Path, keys: list[str]) -> list[sg.PayoutOutcome]:
    """Pay with the journal of a file."""
    async with sg.Payouts(connect(provider, settings=QUICK), sg.SQLiteJournal(path)) as payouts:
        return [await payouts.pay(order(key)) for key in keys]


def copy_of(path: Path, folder: str) -> Path:
    """Copy a journal that is closed, without what lies beside it."""
    into = path.parent / folder
    into.mkdir()
    return Path(shutil.copy(path, into / path.name))


async def test_an_older_copy_is_noticed_when_it_is_opened(connect, provider, tmp_path):
    """What lies beside it says how far it had come; nothing is paid until a person acts."""
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
                with pytest.raises(sg.JournalForgot, match="it is an older copy"):
                    _ = await payouts.pay(order(key))
        assert (await payouts.summary()).halt.kind is sg.HaltKind.FORGOT
        assert await payouts.adopt([row(paid[0], journal)]) == 1
        await payouts.lift()
        told = [await payouts.pay(order(key)) for key in ("k-2", "k-3")]
    assert [one.is_paid for one in told] == [True, True]
    assert [one.replayed for one in told] == [True, False]
    assert provider.report().moved == 3
    assert provider.report().moved_twice == 0


async def test_a_journal_that_was_deleted_is_noticed(connect, provider, tmp_path):
    """The lock beside it stays, and says that there was one."""
    path = tmp_path / "payouts.db"
    _ = await pay_with_file(connect, provider, path, ["k-1"])
    path.unlink()
    with pytest.raises(sg.JournalForgot, match="its log had"):
        _ = await pay_with_file(connect, provider, path, ["k-1"])
    assert provider.report().moved == 1


@pytest.mark.parametrize("knows_the_key", [True, False])
async def test_a_webhook_shows_that_the_journal_forgot(connect, provider, tmp_path, knows_the_key):
    """A payout of ours in a session that nobody wrote down: it halts everybody, for good."""
    path, api = tmp_path / "payouts.db", connect(provider, settings=QUICK)
    journal = sg.SQLiteJournal(path)
    async with sg.Payouts(api, journal) as payouts:
        if knows_the_key:
            _ = await payouts._lead.accept(order("k-2"))
    old = copy_of(path, "restored")
    _ = await pay_with_file(connect, provider, path, ["k-2"])
    session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
    event = sg.PaymentFinished(type="payment_finished", session=session)

    for attempt in ("noticed", "remembered"):
        async with sg.Payouts(api, sg.SQLiteJournal(old)) as payouts:
            if attempt == "noticed":
                assert (await payouts.summary()).halt is None
                assert await payouts.notice(event)
            with pytest.raises(sg.JournalForgot, match="'k-2'"):
                _ = await payouts.pay(order("k-2"))
    assert provider.order("k-2").moved == 1


async def test_a_report_shows_that_the_journal_forgot(connect, provider, tmp_path):
    """It halts; adopted, the payout is known as paid, whatever was known of it before."""
    path, api = tmp_path / "payouts.db", connect(provider, settings=QUICK)
    _ = await pay_with_file(connect, provider, path, [])
    old = copy_of(path, "restored")
    paid = await pay_with_file(connect, provider, path, ["k-1", "k-2"])

    journal = sg.SQLiteJournal(old)
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts._lead.accept(order("k-2"))
        rows = [row(one, journal, line) for line, one in enumerate(paid, 2)]
        found = await payouts.reconcile(rows)
        assert [(one.kind, one.key) for one in found.findings] == [
            (sg.FindingKind.FORGOTTEN, "k-1"),
            (sg.FindingKind.FORGOTTEN, "k-2"),
        ]
        with pytest.raises(sg.JournalForgot):
            _ = await payouts.pay(order("k-3"))
        assert await payouts.adopt(rows) == 2
        assert await payouts.adopt(rows) == 0, "once is enough"
        await payouts.lift()
        assert (await payouts.reconcile(rows)).is_clean
        told = [await payouts.pay(order(key)) for key in ("k-1", "k-2", "k-3")]
    assert [(one.is_paid, one.replayed) for one in told] == [(True, True)] * 2 + [(True, False)]
    assert provider.report().moved == 3


async def test_what_a_report_does_not_show_is_not_adopted(payouts, journal, provider):
    """Rows of others, of another journal, and of payouts that are known."""
    paid = await payouts.pay(order())
    other = row(paid, journal, session_id="ps_x", metadata={"payout_key": "k-9"})
    assert await payouts.adopt([row(paid, journal), other]) == 0
    declined = await payouts.pay(order("k-2", 66601))
    assert await payouts.adopt([row(declined, journal, session_id="ps_y")]) == 0
    assert provider.report().moved == 1


async def test_a_halt_stops_a_batch_and_resume(payouts, journal):
    """Whoever uses the journal; what is settled is still given."""
    _ = await payouts.pay(order())
    _ = await payouts._lead.accept(order("k-2"))
    await journal.halt(sg.Halt(kind=sg.HaltKind.FORGOT, reason="seen elsewhere"))
    assert (await payouts.pay(order())).replayed
    with pytest.raises(sg.JournalForgot, match="seen elsewhere"):
        _ = [one async for one in payouts.pay_all([order("k-2")])]
    with pytest.raises(sg.JournalForgot):
        _ = [one async for one in payouts.resume(lambda _: order("k-2"))]


async def test_a_quarantine(payouts, provider, journal):
    """Nothing is paid until it ends; what is known is still settled."""
    await payouts.quarantine()
    with pytest.raises(sg.Quarantined, match="nothing is paid before") as caught:
        _ = await payouts.pay(order())
    now = datetime.now(UTC).timestamp()  # noqa: TID251 - as the journal's
    assert 0 < caught.value.until - now <= 270 * 60
    assert provider.report().sessions == 0
    await payouts.lift()
    assert (await payouts.pay(order())).is_paid
    assert await journal.halted() is None


# --- A person's word -------------------------------------------------------------------------


async def test_a_case_shows_all_that_is_known(run_provider, connect, journal):
    """What nothing can settle is listed, with its log, until a person decides."""
    _, payouts = await lost_one_step(run_provider, connect, journal, 2)
    async with payouts:
        for key in ("k-1", "k-2"):
            _ = await payouts.pay(order(key))
        cases = [case async for case in payouts.cases()]
        assert [case.key for case in cases] == ["k-1", "k-2"]
        assert "its answer was lost" in cases[0].reason
        assert [line.event for line in cases[0].history] == [Event.INIT_INTENDED, Event.PARKED]
        assert (cases[0].entry.amount, cases[0].entry.currency) == (10_000, "usd")
        paid = await payouts.decide("k-1", is_paid=True, reason=" seen in the Dashboard ")
        not_paid = await payouts.decide("k-2", is_paid=False, reason="support: never arrived")
        assert [case async for case in payouts.cases()] == []
    assert (paid.is_paid, paid.reason) == (True, "seen in the Dashboard")
    assert not_paid.state is sg.PayoutState.FAILED
    journal._is_open = True
    assert (await journal.history("k-1"))[-1].reason == "seen in the Dashboard"


async def test_what_stands_for_a_day_is_a_case(connect, provider):
    """It may be an error that the provider's support has to look at."""
    now = datetime.now(UTC)  # noqa: TID251 - the base of a clock that is set
    journal = sg.MemoryJournal(unsafe=True, clock=lambda: now.timestamp() - 25 * 3600)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        _ = await payouts._lead.accept(order())
        cases = [case async for case in payouts.cases()]
    assert "stands at NEW for more than a day" in cases[0].reason


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
async def test_a_decision_needs_a_reason(payouts, reason):
    """Whoever reads it in a year wants to know."""
    with pytest.raises(sg.InvalidRequest, match="reason"):
        _ = await payouts.decide("k-1", is_paid=True, reason=reason)


async def test_what_can_not_be_decided(payouts, journal):
    """What is settled stays, what was never started is withdrawn instead."""
    _ = await payouts.pay(order())
    with pytest.raises(sg.Misuse, match="'k-1' is SUCCEEDED already"):
        _ = await payouts.decide("k-1", is_paid=False, reason="no")
    with pytest.raises(sg.Misuse, match="the key 'nobody'"):
        _ = await payouts.decide("nobody", is_paid=False, reason="no")
    _ = await payouts._lead.accept(order("k-2"))
    with pytest.raises(sg.Misuse, match="nothing was started for it"):
        _ = await payouts.decide("k-2", is_paid=True, reason="no")
    assert (await journal.find("k-2")).owner is None


async def test_a_withdrawal(payouts, provider):
    """What is not out yet is taken back, and is never paid under this key."""
    _ = await payouts._lead.accept(order())
    withdrawn = await payouts.withdraw("k-1", reason="the employee left")
    again = await payouts.pay(order())
    assert withdrawn.state is again.state is sg.PayoutState.CANCELLED
    assert again.replayed
    assert provider.report().sessions == 0


async def test_what_can_not_be_withdrawn(payouts, journal):
    """Something may be out for it."""
    _ = await payouts._lead.accept(order())
    entry = await journal.claim("k-1", "the dead", 0.001)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    chosen = sg.Changes(session_id="ps_9")
    await journal.release(await journal.advance(entry, Event.SESSION_CHOSEN, chosen))
    with pytest.raises(sg.Misuse, match="stands at STARTING: something may be out"):
        _ = await payouts.withdraw("k-1", reason="no")


async def test_a_session_that_may_be_created_hinders_no_withdrawal(payouts, provider, journal):
    """It moves no money: whoever had the payout can't choose that session any more."""
    _ = await payouts._lead.accept(order())
    entry = await journal.claim("k-1", "another", 60)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    await journal.release(entry)
    assert (await payouts.withdraw("k-1", reason="no")).state is sg.PayoutState.CANCELLED
    with pytest.raises(sg.LostLease):
        await journal.advance(entry, Event.SESSION_CHOSEN, sg.Changes(session_id="ps_9"))
    assert (await payouts.pay(order())).replayed
    assert provider.report().sessions == 0


async def test_news_that_come_while_a_payout_is_parked(run_provider, connect):
    """They are written, as nobody tells them again: the answer was lost, and it was paid."""

    class Told(sg.MemoryJournal):
        async def advance(self, entry, event, *args, **options):
            if event is Event.PARKED:
                session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
                assert await Hints(payouts._lead).take(session)
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
    """By state, with the money of each."""
    _ = [one async for one in payouts.pay_all([order("a"), order("b", 66601)], batch="may")]
    _ = await payouts.pay(order("c", 7))
    summary = await payouts.summary()
    assert summary.counts == {sg.PayoutState.SUCCEEDED: 2, sg.PayoutState.FAILED: 1}
    assert summary.sums[sg.PayoutState.SUCCEEDED, "usd"] == 10_007
    assert (await payouts.summary(batch="may")).counts == {
        sg.PayoutState.SUCCEEDED: 1,
        sg.PayoutState.FAILED: 1,
    }


async def test_a_key_that_is_paid_at_this_moment_is_told_in_time(connect, provider, journal):
    """Whoever asks for it again waits for its own deadline, and no longer."""
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
