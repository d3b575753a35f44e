"""The story of one payout: the answer to its confirm is lost, and it is paid once."""

from collections.abc import Callable
from typing import Final

from ...emulator import Fault, FaultKind, FaultScript, Rules
from ...models.answers import Session
from ...models.enums import OperationStatus
from ...models.events import PaymentFinished, ReadyToConfirm
from ...models.instruments import GlobalAccount
from ...models.money import Amount, AmountDetails
from ...models.people import Participant, ParticipantDetails
from ...models.requests import CreateSession, SessionRef, StartPayout
from ..tables import instrument, money
from .story import ComparedValue, StoryResult, StorySetup, StoryStep, story_setup

_KEY: Final = "order-1"
_PAYOUT_KEY: Final = "payout-1"
_CONFIRM_KEY: Final = "confirm-1"
_AMOUNT: Final = AmountDetails(10_000, "eur")
_FAULTS: Final = FaultScript((Fault(FaultKind.AFTER, operation="session/confirm", nth=(1,)),))
_ACCOUNT: Final = GlobalAccount(iban="DE89370400440532013000", description="Invoice 1")
_PEOPLE: Final = ParticipantDetails(
    sender=Participant(
        company_name="Shop Ltd", registration_number="12345678", country_iso3="GBR", code="12345678"
    ),
    recipient=Participant(
        first_name="Ann",
        last_name="Example",
        country_iso3="DEU",
        currency="eur",
        bank_name="All Banks Germany / EUR / Payment System: SEPA",
    ),
)


async def play_payout(show: Callable[[StoryStep], None]) -> StoryResult:
    """Make one payout, with the balance before and after it."""
    async with story_setup(_FAULTS, Rules(), show) as setup:
        before = await _balance(setup, "The balance of the wallet")
        session = await _create(setup)
        await _start(setup, session)
        await _confirm(setup, session)
        finished = await _finish(setup)
        after = await _balance(setup, "The balance after the payout")
        return await _ending(setup, finished, Amount(before.amount - after.amount, before.currency))


async def _balance(setup: StorySetup, title: str) -> Amount:
    with setup.step(title) as script:
        script.sends("wallet/balance")
        wallets = await setup.api.wallet.balance()
        balance = next(
            wallet.amount_details
            for wallet in wallets
            if wallet.amount_details.currency == _AMOUNT.currency
        )
        script.gets(money(balance))
    return balance


async def _create(setup: StorySetup) -> SessionRef:
    with setup.step("A session for the order") as script:
        script.sends(f"session/create: {money(_AMOUNT)}, key {_KEY}")
        request = CreateSession(amount_details=_AMOUNT)
        session = await setup.api.session.create(request, key=_KEY)
        script.gets(_state(session))
    return SessionRef(session.id)


async def _start(setup: StorySetup, session: SessionRef) -> None:
    with setup.step("The payout starts; nothing is paid before it is confirmed") as script:
        script.sends(f"session/start/payout: to {instrument(_ACCOUNT)}, key {_PAYOUT_KEY}")
        request = StartPayout(
            session_id=session.session_id, payment_method=_ACCOUNT, participant_details=_PEOPLE
        )
        script.gets(_state(await setup.api.session.start_payout(request, key=_PAYOUT_KEY)))
    with setup.step("A signed webhook reports that it is ready") as script:
        event = await setup.webhook(ReadyToConfirm)
        script.gets(f"{event.type}, verified: {_state(event.session)}")


async def _confirm(setup: StorySetup, session: SessionRef) -> None:
    with setup.step("Confirmed; the emulator processes it, but its answer is lost") as script:
        script.sends(f"session/confirm: key {_CONFIRM_KEY}")
        begun = len(setup.attempts)
        confirmed = await setup.api.session.confirm(session, key=_CONFIRM_KEY)
        script.attempts(setup.attempts[begun:])
        script.gets(f"{_state(confirmed)}: it did, so it isn't sent again")


async def _finish(setup: StorySetup) -> Session:
    with setup.step("The provider says by webhook, signed, how it ended") as script:
        event = await setup.webhook(PaymentFinished)
        script.gets(f"{event.type}, verified: {_state(event.session)}")
    return event.session


def _state(session: Session) -> str:
    parts = [f"{session.id} {session.status}"]
    parts += [f"{payout.id} {payout.status}" for payout in session.payout_list]
    if session.next_action is not None:
        parts.append(f"next: {session.next_action}")
    return ", ".join(parts)


async def _ending(setup: StorySetup, session: Session, spent: Amount) -> StoryResult:
    seen = setup.provider.order(_PAYOUT_KEY)
    arrived = setup.provider.order(_KEY).calls.get("session/confirm", 0)
    moved = sum(movement.amount for movement in seen.movements)
    sent = sum(attempt.operation == "session/confirm" for attempt in setup.attempts)
    paid = sum(payout.status == OperationStatus.SUCCEEDED for payout in session.payout_list)
    counts = (
        ComparedValue("Confirms sent, and arrived", sent, arrived),
        ComparedValue("Webhooks verified, and delivered", setup.webhooks, await setup.delivered()),
        ComparedValue("Spent, and paid out", money(spent), money(Amount(moved, _AMOUNT.currency))),
        ComparedValue("Paid", paid, seen.moved),
    )
    return StoryResult(
        story="payout",
        steps=tuple(setup.steps),
        counts=counts,
        paid=paid,
        report=setup.provider.report(),
    )
