"""Payouts: outcomes, refusals, webhooks and resuming."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from paying import QUICK, START, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal.entries import NO_CHANGES
from smartglocal_async.journal.states import Event, Step

pytestmark = pytest.mark.both_loops

AUTOMATIC = emulator.Rules(confirmation=Confirmation.AUTOMATIC)


async def test_a_payout_is_made_once(api, provider, journal):
    """The same key returns the stored outcome without a call."""
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


async def test_concurrent_calls_share_one_payout(api, provider, journal):
    """Ten concurrent calls with one key make one payout."""
    async with sg.Payouts(api, journal) as payouts, asyncio.TaskGroup() as group:
        tasks = [group.create_task(payouts.pay(order())) for _ in range(10)]
    assert all(task.result().is_paid for task in tasks)
    assert provider.order("k-1").calls[START] == 1


@pytest.mark.parametrize("written", ["HTTPS://Host:443/", "https://HOST", "https://host//"])
async def test_a_journal_is_its_server_s_however_that_is_written(key, journal, written):
    """A trailing slash, upper-case letters or a default port don't make it another server."""
    for server in ("https://host", written, "https://host"):
        async with sg.SmartGlocal("shop", key, server) as api, sg.Payouts(api, journal):
            pass
    async with sg.SmartGlocal("shop", key, "https://host/gate") as api:
        with pytest.raises(sg.JournalUnusable, match=r"belongs to https://host\|shop, not to"):
            await sg.Payouts(api, journal).__aenter__()


async def test_another_request_is_refused(api, provider, journal):
    """A key belongs to its first request; the error names the fields that differ."""
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts.pay(order())
        with pytest.raises(sg.KeyReused) as caught:
            _ = await payouts.pay(order(amount=10_001))
    assert caught.value.differing_fields == ("amount_details.amount",)
    assert provider.report().sessions == 1


async def test_nothing_secret_is_kept(api, journal):
    """The journal stores amount and currency, and nothing of the instrument."""
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts.pay(order())
        found = await journal.find("k-1")
    assert found.request is None
    assert (found.amount, found.currency) == (10_000, "usd")


async def test_a_declined_payout_failed(api, provider, journal):
    """A declined payout is final, with the provider's code."""
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(order(amount=66601))
    assert (outcome.state, outcome.code) == (sg.PayoutState.FAILED, "account_not_found")
    assert provider.order("k-1").moved == 0


@pytest.mark.parametrize("amount", [66610, 66620])
async def test_payout_without_a_final_state_stays_open(amount, connect, provider, journal):
    """In progress for ever, or in a session with status error: open, and never paid again."""
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcome = await payouts.pay(order(amount=amount), deadline=2.0)
    assert outcome.state is sg.PayoutState.OPEN
    assert provider.order("k-1").calls[START] == 1
    assert (await _reopened(journal)).step in {Step.CONFIRMED, Step.CONFIRMING}


async def _reopened(journal: sg.journal.Journal) -> sg.journal.Entry:
    journal._is_open = True
    return await journal.find("k-1")


async def test_a_lost_start_leads_to_another_session(run_provider, connect, journal):
    """No second start in the session: it is cancelled, and another one is created."""
    lost = Fault(FaultKind.BEFORE, nth=(1,), key="k-1", operation=START)
    provider = run_provider(faults=emulator.FaultScript([lost]))
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcome = await payouts.pay(order())
    assert outcome.is_paid
    assert provider.order("k-1").moved == 1
    assert len(provider.session_ids) == 2


async def test_refused_credentials_leave_it_open(provider, journal):
    """A wrong project doesn't fail a payout."""
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


async def test_payment_without_a_confirm_halts(run_provider, connect, journal):
    """The payout is recorded as paid, and nothing more is paid."""
    provider = run_provider(rules=AUTOMATIC)
    async with sg.Payouts(connect(provider), journal) as payouts:
        assert (await payouts.pay(order())).is_paid
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = await payouts.pay(order("k-2"))
    assert provider.report().moved == 1


async def test_automatic_mode_parks_a_payout_that_waits_for_a_confirm(api, provider, journal):
    """The provider waits for a confirm, which automatic mode doesn't expect."""
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        outcome = await payouts.pay(order())
    assert outcome.state is sg.PayoutState.UNKNOWN
    assert provider.report().moved == 0


async def test_one_step(run_provider, connect, journal):
    """A one-step payout pays; a lost one is unknown until a webhook settles it."""
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
        assert await payouts.handle_event(event)
        told = await payouts.pay(order("k-2"))
    assert told.is_paid
    assert told.session_id == session.id
    assert provider.report().moved == 2


async def test_a_left_session_that_asks_is_cancelled(api, provider, journal):
    """A late start in a left session waits for a confirm that never comes; it is cancelled."""
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
            metadata={"payout_journal": journal.journal_id},
        )
        session = await api.session.start_payout(request, key="k-1")
        session = await api.session.status(sg.SessionRef(session.id))
        assert await payouts.handle_event(
            sg.ReadyToConfirm(type="ready_to_confirm", session=session)
        )
        assert (await api.session.status(sg.SessionRef("ps_1"))).status == "cancelled"
        assert (await payouts.pay(order())).is_paid
    assert provider.order("k-1").moved == 1


async def _at(
    payouts: sg.Payouts, journal: sg.journal.Journal, step: Step, session_id: str
) -> sg.journal.Entry:
    """Bring a payout to a step, as a process that was killed there."""
    _ = await payouts._claimer.accept(order())
    entry = await journal.claim("k-1", "the dead", 0.001)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    if step is Step.STARTING:
        changes = sg.journal.Changes(session_id=session_id)
        entry = await journal.advance(entry, Event.SESSION_CHOSEN, changes)
    return entry


async def test_resume_needs_the_request_for_a_new_start(api, journal):
    """Without the order the payout is released, because the journal has no instrument."""
    async with sg.Payouts(api, journal) as payouts:
        await journal.release(await _at(payouts, journal, Step.CREATING, ""))
        without = [outcome async for outcome in payouts.settle()]
        with_it = [outcome async for outcome in payouts.settle(lambda _: order())]
        assert [outcome async for outcome in payouts.settle()] == []
    assert [(one.state, one.needs_request) for one in without] == [(sg.PayoutState.OPEN, True)]
    assert [one.is_paid for one in with_it] == [True]


async def test_lease_of_another_owner(api, journal):
    """Another owner's lease is waited for, or refused at once."""
    async with sg.Payouts(api, journal, waits_for_others=False) as payouts:
        _ = await payouts._claimer.accept(order())
        _ = await journal.claim("k-1", "another", 60)
        with pytest.raises(sg.InProgress):
            _ = await payouts.pay(order())
        assert [outcome async for outcome in payouts.settle()] == []


async def test_a_lost_lease_sends_nothing_more(api, provider):
    """A worker that lost its lease can't confirm; the new owner does."""
    now = datetime(2024, 5, 27, tzinfo=UTC)
    journal = sg.journal.MemoryJournal(unsafe=True, clock=lambda: now.timestamp())  # noqa: PLW0108 - it moves
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
async def test_number_of_commits(mode, writes, run_provider, connect):
    """The number of commits; some events are written together with the next step."""
    provider = run_provider(rules=emulator.Rules(confirmation=Confirmation[mode.name]))
    journal, labels = sg.journal.MemoryJournal(unsafe=True), list[str]()
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


def test_options_that_must_be_explicit(api):
    """One step without accept_unknown, or a mode given as text, is refused."""
    with pytest.raises(sg.InvalidRequest, match="accept_unknown"):
        _ = sg.Payouts(api, sg.journal.MemoryJournal(), mode=sg.Mode.ONE_STEP)
    with pytest.raises(sg.InvalidRequest, match="mode"):
        _ = sg.Payouts(api, sg.journal.MemoryJournal(), mode="manual")


async def test_memory_journal_is_refused(api):
    """A memory journal is refused, unless it is created with `unsafe=True`."""
    with pytest.raises(sg.Misuse, match="isn't durable"):
        async with sg.Payouts(api, sg.journal.MemoryJournal()):
            pass
    with pytest.raises(sg.Misuse, match="async with"):
        _ = await sg.Payouts(api, sg.journal.MemoryJournal()).pay(order())


@pytest.mark.parametrize(
    "wrong", [{"key": ""}, {"key": "x" * 201}, {"key": "a\nb"}, {"metadata": "text"}]
)
def test_invalid_keys(wrong):
    """Invalid keys are refused, because the key is sent in the metadata."""
    with pytest.raises(sg.InvalidRequest):
        _ = evolve(order(), **wrong)


class AnswersWithOneSession(sg.journal.MemoryJournal):
    """A journal in which another payout chooses the same session first."""

    taken: str | None = None

    async def advance(self, entry, event, changes=NO_CHANGES, **options):
        """Let another payout choose the session a moment before."""
        if event is Event.SESSION_CHOSEN and self.taken is None:
            self.taken = str(changes.session_id)
            self._rows.sessions[self.taken] = "k-other"
        return await super().advance(entry, event, changes, **options)


async def test_a_session_of_another_payout_is_not_chosen(provider, connect):
    """A create that returns another payout's session counts as lost; another one is created."""
    journal = AnswersWithOneSession(unsafe=True)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcome = await payouts.pay(order())
    assert outcome.is_paid
    assert outcome.session_id != journal.taken
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize(
    ("code", "times", "state"),
    [
        ("emulated_code", 1, "succeeded"),
        ("emulated_code", 3, "succeeded"),
        ("emulated_code", 4, "failed"),
        ("account_not_found", 1, "succeeded"),
        ("account_not_found", 2, "failed"),
    ],
)
async def test_how_often_a_create_is_refused(run_provider, connect, code, times, state):
    """How many refusals of a create are final, by code.

    A refusal may answer another call, and an unlisted code may be temporary. A create that is sent
    again moves no money.
    """
    keys = ("k-1:1.1", "k-1:1.1.2", "k-1:1.1.3", "k-1:1.1.4")
    refused = [
        Fault(FaultKind.UNKNOWN_CODE, nth=(1,), key=key, operation="session/create", code=code)
        for key in keys[:times]
    ]
    provider = run_provider(faults=emulator.FaultScript(refused))
    async with sg.Payouts(
        connect(provider, settings=QUICK), sg.journal.MemoryJournal(unsafe=True)
    ) as paying:
        outcome = await paying.pay(order())
    assert outcome.state.value == state
    assert provider.order("k-1").moved == (state == "succeeded")
    assert outcome.code == (None if state == "succeeded" else code)
