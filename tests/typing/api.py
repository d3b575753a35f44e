"""The public API as types: read by mypy and pyright, and never run."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_never, assert_type

import aiohttp

import smartglocal_async as sg


def values() -> None:
    """Records have exact fields."""
    amount = sg.AmountDetails(10_000, "usd")
    _ = assert_type(amount, sg.AmountDetails)
    _ = assert_type(amount.amount, int)
    _ = assert_type(amount.currency, str)
    _ = assert_type(amount.decimal, Decimal)
    _ = assert_type(sg.AmountDetails.of("100.00", "usd"), sg.AmountDetails)
    _ = assert_type(sg.AmountDetails.of(100, "usd"), sg.AmountDetails)
    _ = assert_type(sg.AmountDetails.of(Decimal(100), "usd"), sg.AmountDetails)
    _ = sg.AmountDetails.of(100.0, "usd")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = sg.AmountDetails("100", "usd")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def requests(
    payout: sg.models.PayoutInstrument,
    payment: sg.models.PaymentInstrument,
    more: Mapping[str, Any],
) -> None:
    """Every object of a request, by keyword."""
    request = sg.CreateSession(
        payment_method=payout,
        amount_details=sg.AmountDetails(10_000, "usd"),
        participant_details=sg.ParticipantDetails(
            sender=sg.Participant(company_name="C", code="1"),
            recipient=sg.Participant(identity_document=sg.IdentityDocument(id_number="1")),
        ),
        customer=sg.Customer(reference="c", contacts=(sg.Contact(email="a@b"),)),
        payment_options=sg.PaymentOptions(return_url="https://shop", recurrent=True),
        metadata={"order": [1, None]},
    )
    _ = assert_type(request, sg.CreateSession)
    _ = assert_type(request.amount_details, sg.AmountDetails | None)
    _ = assert_type(request.payment_method, sg.models.PayoutInstrument | None)
    _ = assert_type(request.payment_details, sg.models.PaymentInstrument | None)
    _ = assert_type(sg.CreateSession(payment_details=payment).metadata, Any)
    _ = assert_type(sg.SessionRef("ps_1").session_id, str)
    _ = sg.CreateSession(payment_method=payment)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = sg.CreateSession(payment_details=sg.models.SberPay(channel="app"))
    _ = sg.CreateSession(payment_method=sg.models.SteamWallet(account="a"))
    device = sg.models.PlatformDetails(type="mobile", os="ios", browser="chrome")
    _ = sg.PaymentOptions(platform_details=device)
    _ = sg.CreateSession(payment_details=sg.GlobalWallet(name="w", msisdn="1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = sg.CreateSession(sg.AmountDetails(1, "usd"))  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    _ = sg.GlobalAccount(iban="DE", extra=more)
    _ = sg.OtherInstrument({"type": "iban"})


def instruments(instrument: sg.models.PayoutInstrument) -> str:
    """A match over the instruments is known to be complete."""
    match instrument:
        case sg.BankCard() | sg.EncryptedCard() | sg.models.TokenizedCard():
            return "card"
        case sg.GlobalAccount() | sg.RussianAccount():
            return "account"
        case sg.FasterPayment() | sg.FasterPaymentVerification():
            return "phone"
        case sg.GlobalWallet():
            return instrument.name
        case (
            sg.models.SteamWallet()
            | sg.models.QiwiWallet()
            | sg.models.YooMoneyWallet()
            | sg.models.MonetaWallet()
        ):
            return instrument.account
        case sg.Recurrent():
            return instrument.token
        case sg.OtherInstrument():
            return assert_type(instrument.type, str)


class Hsm:
    """A signer by shape."""

    async def sign(self, body: bytes) -> str:
        """Sign nothing."""
        return body.hex()


def clients(path: Path, key: sg.PrivateKey, pool: sg.SessionPool) -> None:
    """A client takes a key in any of its forms."""
    signer: sg.Signer = Hsm()
    _ = assert_type(sg.SmartGlocal("p", path, sg.DEMO), sg.SmartGlocal)
    _ = sg.SmartGlocal("p", "key.pem", sg.LIVE, passphrase=b"x", api_version="v2")
    _ = sg.SmartGlocal("p", b"-----BEGIN", "https://host", submerchant="s", pool=pool)
    _ = sg.SmartGlocal("p", key, sg.DEMO, settings=sg.Settings(retry=sg.RetryPolicy(attempts=2)))
    _ = sg.SmartGlocal("p", signer, sg.DEMO)
    _ = sg.SmartGlocal("p", 7, sg.DEMO)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = assert_type(sg.SmartGlocal.from_env(), sg.SmartGlocal)


async def calls(api: sg.SmartGlocal, request: sg.CreateSession) -> None:
    """A typed method per operation."""
    async with api as same:
        _ = assert_type(same, sg.SmartGlocal)
    _ = assert_type(api.session, sg.resources.SessionCalls)
    session = await api.session.create(request, key="order-1", deadline=5.0, attempts=2)
    _ = assert_type(session, sg.Session)
    _ = assert_type(await api.session.status(sg.SessionRef(session.id)), sg.Session)
    _ = assert_type(session.status, sg.SessionStatus | str)
    _ = assert_type(session.created_at, datetime | None)
    _ = assert_type(session.next_action, sg.NextAction | str | None)
    _ = assert_type(session.error, sg.models.ProviderError | None)
    _ = assert_type(session.extra, Mapping[str, Any])
    _ = assert_type(await api.drain(1.0), int)
    _ = assert_type(api.stats(), sg.client.ClientStats)
    _ = assert_type(api.stats().pool, sg.session_pool.PoolStats)
    _ = await api.session.create(sg.SessionRef("ps_1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = await api.session.create(request, "order-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def sessions(
    api: sg.SmartGlocal, payout: sg.models.PayoutInstrument, payment: sg.models.PaymentInstrument
) -> None:
    """Each step of a payout or a payment takes its record and returns the session."""
    amount, customer = sg.AmountDetails(10_000, "usd"), sg.Customer(reference="c")
    calls, ref = api.session, sg.SessionRef("ps_1")
    start = sg.StartPayout(session_id="ps_1", payment_method=payout, amount_details=amount)
    _ = assert_type(await calls.start_payout(start, key="k", deadline=5.0), sg.Session)
    pay = sg.StartPayment(session_id="ps_1", payment_details=payment, customer=customer)
    _ = assert_type(await calls.start_payment(pay, key="k", attempts=1), sg.Session)
    at_once = sg.InitPayout(payment_method=payout, amount_details=amount, metadata=[1])
    _ = assert_type(await calls.init_payout(at_once, key="k"), sg.Session)
    paid = sg.InitPayment(payment_details=payment, amount_details=amount, customer=customer)
    _ = assert_type(await calls.init_payment(paid, key="k"), sg.Session)
    _ = assert_type(await calls.confirm(ref), sg.Session)
    _ = assert_type(await calls.cancel(ref, key="k"), sg.Session)
    _ = assert_type(await calls.capture(sg.CapturePayment(session_id="ps_1")), sg.Session)
    part = sg.RefundPayment(session_id="ps_1", amount_details=amount, metadata="r")
    _ = assert_type(await calls.refund(part, key="k"), sg.Session)
    _ = assert_type(await calls.wait(ref, deadline=60.0), sg.Session)
    _ = assert_type(await calls.wait(ref, until=lambda session: session.is_final), sg.Session)
    _ = await calls.status(ref, key="k")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = await calls.confirm("ps_1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = await calls.refund(ref)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = sg.InitPayout(payment_method=payout)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = sg.InitPayment(payment_details=payment, amount_details=amount)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = sg.RefundPayment(session_id="ps_1", amount_details=sg.Amount(0, "usd"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def lookups(api: sg.SmartGlocal, now: datetime) -> None:
    """The calls beside the sessions."""
    _ = assert_type(api.wallet, sg.resources.WalletCalls)
    _ = assert_type(await api.wallet.balance(), tuple[sg.models.Wallet, ...])
    wallets = await api.wallet.balance(sg.GetBalance(request_datetime=now), deadline=5.0)
    _ = assert_type(wallets[0].amount_details, sg.Amount)
    _ = assert_type(api.token, sg.resources.TokenCalls)
    widget = sg.models.AcquiringWidget(session_id="ps_1", show_recurrent_checkbox=True, locale="en")
    token = await api.token.issue(sg.IssueToken(acquiring_widget=widget), attempts=1)
    _ = assert_type(token, sg.models.PublicToken)
    _ = assert_type(token.public_token, str)
    _ = sg.IssueToken(tokenize_widget=sg.models.TokenizeWidget(locale="en"))
    _ = sg.IssueToken(fps_no_account_widget=sg.models.FpsNoAccountWidget(session_id="ps_1"))
    info = await api.token.info(sg.GetTokenInfo(public_token=sg.TokenRef("t")))
    _ = assert_type(info, sg.models.TokenInfo)
    _ = assert_type(info.last4, str | None)
    _ = sg.GetTokenInfo(card=sg.EncryptedCard(number_hash="h"))
    _ = sg.GetTokenInfo(card=sg.BankCard(number="4" * 16))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = assert_type(api.recurrent, sg.resources.RecurrentCalls)
    ended = await api.recurrent.disable(sg.DisableRecurrent(recurrent=sg.TokenRef("t")))
    _ = assert_type(ended, sg.models.RecurrentToken)
    _ = assert_type(ended.is_active, bool | None)
    _ = assert_type(api.fps, sg.resources.FpsCalls)
    verify = sg.VerifyCustomer(
        session_id="ps_1",
        payment_method=sg.FasterPaymentVerification(phone="7", bank_id="1"),
        participant_details=sg.ParticipantDetails(),
    )
    _ = assert_type(await api.fps.verify_customer(verify), sg.Session)
    pushed = await api.sberpay.push(sg.models.PushSberPay(session_id="ps_1", phone="+7"))
    _ = assert_type(pushed, sg.models.PushRequested)
    rate = await api.exchange_rate.get()
    _ = assert_type(rate, sg.models.ExchangeRate)
    _ = assert_type(rate.rate, Decimal)
    banks = await api.fps.banks(attempts=1)
    _ = assert_type(banks, tuple[sg.models.Bank, ...])
    _ = assert_type(banks[0].ru_name, str | None)


async def free_calls(api: sg.SmartGlocal) -> None:
    """A call without a method returns plain JSON, or the requested record."""
    plain = await api.call("session/chargeback", {"session_id": "ps_1"}, key="k")
    _ = assert_type(plain, Mapping[str, Any])
    read = await api.call("session/x", {}, answer=sg.Session, repeat=sg.Repeat.HARMLESS)
    _ = assert_type(read, sg.Session)
    info = await api.call(
        "recurrent/status", {}, answer=sg.models.RecurrentToken, answer_field="info"
    )
    _ = assert_type(info, sg.models.RecurrentToken)
    body: dict[str, Any] = {"amounts": {}}
    sums = await api.call("calculate", body, version="v1", method="POST", success_field="amounts")
    _ = assert_type(sums, Mapping[str, Any])
    _ = await api.call("calculate", {}, version="v3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def answers(session: sg.Session) -> None:
    """Whatever an answer holds has its type."""
    _ = assert_type(session.is_final, bool)
    _ = assert_type(session.is_action_due, bool)
    _ = assert_type(session.payout_list, tuple[sg.Payout, ...])
    _ = assert_type(session.payment_list, tuple[sg.Payment, ...])
    _ = session.payments  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    payout, payment = session.payout_list[0], session.payment_list[0]
    _ = assert_type(payout.status, sg.OperationStatus | str)
    _ = assert_type(payout.amount_details, sg.Amount | None)
    _ = assert_type(payout.payment_method, sg.models.PayoutInstrument | sg.models.MaskedCard | None)
    _ = assert_type(
        payment.payment_details, sg.models.PaymentInstrument | sg.models.MaskedCard | None
    )
    _ = assert_type(payment.recurrent, sg.models.RecurrentToken | None)
    _ = assert_type(payment.participant_details, sg.ParticipantDetails | None)
    _ = assert_type(payment.error, sg.models.ProviderError | None)
    if payment.amounts is not None and payment.amounts.fee is not None:
        _ = assert_type(payment.amounts.gross, sg.Amount | None)
        _ = assert_type(payment.amounts.fee, sg.models.Fees)
        _ = assert_type(payment.amounts.fee.merchant_fee, sg.Amount | None)
    if payment.transaction_info is not None:
        _ = assert_type(payment.transaction_info, sg.models.TransactionInfo)
        _ = assert_type(payment.transaction_info.rrn, str | None)
    for refund in payment.refunds:
        _ = assert_type(refund, sg.Refund)
        _ = assert_type(refund.status, sg.models.RefundStatus | str)
        _ = assert_type(refund.is_chargeback, bool | None)
    for reason in session.error.reject_reasons if session.error else ():
        _ = assert_type(reason, sg.models.RejectReason)
    waits = payment.customer_interaction
    if waits is not None:
        _ = assert_type(waits.type, sg.models.InteractionType | str)
        _ = assert_type(waits.inform, sg.models.QrCodeInfo | None)
        if waits.redirect is not None:
            _ = assert_type(waits.redirect, sg.models.Redirect)
            _ = assert_type(waits.redirect.html(), str)
        if waits.inform is not None:
            _ = assert_type(waits.inform.qr, sg.models.QrCode | None)
    amount = sg.Amount(-1, "usd")
    _ = assert_type(amount.decimal, Decimal)
    _ = assert_type(amount == sg.AmountDetails(1, "usd"), bool)


def events(api: sg.SmartGlocal, event: sg.WebhookEvent) -> str:
    """An event is matched by its class."""
    _ = assert_type(event.session, sg.Session | None)
    _ = assert_type(event.type, str)
    api.session.handle_event(event)
    match event:
        case sg.ReadyToConfirm() | sg.ReadyToCapture():
            _ = assert_type(event.session, sg.Session)
            return "act"
        case sg.ActionRequired():
            return "send the payer"
        case sg.PaymentFinished() | sg.PaymentRefunded():
            return "book"
        case _:
            return assert_type(event.identity, str)


def effects(effect: sg.recovery.Effect) -> str:
    """What a session shows of a lost call: three words, and no other."""
    match effect:
        case sg.recovery.Effect.TAKEN:
            return "done"
        case sg.recovery.Effect.REPEATABLE:
            return "again"
        case sg.recovery.Effect.UNCLEAR:
            return "ask"
    assert_never(effect)


def operations() -> None:
    """The table of the calls."""
    for row in sg.operations.OPERATIONS:
        _ = assert_type(row, sg.operations.Operation[Any, Any])
        _ = assert_type(row.path, str)
        _ = assert_type(row.repeat, sg.Repeat)


async def batches(
    api: sg.SmartGlocal,
    some: Iterable[sg.CreateSession],
    more: AsyncIterable[sg.CreateSession],
) -> None:
    """Any iterable goes in, outcomes come out."""
    outcomes = api.session.create_many(some, concurrency=8, keys=lambda request: request.metadata)
    _ = assert_type(outcomes, AsyncGenerator[sg.Outcome[sg.CreateSession]])
    async for outcome in api.session.create_many(more):
        _ = assert_type(outcome.request, sg.CreateSession)
        _ = assert_type(outcome.session, sg.Session | None)
        _ = assert_type(outcome.error, sg.SmartGlocalError | None)
        _ = assert_type(outcome.outcome, sg.CallOutcome)
        _ = assert_type(outcome.index, int)


async def failures(api: sg.SmartGlocal, request: sg.CreateSession) -> str:
    """Errors carry facts."""
    try:
        _ = await api.session.create(request)
    except sg.errors.StillOpen as error:
        _ = assert_type(error.session_id, str)
        return assert_type(error.status, str | None) or ""
    except sg.WebhookRefused as error:
        _ = assert_type(error.fault, sg.errors.WebhookFault)
        return assert_type(error.detail, str | None) or ""
    except sg.KeyReused as error:
        return assert_type(error.differing_fields, tuple[str, ...])[0]
    except sg.InvalidRequest as error:
        return assert_type(error.field, str)
    except sg.CallFailed as error:
        _ = assert_type(error.outcome, sg.CallOutcome)
        _ = assert_type(error.key, str | None)
        _ = assert_type(error.code_class, sg.errors.CodeClass | None)
        _ = assert_type(error.attempts, int)
        return assert_type(error.operation, str)
    return "ok"


async def pools(session: aiohttp.ClientSession) -> None:
    """A pool is shared, or made over a session of one's own."""
    async with sg.SessionPool(10, signing_threads=2) as pool:
        _ = assert_type(pool, sg.SessionPool)
        _ = assert_type(pool.stats().signatures, int)
    _ = sg.SessionPool(session=session)


def keys(pem: bytes) -> None:
    """Both halves of a key."""
    key = sg.PrivateKey.from_pem(pem, b"passphrase").prove()
    _ = assert_type(key, sg.PrivateKey)
    _ = assert_type(sg.PrivateKey.generate(), sg.PrivateKey)
    _ = assert_type(key.sign(b"body"), str)
    _ = assert_type(key.pem(), bytes)
    _ = assert_type(key.public, sg.PublicKey)
    _ = assert_type(key.public.verifies(b"body", "signature"), bool)
    _ = assert_type(sg.PublicKey.from_pem(pem).bits, int)


def hooks() -> sg.Settings:
    """What a program may listen to, and set."""

    def listen(details: sg.observer.AttemptEnded) -> None:
        _ = assert_type(details.happened, sg.AttemptResult | None)
        _ = assert_type(details.attempt, int)

    return sg.Settings(
        observers=[sg.observer.only(sg.observer.AttemptEnded, listen)],
        idempotency_header=sg.HeaderUse.ALWAYS,
        rules=sg.RuleUse.WARN,
        bodiless=b"{}",
        http_methods={"sberpay/push": "GET"},
        timing=sg.Timing(monotonic=lambda: 0.0, random=lambda: 0.5),
    )


async def journals() -> None:
    """Both are journals, and give entries."""
    kept: sg.journal.Journal = sg.SQLiteJournal("payouts.db")
    other: sg.journal.Journal = sg.journal.MemoryJournal(unsafe=True)
    for journal in (kept, other):
        entry = assert_type(await journal.claim("k", "me", 30), sg.journal.Entry)
        _ = assert_type(await journal.advance(entry, sg.journal.Event.PAID), sg.journal.Entry)
        _ = assert_type(await journal.find("k"), sg.journal.Entry | None)
        _ = assert_type(await journal.counts(), Mapping[sg.journal.Step, int])


def files() -> None:
    """Files of payouts, what is found in them, and what became of them."""
    given = sg.payouts.FileFormat(kind="csv", decimal=",", columns={"Betrag": "amount"})
    file = sg.PayoutFile("payouts.csv", format=given, rules=sg.RuleUse.WARN)
    _ = assert_type(file.recognise(), sg.payouts.FileFormat)
    for order in file:
        _ = assert_type(order, sg.PayoutOrder)
    _ = assert_type(file.digest(), str)
    for row in file.rows():
        _ = assert_type(row.order, sg.PayoutOrder | None)
        _ = assert_type(row.problems, tuple[sg.payouts.Problem, ...])
    found = sg.payouts.check(file, expect_total={"usd": "1.00", "eur": sg.AmountDetails(1, "eur")})
    _ = assert_type(found, sg.payouts.Preflight)
    _ = assert_type(sg.payouts.check(list(file)).totals, Mapping[str, int])
    _ = assert_type(found.repeats, tuple[sg.payouts.PossibleDuplicate, ...])
    outcome = sg.PayoutOutcome(key="k", state=sg.PayoutState.OPEN)
    with sg.payouts.ResultsFile("results.csv") as results:
        results.append(outcome)
