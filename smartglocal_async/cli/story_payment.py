"""The story of one payment: 3-D Secure, a hold, a part of it taken, refunded and charged back."""

from collections.abc import Callable
from typing import Any, Final, cast

from ..emulator import Capture, FaultScript, Rules
from ..errors import MASK
from ..values.answers import Session
from ..values.events import (
    ActionRequired,
    PaymentFinished,
    PaymentRefunded,
    ReadyToCapture,
    ReadyToConfirm,
    WebhookEvent,
)
from ..values.instruments import EncryptedCard
from ..values.interaction import Redirect
from ..values.lookups import AcquiringWidget, IssueToken
from ..values.money import Amount, AmountDetails
from ..values.people import Customer
from ..values.requests import (
    CapturePayment,
    CreateSession,
    PaymentOptions,
    RefundPayment,
    SessionRef,
    StartPayment,
)
from ..values.statuses import OperationStatus, RefundStatus
from .story import Count, Ending, Script, Stage, Step, StoryEnded, staged, visit
from .words import instrument, money

_KEY: Final = "order-2"
_PAYMENT_KEY: Final = "payment-1"
_REFUND_KEY: Final = "refund-1"
_AMOUNT: Final = AmountDetails(5_000, "eur")
_CAPTURED: Final = AmountDetails(3_000, "eur")
_REFUNDED: Final = AmountDetails(1_000, "eur")
# The emulator reads the number off the end of a token; this one asks for 3-D Secure.
_CARD: Final = EncryptedCard(number_hash="token-of-the-widget-4000000000003220")
_RULES: Final = Rules(capture=Capture.DELAYED)


async def play_payment(tell: Callable[[Step], None]) -> Ending:
    """Take a payment, and give it back in two ways."""
    async with staged(FaultScript(), _RULES, tell) as stage:
        session = await _create(stage)
        await _start(stage, session)
        await _pass_the_payer(stage, session)
        await _capture(stage, session)
        await _refund(stage, session)
        return await _ending(stage, await _charge_back(stage, session))


async def _create(stage: Stage) -> SessionRef:
    with stage.step("A session for the order") as script:
        script.sends(f"session/create: {money(_AMOUNT)}, key {_KEY}")
        request = CreateSession(
            amount_details=_AMOUNT,
            customer=Customer(reference="customer-1"),
            payment_options=PaymentOptions(return_url="https://shop.example/thanks"),
        )
        session = await stage.api.session.create(request, key=_KEY)
        script.gets(_standing(session))
    with stage.step("A token for the widget, with which a web page asks for the card") as script:
        script.sends(f"token: acquiring_widget of {session.id}")
        widget = AcquiringWidget(session_id=session.id)
        token = await stage.api.token.issue(IssueToken(acquiring_widget=widget))
        script.gets(f"public token {MASK} of {len(token.public_token)} characters")
    return SessionRef(session.id)


async def _start(stage: Stage, session: SessionRef) -> None:
    with stage.step("The payment starts") as script:
        script.sends(f"session/start/payment: {instrument(_CARD)}, key {_PAYMENT_KEY}")
        request = StartPayment(session_id=session.session_id, payment_details=_CARD)
        script.gets(_standing(await stage.api.session.start_payment(request, key=_PAYMENT_KEY)))
        _ = await _webhook(stage, ReadyToConfirm, script)
    with stage.step("Confirmed") as script:
        script.sends("session/confirm")
        script.gets(_standing(await stage.api.session.confirm(session)))


async def _pass_the_payer(stage: Stage, session: SessionRef) -> None:
    with stage.step("The payer's bank wants to see the payer: 3-D Secure") as script:
        event = await _webhook(stage, ActionRequired, script)
        redirect = _redirect(event.session)
        script.gets(f"redirect: {redirect.method} {redirect.url}")
    with stage.step("The demo plays the payer, and clicks on the bank's page") as script:
        form = cast("dict[str, str]", redirect.params or {})
        status, _ = await visit(redirect.url, form)
        script.sends(f"POST {redirect.url}: {', '.join(form)}")
        script.gets(f"HTTP {status}, a page with two buttons")
        status, back = await visit(redirect.url, {"choice": "pass"})
        script.sends("the button that confirms the payment")
        script.gets(f"HTTP {status}, back to {back}")
        _ = await _webhook(stage, ReadyToCapture, script)
    with stage.step("The money is held, and not taken yet") as script:
        script.sends("session/status")
        script.gets(_standing(await stage.api.session.status(session)))


async def _capture(stage: Stage, session: SessionRef) -> None:
    with stage.step("A part of it is taken; the rest is let go") as script:
        script.sends(f"session/capture: {money(_CAPTURED)}")
        request = CapturePayment(session_id=session.session_id, amount_details=_CAPTURED)
        script.gets(_standing(await stage.api.session.capture(request)))
        _ = await _webhook(stage, PaymentFinished, script)


async def _refund(stage: Stage, session: SessionRef) -> None:
    with stage.step("A part of that is refunded") as script:
        script.sends(f"session/refund: {money(_REFUNDED)}, key {_REFUND_KEY}")
        request = RefundPayment(session_id=session.session_id, amount_details=_REFUNDED)
        script.gets(_standing(await stage.api.session.refund(request, key=_REFUND_KEY)))
        _ = await _webhook(stage, PaymentRefunded, script)


async def _charge_back(stage: Stage, session: SessionRef) -> Session:
    with stage.step("Weeks later, the payer's bank takes the rest back") as script:
        stage.provider.chargeback(session.session_id)
        event = await _webhook(stage, PaymentRefunded, script)
    return event.session


async def _webhook(stage: Stage, kind: type[Any], script: Script) -> WebhookEvent:
    event: WebhookEvent = await stage.webhook(kind)
    script.gets(f"{event.type}, verified: {_standing(event.session)}")
    return event


def _redirect(session: Session) -> Redirect:
    for payment in session.payment_list:
        if payment.customer_interaction and payment.customer_interaction.redirect:
            return payment.customer_interaction.redirect
    raise StoryEnded("the webhook action_required says nothing of a redirect")


def _standing(session: Session) -> str:
    said = [f"{session.id} {session.status}"]
    for payment in session.payment_list:
        said.append(f"{payment.id} {payment.status}")
        for refund in payment.refunds[-1:]:
            kind = "charged back" if refund.is_chargeback else "refund"
            said[-1] = f"{refund.id} {refund.status}, {kind}: {money(refund.amount_details)}"
    if session.next_action is not None:
        said.append(f"next: {session.next_action}")
    return ", ".join(said)


async def _ending(stage: Stage, session: Session) -> Ending:
    seen = [stage.provider.order(key) for key in (_PAYMENT_KEY, _REFUND_KEY)]
    moved = [movement for order in seen for movement in order.movements]
    taken = sum(movement.amount for movement in moved if movement.kind == "capture")
    counts = [
        Count("Webhooks verified, and delivered", stage.webhooks, await stage.delivered()),
        Count("Taken", money(_CAPTURED), _money(taken)),
    ]
    for kind, what in (("refund", "Refunded"), ("chargeback", "Charged back")):
        told = _given_back(session, is_chargeback=kind == "chargeback")
        booked = sum(movement.amount for movement in moved if movement.kind == kind)
        counts.append(Count(what, _money(told), _money(booked)))
    paid = sum(payment.status == OperationStatus.SUCCEEDED for payment in session.payment_list)
    counts.append(Count("Paid", paid, sum(order.moved for order in seen)))
    return Ending(
        story="payment",
        steps=tuple(stage.steps),
        counts=tuple(counts),
        paid=paid,
        report=stage.provider.report(),
    )


def _given_back(session: Session, *, is_chargeback: bool) -> int:
    refunds = (refund for payment in session.payment_list for refund in payment.refunds)
    amounts = (
        refund.amount_details
        for refund in refunds
        if bool(refund.is_chargeback) is is_chargeback and refund.status == RefundStatus.ACCEPTED
    )
    return sum(amount.amount for amount in amounts if amount is not None)


def _money(minor: int) -> str:
    return money(Amount(minor, _AMOUNT.currency))
