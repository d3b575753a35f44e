"""Payouts that failed for a cause that passed, and are paid under the same key in a new session."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from attrs import evolve
from paying import QUICK, order
from postgres_schemas import DSN, needs_postgres
from rawserver import serve
from scripted import FakeSigner, Provider, refused, session_answer

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Reaction
from smartglocal_async.error_codes import PASSING_CAUSES
from smartglocal_async.journal import Changes, Event, HaltKind, Step
from smartglocal_async.models.requests import SessionRef
from smartglocal_async.payouts.claimer import NO_BATCH
from smartglocal_async.payouts.reports.provider_report import ReportKind, ReportRow

POOR: Final = {"usd": 5_000}
"""Less than one payout."""


@pytest.fixture
async def poor(run_provider, connect, journal):
    """Return a function that opens payouts of a provider with little money, in a mode."""
    opened: list[sg.Payouts] = []

    async def make(mode: sg.Mode = sg.Mode.MANUAL, **rules: Any) -> Any:
        confirmation = Confirmation.MANUAL if mode is sg.Mode.MANUAL else Confirmation.AUTOMATIC
        rules_of = emulator.Rules(wallets=POOR, confirmation=confirmation, **rules)
        provider = run_provider(rules=rules_of)
        api = connect(provider, settings=QUICK)
        payouts = sg.Payouts(api, journal, mode=mode, accept_unknown=True)
        opened.append(await payouts.__aenter__())
        return payouts, provider, api

    yield make
    for payouts in opened:
        await payouts.__aexit__(None, None, None)


async def failed_and_topped_up(poor: Any, **how: Any) -> Any:
    """Return payouts with one that failed for too little money, which is there now."""
    payouts, provider, api = await poor(**how)
    outcome = await payouts.pay(order())
    assert (outcome.state, outcome.code) == (sg.PayoutState.FAILED, "insufficient_funds")
    provider.top_up(10_000, "USD")
    return payouts, provider, api, outcome


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
@pytest.mark.parametrize("header", Reaction)
async def test_paid_in_a_new_session(poor, journal, mode, header) -> None:
    """The same order is paid under its key, once, whatever the provider does with the header."""
    payouts, provider, _, first = await failed_and_topped_up(
        poor, mode=mode, idempotency_header=header
    )
    retried = await payouts.retry("k-1")
    assert (retried.state, retried.session_id, retried.code) == (sg.PayoutState.OPEN, None, None)
    assert provider.order("k-1").moved == 0
    paid = await payouts.pay(order())
    assert paid.is_paid
    assert paid.session_id != first.session_id
    assert [one.amount for one in provider.marked(journal.journal_id, "k-1")] == [10_000]
    assert (await payouts.pay(order())).replayed
    assert provider.order("k-1").moved == 1


async def test_nothing_else_pays_it_again(poor) -> None:
    """Without a retry, a payout that failed stays as it is, also if the money is there."""
    payouts, provider, _, _ = await failed_and_topped_up(poor)
    again = await payouts.pay(order())
    assert (again.state, again.replayed) == (sg.PayoutState.FAILED, True)
    assert [one async for one in payouts.settle()] == []
    assert provider.order("k-1").moved == 0


async def test_other_orders_are_still_refused(poor) -> None:
    """The key belongs to its order, also after a retry."""
    payouts, _, _, _ = await failed_and_topped_up(poor)
    _ = await payouts.retry("k-1")
    with pytest.raises(sg.KeyReused, match="amount_details"):
        _ = await payouts.pay(order(amount=9_000))


async def test_fails_and_is_retried_again(poor, journal) -> None:
    """A payout may fail for the same cause several times, until its sessions are used up."""
    payouts, provider, _ = await poor()
    for number in range(8):
        assert (await payouts.pay(order())).state is sg.PayoutState.FAILED
        entry = await journal.find("k-1")
        assert entry is not None
        assert entry.session_no == number
        if number < 7:
            _ = await payouts.retry("k-1")
    with pytest.raises(sg.Misuse, match="has used up its 8 sessions"):
        _ = await payouts.retry("k-1")
    assert provider.order("k-1").moved == 0


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        (66601, "it failed for account_not_found, which doesn't pass"),
        (66602, "it failed for provider_exceeds_amount_limit, which doesn't pass"),
    ],
)
async def test_lasting_causes(payouts, amount, why) -> None:
    """A cause that doesn't pass needs a corrected order; an operator may know better."""
    failed = await payouts.pay(order(amount=amount))
    with pytest.raises(sg.Misuse, match=why):
        _ = await payouts.retry("k-1")
    retried = await payouts.retry("k-1", codes=[failed.code])
    assert retried.state is sg.PayoutState.OPEN


async def test_causes_that_pass() -> None:
    """The list is short; a timeout isn't in it, since the bank may have paid."""
    assert set(PASSING_CAUSES) == {
        "insufficient_funds",
        "internal_error",
        "provider_internal_error",
        "provider_issuer_unavailable",
        "activity_count_exceeded",
    }


async def test_only_what_failed(payouts) -> None:
    """A payout that is paid, open or unknown to the journal isn't retried."""
    _ = await payouts.pay(order())
    with pytest.raises(sg.Misuse, match="SUCCEEDED"):
        _ = await payouts.retry("k-1")
    with pytest.raises(sg.Misuse, match="no payout with the key 'k-2'"):
        _ = await payouts.retry("k-2")


async def test_not_in_one_step(poor, journal) -> None:
    """One call makes and pays its session, so a late copy of it could pay a second time."""
    payouts, provider, _, _ = await failed_and_topped_up(poor, mode=sg.Mode.ONE_STEP)
    with pytest.raises(sg.Misuse, match="one step"):
        _ = await payouts.retry("k-1")
    assert (await journal.find("k-1")).step is Step.FAILED
    assert provider.order("k-1").moved == 0


async def test_not_while_its_session_may_pay(payouts, api, journal) -> None:
    """A person wrote that it failed, but its session isn't final: its start may still arrive."""
    _ = await journal.accept(payouts._open().new(order(), NO_BATCH))
    entry = await journal.claim("k-1", "me", 30.0)
    session = await api.session.create(sg.CreateSession())
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    entry = await journal.advance(entry, Event.SESSION_CHOSEN, Changes(session_id=session.id))
    decided = await journal.advance(entry, Event.NOT_PAID, Changes(code="insufficient_funds"))
    with pytest.raises(sg.Misuse, match="'no payout', so money may still move"):
        _ = await payouts.retry("k-1")
    assert await journal.find("k-1") == decided
    _ = await api.session.cancel(SessionRef(session.id))
    assert (await payouts.retry("k-1")).state is sg.PayoutState.OPEN


async def test_not_if_it_was_unknown(payouts, journal) -> None:
    """It may have been paid elsewhere, whatever its own session shows."""
    _ = await journal.accept(payouts._open().new(order(), NO_BATCH))
    entry = await journal.claim("k-1", "me", 30.0)
    entry = await journal.advance(entry, Event.PARKED)
    _ = await journal.advance(entry, Event.NOT_PAID, Changes(code="insufficient_funds"))
    with pytest.raises(sg.Misuse, match="it was unknown whether it was paid"):
        _ = await payouts.retry("k-1")


async def test_not_if_it_was_forgotten(poor, journal) -> None:
    """Its log would show whether it was ever unknown."""
    payouts, _, _, _ = await failed_and_topped_up(poor)
    _ = await payouts.forget(datetime(2100, 1, 1, tzinfo=UTC))
    with pytest.raises(sg.Misuse, match="its log was deleted"):
        _ = await payouts.retry("k-1")
    assert (await journal.find("k-1")).step is Step.FAILED


async def test_its_session_cannot_be_read(key, connect, journal) -> None:
    """Nothing is written; the text names the session and what failed."""
    rules = emulator.Rules(wallets=POOR, confirmation=Confirmation.AUTOMATIC)
    with emulator.run_in_thread(public_key=key.public, rules=rules) as provider:
        api = connect(provider, settings=evolve(QUICK, retry=sg.RetryPolicy(attempts=1)))
        payouts = sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC)
        await payouts.__aenter__()
        failed = await payouts.pay(order())
        entry = await journal.find("k-1")
    with pytest.raises(sg.Misuse, match=f"the session {failed.session_id}, .*can't be read"):
        _ = await payouts.retry("k-1")
    assert await journal.find("k-1") == entry
    await payouts.__aexit__(None, None, None)


async def test_every_create_was_refused(journal) -> None:
    """There is no session to look at: nothing was ever started."""
    code = "activity_count_exceeded"
    scripted = Provider(session_create=[refused(code), refused(code), session_answer("created")])
    with serve(scripted) as server:
        async with (
            sg.SmartGlocal("demo", FakeSigner(), server.url, settings=QUICK) as api,
            sg.Payouts(api, journal) as payouts,
        ):
            assert (await payouts.pay(order())).code == code
            assert (await payouts.retry("k-1")).state is sg.PayoutState.OPEN
            assert (await journal.find("k-1")).session_no == 0
    assert scripted.seen == ["session/create"] * 2


# --- Late news -----------------------------------------------------------------------------------


async def news_of(api: Any, session_id: str | None) -> sg.PaymentFinished:
    """Return a webhook that a session's payout was paid."""
    session = await api.session.status(SessionRef(session_id or ""))
    payout = evolve(session.payout_list[0], status="succeeded", error=None)
    paid = evolve(session, status="accepted", next_action=None, payout_list=(payout,))
    return sg.PaymentFinished(type=sg.PaymentFinished.wire_type, session=paid)


@pytest.mark.parametrize("is_paid", [False, True])
async def test_late_news_of_the_first_session(poor, journal, is_paid) -> None:
    """All payouts are halted; one that isn't paid yet isn't paid any more."""
    payouts, provider, api, first = await failed_and_topped_up(poor)
    _ = await payouts.retry("k-1")
    if is_paid:
        assert (await payouts.pay(order())).is_paid
    assert await payouts.handle_event(await news_of(api, first.session_id))
    halt = await journal.halted()
    assert halt is not None
    assert halt.kind is HaltKind.CONFLICT
    assert first.session_id in halt.reason
    with pytest.raises(sg.PayoutConflict):
        _ = await payouts.pay(order("k-2"))
    entry = await journal.find("k-1")
    assert entry.step is (Step.SUCCEEDED if is_paid else Step.UNKNOWN)
    assert provider.order("k-1").moved == is_paid
    await payouts.resume_journal()
    assert (await payouts.pay(order())).is_paid is is_paid
    assert provider.order("k-1").moved == is_paid


async def test_its_session_was_paid_meanwhile(poor, journal, monkeypatch) -> None:
    """The question for its session shows it, so all payouts are halted."""
    payouts, _, api, first = await failed_and_topped_up(poor)
    entry, news = await journal.find("k-1"), await news_of(api, first.session_id)
    sender = payouts._open().context.sender

    async def shows_paid(_session_id: str, payout: Any, _seconds: float) -> Any:
        return sender.webhook_reply(news.session, payout)

    monkeypatch.setattr(type(sender), "check_session", lambda _self, *args: shows_paid(*args))
    with pytest.raises(sg.PayoutConflict, match="'k-1' is recorded as FAILED"):
        _ = await payouts.retry("k-1")
    assert await journal.find("k-1") == entry
    with pytest.raises(sg.PayoutConflict):
        _ = await payouts.retry("k-1")


async def test_a_report_of_the_first_session(poor, journal) -> None:
    """A row of the daily report about the first session halts, too."""
    payouts, _, api, first = await failed_and_topped_up(poor)
    _ = await payouts.retry("k-1")
    session = (await news_of(api, first.session_id)).session
    row = ReportRow(
        line=2,
        session_id=session.id,
        payout_id=session.payout_list[0].id,
        amount=sg.Amount(10_000, "usd"),
        kind=ReportKind.ADVICE,
        metadata=dict(session.metadata),
        finished_at=None,
    )
    result = await payouts.reconcile([row])
    assert [one.kind.name for one in result.discrepancies] == ["LEFT"]
    with pytest.raises(sg.PayoutConflict):
        _ = await payouts.pay(order())
    assert (await journal.find("k-1")).step is Step.UNKNOWN


# --- Many -----------------------------------------------------------------------------------------


async def test_retry_all_of_a_batch(run_provider, connect, journal) -> None:
    """What can't be retried is yielded with the reason; other batches aren't touched."""
    provider = run_provider(rules=emulator.Rules(wallets={"usd": 70_000}))
    amounts = (66601, 60_000, 20_000, 15_000)
    orders = [order(f"k-{n}", amount) for n, amount in enumerate(amounts)]
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        paid = [one async for one in payouts.pay_all(orders, batch="may", concurrency=1)]
        _ = [one async for one in payouts.pay_all([order("o-1", 30_000)], batch="june")]
        assert [one.is_paid for one in paid] == [False, True, False, False]
        provider.top_up(100_000, "usd")
        found = {one.key: one async for one in payouts.retry_all(batch="may")}
        states = {key: one.state.value for key, one in found.items()}
        assert states == {"k-0": "failed", "k-2": "open", "k-3": "open"}
        assert found["k-0"].reason.startswith("it failed for account_not_found, which")
        again = {one.key: one async for one in payouts.pay_all(orders, batch="may")}
        assert {key for key, one in again.items() if one.replayed} == {"k-0", "k-1"}
        assert {key for key, one in again.items() if one.is_paid} == {"k-1", "k-2", "k-3"}
    assert [provider.order(f"k-{n}").moved for n in range(4)] == [0, 1, 1, 1]
    assert provider.order("o-1").moved == 0


@needs_postgres
async def test_workers_pay_what_was_retried(run_provider, connect, schema) -> None:
    """The encrypted request is kept, so a worker of the batch needs no file."""
    cipher = sg.RequestCipher(sg.RequestCipher.new_key())
    provider = run_provider(rules=emulator.Rules(wallets=POOR))
    postgres = sg.PostgresJournal(DSN, schema=schema)
    async with sg.Payouts(connect(provider, settings=QUICK), postgres, cipher=cipher) as payouts:
        _ = await payouts.submit([order()], "may", stop_on=sg.payouts.StopOn(failures_in_a_row=5))
        chunk = [one async for one in payouts.run_chunk("may")]
        assert [one.code for one in chunk] == ["insufficient_funds"]
        assert (await postgres.batch("may")).bound == {"usd": 0}
        provider.top_up(10_000, "usd")
        _ = await payouts.retry("k-1")
        chunk = [one async for one in payouts.run_chunk("may")]
        assert [one.is_paid for one in chunk] == [True]
        batch = await postgres.batch("may")
        assert (batch.bound, batch.paid) == ({"usd": 10_000}, {"usd": 10_000})
        assert (await postgres.find("k-1")).request is None
    assert provider.order("k-1").moved == 1
