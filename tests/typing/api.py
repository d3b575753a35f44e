"""The public API as types: read by mypy and pyright, and never run."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

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
    payout: sg.PayoutInstrument, payment: sg.PaymentInstrument, more: Mapping[str, Any]
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
    _ = assert_type(request.payment_method, sg.PayoutInstrument | None)
    _ = assert_type(request.payment_details, sg.PaymentInstrument | None)
    _ = assert_type(sg.CreateSession(payment_details=payment).metadata, Any)
    _ = assert_type(sg.SessionRef("ps_1").session_id, str)
    _ = sg.CreateSession(payment_method=payment)
    _ = sg.CreateSession(payment_details=sg.GlobalWallet(name="w", msisdn="1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = sg.CreateSession(sg.AmountDetails(1, "usd"))  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    _ = sg.GlobalAccount(iban="DE", extra=more)
    _ = sg.OtherInstrument({"type": "iban"})


def instruments(instrument: sg.PayoutInstrument) -> str:
    """A match over the instruments is known to be complete."""
    match instrument:
        case sg.BankCard() | sg.EncryptedCard():
            return "card"
        case sg.GlobalAccount() | sg.RussianAccount():
            return "account"
        case sg.FasterPayment() | sg.FasterPaymentVerification():
            return "phone"
        case sg.GlobalWallet():
            return instrument.name
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
    _ = assert_type(api.session, sg.SessionCalls)
    session = await api.session.create(request, key="order-1", deadline=5.0, attempts=2)
    _ = assert_type(session, sg.Session)
    _ = assert_type(await api.session.status(sg.SessionRef(session.id)), sg.Session)
    _ = assert_type(session.status, sg.SessionStatus | str)
    _ = assert_type(session.created_at, datetime | None)
    _ = assert_type(session.next_action, sg.NextAction | str | None)
    _ = assert_type(session.error, sg.ProviderError | None)
    _ = assert_type(session.extra, Mapping[str, Any])
    _ = assert_type(await api.drain(1.0), int)
    _ = assert_type(api.stats(), sg.ClientStats)
    _ = assert_type(api.stats().pool, sg.PoolStats)
    _ = await api.session.create(sg.SessionRef("ps_1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = await api.session.create(request, "order-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


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
    except sg.KeyReused as error:
        return assert_type(error.differing_fields, tuple[str, ...])[0]
    except sg.InvalidRequest as error:
        return assert_type(error.field, str)
    except sg.CallFailed as error:
        _ = assert_type(error.outcome, sg.CallOutcome)
        _ = assert_type(error.key, str | None)
        _ = assert_type(error.code_class, sg.CodeClass | None)
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

    def listen(details: sg.AttemptDetails) -> None:
        _ = assert_type(details.happened, sg.Happened | None)
        _ = assert_type(details.attempt, int)

    return sg.Settings(
        on_attempt=listen,
        idempotency_header=sg.HeaderUse.ALWAYS,
        timing=sg.Timing(monotonic=lambda: 0.0, dice=lambda: 0.5),
    )
