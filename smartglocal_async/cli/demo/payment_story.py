"""The story of one payment: 3-D Secure, a partial capture, a refund and a chargeback."""

from collections.abc import Callable
from typing import Final, cast

from ...emulator import Capture, FaultScript, Rules
from ...errors import MASK
from ...models.answers import Redirect, Session
from ...models.enums import OperationStatus, RefundStatus
from ...models.events import (
    ActionRequired,
    PaymentFinished,
    PaymentRefunded,
    ReadyToCapture,
    ReadyToConfirm,
)
from ...models.instruments import EncryptedCard, PaymentOptions
from ...models.money import Amount, AmountDetails
from ...models.people import Customer
from ...models.requests import (
    CapturePayment,
    CreateSession,
    RefundPayment,
    SessionRef,
    StartPayment,
)
from ...models.tokens import AcquiringWidget, IssueToken
from ..tables import instrument, money
from .story import (
    ComparedValue,
    Event,
    StoryEnded,
    StoryResult,
    StoryScript,
    StorySetup,
    StoryStep,
    story_setup,
    visit,
)

_KEY: Final = "order-2"
_PAYMENT_KEY: Final = "payment-1"
_REFUND_KEY: Final = "refund-1"
_AMOUNT: Final = AmountDetails(5_000, "eur")
_CAPTURED: Final = AmountDetails(3_000, "eur")
_REFUNDED: Final = AmountDetails(1_000, "eur")
# The emulator takes the last digits of a token as the card; this one asks for 3-D Secure.
_CARD: Final = EncryptedCard(number_hash="token-of-the-widget-4000000000003220")
_RULES: Final = Rules(capture=Capture.DELAYED)


async def play_payment(show: Callable[[StoryStep], None]) -> StoryResult:
    """Take a payment, refund a part of it, and charge back the rest."""
    async with story_setup(FaultScript(), _RULES, show) as setup:
        session = await _create(setup)
        await _start(setup, session)
        await _pass_3d_secure(setup, session)
        await _capture(setup, session)
        await _refund(setup, session)
        return await _ending(setup, await _charge_back(setup, session))


async def _create(setup: StorySetup) -> SessionRef:
    with setup.step("A session for the order") as script:
        script.sends(f"session/create: {money(_AMOUNT)}, key {_KEY}")
        request = CreateSession(
            amount_details=_AMOUNT,
            customer=Customer(reference="customer-1"),
            payment_options=PaymentOptions(return_url="https://shop.example/thanks"),
        )
        session = await setup.api.session.create(request, key=_KEY)
        script.gets(_state(session))
    with setup.step("A token for the widget, with which a web page asks for the card") as script:
        script.sends(f"token: acquiring_widget of {session.id}")
        widget = AcquiringWidget(session_id=session.id)
        token = await setup.api.token.issue(IssueToken(acquiring_widget=widget))
        script.gets(f"public token {MASK} of {len(token.public_token)} characters")
    return SessionRef(session.id)


async def _start(setup: StorySetup, session: SessionRef) -> None:
    with setup.step("The payment starts") as script:
        script.sends(f"session/start/payment: {instrument(_CARD)}, key {_PAYMENT_KEY}")
        request = StartPayment(session_id=session.session_id, payment_details=_CARD)
        script.gets(_state(await setup.api.session.start_payment(request, key=_PAYMENT_KEY)))
        _ = await _webhook(setup, ReadyToConfirm, script)
    with setup.step("Confirmed") as script:
        script.sends("session/confirm")
        script.gets(_state(await setup.api.session.confirm(session)))


async def _pass_3d_secure(setup: StorySetup, session: SessionRef) -> None:
    with setup.step("The payer's bank asks for 3-D Secure") as script:
        event = await _webhook(setup, ActionRequired, script)
        redirect = _redirect(event.session)
        script.gets(f"redirect: {redirect.method} {redirect.url}")
    with setup.step("The demo acts as the payer, and submits the bank's form") as script:
        form = cast("dict[str, str]", redirect.params or {})
        status, _ = await visit(redirect.url, form)
        script.sends(f"POST {redirect.url}: {', '.join(form)}")
        script.gets(f"HTTP {status}, a page with two buttons")
        status, back = await visit(redirect.url, {"choice": "pass"})
        script.sends("the button that confirms the payment")
        script.gets(f"HTTP {status}, back to {back}")
        _ = await _webhook(setup, ReadyToCapture, script)
    with setup.step("The money is held, and not captured yet") as script:
        script.sends("session/status")
        script.gets(_state(await setup.api.session.status(session)))


async def _capture(setup: StorySetup, session: SessionRef) -> None:
    with setup.step("A part of it is captured; the rest is released") as script:
        script.sends(f"session/capture: {money(_CAPTURED)}")
        request = CapturePayment(session_id=session.session_id, amount_details=_CAPTURED)
        script.gets(_state(await setup.api.session.capture(request)))
        _ = await _webhook(setup, PaymentFinished, script)


async def _refund(setup: StorySetup, session: SessionRef) -> None:
    with setup.step("A part of that is refunded") as script:
        script.sends(f"session/refund: {money(_REFUNDED)}, key {_REFUND_KEY}")
        request = RefundPayment(session_id=session.session_id, amount_details=_REFUNDED)
        script.gets(_state(await setup.api.session.refund(request, key=_REFUND_KEY)))
        _ = await _webhook(setup, PaymentRefunded, script)


async def _charge_back(setup: StorySetup, session: SessionRef) -> Session:
    with setup.step("Weeks later, the payer's bank takes the rest back") as script:
        setup.provider.chargeback(session.session_id)
        event = await _webhook(setup, PaymentRefunded, script)
    return event.session


async def _webhook(setup: StorySetup, kind: type[Event], script: StoryScript) -> Event:
    event = await setup.webhook(kind)
    shown = "no session" if event.session is None else _state(event.session)
    script.gets(f"{event.type}, verified: {shown}")
    return event


def _redirect(session: Session) -> Redirect:
    for payment in session.payment_list:
        if payment.customer_interaction and payment.customer_interaction.redirect:
            return payment.customer_interaction.redirect
    raise StoryEnded("the webhook action_required has no redirect")


def _state(session: Session) -> str:
    parts = [f"{session.id} {session.status}"]
    for payment in session.payment_list:
        parts.append(f"{payment.id} {payment.status}")
        for refund in payment.refunds[-1:]:
            kind = "charged back" if refund.is_chargeback else "refund"
            parts[-1] = f"{refund.id} {refund.status}, {kind}: {money(refund.amount_details)}"
    if session.next_action is not None:
        parts.append(f"next: {session.next_action}")
    return ", ".join(parts)


async def _ending(setup: StorySetup, session: Session) -> StoryResult:
    seen = [setup.provider.order(key) for key in (_PAYMENT_KEY, _REFUND_KEY)]
    moved = [movement for order in seen for movement in order.movements]
    captured = sum(movement.amount for movement in moved if movement.kind == "capture")
    counts = [
        ComparedValue("Webhooks verified, and delivered", setup.webhooks, await setup.delivered()),
        ComparedValue("Captured", money(_CAPTURED), _money(captured)),
    ]
    for kind, what in (("refund", "Refunded"), ("chargeback", "Charged back")):
        refunded = _refunded(session, is_chargeback=kind == "chargeback")
        moved_back = sum(movement.amount for movement in moved if movement.kind == kind)
        counts.append(ComparedValue(what, _money(refunded), _money(moved_back)))
    paid = sum(payment.status == OperationStatus.SUCCEEDED for payment in session.payment_list)
    counts.append(ComparedValue("Paid", paid, sum(order.moved for order in seen)))
    return StoryResult(
        story="payment",
        steps=tuple(setup.steps),
        counts=tuple(counts),
        paid=paid,
        report=setup.provider.report(),
    )


def _refunded(session: Session, *, is_chargeback: bool) -> int:
    refunds = (refund for payment in session.payment_list for refund in payment.refunds)
    amounts = (
        refund.amount_details
        for refund in refunds
        if bool(refund.is_chargeback) is is_chargeback and refund.status == RefundStatus.ACCEPTED
    )
    return sum(amount.amount for amount in amounts if amount is not None)


def _money(minor: int) -> str:
    return money(Amount(minor, _AMOUNT.currency))
