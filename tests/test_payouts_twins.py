"""Two of something: a start that a proxy sends twice, and two workers at one key in one process."""

import asyncio

import aiohttp
import pytest

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation
from smartglocal_async.journal.states import Event

AUTOMATIC = emulator.Rules(confirmation=Confirmation.AUTOMATIC)
ORDER = sg.PayoutOrder(
    key="k-1",
    payment_method=sg.EncryptedCard(number_hash="hash"),
    amount_details=sg.AmountDetails(10_000, "usd"),
    participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
)


async def send_starts_twice(request, handler):
    """Do as a proxy that repeats what it forwards, and hands on the last answer."""
    if request.url.path.endswith("session/start/payout"):
        first = await handler(request)
        first.close()
    return await handler(request)


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
async def test_a_start_that_is_sent_twice(mode, run_provider, connect):
    """The second one is refused, and the payout is none that failed: it is under way."""
    provider = run_provider(rules=emulator.Rules(confirmation=Confirmation[mode.name]))
    async with (
        aiohttp.ClientSession(middlewares=(send_starts_twice,)) as session,
        sg.SessionPool(session=session) as pool,
    ):
        api = connect(provider, pool=pool)
        async with sg.Payouts(api, sg.MemoryJournal(unsafe=True), mode=mode) as payouts:
            outcome = await payouts.pay(ORDER)
    assert provider.order("k-1").calls["session/start/payout"] == 2
    assert provider.order("k-1").moved == 1
    assert outcome.is_paid


class Interrupted(sg.MemoryJournal):
    """A journal that lets something happen right after the first claim."""

    between = None

    async def claim(self, key, owner, lease_seconds, **how) -> sg.Entry:
        """Claim, and let it happen."""
        entry = await super().claim(key, owner, lease_seconds, **how)
        if (between := self.between) is not None:
            self.between = None
            await between()
        return entry


async def test_news_that_come_between(run_provider, connect):
    """A webhook and a payer have one key at once: the payer hears the outcome, and no error."""
    api, journal = connect(run_provider(rules=AUTOMATIC)), Interrupted(unsafe=True)
    payouts = sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC)
    async with payouts, asyncio.TaskGroup() as group:
        paid = await _paid(api, journal, payouts)
        paying: list[asyncio.Task[sg.PayoutOutcome]] = []

        async def between() -> None:
            paying.append(group.create_task(payouts.pay(ORDER)))
            while "k-1" not in payouts._open().desk.bells:  # noqa: ASYNC110 - it says so nowhere
                await asyncio.sleep(0)

        journal.between = between
        assert await payouts.notice(sg.PaymentFinished(type="payment_finished", session=paid))
        assert (await paying[0]).is_paid
        assert payouts._open().desk.bells == {}


async def _paid(api: sg.SmartGlocal, journal: Interrupted, payouts: sg.Payouts) -> sg.Session:
    """Leave a payout as somebody did who died after its start; give its session."""
    session = await api.session.create(sg.CreateSession())
    _ = await payouts._open().accept(ORDER)
    entry = await journal.claim("k-1", "the dead", 0.001)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    changes = sg.Changes(session_id=session.id)
    await journal.release(await journal.advance(entry, Event.SESSION_CHOSEN, changes))
    request = sg.StartPayout(
        session_id=session.id,
        payment_method=ORDER.payment_method,
        amount_details=ORDER.amount_details,
        participant_details=ORDER.participant_details,
    )
    _ = await api.session.start_payout(request, key="k-1")
    return await api.session.status(sg.SessionRef(session.id))
