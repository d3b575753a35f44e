"""Payments that end in the payer's bank, and payouts that come back, in both versions."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.request import urlopen

import pytest
from paying import order
from till import rows
from typer.testing import CliRunner

import smartglocal_async as sg
from smartglocal_async import models
from smartglocal_async.cli.app import app
from smartglocal_async.emulator import Rules
from smartglocal_async.resources import SessionCalls

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
@pytest.mark.parametrize("is_told", [True, False], ids=["webhook", "no webhook"])
async def test_a_returned_payout_is_reconciled(merchant, tmp_path, version, is_told) -> None:
    """The journal keeps it as paid; the provider's report shows both rows, and a person decides."""
    rules = Rules(webhook_version=int(version[1]), return_webhook=is_told)
    at = await merchant(api_version=version, rules=rules)
    async with sg.Payouts(at.api, sg.SQLiteJournal(tmp_path / "night.journal")) as payouts:
        paid = await payouts.pay(order("back-9"))
        assert paid.is_paid
        at.provider.return_payout(paid.session_id)
        while not isinstance(event := await at.told.get(), sg.PaymentRefunded):
            if not is_told and isinstance(event, sg.PaymentFinished):
                break
        await payouts.handle_event(event)
        found = await at.api.session.status(sg.SessionRef(paid.session_id))
        assert [refund.status for refund in found.payout_list[0].refunds] == ["accepted"]
        again = await payouts.pay(order("back-9"))
        assert (again.is_paid, again.replayed) == (True, True)

        report = tmp_path / "report.csv"
        report.write_text(at.provider.payouts_report(), encoding="utf-8", newline="")
        result = await payouts.reconcile(sg.payouts.PayoutReport(path=report))
    assert (result.rows, result.agreed, result.halts) == (2, 1, False)
    [one] = result.discrepancies
    assert (one.kind, one.key) == (sg.payouts.DiscrepancyKind.RETURNED, "back-9")
    kinds = [movement.kind for movement in at.provider.order("back-9").movements]
    assert kinds == ["payout", "return"]


@versions
@pytest.mark.parametrize(
    "rules",
    [Rules(), Rules(older_report=True, returns_have_ids=True, negative_returns=True)],
    ids=["newer report", "older report"],
)
def test_a_returned_payout_on_the_command_line(till, monkeypatch, version, rules) -> None:
    """Paid from a file, returned, and found in the report that the emulator serves."""
    provider = till.opens(rules=rules)
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", version)
    till.has(rows(3))
    till("pay", "p.csv", "--yes", "--concurrency", "1")
    provider.return_payout("ps_2")
    shown = CliRunner().invoke(app, ("session", "status", "ps_2", "--json"))
    assert json.loads(shown.stdout)["payments"][0]["refunds"][0]["status"] == "accepted"

    with urlopen(f"{provider.url}/emulator/payouts-report") as answer:  # noqa: S310 - the emulator's
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        (till.folder / "report.csv").write_bytes(answer.read())
    found = till.json("reconcile", "report.csv", exits=1)
    assert found["without_amount"] == 0
    assert (found["rows"], found["agreed"], found["counts"]) == (4, 3, {"returned by the bank": 1})
    [one] = found["findings"]
    assert (one["key"], one["session_id"], one["line"]) == ("k1", "ps_2", 5)
    assert "returned by the bank" in till("reconcile", "report.csv", exits=1).stdout
    till("pay", "p.csv", "--yes")
    assert provider.report().moved == 3


@versions
async def test_a_token_with_three_widgets(run_provider, connect, version) -> None:
    """One public token for the card form, the payment form and the transfers' page."""
    api = connect(run_provider(), api_version=version, submerchant="shop-8")
    options = sg.PaymentOptions(return_url="dummy:/url")
    made = await api.session.create(
        sg.CreateSession(amount_details=ROUBLES, payment_options=options)
    )
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


UNTIL_PAID: Final = {
    "SberPay, not confirmed": (models.SberPay(channel="app"), 20, False),
    "QR code, not confirmed": (models.FasterPaymentQr(), 240, False),
    "T-Pay, not confirmed": (models.TPay(), 240, False),
    "payout, not confirmed": (models.SteamWallet(account="player-8"), 240, False),
    "SberPay, not paid": (models.SberPay(channel="app"), 20, True),
    "T-Pay, not paid": (models.TPay(), 20, True),
    "QR code, not paid": (models.FasterPaymentQr(), 60, True),
    "binding, not paid": (models.FasterPaymentBinding(), 60, True),
}


@versions
@pytest.mark.parametrize(
    ("instrument", "minutes", "confirms"), UNTIL_PAID.values(), ids=UNTIL_PAID.keys()
)
async def test_a_wait_ends_with_the_deadline(
    merchant, version, instrument, minutes, confirms
) -> None:
    """Up to the documented minute the session is open; then it is over, and so is the wait."""
    now = datetime(2026, 5, 27, 2, 3, tzinfo=UTC)
    rules = Rules(webhook_version=int(version[1]))
    at = await merchant(api_version=version, rules=rules, clock=lambda: now)
    ref = await started(at, instrument)
    _ = await at.next_webhook(sg.ReadyToConfirm)
    if confirms:
        _ = await at.api.session.confirm(ref)
        _ = await at.next_webhook(sg.ActionRequired)

    async def wait() -> sg.errors.StillOpen:
        with pytest.raises(sg.errors.StillOpen, match="doesn't change any more") as caught:
            await at.api.session.wait(ref, until=is_accepted, deadline=60)
        return caught.value

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(wait())
        now += timedelta(minutes=minutes, seconds=-1)
        at.provider.tick()
        assert (await at.api.session.status(ref)).is_action_due
        assert not waiting.done()
        now += timedelta(seconds=1)
        at.provider.tick()
        assert (await at.next_webhook(sg.PaymentFinished)).is_cancelled
    assert waiting.result().session_id == ref.session_id
    assert at.provider.report().moved == 0


async def started(at: Any, instrument: Any) -> sg.SessionRef:
    """Start a payout or a payment with this instrument."""
    ref = sg.SessionRef((await at.api.session.create(sg.CreateSession())).id)
    if isinstance(instrument, models.SteamWallet):
        payout = sg.StartPayout(
            session_id=ref.session_id, payment_method=instrument, amount_details=ROUBLES
        )
        _ = await at.api.session.start_payout(payout)
        return ref
    payment = sg.StartPayment(
        session_id=ref.session_id,
        payment_details=instrument,
        amount_details=ROUBLES,
        customer=PAYER,
    )
    _ = await at.api.session.start_payment(payment)
    return ref


def is_accepted(session: sg.Session) -> bool:
    """Return whether a session has succeeded."""
    return session.status == sg.SessionStatus.ACCEPTED


def test_the_documented_minutes() -> None:
    """The emulator's clock and the public docstrings have the times of the provider's pages."""
    rules = Rules()
    assert (rules.confirm_minutes, rules.action_minutes) == (240, 60)
    assert (rules.sberpay_minutes, rules.tpay_minutes) == (20, 20)
    for place, words in (
        (sg.ReadyToConfirm, ("240 minutes", "SberPay within 20")),
        (sg.ActionRequired, ("60 minutes", "SberPay and T-Pay within 20")),
        (models.SberPay, ("20 minutes",)),
        (models.TPay, ("20 minutes",)),
        (SessionCalls.wait, ("20 minutes", "60 minutes", "240 minutes")),
    ):
        text = " ".join(place.__doc__.split())
        assert all(word in text for word in words), place
