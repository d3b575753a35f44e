"""Payments from the widget to the chargeback, and what the provider counted."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import pytest
from merchant import EUR, PAYER
from yarl import URL

import smartglocal_async as sg
from smartglocal_async.emulator import Capture, Rules

CARD: Final = sg.BankCard(
    number="4242424242424242",
    expiration_month="05",
    expiration_year="35",
    security_code="123",
)
SECURED: Final = sg.BankCard(
    number="4000000000003220",
    expiration_month="05",
    expiration_year="35",
    security_code="123",
)
HOLDS: Final = Rules(capture=Capture.DELAYED)


async def pay(at: Any, card: Any = CARD, **options: Any) -> sg.SessionRef:
    """Start a payment, wait until it can be confirmed, and confirm it."""
    made = await at.api.session.create(sg.CreateSession(), key="order-1")
    _ = await at.api.session.start_payment(
        sg.StartPayment(
            session_id=made.id,
            payment_details=card,
            amount_details=EUR,
            customer=PAYER,
            payment_options=sg.PaymentOptions(**options) if options else None,
        ),
        key="order-1",
    )
    ready = await at.next_webhook(sg.ReadyToConfirm)
    assert ready.next_action == sg.NextAction.CONFIRM
    _ = await at.api.session.confirm(sg.SessionRef(made.id))
    return sg.SessionRef(made.id)


def moved(at: Any, key: str = "order-1") -> list[tuple[str, int]]:
    """Return the movements of money under a key."""
    return [(movement.kind, movement.amount) for movement in at.provider.order(key).movements]


async def test_the_widget_gets_its_token(merchant) -> None:
    """The token is for one session."""
    at = await merchant()
    made = await at.api.session.create(sg.CreateSession(amount_details=EUR), key="order-1")
    widget = sg.models.AcquiringWidget(
        session_id=made.id, locale="en", show_recurrent_checkbox=True
    )
    token = await at.api.token.issue(sg.IssueToken(acquiring_widget=widget))

    assert len(token.public_token) == 64
    info = await at.api.token.info(sg.GetTokenInfo(public_token=sg.TokenRef(token.public_token)))
    assert (info.type, info.is_active) == ("public_token", True)


async def test_without_a_challenge(merchant) -> None:
    """After the confirm the payment is taken."""
    at = await merchant()
    _ = await pay(at)
    done = await at.next_webhook(sg.PaymentFinished)
    [payment] = done.payment_list
    assert (done.status, payment.status) == ("accepted", "succeeded")
    assert isinstance(payment.payment_details, sg.models.MaskedCard)
    assert payment.payment_details.last4 == "4242"
    assert moved(at) == [("capture", 2_500)]


@pytest.mark.parametrize(("choice", "status"), [("pass", "succeeded"), ("fail", "failed")])
async def test_3d_secure_in_a_browser(merchant, choice, status) -> None:
    """The payer is sent to a page, makes a choice, and returns to the shop."""
    at = await merchant()
    ref = await pay(at, SECURED, return_url="http://127.0.0.1:9/shop")
    asked = await at.next_webhook(sg.ActionRequired)
    assert asked.is_action_due
    [payment] = asked.payment_list
    redirect = payment.customer_interaction.redirect
    assert redirect.html().count("<input") == len(redirect.params)

    async with aiohttp.ClientSession() as browser:
        async with browser.post(redirect.url, data=redirect.params) as page:
            assert page.status == 200
            html = await page.text()
        assert choice in html
        clicked = await click(browser, html, choice, str(page.url))
        assert clicked == "http://127.0.0.1:9/shop"

    done = await at.next_webhook(sg.PaymentFinished)
    assert done.payment_list[0].status == status
    assert (await at.api.session.status(ref)).is_final
    assert moved(at) == ([("capture", 2_500)] if status == "succeeded" else [])


async def click(browser: aiohttp.ClientSession, html: str, choice: str, url: str) -> str:
    """Submit a choice on the page, and return the redirect."""
    action = re.search(r'<form[^>]*action="([^"]+)"', html)
    fields = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', html))
    button = re.search(rf'<button[^>]*name="([^"]+)"[^>]*value="({choice})"', html)
    assert button is not None
    target = URL(url).join(URL(action[1])) if action else url
    fields[button[1]] = button[2]
    async with browser.post(target, data=fields, allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def test_3d_secure_in_the_widget(merchant) -> None:
    """In the widget the payer acts first, and the merchant confirms afterwards."""
    at = await merchant(rules=Rules(challenge_first=True))
    made = await at.api.session.create(sg.CreateSession(amount_details=EUR), key="order-1")
    ref = sg.SessionRef(made.id)
    widget = sg.models.AcquiringWidget(session_id=made.id)
    _ = await at.api.token.issue(sg.IssueToken(acquiring_widget=widget))
    # The widget's part: the payer enters the card and passes 3-D Secure.
    start = sg.StartPayment(session_id=made.id, payment_details=SECURED, customer=PAYER)
    _ = await at.api.session.start_payment(start, key="order-1")
    asked = await at.next_webhook(sg.ActionRequired)
    assert (asked.next_action, asked.is_action_due) == (None, True)
    at.provider.act(made.id)

    assert (await at.next_webhook(sg.ReadyToConfirm)).next_action == sg.NextAction.CONFIRM
    assert moved(at) == []
    _ = await at.api.session.confirm(ref)
    assert (await at.next_webhook(sg.PaymentFinished)).payment_list[0].status == "succeeded"
    assert moved(at) == [("capture", 2_500)]


async def test_a_transfer_between_individuals_gets_its_page(run_provider, connect) -> None:
    """The payer's page is opened with the token of a session that has the agreed address."""
    api = connect(run_provider(), submerchant="payer-7")
    request = sg.CreateSession(
        amount_details=sg.AmountDetails(10_000, "rub"),
        payment_options=sg.PaymentOptions(return_url="dummy:/url"),
    )
    made = await api.session.create(request, key="transfer-1")
    page = sg.IssueToken(fps_no_account_widget=sg.models.FpsNoAccountWidget(session_id=made.id))
    assert len((await api.token.issue(page)).public_token) == 64


async def test_a_transfer_between_individuals_names_its_payer(provider, connect) -> None:
    """Without a submerchant it is refused before it is sent, and else by the provider."""
    request = sg.CreateSession(payment_options=sg.PaymentOptions(return_url="dummy:/url"))
    with pytest.raises(sg.InvalidRequest, match="SMARTGLOCAL_SUBMERCHANT") as caught:
        await connect(provider).session.create(request)
    assert caught.value.field == "payment_options.return_url"
    assert provider.report().requests == 0
    unchecked = connect(provider, settings=sg.Settings(rules=sg.RuleUse.OFF))
    with pytest.raises(sg.Refused, match="X-PARTNER-SUBMERCHANT"):
        await unchecked.session.create(request)


async def test_hold_and_capture(merchant) -> None:
    """The money is held, then captured completely."""
    at = await merchant(rules=HOLDS)
    ref = await pay(at)
    held = await at.next_webhook(sg.ReadyToCapture)
    assert held.payment_list[0].status == "pending"
    assert moved(at) == []

    _ = await at.api.session.capture(sg.CapturePayment(session_id=ref.session_id))
    done = await at.next_webhook(sg.PaymentFinished)
    assert done.status == "accepted"
    assert moved(at) == [("capture", 2_500)]


async def test_a_hold_that_the_session_does_not_name(merchant) -> None:
    """If ``next_action`` is missing, as in the provider's example, the webhook shows the hold."""
    at = await merchant(rules=Rules(capture=Capture.DELAYED, hold_is_named=False))
    ref = await pay(at)
    held = await at.next_webhook(sg.ReadyToCapture)
    assert (held.next_action, held.is_action_due) == (None, False)

    _ = await at.api.session.capture(sg.CapturePayment(session_id=ref.session_id))
    assert (await at.next_webhook(sg.PaymentFinished)).status == "accepted"
    assert moved(at) == [("capture", 2_500)]


async def test_hold_and_capture_of_a_part(merchant) -> None:
    """The rest is released."""
    at = await merchant(rules=HOLDS)
    ref = await pay(at)
    _ = await at.next_webhook(sg.ReadyToCapture)
    part = sg.CapturePayment(
        session_id=ref.session_id, amount_details=sg.AmountDetails(1_000, "eur")
    )
    _ = await at.api.session.capture(part)
    _ = await at.next_webhook(sg.PaymentFinished)
    assert moved(at) == [("capture", 1_000)]
    assert at.provider.report().balances["eur"]["held"] == 0


async def test_hold_and_cancel(merchant) -> None:
    """The hold is released completely."""
    at = await merchant(rules=HOLDS)
    ref = await pay(at)
    _ = await at.next_webhook(sg.ReadyToCapture)
    _ = await at.api.session.cancel(ref)
    assert (await at.api.session.wait(ref)).status == "cancelled"
    assert moved(at) == []


async def test_hold_without_a_capture(merchant) -> None:
    """After five days it is released."""
    times = [datetime(2026, 1, 1, tzinfo=UTC)]
    at = await merchant(rules=HOLDS, clock=lambda: times[-1])
    ref = await pay(at)
    _ = await at.next_webhook(sg.ReadyToCapture)
    times.append(times[-1] + timedelta(days=5, minutes=1))
    assert (await at.api.session.status(ref)).is_final
    assert at.provider.report().balances["eur"]["held"] == 0
    assert moved(at) == []


async def test_refunds_in_parts(merchant) -> None:
    """Each has its own key, and the total is at most what was taken."""
    at = await merchant()
    ref = await pay(at)
    _ = await at.next_webhook(sg.PaymentFinished)

    for number, amount in enumerate((1_000, 1_500)):
        part = sg.RefundPayment(
            session_id=ref.session_id, amount_details=sg.AmountDetails(amount, "eur")
        )
        begun = await at.api.session.refund(part, key=f"refund-{number}")
        assert begun.payment_list[0].refunds[number].status == "in_progress"
        told = await at.next_webhook(sg.PaymentRefunded)
        refund = told.payment_list[0].refunds[number]
        assert (refund.status, bool(refund.is_chargeback)) == ("accepted", False)
        assert refund.amount_details == sg.AmountDetails(amount, "eur")
        assert moved(at, f"refund-{number}") == [("refund", amount)]

    with pytest.raises(sg.OutcomeUnknown, match="invalid_session_state"):
        await at.api.session.refund(sg.RefundPayment(session_id=ref.session_id))


async def test_a_chargeback(merchant) -> None:
    """The payer's bank takes the money back, and the webhook says so."""
    at = await merchant()
    ref = await pay(at)
    _ = await at.next_webhook(sg.PaymentFinished)
    at.provider.chargeback(ref.session_id)
    told = await at.next_webhook(sg.PaymentRefunded)
    assert [refund.is_chargeback for refund in told.payment_list[0].refunds] == [True]


async def recurring(at: Any) -> str:
    """Take a first payment that returns a token for more."""
    _ = await pay(at, recurrent=True)
    done = await at.next_webhook(sg.PaymentFinished)
    token = done.payment_list[0].recurrent
    assert token.is_active
    return token.token


async def test_recurring_by_the_merchant(merchant) -> None:
    """The token pays without the payer, until it is disabled."""
    at = await merchant()
    token = await recurring(at)
    request = sg.InitPayment(
        payment_details=sg.Recurrent(token=token, initiator="merchant"),
        amount_details=EUR,
        customer=PAYER,
    )
    second = await at.api.session.init_payment(request, key="month-2")
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(second.id))
    assert (await at.next_webhook(sg.PaymentFinished)).status == "accepted"
    assert moved(at, "month-2") == [("capture", 2_500)]

    off = await at.api.recurrent.disable(sg.DisableRecurrent(recurrent=sg.TokenRef(token)))
    assert off.is_active is False
    info = await at.api.token.info(sg.GetTokenInfo(recurrent_token=sg.TokenRef(token)))
    assert info.is_active is False
    with pytest.raises(sg.Refused):
        await at.api.session.init_payment(request, key="month-3")


async def test_recurring_by_the_client(merchant) -> None:
    """The payer is present, and passes 3-D Secure."""
    at = await merchant()
    token = await recurring(at)
    request = sg.InitPayment(
        payment_details=sg.Recurrent(token=token, initiator="client"),
        amount_details=EUR,
        customer=PAYER,
        payment_options=sg.PaymentOptions(return_url="http://127.0.0.1:9/shop"),
    )
    second = await at.api.session.init_payment(request, key="again")
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(second.id))
    _ = await at.next_webhook(sg.ActionRequired)
    at.provider.act(second.id)
    assert (await at.next_webhook(sg.PaymentFinished)).status == "accepted"


async def test_customer_verification(merchant) -> None:
    """The session ends accepted if it belongs to the person, and cancelled if not."""
    at = await merchant()
    for phone, status in (("79990000001", "accepted"), ("79990000404", "cancelled")):
        made = await at.api.session.create(sg.CreateSession(), key=phone)
        person = sg.Participant(first_name="Ivan", last_name="Ivanov", middle_name="Ivanovich")
        _ = await at.api.fps.verify_customer(
            sg.VerifyCustomer(
                session_id=made.id,
                payment_method=sg.FasterPaymentVerification(phone=phone, bank_id="100000000069"),
                participant_details=sg.ParticipantDetails(recipient=person),
            )
        )
        assert (await at.api.session.wait(sg.SessionRef(made.id))).status == status
    assert "100000000069" in [bank.id for bank in await at.api.fps.banks()]
