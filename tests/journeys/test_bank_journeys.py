"""Payments that end in the payer's bank, and payouts that come back, in both versions."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

import smartglocal_async as sg
from smartglocal_async import models
from smartglocal_async.emulator import Rules

ROUBLES: Final = sg.AmountDetails(45_000, "rub")
PAYER: Final = sg.Customer(reference="payer-8")
versions: Final = pytest.mark.parametrize("version", ["v1", "v2"])


async def confirmed(at: Any, instrument: Any, **options: Any) -> sg.SessionRef:
    """Start a payment, and confirm it once the provider is ready."""
    made = await at.api.session.create(sg.CreateSession())
    ref = sg.SessionRef(made.id)
    _ = await at.api.session.start_payment(
        sg.StartPayment(
            session_id=made.id,
            payment_details=instrument,
            amount_details=ROUBLES,
            customer=PAYER,
            payment_options=sg.PaymentOptions(**options),
        )
    )
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(ref)
    return ref


@versions
async def test_a_payment_by_qr_code(merchant, version) -> None:
    """The code is shown, the payer scans it, and their phone comes back masked."""
    at = await merchant(api_version=version, rules=Rules(webhook_version=int(version[1])))
    ref = await confirmed(at, models.FasterPaymentQr(), return_url="https://shop.example/back")
    asked = await at.next_webhook(sg.ActionRequired)
    [payment] = asked.payment_list
    assert payment.customer_interaction.inform.qr.content.startswith("http")
    assert payment.customer_interaction.type == models.InteractionType.INFORM

    at.provider.act(ref.session_id)
    [paid] = (await at.next_webhook(sg.PaymentFinished)).payment_list
    assert (paid.status, paid.amount_details) == ("succeeded", ROUBLES)
    assert [contact.phone for contact in paid.customer.contacts] == ["7900*****01"]


@versions
async def test_sberpay_with_a_push(merchant, version) -> None:
    """The payer gets a link, and a message by Sber besides; the push has v1 only."""
    at = await merchant(api_version=version, rules=Rules(webhook_version=int(version[1])))
    ref = await confirmed(at, models.SberPay(channel="mobile_web"), return_url="https://s.example")
    push = models.PushSberPay(session_id=ref.session_id, phone="+79000000008")
    assert await at.api.sberpay.push(push) == models.PushRequested()
    [payment] = (await at.next_webhook(sg.ActionRequired)).payment_list
    assert payment.customer_interaction.redirect.url.startswith("http")
    assert payment.payment_options == sg.PaymentOptions(return_url="https://s.example")

    at.provider.act(ref.session_id)
    assert (await at.next_webhook(sg.PaymentFinished)).status == "accepted"
    with pytest.raises(sg.CallFailed):
        await at.api.sberpay.push(push)


@versions
async def test_t_pay_expires(merchant, version) -> None:
    """Twenty minutes after the redirect the session has ended, and no money was taken."""
    rules = Rules(webhook_version=int(version[1]))
    now = datetime(2026, 5, 27, 2, 3, tzinfo=UTC)
    at = await merchant(api_version=version, rules=rules, clock=lambda: now)
    device = models.PlatformDetails(type="mobile", os="ios", browser="chrome")
    ref = await confirmed(at, models.TPay(), platform_details=device)
    _ = await at.next_webhook(sg.ActionRequired)
    now += timedelta(minutes=20, seconds=-1)
    assert (await at.api.session.status(ref)).is_action_due
    now += timedelta(seconds=1)
    at.provider.tick()
    ended = await at.next_webhook(sg.PaymentFinished)
    assert (ended.is_cancelled, ended.is_final) == (True, True)
    assert [payment.status for payment in ended.payment_list] == ["failed"]
    assert at.provider.report().moved == 0


@versions
async def test_a_token_is_bound_and_charged(merchant, version) -> None:
    """Binding charges nothing; the charge needs no payer; once disabled it is refused."""
    at = await merchant(api_version=version, rules=Rules(webhook_version=int(version[1])))
    ref = await confirmed(at, models.FasterPaymentBinding(), recurrent=True)
    _ = await at.next_webhook(sg.ActionRequired)
    at.provider.act(ref.session_id)
    [bound] = (await at.next_webhook(sg.PaymentFinished)).payment_list
    token = bound.recurrent
    assert (token.is_active, token.finished_at > token.created_at) == (True, True)
    assert at.provider.report().moved == 0

    charge = sg.InitPayment(
        payment_details=sg.Recurrent(token=token.token),
        amount_details=ROUBLES,
        customer=PAYER,
    )
    charged = await at.api.session.init_payment(charge)
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(charged.id))
    assert (await at.next_webhook(sg.PaymentFinished)).status == "accepted"
    assert at.provider.report().moved == 1

    named = sg.TokenRef(token.token)
    info = await at.api.token.info(sg.GetTokenInfo(recurrent_token=named))
    assert (info.is_active, info.finished_at) == (True, token.finished_at)
    _ = await at.api.recurrent.disable(sg.DisableRecurrent(recurrent=named))
    with pytest.raises(sg.Refused, match="binding_is_deactivated"):
        await at.api.session.init_payment(charge)


@versions
async def test_a_steam_payout_with_its_rate(merchant, version) -> None:
    """The rate is asked first, the payout is in roubles, and the wallet pays it."""
    at = await merchant(api_version=version, rules=Rules(webhook_version=int(version[1])))
    rate = await at.api.exchange_rate.get()
    assert rate.rate == Decimal("0.0125")
    assert rate.active_from < rate.active_to
    made = await at.api.session.create(
        sg.CreateSession(
            payment_method=models.SteamWallet(account="player-8"), amount_details=ROUBLES
        )
    )
    _ = await at.api.session.start_payout(sg.StartPayout(session_id=made.id), key="steam-8")
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(sg.SessionRef(made.id))
    [payout] = (await at.next_webhook(sg.PaymentFinished)).payout_list
    assert (payout.status, payout.payment_method) == (
        "succeeded",
        models.SteamWallet(account="player-8"),
    )
    [balance] = [
        wallet.amount_details
        for wallet in await at.api.wallet.balance()
        if wallet.amount_details.currency == "rub"
    ]
    assert balance.amount == 100_000_000 - 45_000


@versions
async def test_a_payout_that_the_bank_returns(merchant, version) -> None:
    """A webhook of its own and the status show the return; the money is back in the wallet."""
    at = await merchant(api_version=version, rules=Rules(webhook_version=int(version[1])))
    made = await at.api.session.create(sg.CreateSession())
    ref = sg.SessionRef(made.id)
    _ = await at.api.session.start_payout(
        sg.StartPayout(
            session_id=made.id,
            payment_method=sg.EncryptedCard(number_hash="hash"),
            amount_details=ROUBLES,
            participant_details=sg.ParticipantDetails(
                recipient=sg.Participant(full_name="Anna Nagy")
            ),
        ),
        key="back-8",
    )
    _ = await at.next_webhook(sg.ReadyToConfirm)
    _ = await at.api.session.confirm(ref)
    [paid] = (await at.next_webhook(sg.PaymentFinished)).payout_list
    assert paid.refunds == ()

    at.provider.return_payout(made.id)
    told = await at.next_webhook(sg.PaymentRefunded)
    for session in (told, await at.api.session.status(ref)):
        [payout] = session.payout_list
        [refund] = payout.refunds
        assert (payout.id, refund.status) == (paid.id, models.RefundStatus.ACCEPTED)
        assert refund.amount_details == ROUBLES
    kinds = [movement.kind for movement in at.provider.order("back-8").movements]
    assert kinds == ["payout", "return"]


@versions
async def test_a_token_with_three_widgets(run_provider, connect, version) -> None:
    """One public token for the card form, the payment form and the transfers' page."""
    api = connect(run_provider(), api_version=version, submerchant="shop-8")
    made = await api.session.create(sg.CreateSession(amount_details=ROUBLES))
    token = await api.token.issue(
        sg.IssueToken(
            tokenize_widget=models.TokenizeWidget(),
            acquiring_widget=models.AcquiringWidget(session_id=made.id),
            fps_no_account_widget=models.FpsNoAccountWidget(session_id=made.id),
        )
    )
    assert len(token.public_token) == 64


@versions
async def test_a_converted_session(run_provider, connect, version) -> None:
    """What the payer pays in the other currency, and until when that rate holds."""
    provider = run_provider(rules=Rules(converts_to="usd", conversion_rate=1.25))
    api = connect(provider, api_version=version)
    made = await api.session.create(sg.CreateSession(amount_details=sg.AmountDetails(800, "eur")))
    [exchange] = made.exchange_amounts
    assert (exchange.source, exchange.destination) == (
        sg.Amount(800, "eur"),
        sg.Amount(1000, "usd"),
    )
    assert exchange.rate == Decimal("1.25")
    assert 29 <= (exchange.reserved_to - made.created_at).total_seconds() <= 30
