"""Payouts from the first call to the last webhook, and what the provider counted."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from merchant import USD

import smartglocal_async as sg
from smartglocal_async.emulator import (
    Confirmation,
    Fault,
    FaultKind,
    FaultScript,
    Rules,
    WebhookScript,
)

SENDER: Final = sg.Participant(
    company_name="Shop Ltd", registration_number="HE 1", country_iso3="CYP", code="HE 1"
)
TOKEN: Final = sg.EncryptedCard(number_hash="hash-from-the-widget")
NAMED: Final = sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe"))


def person(country: str, currency: str, **fields: str) -> sg.ParticipantDetails:
    """Return a recipient with the mandatory fields of every country, and more."""
    recipient = sg.Participant(
        first_name="Jane",
        last_name="Roe",
        bank_name="A Bank",
        country_iso3=country,
        currency=currency,
        **fields,
    )
    return sg.ParticipantDetails(sender=SENDER, recipient=recipient)


INSTRUMENTS: Final = {
    "card by token": (TOKEN, NAMED),
    "open card": (sg.BankCard(number="4242424242424242"), NAMED),
    "IBAN": (
        sg.GlobalAccount(iban="BE71096123456769", description="Salary"),
        person("BEL", "EUR"),
    ),
    "USA": (
        sg.GlobalAccount(
            bank_account_number="123456789",
            account_type="CHECKING",
            routing_code="021000021",
            description="Salary",
        ),
        sg.ParticipantDetails(
            sender=sg.Participant(
                company_name="Shop Ltd",
                registration_number="HE 1",
                country_iso3="CYP",
                code="HE 1",
                address_line="1 Main Street",
                city="Limassol",
            ),
            recipient=person(
                "USA", "USD", address_line="1 Main", city="Reno", postal_code="89501", state="NV"
            ).recipient,
        ),
    ),
    "wallet": (
        sg.GlobalWallet(name="GCash", msisdn="639170000000", description="Salary"),
        person("PHL", "PHP"),
    ),
}


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", INSTRUMENTS)
async def test_a_payout(merchant, name, version) -> None:
    """Create, start, ready to confirm, confirm, finished: paid once, from the wallet."""
    instrument, participants = INSTRUMENTS[name]
    at = await merchant(api_version=version)
    made = await at.api.session.create(sg.CreateSession(), key="p-1")
    started = await at.api.session.start_payout(
        sg.StartPayout(
            session_id=made.id,
            payment_method=instrument,
            amount_details=USD,
            participant_details=participants,
        ),
        key="p-1",
    )
    assert (started.status, [p.status for p in started.payout_list]) == (
        sg.SessionStatus.IN_PROGRESS,
        [sg.OperationStatus.IN_PROGRESS],
    )

    ready = await at.next_webhook(sg.ReadyToConfirm)
    assert (ready.id, ready.next_action, ready.is_action_due) == (made.id, "confirm", True)
    [payout] = ready.payout_list
    assert (payout.status, payout.amount_details) == (sg.OperationStatus.PENDING, USD)
    assert payout.metadata == {"idempotency_key": "p-1"}

    _ = await at.api.session.confirm(sg.SessionRef(made.id))
    done = await at.next_webhook(sg.PaymentFinished)
    assert (done.status, done.is_final, done.is_action_due) == ("accepted", True, False)
    assert [p.status for p in done.payout_list] == [sg.OperationStatus.SUCCEEDED]

    assert [(m.kind, m.amount) for m in at.provider.order("p-1").movements] == [("payout", 10_000)]
    if version == "v1":
        usd = {wallet.amount_details for wallet in await at.api.wallet.balance()}
        assert sg.Amount(1_000_000_00 - 10_000, "usd") in usd


async def test_what_is_given_at_create_need_not_be_given_at_start(merchant) -> None:
    """The session keeps the fields of the create."""
    at = await merchant()
    request = sg.CreateSession(payment_method=TOKEN, amount_details=USD, participant_details=NAMED)
    made = await at.api.session.create(request, key="p-1")
    _ = await at.api.session.start_payout(sg.StartPayout(session_id=made.id), key="p-1")
    [payout] = (await at.next_webhook(sg.ReadyToConfirm)).payout_list
    assert payout.amount_details == USD


async def test_in_one_call_and_confirmed_by_itself(merchant) -> None:
    """If the project confirms automatically, no confirm is needed or sent."""
    at = await merchant(rules=Rules(confirmation=Confirmation.AUTOMATIC))
    request = sg.InitPayout(payment_method=TOKEN, amount_details=USD, participant_details=NAMED)
    _ = await at.api.session.init_payout(request, key="p-1")
    done = await at.next_webhook(sg.PaymentFinished)
    assert done.status == "accepted"
    assert at.provider.order("p-1").moved == 1


async def start(at, amount: sg.AmountDetails = USD) -> sg.Session:
    """Create a session and start a payout in it."""
    made = await at.api.session.create(sg.CreateSession(), key="p-1")
    return await at.api.session.start_payout(
        sg.StartPayout(
            session_id=made.id,
            payment_method=TOKEN,
            amount_details=amount,
            participant_details=NAMED,
        ),
        key="p-1",
    )


async def test_cancelled(merchant) -> None:
    """Cancelled instead of confirmed: nothing moves."""
    at = await merchant()
    session = await start(at)
    _ = await at.next_webhook(sg.ReadyToConfirm)

    _ = await at.api.session.cancel(sg.SessionRef(session.id))
    seen = await at.api.session.wait(sg.SessionRef(session.id))

    assert (seen.status, seen.is_final) == ("cancelled", True)
    assert at.provider.order("p-1").moved == 0
    # The provider doesn't list the emulator's code for it, so the outcome counts as unknown.
    with pytest.raises(sg.OutcomeUnknown, match="invalid_session_state"):
        await at.api.session.confirm(sg.SessionRef(session.id))


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


async def test_not_confirmed_in_time(merchant) -> None:
    """After 240 minutes the provider ends it, and a confirm comes too late."""
    hand = SetClock()
    at = await merchant(clock=hand)
    session = await start(at)
    _ = await at.next_webhook(sg.ReadyToConfirm)

    hand.now += timedelta(minutes=239)
    assert (await at.status(session)).next_action == "confirm"
    hand.now += timedelta(minutes=2)
    seen = await at.status(session)

    # In the spelling of the page about deadlines.
    assert (seen.status, [p.status for p in seen.payout_list]) == ("canceled", ["canceled"])
    # The provider doesn't list the emulator's code for it, so the outcome counts as unknown.
    with pytest.raises(sg.OutcomeUnknown, match="invalid_session_state"):
        await at.api.session.confirm(sg.SessionRef(session.id))
    assert at.provider.order("p-1").moved == 0


async def test_declined(merchant) -> None:
    """It failed in a final session, so it can be paid again."""
    at = await merchant()
    session = await start(at, sg.AmountDetails(66_601, "usd"))
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(session.id))

    done = await at.next_webhook(sg.PaymentFinished)
    [payout] = done.payout_list
    assert (done.is_final, payout.status, payout.error.code) == (
        True,
        "failed",
        "account_not_found",
    )
    assert at.provider.order("p-1").moved == 0


async def test_a_session_in_error_is_not_final(merchant) -> None:
    """The payout shows failed, and is still paid: paying again would have paid twice."""
    hand = SetClock()
    at = await merchant(clock=hand)
    session = await start(at, sg.AmountDetails(66_620, "usd"))
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(session.id))

    broken = await at.next_webhook(sg.PaymentFinished)
    assert (broken.status, broken.payout_list[0].status) == ("error", "failed")
    assert not broken.is_final

    hand.now += timedelta(seconds=10)
    mended = await at.status(session)
    assert (mended.status, mended.payout_list[0].status) == ("accepted", "succeeded")
    assert at.provider.order("p-1").moved == 1


async def test_an_empty_wallet(merchant) -> None:
    """A payout that the wallet can't pay fails, and moves nothing."""
    at = await merchant(rules=Rules(wallets={"usd": 9_999}))
    session = await start(at)
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(session.id))
    done = await at.next_webhook(sg.PaymentFinished)
    assert done.payout_list[0].status == "failed"
    assert at.provider.order("p-1").moved == 0


async def test_lost_webhooks_are_found_by_asking(merchant) -> None:
    """No webhook arrives; `wait` finds the same by status checks."""
    at = await merchant(webhooks=WebhookScript(lost=1.0))
    session = await start(at)
    ready = await at.api.session.wait(sg.SessionRef(session.id))
    assert ready.next_action == "confirm"
    _ = await at.api.session.confirm(sg.SessionRef(session.id))
    done = await at.api.session.wait(sg.SessionRef(session.id), until=lambda seen: seen.is_final)
    assert done.status == "accepted"
    assert at.told.empty()


async def test_a_lost_init_is_found_by_its_webhook(merchant) -> None:
    """The answer is lost and there is no id to check; the webhook has the key."""
    lost = Fault(FaultKind.AFTER, nth=(1,), operation="session/init/payout")
    at = await merchant(faults=FaultScript((lost,)))
    request = sg.InitPayout(payment_method=TOKEN, amount_details=USD, participant_details=NAMED)
    with pytest.raises(sg.OutcomeUnknown) as caught:
        await at.api.session.init_payout(request, key="p-1")

    found = await at.next_webhook(sg.ReadyToConfirm)
    assert found.payout_list[0].metadata == {"idempotency_key": caught.value.key}


async def test_duplicated_webhooks_are_handled_once(merchant) -> None:
    """The provider sends each twice; one is handled."""
    at = await merchant(webhooks=WebhookScript(duplicated=1.0))
    session = await start(at)
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(session.id))
    _ = await at.next_webhook(sg.PaymentFinished)
    async with asyncio.timeout(10):
        while [delivery.http_status for delivery in at.provider.deliveries] != [200] * 4:  # noqa: ASYNC110 - it runs on another thread
            await asyncio.sleep(0.01)
    assert at.told.empty()
