"""Payouts: what each outcome says, what is refused, and what webhooks and resumes do."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from paying import QUICK, START, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal.states import Event, Step

AUTOMATIC = emulator.Rules(confirmation=Confirmation.AUTOMATIC)


async def test_a_payout_is_made_once(api, provider, journal):
    """The same key gives the stored outcome, and asks nobody."""
    async with sg.Payouts(api, journal) as payouts:
        first = await payouts.pay(order())
        requests = provider.report().requests
        again = await payouts.pay(order())

    assert first.is_paid
    assert first.is_final
    assert not first.replayed
    assert again == evolve(first, replayed=True)
    assert provider.report().requests == requests
    assert provider.order("k-1").moved == 1


async def test_those_who_ask_together_share_one_payout(api, provider, journal):
    """Ten at a time are one payout."""
    async with sg.Payouts(api, journal) as payouts, asyncio.TaskGroup() as group:
        tasks = [group.create_task(payouts.pay(order())) for _ in range(10)]
    assert all(task.result().is_paid for task in tasks)
    assert provider.order("k-1").calls[START] == 1


@pytest.mark.parametrize("written", ["HTTPS://Host:443/", "https://HOST", "https://host//"])
async def test_a_journal_is_its_server_s_however_that_is_written(key, journal, written):
    """A slash behind it, its letters and a usual port make no other server of it."""
    for server in ("https://host", written, "https://host"):
        async with sg.SmartGlocal("shop", key, server) as api, sg.Payouts(api, journal):
            pass
    async with sg.SmartGlocal("shop", key, "https://host/gate") as api:
        with pytest.raises(sg.JournalUnusable, match=r"belongs to https://host\|shop, not to"):
            await sg.Payouts(api, journal).__aenter__()


async def test_another_request_is_refused(api, provider, journal):
    """A key belongs to its first request; the error names what differs."""
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts.pay(order())
        with pytest.raises(sg.KeyReused) as caught:
            _ = await payouts.pay(order(amount=10_001))
    assert caught.value.differing_fields == ("amount_details.amount",)
    assert provider.report().sessions == 1


async def test_nothing_secret_is_kept(api, journal):
    """The journal has amount and currency, and nothing of the instrument."""
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts.pay(order())
        found = await journal.find("k-1")
    assert found.request is None
    assert (found.amount, found.currency) == (10_000, "usd")


async def test_a_declined_payout_failed(api, provider, journal):
    """What the provider declines is final, with its code."""
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(order(amount=66601))
    assert (outcome.state, outcome.code) == (sg.PayoutState.FAILED, "account_not_found")
    assert provider.order("k-1").moved == 0


@pytest.mark.parametrize("amount", [66610, 66620])
async def test_what_is_not_final_stays_open(amount, connect, provider, journal):
    """In progress for ever, or in a session of status error: open, and never paid anew."""
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcome = await payouts.pay(order(amount=amount), deadline=0.5)
    assert outcome.state is sg.PayoutState.OPEN
    assert provider.order("k-1").calls[START] == 1
    assert (await _reopened(journal)).step in {Step.CONFIRMED, Step.CONFIRMING}


async def _reopened(journal: sg.Journal) -> sg.Entry:
    journal._is_open = True
    return await journal.find("k-1")


async def test_a_lost_start_leads_to_another_session(run_provider, connect, journal):
    """Never a second start in the session: it is cancelled, and another one is taken."""
    lost = Fault(FaultKind.BEFORE, nth=(1,), key="k-1", operation=START)
    provider = run_provider(faults=emulator.FaultScript([lost]))
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcome = await payouts.pay(order())
    assert outcome.is_paid
    assert provider.order("k-1").moved == 1
    assert len(provider.session_ids) == 2


async def test_refused_credentials_leave_it_open(provider, journal):
    """A wrong project is no failed payout."""
    async with (
        sg.SmartGlocal(
            "another", provider.private_key or sg.PrivateKey.generate(), provider.url
        ) as stranger,
        sg.Payouts(stranger, journal) as payouts,
    ):
        with pytest.raises(sg.Refused, match="identification_error"):
            _ = await payouts.pay(order())
        found = await journal.find("k-1")
    assert (found.step, found.owner) == (Step.CREATING, None)


async def test_money_that_moves_by_itself_stops_everything(run_provider, connect, journal):
    """The row tells the truth, and nothing more is paid."""
    provider = run_provider(rules=AUTOMATIC)
    async with sg.Payouts(connect(provider), journal) as payouts:
        assert (await payouts.pay(order())).is_paid
        with pytest.raises(sg.ConfirmationMismatch):
            _ = await payouts.pay(order("k-2"))
    assert provider.report().moved == 1


async def test_automatic_mode_parks_what_asks_for_a_confirm(api, provider, journal):
    """The provider waits for us, though we were told that it wouldn't."""
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        outcome = await payouts.pay(order())
    assert outcome.state is sg.PayoutState.UNKNOWN
    assert provider.report().moved == 0


async def test_one_step(run_provider, connect, journal):
    """It pays; what it loses is unknown until a webhook tells."""
    lost = Fault(FaultKind.AFTER, nth=(1,), key="k-2", operation="session/init/payout")
    provider = run_provider(rules=AUTOMATIC, faults=emulator.FaultScript([lost]))
    api = connect(provider, settings=QUICK)
    one_step = sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True)
    async with one_step as payouts:
        assert (await payouts.pay(order())).is_paid
        parked = await payouts.pay(order("k-2"))
        assert parked.state is sg.PayoutState.UNKNOWN
        session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
        event = sg.PaymentFinished(type="payment_finished", session=session)
        assert await payouts.notice(event)
        told = await payouts.pay(order("k-2"))
    assert told.is_paid
    assert told.session_id == session.id
    assert provider.report().moved == 2


async def test_a_left_session_that_asks_is_cancelled(api, provider, journal):
    """A start that came late waits for a confirm that it never gets."""
    async with sg.Payouts(api, journal) as payouts:
        entry = await _at(payouts, journal, Step.STARTING, "ps_1")
        _ = await api.session.create(sg.CreateSession())
        left = await journal.advance(entry, Event.SESSION_LEFT)
        await journal.release(left)
        request = sg.StartPayout(
            session_id="ps_1",
            payment_method=order().payment_method,
            amount_details=order().amount_details,
            participant_details=order().participant_details,
        )
        session = await api.session.start_payout(request, key="k-1")
        session = await api.session.status(sg.SessionRef(session.id))
        assert await payouts.notice(sg.ReadyToConfirm(type="ready_to_confirm", session=session))
        assert (await api.session.status(sg.SessionRef("ps_1"))).status == "cancelled"
        assert (await payouts.pay(order())).is_paid
    assert provider.order("k-1").moved == 1


async def _at(payouts: sg.Payouts, journal: sg.Journal, step: Step, session_id: str) -> sg.Entry:
    """Bring a payout to a step, as somebody who died there."""
    _ = await payouts._lead.accept(order())
    entry = await journal.claim("k-1", "the dead", 0.001)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    if step is Step.STARTING:
        changes = sg.Changes(session_id=session_id)
        entry = await journal.advance(entry, Event.SESSION_CHOSEN, changes)
    return entry


async def test_resume_needs_the_request_for_a_new_start(api, journal):
    """The journal has no instruments: without the order it is given back, with it it goes on."""
    async with sg.Payouts(api, journal) as payouts:
        await journal.release(await _at(payouts, journal, Step.CREATING, ""))
        without = [outcome async for outcome in payouts.resume()]
        with_it = [outcome async for outcome in payouts.resume(lambda _: order())]
        assert [outcome async for outcome in payouts.resume()] == []
    assert [(one.state, one.needs_request) for one in without] == [(sg.PayoutState.OPEN, True)]
    assert [one.is_paid for one in with_it] == [True]


async def test_somebody_else_is_at_it(api, journal):
    """Another owner's lease is waited for, or refused at once."""
    async with sg.Payouts(api, journal, waits_for_others=False) as payouts:
        _ = await payouts._lead.accept(order())
        _ = await journal.claim("k-1", "another", 60)
        with pytest.raises(sg.InProgress):
            _ = await payouts.pay(order())
        assert [outcome async for outcome in payouts.resume()] == []


async def test_a_lost_lease_sends_nothing_more(api, provider):
    """Whoever is overtaken while it worked can't confirm: the one who took over does."""
    now = datetime(2024, 5, 27, tzinfo=UTC)
    journal = sg.MemoryJournal(unsafe=True, clock=lambda: now.timestamp())  # noqa: PLW0108 - it moves
    overtaken = []

    def point(label: str) -> None:
        nonlocal now
        if label == "before writing confirm intended" and not overtaken:
            now += timedelta(minutes=5)
            overtaken.append(journal._rows.entries["k-1"])
            rows = journal._rows.entries
            rows["k-1"] = evolve(rows["k-1"], fence=rows["k-1"].fence + 1, leased_until=0)

    async with sg.Payouts(api, journal, fault_point=point) as payouts:
        outcome = await payouts.pay(order())
    assert overtaken
    assert outcome.is_paid
    assert provider.order("k-1").calls == {START: 1}
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize(
    ("mode", "writes"),
    [
        (
            sg.Mode.MANUAL,
            [Event.CREATE_INTENDED, Event.SESSION_CHOSEN, Event.CONFIRM_INTENDED, Event.PAID],
        ),
        (sg.Mode.AUTOMATIC, [Event.CREATE_INTENDED, Event.SESSION_CHOSEN, Event.PAID]),
    ],
)
async def test_what_a_payout_writes(mode, writes, run_provider, connect):
    """So many commits; what was learned meanwhile, and what was intended first, rides along."""
    provider = run_provider(rules=emulator.Rules(confirmation=Confirmation[mode.name]))
    journal, labels = sg.MemoryJournal(unsafe=True), list[str]()
    async with sg.Payouts(
        connect(provider), journal, mode=mode, fault_point=labels.append
    ) as payouts:
        outcome = await payouts.pay(order())
        lines = [line.event for line in await journal.history("k-1")]
    assert outcome.is_paid
    assert [label for label in labels if label.startswith("after writing")] == [
        f"after writing {event.value}" for event in writes
    ]
    assert [event for event in lines if event in writes] == writes
    assert Event.START_KNOWN in lines


def test_what_must_be_asked_for_by_name(api):
    """One step without accept_unknown, or a mode that is a word, is refused."""
    with pytest.raises(sg.InvalidRequest, match="accept_unknown"):
        _ = sg.Payouts(api, sg.MemoryJournal(), mode=sg.Mode.ONE_STEP)
    with pytest.raises(sg.InvalidRequest, match="mode"):
        _ = sg.Payouts(api, sg.MemoryJournal(), mode="manual")


async def test_a_journal_that_forgets_is_refused(api):
    """A journal in memory is for tests, which say so."""
    with pytest.raises(sg.Misuse, match="forgets"):
        async with sg.Payouts(api, sg.MemoryJournal()):
            pass
    with pytest.raises(sg.Misuse, match="async with"):
        _ = await sg.Payouts(api, sg.MemoryJournal()).pay(order())


@pytest.mark.parametrize(
    "wrong", [{"key": ""}, {"key": "x" * 201}, {"key": "a\nb"}, {"metadata": "text"}]
)
def test_orders_that_could_not_be_known_again(wrong):
    """The key travels in the metadata, so both have a form."""
    with pytest.raises(sg.InvalidRequest):
        _ = evolve(order(), **wrong)
