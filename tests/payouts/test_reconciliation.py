"""What a report row or a webhook changes, by the step of the payout in the journal."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest
from attrs import evolve
from payout_rows import (
    CHOSEN,
    CONFIRMING,
    NOW,
    ONE_STEP,
    PARKED,
    SECOND,
    SECOND_USED,
    STARTED,
    PayoutSetup,
    WorkerSetup,
    entry_at,
    payout,
    session,
    setup_payout,
)
from rawserver import answer
from scripted import LOST, Provider, session_answer

import smartglocal_async as sg
from smartglocal_async.journal.entries import Changes, Entry, HaltKind
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.models.answers import Session
from smartglocal_async.models.money import Amount, AmountDetails
from smartglocal_async.payouts.calls import Reply
from smartglocal_async.payouts.context import Wakeup
from smartglocal_async.payouts.orders import SUMMARY_PURPOSE
from smartglocal_async.payouts.protocol import Mode, Observation, PayoutCall, ReplyKind, SessionView
from smartglocal_async.payouts.reconciliation import Reconciler, why_unchecked
from smartglocal_async.payouts.reports.discrepancies import (
    Discrepancy,
    DiscrepancyKind,
    Reconciliation,
)
from smartglocal_async.payouts.reports.provider_report import PayoutReport, ReportKind, ReportRow
from smartglocal_async.payouts.webhook_hints import WebhookHints, lacks_session

COLUMNS: Final = "operationId,paymentSessionId,paymentSessionMerchantMetadata,typeOfPayment"
CANCEL: Final = "session/cancel"
PAID: Final = (*CONFIRMING, (Event.PAID, None))
NOT_PAID: Final = (*CONFIRMING, (Event.NOT_PAID, None))
DECIDED: Final = (*PARKED, (Event.PAID, None))
LEFT_AND_DECIDED: Final = (*SECOND[:4], (Event.PARKED, None), (Event.PAID, None))
SECOND_PAID: Final = (*SECOND, (Event.START_KNOWN, None), (Event.PAID, None))


@pytest.fixture
async def setup(clock) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that brings a payout to a step, and returns its handlers."""
    async with contextlib.AsyncExitStack() as stack:
        yield partial(setup_payout, stack, clock)


async def adopt(hints: WebhookHints, rows: list[ReportRow]) -> int:
    """Reconcile these rows, and adopt the missing payouts; return how many."""
    return (await Reconciler(hints, adopts=True).read(rows)).adopted


def one(
    kind: DiscrepancyKind, session_id: str = "ps_1", key: str | None = "k-1"
) -> list[Discrepancy]:
    """Return the findings of line 2."""
    return [Discrepancy(kind=kind, key=key, session_id=session_id, line=2)]


# --- Rows of a report ----------------------------------------------------------------------------


@pytest.mark.parametrize("payout_id", ["po_1", "1", None])
@pytest.mark.parametrize(
    "amount", [None, AmountDetails(10_000, "usd")], ids=["no amount", "amount"]
)
async def test_a_row_that_agrees(setup, payout_id, amount) -> None:
    """It agrees by its id with or without letters, by its amount, or by its session alone."""
    at = await setup(PAID, item_id="po_1")
    result = await at.read(at.row(payout_id=payout_id, amount=amount))
    assert result == Reconciliation(rows=1, agreed=1)
    assert result.without_amount == (amount is None)
    assert result.is_clean
    assert not result.halts
    assert await at.halted() is None


@pytest.mark.parametrize(
    ("steps", "session_no", "ids", "expected"),
    [
        (PAID, 0, ("8177", "8176"), Reconciliation(rows=1, agreed=1)),
        (PAID, 0, ("1", "1"), Reconciliation(rows=1, agreed=1)),
        (PAID, None, ("8177", "8176"), Reconciliation(rows=1, agreed=1)),
        (CONFIRMING, 0, ("8177", "8176"), Reconciliation(rows=1, settled=1)),
        (SECOND_PAID, 1, ("8177", "8176"), Reconciliation(rows=1, agreed=1)),
    ],
)
async def test_a_row_with_bare_numbers(setup, steps, session_no, ids, expected) -> None:
    """The older form has other ids than the API: the metadata shows which payout it is."""
    at = await setup(steps, item_id="po_1")
    number = {} if session_no is None else {"payout_session": session_no}
    row = at.row(payout_id=ids[0], session_id=ids[1], metadata=at.marks | number)
    assert await at.read(row) == expected
    assert await at.halted() is None
    assert (await at.found()).step is Step.SUCCEEDED


@pytest.mark.parametrize(
    ("steps", "session_no", "kind", "expected", "halt"),
    [
        (SECOND_PAID, 0, ReportKind.ADVICE, DiscrepancyKind.PAID_TWICE, HaltKind.CONFLICT),
        (SECOND, 0, ReportKind.ADVICE, DiscrepancyKind.LEFT, HaltKind.CONFLICT),
        # Not the number of a session that was left: the journal lacks this one.
        (SECOND_PAID, 7, ReportKind.ADVICE, DiscrepancyKind.PAID_TWICE, HaltKind.FORGOT),
        (SECOND_PAID, "0", ReportKind.ADVICE, DiscrepancyKind.PAID_TWICE, HaltKind.FORGOT),
        (SECOND, 7, ReportKind.ADVICE, DiscrepancyKind.FORGOTTEN, HaltKind.FORGOT),
        (SECOND_PAID, 0, ReportKind.REFUND, DiscrepancyKind.FORGOTTEN, HaltKind.FORGOT),
    ],
)
async def test_bare_numbers_of_a_left_session(  # noqa: PLR0913, PLR0917
    setup, steps, session_no, kind, expected, halt
) -> None:
    """The number in the metadata shows in which session the money moved."""
    at = await setup(steps, item_id="po_1")
    metadata = at.marks | {"payout_session": session_no}
    row = at.row(payout_id="8177", session_id="8176", metadata=metadata, kind=kind)
    result = await at.read(row)
    assert [found.kind for found in result.discrepancies] == [expected]
    assert (await at.halted() or (None,))[0] is halt


async def test_adopted_rows_without_an_amount_are_counted(setup) -> None:
    """Each of them; one with an amount isn't."""
    at = await setup(None)
    rows = [
        at.row(
            payout_id=f"po_{number}",
            session_id=f"ps_{number}",
            metadata=at.marks | {"payout_key": f"k-{number}"},
            amount=AmountDetails(100, "usd") if number == 1 else None,
        )
        for number in range(3)
    ]
    result = await Reconciler(at.hints, adopts=True).read(rows)
    assert (result.adopted, result.without_amount) == (3, 2)


BAD_AMOUNT: Final = sg.InvalidRequest("r.csv, line 2", "paymentLocalAmount: expected a number")


@pytest.mark.parametrize("steps", [PAID, CONFIRMING], ids=["paid", "open"])
async def test_a_row_whose_amount_can_not_be_read(setup, steps) -> None:
    """It is a finding, and settles nothing; the other rows are compared."""
    at = await setup(steps)
    step = (await at.found()).step
    bad = at.row(error=BAD_AMOUNT)
    result = await at.read(bad, at.row(line=3, session_id="ps_9", metadata=None))
    assert result.discrepancies == one(DiscrepancyKind.UNREADABLE)
    assert (result.discrepancies[0].problem, result.others) == (str(BAD_AMOUNT), 1)
    assert (result.agreed, result.settled, result.without_amount) == (0, 0, 0)
    assert (await at.found()).step is step
    assert await at.halted() is None


async def test_a_report_with_an_unreadable_row_is_not_complete(setup) -> None:
    """It can't end a halt of a journal that may lack payouts, and its payout isn't missing."""
    at = await setup(PAID)
    result = await at.read(at.row(error=BAD_AMOUNT, finished_at=datetime(2100, 1, 1, tzinfo=UTC)))
    why = await why_unchecked(at.context.journal, result)
    assert why == "rows about payouts of this journal can't be read: 1"


async def test_an_unreadable_row_without_a_session(setup) -> None:
    """Its metadata shows whose it is; nothing is compared, and nothing is halted."""
    at = await setup(PAID)
    error = sg.InvalidRequest("r.csv, line 2", "paymentSessionId is empty")
    result = await at.read(at.row(session_id="", error=error))
    assert result.discrepancies == one(DiscrepancyKind.UNREADABLE)
    assert await at.halted() is None


async def test_an_unreadable_row_of_a_forgotten_payout_halts(setup) -> None:
    """That the journal lacks it doesn't depend on its amount; it isn't adopted either."""
    at = await setup(PAID)
    row = at.row(session_id="ps_9", metadata=at.marks | {"payout_key": "k-9"}, error=BAD_AMOUNT)
    assert (await at.read(row)).discrepancies == one(DiscrepancyKind.FORGOTTEN, "ps_9", "k-9")
    assert (await at.halted() or ("",))[0] is HaltKind.FORGOT
    assert await adopt(at.hints, [row]) == 0


async def test_a_finding_has_both_amounts_and_the_payee(setup) -> None:
    """The payee only with the key of the journal."""
    cipher = sg.RequestCipher(sg.RequestCipher.new_key())
    summary = cipher.encrypt(b"Jane Roe, ...4321", "k-1", purpose=SUMMARY_PURPOSE)
    at = await setup(PAID, summary=summary)
    row = at.row(amount=AmountDetails(9_999, "usd"))
    for shown, payee in ((None, None), (cipher, "Jane Roe, ...4321")):
        at.hints.claimer.cipher = shown
        (found,) = (await at.read(row)).discrepancies
        assert (found.reported, found.recorded) == (Amount(9_999, "usd"), Amount(10_000, "usd"))
        assert found.payee == payee


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"amount": AmountDetails(9_999, "usd")}, DiscrepancyKind.DIFFERS),
        ({"kind": ReportKind.REFUND}, DiscrepancyKind.RETURNED),
    ],
)
async def test_what_differs_under_bare_numbers(setup, changes, kind) -> None:
    """It is compared as any other row."""
    at = await setup(PAID, item_id="po_1")
    result = await at.read(at.row(payout_id="77", session_id="78", **changes))
    assert result.counts == {kind: 1}


async def test_two_payouts_with_bare_numbers(setup) -> None:
    """A second number for a key, and a session that was left, are still paid twice."""
    at = await setup(PAID, item_id="po_1")
    rows = [at.row(payout_id=number, session_id="78") for number in ("77", "79")]
    assert (await at.read(*rows)).counts == {DiscrepancyKind.PAID_TWICE: 1}
    left = await setup(SECOND_PAID)
    marks = left.marks | {"payout_session": 0}
    result = await left.read(left.row(payout_id="77", session_id="78", metadata=marks))
    assert result.counts == {DiscrepancyKind.PAID_TWICE: 1}


@pytest.mark.parametrize(
    ("columns", "cells", "found"),
    [
        ("paymentLocalAmount,Currency amount", "100.00,USD", ({}, 0)),
        ("paymentLocalAmount,currency", "100.00,USD", ({}, 0)),
        ("paymentLocalAmount,Currency amount", "99.00,USD", ({DiscrepancyKind.DIFFERS: 1}, 0)),
        ("paymentLocalAmount,currency", "99.00,USD", ({DiscrepancyKind.DIFFERS: 1}, 0)),
        ("paymentLocalAmount,currency", "100.00,EUR", ({DiscrepancyKind.DIFFERS: 1}, 0)),
        ("paymentLocalAmount,currency", "99.00,", ({}, 1)),
        ("paymentLocalAmount,money", "99.00,USD", ({}, 1)),
        ("sum,currency", "99.00,USD", ({}, 1)),
        ("product", "payouts", ({}, 1)),
    ],
)
async def test_amounts_of_both_forms(setup, tmp_path, columns, cells, found) -> None:
    """Either column of the currency is found; an amount that isn't compared is counted."""
    at = await setup(PAID, item_id="po_1")
    path = tmp_path / "report.csv"
    _ = path.write_text(f"{COLUMNS},{columns}\npo_1,ps_1,{{}},Advice,{cells}\n")
    result = await Reconciler(at.hints).read(PayoutReport(path=path))
    assert (result.counts, result.without_amount) == found


@pytest.mark.parametrize(
    ("changes", "kind", "paid"),
    [
        ({"payout_id": "po_7"}, DiscrepancyKind.PAID_TWICE, "po_7 of no amount"),
        ({"amount": AmountDetails(9_999, "usd")}, DiscrepancyKind.DIFFERS, "po_1 of 99.99 USD"),
        ({"amount": AmountDetails(10_000, "eur")}, DiscrepancyKind.DIFFERS, "po_1 of 100.00 EUR"),
    ],
)
async def test_a_row_that_contradicts(setup, changes, kind, paid) -> None:
    """All payouts are halted; the message shows both sides."""
    at = await setup(PAID, item_id="po_1")
    result = await at.read(at.row(**changes))
    assert (result.discrepancies, result.agreed, result.settled) == (one(kind), 0, 0)
    assert result.halts
    assert not result.is_clean
    assert await at.halted() == (
        HaltKind.CONFLICT,
        (
            f"the report has the payout {paid} in ps_1 (line 2); the payout 'k-1' of 100.00 USD is "
            "recorded as SUCCEEDED in ps_1"
        ),
    )


async def test_a_row_of_a_payout_that_failed(setup) -> None:
    """It was paid and is recorded as not paid."""
    at = await setup(NOT_PAID)
    result = await at.read(at.row())
    assert result.discrepancies == one(DiscrepancyKind.CONTRADICTS)
    assert (await at.halted())[0] is HaltKind.CONFLICT
    assert (await at.found()).step is Step.FAILED


@pytest.mark.parametrize(
    ("steps", "mode"),
    [(CONFIRMING, Mode.MANUAL), (STARTED, Mode.AUTOMATIC), (PARKED, Mode.ONE_STEP)],
)
async def test_a_row_that_settles(setup, steps, mode) -> None:
    """It is recorded as paid, with the session if that wasn't known."""
    at = await setup(steps, mode)
    result = await at.read(at.row())
    assert result == Reconciliation(rows=1, settled=1)
    entry = await at.found()
    assert (entry.step, entry.session_id) == (Step.SUCCEEDED, "ps_1")
    assert await at.halted() is None


async def test_row_of_a_leased_payout(setup) -> None:
    """The worker with the lease checks the status itself."""
    at = await setup(CONFIRMING, owner="another")
    assert await at.read(at.row()) == Reconciliation(rows=1)
    assert (await at.found()).step is Step.CONFIRMING


@pytest.mark.parametrize(
    "marks",
    [
        {"payout_key": "k-9", "payout_journal": "another"},
        {"payout_key": "k-9"},
        {"idempotency_key": "k-9"},
        {"payout_key": 7},
        {"payout_key": None, "payout_journal": "another"},
        {"payout_order": "f" * 16},
    ],
)
@pytest.mark.parametrize(
    ("steps", "mode", "step"),
    [
        (CONFIRMING, Mode.MANUAL, Step.CONFIRMING),
        (STARTED, Mode.AUTOMATIC, Step.STARTED),
        (SECOND, Mode.MANUAL, Step.STARTING),
        (PAID, Mode.MANUAL, Step.SUCCEEDED),
        (NOT_PAID, Mode.MANUAL, Step.FAILED),
    ],
)
async def test_a_row_with_the_metadata_of_another_order(setup, steps, mode, step, marks) -> None:
    """In a session of ours: it settles nothing and agrees with nothing, but halts payouts."""
    at = await setup(steps, mode)
    kept = {} if "idempotency_key" in marks else at.marks
    for adopts in (False, True):
        row = at.row(payout_id=None, metadata={**kept, **marks})
        result = await Reconciler(at.hints, adopts).read([row])
        assert [found.kind for found in result.discrepancies] == [DiscrepancyKind.NOT_OURS]
        assert (result.settled, result.agreed, result.adopted) == (0, 0, 0)
        assert result.halts
    assert (await at.found()).step is step
    kind, words = await at.halted()
    assert kind is HaltKind.CONFLICT
    assert "in ps_1 (line 2), with the metadata of another order; the payout 'k-1' of" in words


async def test_another_order_of_a_payout_whose_session_is_not_known(setup) -> None:
    """The key is the same, the order isn't: it is neither settled nor adopted."""
    at = await setup(PARKED, Mode.ONE_STEP)
    other = at.row(metadata={**at.marks, "payout_order": "f" * 16})
    assert await adopt(at.hints, [other]) == 0
    assert (await at.found()).step is Step.UNKNOWN
    assert (await at.halted())[0] is HaltKind.CONFLICT
    same = at.row(metadata={**at.marks, "payout_order": (await at.found()).fingerprint.short})
    assert await at.read(same) == Reconciliation(rows=1, settled=1)


@pytest.mark.parametrize("metadata", [{}, {"payout_key": "k-1"}, {"payout_journal": "own"}])
@pytest.mark.parametrize(("item_id", "settled"), [(None, 0), ("po_1", 1), ("po_7", 0)])
async def test_a_row_without_our_metadata(setup, metadata, item_id, settled) -> None:
    """It settles a payout only by the id that an answer with our metadata had."""
    at = await setup(CONFIRMING, item_id=item_id)
    if "payout_journal" in metadata:
        metadata = {"payout_journal": at.context.journal.journal_id}
    result = await at.read(at.row(metadata=metadata))
    assert result.settled == settled
    kinds = {None: [DiscrepancyKind.UNPROVEN], "po_7": [DiscrepancyKind.PAID_TWICE]}
    assert [found.kind for found in result.discrepancies] == kinds.get(item_id, [])
    assert (await at.found()).step is (Step.SUCCEEDED if settled else Step.CONFIRMING)
    assert result.halts is (item_id == "po_7")


async def test_a_payout_of_another_session_is_not_adopted_for_one_that_has_its_own(setup) -> None:
    """It stays unknown in its own session, and the journal lacks the other one."""
    at = await setup((*CHOSEN, (Event.PARKED, None)))
    result = await Reconciler(at.hints, adopts=True).read([at.row(session_id="ps_9")])
    assert (result.adopted, result.discrepancies) == (0, one(DiscrepancyKind.FORGOTTEN, "ps_9"))
    assert ((await at.found()).step, (await at.found()).session_id) == (Step.UNKNOWN, "ps_1")


async def test_a_payout_that_is_reported_twice(setup) -> None:
    """Two ids, or two sessions if it has no id; the same row again is no second payout."""
    at = await setup(PAID)
    first = at.row()
    assert await at.read(first, first) == Reconciliation(rows=2, agreed=2)
    result = await at.read(first, at.row(payout_id="po_2"))
    assert result.discrepancies == one(DiscrepancyKind.PAID_TWICE)
    at = await setup(DECIDED, Mode.ONE_STEP)
    rows = [at.row(payout_id=None), at.row(payout_id=None, session_id="ps_2")]
    result = await at.read(*rows)
    assert result.discrepancies == one(DiscrepancyKind.PAID_TWICE, "ps_2")
    assert result.agreed == 1


@pytest.mark.parametrize(
    ("kind", "finding"),
    [(ReportKind.REFUND, DiscrepancyKind.RETURNED), (ReportKind.OTHER, DiscrepancyKind.OTHER_KIND)],
)
async def test_a_row_of_no_payout(setup, kind, finding) -> None:
    """A row without a payout is listed, and settles and halts nothing."""
    at = await setup(CONFIRMING)
    result = await at.read(at.row(kind=kind))
    assert (result.discrepancies, result.settled, result.halts) == (one(finding), 0, False)
    assert (await at.found()).step is Step.CONFIRMING
    assert await at.halted() is None


async def test_rows_of_others(setup) -> None:
    """Foreign rows are counted; those of another journal are listed."""
    at = await setup(PAID)
    others = [at.row(session_id="ps_9", metadata=told) for told in ({}, {"payout_key": "k-1"})]
    assert await at.read(*others) == Reconciliation(rows=2, others=2)
    foreign = at.row(session_id="ps_9", metadata={**at.marks, "payout_journal": "another"})
    result = await at.read(foreign)
    assert result.discrepancies == one(DiscrepancyKind.FOREIGN, "ps_9")
    nameless = at.row(session_id="ps_9", metadata={"payout_journal": "another", "payout_key": 7})
    result = await at.read(nameless)
    assert (result.discrepancies, result.others) == (one(DiscrepancyKind.FOREIGN, "ps_9", None), 0)
    assert (result.halts, await at.halted()) == (False, None)


@pytest.mark.parametrize("field", ["payout_key", "idempotency_key"])
async def test_row_that_the_journal_lacks(setup, field) -> None:
    """All payouts are halted; the message names key and session."""
    at = await setup(None)
    metadata = {field: "k-9", "payout_journal": at.context.journal.journal_id}
    result = await at.read(at.row(metadata=metadata))
    assert result.discrepancies == one(DiscrepancyKind.FORGOTTEN, "ps_1", "k-9")
    assert result.halts
    assert await at.halted() == (HaltKind.FORGOT, "the report has the payout 'k-9' in ps_1")


UNFIT: Final = ["\ud800", "a\0b", "esc\x1b[2J", "\u202ek-1", " k-1", "k\n1", "x" * 256]


@pytest.mark.parametrize("key", UNFIT)
async def test_a_key_that_no_order_can_have(setup, key) -> None:
    """It is no reason to end: a payout of this journal, which nothing can be written for."""
    at = await setup(PAID)
    row = at.row(session_id="ps_9", metadata={**at.marks, "payout_key": key})
    result = await Reconciler(at.hints, adopts=True).read([row, at.row(line=3)])
    assert (result.adopted, result.agreed) == (0, 1)
    assert result.counts == {DiscrepancyKind.FORGOTTEN: 1}
    shown = result.discrepancies[0].key
    assert shown is not None
    assert shown.isprintable()
    assert shown.encode()
    assert (await at.halted())[1] == f"the report has the payout {shown!r} in ps_9"


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("ps_\x1b[31m1", "ps_1"),
        ("ps_\0", "ps_\ufffd"),
        ("ps_\ud800", "ps_\ufffd"),
        ("ps_1", "ps_1"),
    ],
)
def test_the_ids_of_a_row_are_plain_text(told, kept) -> None:
    """As those of an answer are, whatever program made the row."""
    row = ReportRow(line=2, payout_id=told, session_id=told)
    assert (row.payout_id, row.session_id) == (kept, kept)


@pytest.mark.parametrize("steps", [PAID, DECIDED])
async def test_a_second_payment_in_a_session_that_is_not_written(setup, steps) -> None:
    """The key was paid twice: both sides are in the words, and adopting changes nothing."""
    at = await setup(steps)
    for adopts in (False, True):
        second = at.row(session_id="ps_9", payout_id="po_9", amount=AmountDetails(5, "usd"), line=3)
        result = await Reconciler(at.hints, adopts).read([at.row(), second])
        assert (result.agreed, result.adopted) == (1, 0)
        kinds = [(found.kind, found.line) for found in result.discrepancies]
        assert kinds == [(DiscrepancyKind.PAID_TWICE, 3)]
        assert result.halts
    kind, words = await at.halted()
    assert kind is (HaltKind.FORGOT if steps is PAID else HaltKind.CONFLICT)
    assert words.startswith("the report has the payout po_9 of 0.05 USD in ps_9 (line 3); the")
    assert "'k-1' of 100.00 USD is recorded as SUCCEEDED in" in words
    assert ("; the session ps_9 isn't recorded" in words) is (steps is PAID)


async def test_a_failed_payout_that_was_paid_in_a_session_that_is_not_written(setup) -> None:
    """The journal lacks it; both sides are in the words."""
    at = await setup(NOT_PAID)
    result = await at.read(at.row(session_id="ps_9"))
    assert result.discrepancies == one(DiscrepancyKind.FORGOTTEN, "ps_9")
    assert (
        "is recorded as FAILED in ps_1; the session ps_9 isn't recorded" in (await at.halted())[1]
    )


async def test_two_payouts_of_a_key_that_the_journal_forgot(setup) -> None:
    """One was forgotten, and the other is a second one: adopted or not, it is named as that."""
    at = await setup(None)
    rows = [at.row(line=n, session_id=f"ps_{n}", payout_id=f"po_{n}") for n in (2, 3)]
    result = await at.read(*rows)
    assert result.counts == {DiscrepancyKind.FORGOTTEN: 1, DiscrepancyKind.PAID_TWICE: 1}
    kind, _ = await at.halted()
    assert kind is HaltKind.FORGOT
    for adopted in (1, 0):
        result = await Reconciler(at.hints, adopts=True).read(rows)
        assert (result.adopted, result.agreed) == (adopted, 1 - adopted)
        assert result.counts == {DiscrepancyKind.PAID_TWICE: 1}


async def test_the_same_payout_of_a_forgotten_key_again(setup) -> None:
    """It is one payout, whatever the lines."""
    at = await setup(None)
    result = await at.read(at.row(line=2), at.row(line=3))
    assert result.counts == {DiscrepancyKind.FORGOTTEN: 2}


@pytest.mark.parametrize("steps", [(), CHOSEN])
async def test_session_that_the_journal_lacks(setup, steps) -> None:
    """The payout is known, and not in this session."""
    at = await setup(steps)
    result = await at.read(at.row(session_id="ps_9"))
    assert result.discrepancies == one(DiscrepancyKind.FORGOTTEN, "ps_9")
    assert await at.halted() == (HaltKind.FORGOT, "the report has the payout 'k-1' in ps_9")


@pytest.mark.parametrize(
    ("steps", "kind", "step"),
    [
        (SECOND, DiscrepancyKind.LEFT, Step.UNKNOWN),
        (SECOND_USED, DiscrepancyKind.LEFT, Step.UNKNOWN),
        (SECOND[:4], DiscrepancyKind.LEFT, Step.UNKNOWN),
        (SECOND_PAID, DiscrepancyKind.PAID_TWICE, Step.SUCCEEDED),
    ],
)
async def test_a_session_that_was_left_is_reported(setup, steps, kind, step) -> None:
    """The payout doesn't continue, and all others are halted."""
    at = await setup(steps)
    result = await at.read(at.row())
    assert result.discrepancies == one(kind)
    assert (await at.halted())[0] is HaltKind.CONFLICT
    assert (await at.found()).step is step


async def test_left_session_wakes_the_worker(setup) -> None:
    """The worker that holds the payout parks it."""
    at = await setup(SECOND)
    wakeup = at.context.wakeups["k-1"] = Wakeup()
    _ = await at.read(at.row())
    told = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.MISMATCH)
    assert wakeup.take() == Reply(told, Session(id="ps_1", status="accepted"))


@pytest.mark.parametrize("kind", [ReportKind.REFUND, ReportKind.OTHER])
async def test_a_return_in_a_session_that_was_left(setup, kind) -> None:
    """The journal lacks it, whatever the kind of the row is."""
    at = await setup(SECOND)
    result = await at.read(at.row(kind=kind, metadata={}))
    assert result.discrepancies == one(DiscrepancyKind.FORGOTTEN)
    assert await at.halted() == (HaltKind.FORGOT, "the report has the payout 'k-1' in ps_1")


async def test_rows_without_metadata(setup) -> None:
    """Without metadata, the session identifies the payout."""
    at = await setup(PAID, item_id="po_1")
    returned = await at.read(at.row(kind=ReportKind.REFUND, metadata={}))
    assert returned.discrepancies == one(DiscrepancyKind.RETURNED)
    other = await at.read(at.row(payout_id="po_7", metadata={}))
    assert other.discrepancies == one(DiscrepancyKind.PAID_TWICE)


async def test_rows_that_settle(setup) -> None:
    """Every settled payout is counted."""
    at = await setup(PARKED, Mode.ONE_STEP)
    await at.context.journal.release(await entry_at(at.context, PARKED, "k-2"))
    second = at.row(session_id="ps_2", metadata={**at.marks, "payout_key": "k-2"})
    assert await at.read(at.row(), second) == Reconciliation(rows=2, settled=2)


async def test_number_of_findings_is_limited(setup) -> None:
    """All findings are counted; only the first ones are kept."""
    at = await setup(CONFIRMING)
    rows = [at.row(kind=ReportKind.REFUND)] * 1_001
    result = await at.read(*rows)
    assert len(result.discrepancies) == 1_000
    assert result.counts == {DiscrepancyKind.RETURNED: 1_001}


async def test_what_is_missing(setup, tmp_path) -> None:
    """Payouts paid in the time of the report, its end excluded, and not in it."""
    at = await setup(PAID)
    path = tmp_path / "report.csv"
    _ = path.write_text(f"{COLUMNS}\n")

    async def kinds(since: float, until: float) -> list[Discrepancy]:
        times = [datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (since, until)]
        report = PayoutReport(path=path, since=times[0], until=times[1])
        return (await Reconciler(at.hints).read(report)).discrepancies

    missing = [Discrepancy(kind=DiscrepancyKind.MISSING, key="k-1", session_id="ps_1", line=None)]
    assert await kinds(0, 1) == missing
    assert await kinds(-1, 0) == []
    assert await kinds(1, 2) == []
    await at.context.journal.release(await entry_at(at.context, ONE_STEP, "k-2"))
    assert await kinds(0, 1) == missing
    since = PayoutReport(path=path, since=datetime.fromtimestamp(NOW, UTC))
    assert (await Reconciler(at.hints).read(since)).is_clean
    _ = path.write_text(f"{COLUMNS}\npo_1,ps_1,{{}},Advice\n")
    assert await kinds(0, 1) == []


async def test_what_is_missing_of_many(setup, tmp_path) -> None:
    """More than one page of the journal."""
    at = await setup(PAID)
    for number in range(256):
        _ = await entry_at(at.context, (*ONE_STEP, (Event.PAID, None)), f"k-2{number:03}")
    path = tmp_path / "report.csv"
    _ = path.write_text(f"{COLUMNS}\n")
    since, until = (datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (0, 1))
    report = PayoutReport(path=path, since=since, until=until)
    assert (await Reconciler(at.hints).read(report)).counts == {DiscrepancyKind.MISSING: 257}


async def test_an_unreadable_row_is_not_missing(setup, tmp_path) -> None:
    """The report has the payout, whatever it says of it; another payout of its key is a second."""
    at = await setup(PAID)
    columns = f"{COLUMNS},paymentLocalAmount,Currency amount"
    path = tmp_path / "report.csv"
    marks = json.dumps(at.marks).replace('"', '""')
    cells = f'po_1,ps_1,"{marks}",Advice,many,USD'
    _ = path.write_text(f"{columns}\n{cells}\n")
    times = [datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (0, 1)]
    report = PayoutReport(path=path, since=times[0], until=times[1])
    result = await Reconciler(at.hints).read(report)
    assert result.counts == {DiscrepancyKind.UNREADABLE: 1}
    (found,) = result.discrepancies
    assert (found.key, found.recorded) == ("k-1", Amount(10_000, "usd"))


@pytest.mark.parametrize(
    ("ids", "kinds"),
    [
        (("po_1", "po_1"), {DiscrepancyKind.UNREADABLE: 1}),
        (("po_1", "po_2"), {DiscrepancyKind.UNREADABLE: 1, DiscrepancyKind.PAID_TWICE: 1}),
        ((None, "po_2"), {DiscrepancyKind.UNREADABLE: 1, DiscrepancyKind.PAID_TWICE: 1}),
    ],
)
@pytest.mark.parametrize("session_id", ["ps_1", ""])
async def test_a_second_payout_after_an_unreadable_row(setup, ids, kinds, session_id) -> None:
    """The unreadable row is a payout of the key, too."""
    at = await setup(PAID)
    bad = at.row(payout_id=ids[0], session_id=session_id, error=BAD_AMOUNT)
    assert (await at.read(bad, at.row(line=3, payout_id=ids[1]))).counts == kinds


async def test_what_a_row_without_our_metadata_shows(setup) -> None:
    """Both amounts and the line are in the finding."""
    at = await setup(CONFIRMING)
    (found,) = (await at.read(at.row(metadata={}, amount=AmountDetails(5, "usd")))).discrepancies
    assert (found.kind, found.line) == (DiscrepancyKind.DIFFERS, 2)
    at = await setup(CONFIRMING)
    (found,) = (
        await at.read(at.row(metadata={}, amount=AmountDetails(10_000, "usd")))
    ).discrepancies
    assert (found.kind, found.line, found.key) == (DiscrepancyKind.UNPROVEN, 2, "k-1")
    assert found.reported == found.recorded == Amount(10_000, "usd")


async def test_two_payouts_of_a_key_that_the_journal_lacks(setup) -> None:
    """The key was paid twice: adopting one of them wouldn't help. Other keys are others."""
    at = await setup(None)
    rows = [
        at.row(
            line=line,
            payout_id=f"po_{line}",
            session_id=f"ps_{line}",
            metadata=at.marks | {"payout_key": key},
            kind=kind,
        )
        for line, key, kind in (
            (2, "k-1", ReportKind.ADVICE),
            (3, "k-2", ReportKind.ADVICE),
            (4, "k-1", ReportKind.REFUND),
            (5, "k-1", ReportKind.ADVICE),
        )
    ]
    result = await at.read(*rows)
    assert result.counts == {DiscrepancyKind.FORGOTTEN: 3, DiscrepancyKind.PAID_TWICE: 1}
    assert result.discrepancies[-1].line == 5
    assert await at.halted() == (HaltKind.FORGOT, "the report has the payout 'k-1' in ps_2")


async def test_a_payout_that_has_ended_and_one_in_an_unknown_session(setup) -> None:
    """Both sides are in the reason of the halt."""
    at = await setup(NOT_PAID)
    row = at.row(session_id="ps_9", payout_id="po_9", amount=AmountDetails(10_000, "usd"))
    assert (await at.read(row)).counts == {DiscrepancyKind.FORGOTTEN: 1}
    reason = (await at.halted() or ("", ""))[1]
    assert "the payout po_9 of 100.00 USD in ps_9 (line 2); the payout 'k-1'" in reason
    assert "; the session ps_9 isn't recorded" in reason


# --- Whether a report is complete ----------------------------------------------------------------


def at_day(days: float) -> datetime:
    """Return a time so many days after the payout was accepted."""
    return datetime.fromtimestamp(NOW + days * 86_400, UTC)


@pytest.mark.parametrize(
    ("finished_at", "why"),
    [
        (at_day(0), None),
        (at_day(-1), None),
        (at_day(-1.01), "read the reports from that day on"),
        (None, "none of its rows about this journal shows when a payout was completed"),
    ],
)
async def test_how_old_a_report_may_be(setup, finished_at, why) -> None:
    """A day before the last payout that was begun: a report's time zone isn't known."""
    at = await setup(PAID)
    result = await at.read(at.row(finished_at=finished_at))
    found = await why_unchecked(at.context.journal, result)
    assert (why is None and found is None) or (why is not None and why in (found or ""))


async def test_a_report_and_a_journal_that_began_nothing(setup) -> None:
    """There is nothing that the report could be too old for."""
    at = await setup(None)
    found = Reconciliation(rows=1, agreed=1)
    assert await why_unchecked(at.context.journal, found) is None
    found.newest = at_day(-400)
    assert await why_unchecked(at.context.journal, found) is None


async def test_an_adopted_payout_is_not_the_last_one(setup) -> None:
    """Its time is that of the adoption; a payout of our own may have its words."""
    at = await setup(None)
    assert await adopt(at.hints, [at.row()]) == 1
    old = Reconciliation(rows=1, agreed=1, newest=at_day(-400))
    assert await why_unchecked(at.context.journal, old) is None
    reason = "adopted from line 2 of a report"
    ours = await entry_at(at.context, ONE_STEP, "k-2")
    _ = await at.context.journal.advance(ours, Event.PARKED, Changes(reason=reason))
    assert "read the reports" in (await why_unchecked(at.context.journal, old) or "")


async def test_the_last_payout_of_many(setup) -> None:
    """More than one page of the journal is read."""
    at = await setup(PAID)
    for number in range(256):
        await at.context.journal.release(await entry_at(at.context, ONE_STEP, f"k-2{number:03}"))
    found = Reconciliation(rows=1, agreed=1, newest=at_day(0))
    assert await why_unchecked(at.context.journal, found) is None


# --- Adopted payouts -----------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [None, AmountDetails(5, "usd")], ids=["no amount", "amount"])
async def test_missing_payout_is_adopted(setup, amount) -> None:
    """A missing payout is recorded as paid, with the data of the report, once."""
    at = await setup(None)
    rows = [at.row(amount=amount)]
    assert await adopt(at.hints, rows) == 1
    entry = await at.found()
    assert (entry.step, entry.session_id, entry.item_id) == (Step.SUCCEEDED, "ps_1", "po_1")
    assert (entry.mode, entry.fingerprint.is_empty) == ("manual", True)
    assert (entry.amount, entry.currency) == ((5, "usd") if amount else (None, None))
    assert entry.reason == "adopted from line 2 of a report"
    assert [line.event for line in await at.context.journal.history("k-1")] == [Event.ADOPTED]
    assert await adopt(at.hints, rows) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": ReportKind.REFUND},
        {"kind": ReportKind.OTHER},
        {"metadata": {}},
        {"metadata": {"payout_key": "k-1", "payout_journal": "another"}},
    ],
)
async def test_what_is_not_adopted(setup, changes) -> None:
    """Rows without a payout of this journal aren't adopted; the rows after them are."""
    at = await setup(None, Mode.AUTOMATIC)
    metadata = {**at.marks, "payout_key": "k-2"}
    assert await adopt(at.hints, [at.row(**changes), at.row(metadata=metadata)]) == 1
    assert await at.context.journal.find("k-1") is None
    adopted = await at.found("k-2")
    assert (adopted.step, adopted.mode) == (Step.SUCCEEDED, "automatic")


@pytest.mark.parametrize(
    ("steps", "count", "step"),
    [
        ((), 1, Step.SUCCEEDED),
        (PARKED, 1, Step.SUCCEEDED),
        (ONE_STEP, 0, Step.SUCCEEDED),  # The row settles it.
        (CHOSEN, 0, Step.STARTING),
        (NOT_PAID, 0, Step.FAILED),
    ],
)
async def test_what_is_adopted_of_what_is_known(setup, steps, count, step) -> None:
    """A known payout is adopted if nothing contradicts; otherwise it is released unchanged."""
    at = await setup(steps)
    assert await adopt(at.hints, [at.row(session_id="ps_9")]) == count
    after = await at.found()
    assert (after.owner, after.step) == (None, step)


async def test_another_sum_is_not_adopted(setup) -> None:
    """The order is known with another amount."""
    at = await setup(PARKED, Mode.ONE_STEP)
    assert await adopt(at.hints, [at.row(amount=AmountDetails(1, "usd"))]) == 0
    assert (await at.found()).step is Step.UNKNOWN


async def test_rows_that_are_adopted(setup) -> None:
    """Known payouts are skipped; the key may be under the metadata name of the calls."""
    at = await setup(PAID)
    marks = {"idempotency_key": "k-2", "payout_journal": at.context.journal.journal_id}
    assert await adopt(at.hints, [at.row(), at.row(session_id="ps_2", metadata=marks)]) == 1
    assert (await at.found("k-2")).step is Step.SUCCEEDED


async def test_what_was_paid_in_a_left_session_is_adopted(setup) -> None:
    """The session was known before, so the row needs no key."""
    at = await setup(SECOND[:4])
    assert await adopt(at.hints, [at.row(metadata={"payout_key": "k-1"})]) == 1
    assert ((await at.found()).step, (await at.found()).session_id) == (Step.SUCCEEDED, "ps_1")


async def test_leased_payout_is_not_adopted(setup) -> None:
    """Its worker may be paying it."""
    at = await setup((), owner="another")
    assert await adopt(at.hints, [at.row()]) == 0
    assert (await at.found()).owner == "another"


async def test_payouts_are_adopted_while_all_are_halted(setup) -> None:
    """Payouts are adopted while payouts are halted, since the halt needs this."""
    at = await setup(())
    await at.hints.forgot("seen")
    assert await at.halted() == (HaltKind.FORGOT, "seen")
    assert await adopt(at.hints, [at.row()]) == 1


# --- Webhooks ------------------------------------------------------------------------------------


def webhook_setup(at: PayoutSetup, entry: Entry) -> WorkerSetup:
    """Return a setup for `payout`, without a clock."""
    return WorkerSetup(at.context, entry, at.context.sender.ordered(entry), None)


async def event(at: PayoutSetup, shown: Session, *, refunded: bool = False) -> bool:
    """Handle a webhook about a session."""
    kind = sg.PaymentRefunded if refunded else sg.PaymentFinished
    return await at.hints.take(kind(type=kind.wire_type, session=shown))


async def payout_of(at: PayoutSetup, status: str = "succeeded", **changes: Any) -> Any:
    """Return the payout as a session shows it."""
    return payout(webhook_setup(at, await at.found()), status, **changes)


async def test_webhook_of_another_journal(setup) -> None:
    """A webhook about another journal's payout is ignored."""
    at = await setup(PAID)
    assert not await event(at, session(id_="ps_9"))
    other = await payout_of(at, metadata={"idempotency_key": "k-1", "payout_journal": "another"})
    assert not await event(at, session(other, id_="ps_9"))
    assert await at.halted() is None


async def test_webhook_about_an_unwritten_payout(setup) -> None:
    """The journal lacks the payout."""
    at = await setup(PAID)
    marks = {"idempotency_key": "k-9", "payout_journal": at.context.journal.journal_id}
    assert await event(at, session(await payout_of(at, metadata=marks), id_="ps_9"))
    words = "ps_9 has a payout of the key 'k-9', not recorded here"
    assert await at.halted() == (HaltKind.FORGOT, words)


@pytest.mark.parametrize("steps", [CHOSEN, PAID])
async def test_webhook_about_an_unwritten_session(setup, steps) -> None:
    """The payout is known, and has another session."""
    at = await setup(steps)
    assert await event(at, session(await payout_of(at), id_="ps_9"))
    assert (await at.halted())[0] is HaltKind.FORGOT


@pytest.mark.parametrize("steps", [ONE_STEP, PARKED])
@pytest.mark.parametrize("refunded", [False, True])
async def test_webhook_adds_the_session(setup, steps, refunded) -> None:
    """It settles a lost one-step payout; a return by the bank settles nothing."""
    at = await setup(steps, Mode.ONE_STEP)
    assert await event(at, session(await payout_of(at), id_="ps_7"), refunded=refunded)
    entry = await at.found()
    known = (Step.SENT_ONE_STEP if steps is ONE_STEP else Step.UNKNOWN), None
    assert (entry.step, entry.session_id) == (known if refunded else (Step.SUCCEEDED, "ps_7"))
    events = [line.event for line in await at.context.journal.history("k-1")]
    assert events == [one for one, _ in steps] + [Event.PAID] * (not refunded)
    assert await at.halted() is None


@pytest.mark.parametrize("status", ["in_progress", "accepted", "error"])
@pytest.mark.parametrize("field", ["payout_key", "idempotency_key"])
@pytest.mark.parametrize("refunded", [False, True])
async def test_a_webhook_whose_session_alone_is_marked(setup, status, field, refunded) -> None:
    """A payout without metadata in a session of this journal, which isn't written."""
    at = await setup(PAID)
    marks = {field: "gone", "payout_journal": at.context.journal.journal_id}
    shown = evolve(
        session(
            payout(webhook_setup(at, await at.found()), metadata=None), id_="ps_77", status=status
        ),
        metadata=marks,
    )
    assert await event(at, shown, refunded=refunded)
    words = "ps_77 has a payout of the key 'gone', not recorded here"
    assert await at.halted() == (HaltKind.FORGOT, words)


@pytest.mark.parametrize("status", ["created", "cancelled", "in_progress"])
async def test_a_webhook_about_a_session_that_was_not_used(setup, status) -> None:
    """The answer of its create may have been lost: nothing was started in it."""
    at = await setup(CHOSEN)
    assert not await event(at, evolve(session(id_="ps_77", status=status), metadata=at.marks))
    assert await at.halted() is None
    assert await event(at, evolve(session(id_="ps_77", status="accepted"), metadata=at.marks))
    assert (await at.halted())[0] is HaltKind.FORGOT


@pytest.mark.parametrize(
    ("status", "item", "halts"),
    [
        ("in_progress", "in_progress", False),
        ("accepted", "succeeded", True),
        ("error", "failed", False),
    ],
)
async def test_a_webhook_without_metadata_about_a_payout_without_a_session(
    setup, status, item, halts
) -> None:
    """Its session may be that of the payout, which isn't proven: money in it halts."""
    at = await setup(PARKED, Mode.ONE_STEP)
    unmarked = payout(webhook_setup(at, await at.found()), status=item, metadata=None)
    shown = evolve(session(unmarked, id_="ps_77", status=status), metadata=at.marks)
    assert await event(at, shown)
    assert (await at.found()).step is Step.UNKNOWN
    halted = await at.halted()
    assert (halted is not None) is halts
    if halted is not None:
        assert halted[0] is HaltKind.CONFLICT
        assert "(succeeded, 100.00 USD, owner: unknown)" in halted[1]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("steps", "mode", "session_id"),
    [
        (PARKED, Mode.ONE_STEP, "ps_7"),
        (CONFIRMING, Mode.MANUAL, "ps_1"),
        (PAID, Mode.MANUAL, "ps_1"),
    ],
)
async def test_a_webhook_with_a_second_key_that_the_journal_forgot(
    setup, steps, mode, session_id, is_first
) -> None:
    """Whichever of the two comes first, and whether the session is known."""
    at = await setup(steps, mode)
    ours = payout(webhook_setup(at, await at.found()), status="in_progress")
    other = evolve(ours, id="po_2", metadata={**ours.metadata, "idempotency_key": "forgotten"})
    both = (other, ours) if is_first else (ours, other)
    assert await event(at, session(*both, id_=session_id, status="in_progress"))
    kind, words = await at.halted()
    assert kind is HaltKind.FORGOT
    assert f"{session_id} has a payout of the key 'forgotten', not recorded here" in words


async def test_a_webhook_with_another_order(setup) -> None:
    """Key and journal are ours and the order isn't, so the journal lacks something."""
    at = await setup(PARKED, Mode.ONE_STEP)
    ours = await payout_of(at)
    other = evolve(ours, metadata={**ours.metadata, "payout_order": "another"})
    assert await event(at, session(other, id_="ps_7"))
    assert (await at.halted())[0] is HaltKind.FORGOT
    assert (await at.found()).step is Step.UNKNOWN


@pytest.mark.parametrize(
    ("steps", "status", "step"),
    [
        (CONFIRMING, "succeeded", Step.SUCCEEDED),
        (CONFIRMING, "failed", Step.FAILED),
        (CONFIRMING, "cancelled", Step.CONFIRMING),
        (CONFIRMING, "pending", Step.CONFIRMING),
        ((*CONFIRMING, (Event.PARKED, None)), "cancelled", Step.FAILED),
        ((*CONFIRMING, (Event.PARKED, None)), "pending", Step.UNKNOWN),
    ],
)
@pytest.mark.parametrize("refunded", [False, True])
async def test_a_webhook_about_the_session_at_hand(setup, steps, status, step, refunded) -> None:
    """A final state is written; our own cancel is no decline while the payout is open."""
    at = await setup(steps)
    ends = {"succeeded": "accepted", "pending": "in_progress"}.get(status, "cancelled")
    shown = session(await payout_of(at, status), status=ends)
    before = (await at.found()).step
    assert await event(at, shown, refunded=refunded)
    assert (await at.found()).step is (before if refunded else step)
    assert await at.halted() is None


@pytest.mark.parametrize(
    ("steps", "amount", "halts"),
    [(PAID, 10_000, False), (PAID, 1, True), (NOT_PAID, 10_000, True), (NOT_PAID, 1, True)],
)
async def test_a_webhook_about_what_is_settled(setup, steps, amount, halts) -> None:
    """Money that moved differently halts all; the message shows both sides."""
    at = await setup(steps)
    step = (await at.found()).step
    assert await event(at, session(await payout_of(at, amount_details=Amount(amount, "usd"))))
    words = (
        f"the payout 'k-1' is recorded as {step.name} in ps_1; the provider: ps_1 is accepted and "
        f"shows payout po_1 (succeeded, {amount / 100:,.2f} USD, owner: ours); "
        "ordered were 100.00 USD"
    )
    assert await at.halted() == ((HaltKind.CONFLICT, words) if halts else None)
    assert (await at.found()).step is step


async def test_webhook_wakes_the_worker(setup) -> None:
    """The worker is woken, and writes it itself."""
    at = await setup(CONFIRMING)
    wakeup = at.context.wakeups["k-1"] = Wakeup()
    shown = session(await payout_of(at))
    assert await event(at, shown)
    assert wakeup.take() == Reply(
        Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.PAID), shown
    )
    assert (await at.found()).step is Step.CONFIRMING


@pytest.mark.parametrize(
    ("steps", "is_at_work", "step"),
    [
        (SECOND, False, Step.UNKNOWN),
        (SECOND, True, Step.STARTING),
        ((*SECOND, (Event.PARKED, None)), False, Step.UNKNOWN),
        (SECOND_PAID, False, Step.SUCCEEDED),
    ],
)
async def test_a_webhook_about_a_session_that_was_left(setup, steps, is_at_work, step) -> None:
    """It was paid there: it isn't paid again, and all others are halted."""
    at = await setup(steps)
    wakeup = Wakeup()
    if is_at_work:
        at.context.wakeups["k-1"] = wakeup
    shown = session(await payout_of(at))
    assert await event(at, shown)
    assert (await at.halted())[0] is HaltKind.CONFLICT
    assert (await at.found()).step is step
    told = Reply(Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.MISMATCH), shown)
    assert wakeup.take() == (told if is_at_work else None)


@pytest.mark.parametrize(
    ("mode", "items", "cancelled"),
    [(Mode.MANUAL, 1, True), (Mode.MANUAL, 2, True), (Mode.AUTOMATIC, 1, False)],
)
@pytest.mark.parametrize("line", [session_answer("cancelled"), LOST], ids=["answered", "lost"])
async def test_a_left_session_that_waits_for_us(setup, mode, items, cancelled, line) -> None:
    """In manual mode it is cancelled if possible."""
    at = await setup(SECOND, mode, provider=Provider(session_cancel=[line]))
    pending = [await payout_of(at, "pending")] * items
    shown = evolve(session(*pending, status="in_progress"), next_action="confirm")
    assert await event(at, shown)
    assert (at.provider.seen, await at.halted()) == ([CANCEL] * cancelled, None)
    assert (await at.found()).step is Step.STARTING


async def test_a_left_session_that_shows_nothing(setup) -> None:
    """A left session without a payout changes nothing."""
    at = await setup(SECOND)
    assert await event(at, session(status="cancelled"))
    assert (at.provider.seen, await at.halted()) == ([], None)


@pytest.mark.parametrize(
    ("steps", "amount", "halts"),
    [
        (DECIDED, 10_000, False),
        (DECIDED, 1, True),
        (LEFT_AND_DECIDED, 10_000, False),
        (LEFT_AND_DECIDED, 1, True),
        ((*LEFT_AND_DECIDED[:-1], (Event.NOT_PAID, None)), 10_000, True),
    ],
)
async def test_payout_written_as_paid_by_an_operator(setup, steps, amount, halts) -> None:
    """An operator wrote it as paid without a session; a session as ordered is no conflict."""
    at = await setup(steps, Mode.ONE_STEP if steps is DECIDED else Mode.MANUAL)
    assert lacks_session(await at.found())
    assert await event(at, session(await payout_of(at, amount_details=Amount(amount, "usd"))))
    assert ((await at.halted()) is not None) is halts


async def test_time_limit_for_a_left_session(setup) -> None:
    """Ten seconds, although the provider recommends fifteen."""
    busy = answer(b"", "429 Too Many Requests", "Retry-After: 15")
    provider = Provider(session_cancel=[busy, session_answer("cancelled")])
    at = await setup(SECOND, provider=provider, attempts=2)
    shown = session(await payout_of(at, "pending"), status="in_progress")
    assert await event(at, evolve(shown, next_action="confirm"))
    assert provider.seen == [CANCEL]


@pytest.mark.parametrize(
    ("steps", "lacks"),
    [
        ((), False),
        (CHOSEN, False),
        (ONE_STEP, True),
        (PARKED, True),
        (DECIDED, True),
        (PAID, False),
    ],
)
async def test_payouts_without_a_session(setup, steps, lacks) -> None:
    """Lost one-step payouts, and those that an operator settled."""
    at = await setup(steps)
    assert lacks_session(await at.found()) is lacks
