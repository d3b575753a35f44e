"""The story of one payout: its confirm loses its answer, and it is paid once all the same."""

from collections.abc import Callable
from typing import Final

from ..emulator import Fault, FaultKind, FaultScript, Rules
from ..values.answers import Session
from ..values.events import PaymentFinished, ReadyToConfirm
from ..values.instruments import GlobalAccount
from ..values.money import Amount, AmountDetails
from ..values.people import Participant, ParticipantDetails
from ..values.requests import CreateSession, SessionRef, StartPayout
from ..values.statuses import OperationStatus
from .story import Count, Ending, Stage, Step, staged
from .words import instrument, money

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


async def play_payout(tell: Callable[[Step], None]) -> Ending:
    """Pay somebody out, from the wallet to the wallet."""
    async with staged(_FAULTS, Rules(), tell) as stage:
        before = await _balance(stage, "What is in the wallet")
        session = await _create(stage)
        await _start(stage, session)
        await _confirm(stage, session)
        finished = await _finish(stage)
        after = await _balance(stage, "What is left in the wallet")
        return await _ending(stage, finished, Amount(before.amount - after.amount, before.currency))


async def _balance(stage: Stage, title: str) -> Amount:
    with stage.step(title) as script:
        script.sends("wallet/balance")
        wallets = await stage.api.wallet.balance()
        balance = next(
            wallet.amount_details
            for wallet in wallets
            if wallet.amount_details.currency == _AMOUNT.currency
        )
        script.gets(money(balance))
    return balance


async def _create(stage: Stage) -> SessionRef:
    with stage.step("A session for the order") as script:
        script.sends(f"session/create: {money(_AMOUNT)}, key {_KEY}")
        request = CreateSession(amount_details=_AMOUNT)
        session = await stage.api.session.create(request, key=_KEY)
        script.gets(_standing(session))
    return SessionRef(session.id)


async def _start(stage: Stage, session: SessionRef) -> None:
    with stage.step("The payout starts: nothing is paid before it is confirmed") as script:
        script.sends(f"session/start/payout: to {instrument(_ACCOUNT)}, key {_PAYOUT_KEY}")
        request = StartPayout(
            session_id=session.session_id, payment_method=_ACCOUNT, participant_details=_PEOPLE
        )
        script.gets(_standing(await stage.api.session.start_payout(request, key=_PAYOUT_KEY)))
    with stage.step("The provider says by webhook, signed, that it is ready") as script:
        event = await stage.webhook(ReadyToConfirm)
        script.gets(f"{event.type}, verified: {_standing(event.session)}")


async def _confirm(stage: Stage, session: SessionRef) -> None:
    with stage.step("Confirmed; the emulator does it, and hangs up without an answer") as script:
        script.sends(f"session/confirm: key {_CONFIRM_KEY}")
        begun = len(stage.attempts)
        confirmed = await stage.api.session.confirm(session, key=_CONFIRM_KEY)
        script.attempts(stage.attempts[begun:])
        script.gets(f"{_standing(confirmed)}: it did, so it isn't sent again")


async def _finish(stage: Stage) -> Session:
    with stage.step("The provider says by webhook, signed, how it ended") as script:
        event = await stage.webhook(PaymentFinished)
        script.gets(f"{event.type}, verified: {_standing(event.session)}")
    return event.session


def _standing(session: Session) -> str:
    said = [f"{session.id} {session.status}"]
    said += [f"{payout.id} {payout.status}" for payout in session.payout_list]
    if session.next_action is not None:
        said.append(f"next: {session.next_action}")
    return ", ".join(said)


async def _ending(stage: Stage, session: Session, spent: Amount) -> Ending:
    seen = stage.provider.order(_PAYOUT_KEY)
    arrived = stage.provider.order(_KEY).calls.get("session/confirm", 0)
    moved = sum(movement.amount for movement in seen.movements)
    sent = sum(attempt.operation == "session/confirm" for attempt in stage.attempts)
    paid = sum(payout.status == OperationStatus.SUCCEEDED for payout in session.payout_list)
    counts = (
        Count("Confirms sent, and arrived", sent, arrived),
        Count("Webhooks verified, and delivered", stage.webhooks, await stage.delivered()),
        Count("Spent, and paid out", money(spent), money(Amount(moved, _AMOUNT.currency))),
        Count("Paid", paid, seen.moved),
    )
    return Ending(
        story="payout",
        steps=tuple(stage.steps),
        counts=counts,
        paid=paid,
        report=stage.provider.report(),
    )
