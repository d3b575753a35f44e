"""No secret in a log, an error, a repr, a traceback or a pickle: seeded, then hunted."""

import asyncio
import gc
import json
import logging
import pickle
import traceback
import types
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from rawserver import Peer, answer, serve

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.pool import SessionPool

CARD: Final = "4929717384915026"
CODE: Final = "cvv-90125"
CARD_TOKEN: Final = "tkn_5f0c1b7ad9"  # noqa: S105 - a seed
PHRASE: Final = "tomato-anvil-lamp"
HERE: Final = str(Path(__file__).parent)

PAYMENT: Final = sg.CreateSession(
    amount_details=sg.AmountDetails(10_000, "usd"),
    payment_details=sg.BankCard(number=CARD, security_code=CODE, cardholder_name="ANN"),
)
TOKENED: Final = sg.CreateSession(payment_method=sg.Recurrent(token=CARD_TOKEN))

OPEN: Final = {"number": CARD, "security_code": CODE}
USD: Final = sg.AmountDetails(1, "usd")
WHO: Final = sg.Customer(reference="user123")


class Hunt:
    """Gathers everything that anybody might write down, and looks for the seeds in it."""

    def __init__(self, secrets: set[str]) -> None:
        self.secrets = secrets
        self.found: list[str] = []

    def look(self, where: str, text: str) -> None:
        """Look for every seed in a text."""
        self.found += [f"{secret[:12]}... in {where}" for secret in self.secrets if secret in text]

    def look_at_error(self, error: BaseException) -> None:
        """Look at an error, at those behind it, at the frames it came through, at its pickle."""
        behind: list[BaseException | None] = [error]
        seen: set[int] = set()
        while behind:
            each = behind.pop()
            if each is None or id(each) in seen:
                continue
            seen.add(id(each))
            name = type(each).__name__
            self.look(f"str of {name}", str(each))
            self.look(f"repr of {name}", repr(each))
            self.look(f"args of {name}", repr(each.args))
            self.look_at_frames(name, each.__traceback__)
            behind += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
        if isinstance(error, sg.SmartGlocalError):
            self.look("pickle", pickle.dumps(error).decode("latin-1"))

    def look_at_frames(self, name: str, passed: types.TracebackType | None) -> None:
        """Look at the variables of each frame that isn't the test's own."""
        while passed is not None:
            code = passed.tb_frame.f_code
            if not code.co_filename.startswith(HERE):
                for variable, value in passed.tb_frame.f_locals.items():
                    self.look(f"{name}: {variable} of {code.co_qualname}", safe_repr(value))
            passed = passed.tb_next

    def look_at_objects(self, *roots: object) -> None:
        """Look at the repr of every object of the package that can be reached."""
        ways: list[object] = list(roots)
        seen: set[int] = set()
        while ways:
            each = ways.pop()
            if id(each) in seen or isinstance(each, type | types.ModuleType | types.FunctionType):
                continue
            seen.add(id(each))
            is_ours = type(each).__module__.startswith("smartglocal_async")
            if is_ours:
                self.look(f"repr of {type(each).__name__}", repr(each))
            if is_ours or isinstance(each, dict | list | tuple | set):
                ways += gc.get_referents(each)

    def look_at_logs(self, records: list[logging.LogRecord]) -> None:
        """Look at every line, and at what travels with it."""
        for record in records:
            self.look(f"log of {record.name}", f"{record.getMessage()} {vars(record)!r}")


def safe_repr(value: object) -> str:
    """Give a repr, as tools that write down variables do."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - any, of any object
        return type(error).__name__


@pytest.fixture
def hunt(key, caplog) -> Iterator[Hunt]:
    """Log everything, and find nothing in the end."""
    pem = key.pem().decode().splitlines()
    caplog.set_level(logging.DEBUG)
    hunt = Hunt({CARD, CODE, CARD_TOKEN, PHRASE, *pem[1:-1]})
    yield hunt
    hunt.look_at_logs(caplog.records)
    assert hunt.found == []


@pytest.fixture
async def client(key, clock):
    """Give a function that makes a client whose key came with a passphrase."""
    async with SessionPool() as pool:

        def make(url: str, **options: Any) -> sg.SmartGlocal:
            settings = sg.Settings(
                timing=clock.timing(),
                retry=sg.RetryPolicy(attempts=2, attempt_timeout_seconds=1.0),
                rules=sg.RuleUse.OFF,  # A code of three digits would be found by chance.
                **options,
            )
            pem = key.pem(PHRASE.encode())
            return sg.SmartGlocal("demo", pem, url, passphrase=PHRASE, settings=settings, pool=pool)

        yield make


async def come_of(hunt: Hunt, api: sg.SmartGlocal, request: Any, **options: Any) -> Any:
    """Make a call, look at all that came of it, and give the error if there was one."""
    error: BaseException | None = None
    try:
        session = await api.session.create(request, **options)
        hunt.look("repr of the session", repr(session))
    except sg.SmartGlocalError as failure:
        error = failure
        hunt.look_at_error(failure)
    outcomes = [each async for each in api.session.create_many([request])]
    hunt.look_at_objects(api, outcomes, error)
    for outcome in outcomes:
        if outcome.error is not None:
            hunt.look_at_error(outcome.error)
    return error


class TestFailures:
    """Whatever goes wrong on the way."""

    @pytest.mark.parametrize("kind", list(FaultKind))
    @pytest.mark.parametrize("request_", [PAYMENT, TOKENED], ids=["card", "token"])
    async def test_every_fault(self, run_provider, client, hunt, kind, request_) -> None:
        """No fault brings a secret to light, and neither does success."""
        hangs = kind is FaultKind.HANG
        fault = Fault(kind, rate=1, seconds=0.001)
        provider = run_provider(faults=FaultScript((fault,)))
        api = client(provider.url)
        if hangs:
            options = {"deadline": 0.2}
            with pytest.raises(sg.OutcomeUnknown) as failed:
                await api.session.create(request_, **options)
            hunt.look_at_error(failed.value)
            hunt.look_at_objects(api)
        else:
            await come_of(hunt, api, request_, key="order-1")

    @pytest.mark.parametrize("place", ["refused", "no such name"])
    async def test_nobody_there(self, client, hunt, place: str) -> None:
        """An error that says where it tried says nothing of what."""
        url = "http://127.0.0.1:9" if place == "refused" else "https://nowhere.invalid"

        assert type(await come_of(hunt, client(url), PAYMENT)) is sg.NotSent

    async def test_cancelled(self, run_provider, client, hunt) -> None:
        """A call that was cancelled leaves nothing in its traceback."""
        arrived, loop = asyncio.Event(), asyncio.get_running_loop()
        provider = run_provider(
            faults=FaultScript((Fault(FaultKind.HANG, rate=1),)),
            on_request=lambda _: loop.call_soon_threadsafe(arrived.set),
        )
        call = asyncio.ensure_future(client(provider.url).session.create(PAYMENT))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await call
        hunt.look_at_error(cancelled.value)

    async def test_a_talkative_signer(self, hunt, clock) -> None:
        """A signer that quotes the body and its key is not quoted."""

        class Talkative:
            async def sign(self, body: bytes) -> str:
                raise ValueError(PHRASE, body)

        settings = sg.Settings(timing=clock.timing(), rules=sg.RuleUse.OFF)
        async with sg.SmartGlocal("demo", Talkative(), sg.DEMO, settings=settings) as api:
            assert type(await come_of(hunt, api, PAYMENT)) is sg.NotSent

    async def test_the_signature(self, key, client, hunt) -> None:
        """The signature that left is in nothing that stays."""
        with serve(Peer.read_request) as server:
            api = client(server.url)
            error = await come_of(hunt, api, PAYMENT, key="order-1")

        signatures = {key.sign(body) for _, body in server.requests}
        assert type(error) is sg.OutcomeUnknown
        assert all(
            any(signature.encode() in head for signature in signatures)
            for head, _ in server.requests
        )
        hunt.secrets |= signatures
        hunt.look_at_error(error)
        hunt.look_at_objects(api, error)


def refusal(**error: Any) -> bytes:
    """Give a refusal in the provider's form."""
    return answer(json.dumps({"status": "error", "error": error}).encode(), "400 Bad Request")


GROUPED: Final = f"{CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]}"


class TestEchoes:
    """A server that says back what it was told."""

    @pytest.mark.parametrize(
        "said",
        [
            refusal(code="invalid_request", description=f"card {CARD} is unknown"),
            refusal(code="invalid_request", description=f"card {GROUPED} is unknown"),
            refusal(code=CARD, description="-"),
            refusal(code="a", description={"number": CARD}),
            answer(json.dumps({"status": "ok", "session": {"id": int(CARD)}}).encode()),
            answer(json.dumps({"status": "ok", "session": {"status": [CARD]}}).encode()),
            answer(json.dumps({"status": "ok", "session": CARD}).encode()),
            answer(json.dumps({"status": CARD}).encode()),
            answer(f"<html>{CARD} {CODE}</html>".encode()),
            answer(f"<html>{CARD} {CODE}</html>".encode(), "502 Bad Gateway"),
            answer(b"", f"500 {CARD}"),
            answer(b"", "307 Temporary Redirect", f"Location: /{CARD}"),
            answer(b"", "429 Too Many Requests", f"Retry-After: {CARD} {CODE}"),
            answer(b"", "200 OK", f"Set-Cookie: card={CARD}"),
            f"HTTP/1.1 200 OK\r\nContent-Type: text/html; c={CARD}\r\n\r\n{CODE}".encode(),
            f"HTTP/1.1 200 OK\r\nX-Card: {CARD}".encode(),
            f"HTTP/1.1 200 OK\r\nX-Card {CARD}\r\n\r\n".encode(),
            f"{CARD} {CODE}\r\n\r\n".encode(),
            answer(f"{CARD}\r\n".encode(), "200 OK", "Transfer-Encoding: chunked"),
            answer(f"{CARD} {CODE}".encode(), length=100),
        ],
        ids=lambda said: said[:90].decode().replace("\r\n", " "),
    )
    async def test_are_not_passed_on(self, client, hunt, said: bytes) -> None:
        """What an answer quotes of a request ends here."""

        def echo(peer: Peer) -> None:
            peer.read_request()
            peer.send(said)
            peer.finish()

        with serve(echo) as server:
            error = await come_of(hunt, client(server.url), PAYMENT)

        assert isinstance(error, sg.CallFailed)


class TestMisuse:
    """What the caller gets wrong."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: sg.BankCard(number=f"{CARD} "),
            lambda: sg.BankCard(number=int(CARD)),
            lambda: sg.BankCard(number="4" * 16, security_code=[CODE]),
            lambda: sg.Recurrent(token=[CARD_TOKEN]),
            lambda: sg.OtherInstrument({"type": 1, "number": CARD}),
            lambda: sg.OtherInstrument(CARD),
            lambda: sg.CreateSession(metadata={"card": {CARD}}),
            lambda: sg.CreateSession(
                metadata={"card": CARD, "at": datetime(2026, 1, 1, tzinfo=UTC)}
            ),
            lambda: sg.AmountDetails(CARD, "usd"),
            lambda: sg.AmountDetails(1, CARD),
            lambda: sg.CreateSession(
                payment_method=sg.BankCard(number=CARD), payment_details=sg.BankCard(number=CARD)
            ),
        ],
    )
    def test_invalid_values(self, hunt, make: Callable[[], object]) -> None:
        """A record that refuses a value doesn't show it."""
        with pytest.raises(sg.InvalidRequest) as refused:
            make()

        error = refused.value
        hunt.look("str", str(error))
        hunt.look("repr", repr(error) + repr(error.args))
        hunt.look("pickle", pickle.dumps(error).decode("latin-1"))
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None

    @pytest.mark.parametrize("number", [f"{CARD} ", int(CARD)])
    def test_a_card_that_is_refused(self, hunt, number) -> None:
        """A number with a slip of the pen is a number still: not even a variable holds it."""
        with pytest.raises(sg.InvalidRequest) as refused:
            sg.BankCard(number=number, security_code=CODE)

        hunt.look_at_error(refused.value)

    @pytest.mark.parametrize(
        ("record", "fields"),
        [
            (sg.InitPayment, {"payment_details": OPEN, "amount_details": USD, "customer": WHO}),
            (sg.InitPayment, {"payment_details": CARD, "amount_details": CARD, "customer": CARD}),
            (sg.InitPayout, {"payment_method": OPEN, "amount_details": USD}),
            (sg.InitPayout, {"payment_method": [CARD], "amount_details": USD}),
            (sg.CreateSession, {"payment_details": OPEN}),
            (sg.CreateSession, {"amount_details": (CARD, "usd")}),
            (sg.CreateSession, {"metadata": {"card": {CARD}}}),
            (sg.StartPayout, {"session_id": "s", "payment_method": OPEN}),
            (sg.StartPayment, {"session_id": "s", "payment_details": OPEN}),
            (sg.SessionRef, {"session_id": [CARD]}),
            (sg.CapturePayment, {"session_id": "s", "amount_details": CARD}),
            (sg.RefundPayment, {"session_id": "s", "amount_details": CARD}),
            (
                sg.VerifyCustomer,
                {"session_id": "s", "payment_method": OPEN, "participant_details": CARD},
            ),
            (sg.PaymentOptions, {"return_url": [CARD_TOKEN]}),
            (sg.OtherInstrument, {"wire": {"type": "bank_card", "bank_card": OPEN}}),
            (sg.OtherInstrument, {"wire": {"type": 7, "number": CARD}}),
            (sg.Participant, {"account": [CARD]}),
            (sg.Participant, {"account": int(CARD)}),
            (sg.Participant, {"extra": {"account": CARD}}),
            (sg.ParticipantDetails, {"recipient": {"account": CARD}}),
            (sg.IdentityDocument, {"id_number": int(CARD)}),
            (sg.Contact, {"phone": int(CARD)}),
            (sg.Customer, {"contacts": [CARD]}),
            (sg.TokenRef, {"token": [CARD_TOKEN]}),
            (sg.DisableRecurrent, {"recurrent": CARD_TOKEN}),
            (sg.DescribeToken, {"public_token": CARD_TOKEN}),
            (sg.DescribeToken, {"card": sg.EncryptedCard(number_hash="h"), "public_token": CARD}),
            (sg.IssueToken, {"tokenize_widget": CARD_TOKEN}),
            (sg.TokenizeWidget, {"locale": [CARD_TOKEN]}),
            (sg.AcquiringWidget, {"session_id": [CARD_TOKEN]}),
            (sg.FpsNoAccountWidget, {"session_id": [CARD_TOKEN]}),
            (sg.AskBalance, {"request_datetime": CARD}),
        ],
    )
    def test_a_request_that_is_refused(self, hunt, record, fields) -> None:
        """The frames of the construction would hold what was given: they are not left."""
        with pytest.raises(sg.InvalidRequest) as refused:
            record(**fields)
        hunt.look_at_error(refused.value)

        with pytest.raises(TypeError, match="misspelt") as unknown:
            record(**fields, misspelt=CARD)
        hunt.look_at_error(unknown.value)

    def test_a_card_with_a_field_misspelt(self, hunt) -> None:
        """Python's own complaint about the call doesn't carry the number either."""
        with pytest.raises(TypeError, match="expiry") as refused:
            sg.BankCard(number=CARD, security_code=CODE, expiry="05/25")

        hunt.look_at_error(refused.value)

    @pytest.mark.parametrize(
        ("options", "settings"),
        [
            ({"key": ""}, {}),
            ({"key": 7}, {}),
            ({}, {"most_request_bytes": 10}),
            ({"deadline": 0}, {}),
        ],
    )
    async def test_calls_that_are_not_made(self, client, hunt, options, settings) -> None:
        """A call that is refused before it is sent doesn't show its request."""
        api = client(sg.DEMO, **settings)

        with pytest.raises(sg.InvalidRequest) as refused:
            await api.session.create(PAYMENT, **options)

        hunt.look_at_error(refused.value)
        hunt.look_at_objects(api)

    async def test_metadata_that_changed(self, client, hunt) -> None:
        """Metadata that was JSON when it was given, and isn't any more, is named by its path."""
        metadata: dict[str, Any] = {"note": "x"}
        request = sg.CreateSession(
            payment_details=sg.BankCard(number=CARD, security_code=CODE), metadata=metadata
        )
        metadata["at"] = object()

        with pytest.raises(sg.InvalidRequest, match=r"metadata\.at") as refused:
            await client(sg.DEMO).session.create(request)

        hunt.look_at_error(refused.value)

    async def test_a_key_used_again(self, client, provider, hunt) -> None:
        """Of two requests under one key, only the names of the fields are told."""
        api = client(provider.url)
        await api.session.create(PAYMENT, key="order-1")
        other = sg.CreateSession(
            amount_details=PAYMENT.amount_details, payment_details=sg.BankCard(number="4" * 16)
        )

        with pytest.raises(sg.KeyReused, match=r"card\.number") as refused:
            await api.session.create(other, key="order-1")

        hunt.look_at_error(refused.value)
        hunt.look_at_objects(api)

    @pytest.mark.parametrize(
        "make",
        [
            lambda pem, _: (pem, {}),
            lambda pem, _: (pem, {"passphrase": PHRASE + "!"}),
            lambda pem, _: (pem.decode(), {"passphrase": PHRASE}),
            lambda pem, _: (pem[:400], {"passphrase": PHRASE}),
            lambda _, plain: (plain, {"passphrase": PHRASE}),
            lambda _, plain: (plain[:900], {}),
            lambda _, plain: (plain.decode(), {}),
            lambda _, plain: (plain, {"api_version": "v3"}),
            lambda _, plain: (plain, {"submerchant": "\n"}),
        ],
        ids=[
            "no passphrase",
            "a wrong passphrase",
            "PEM as text",
            "PEM cut",
            "a passphrase too many",
            "plain PEM cut",
            "plain PEM as text",
            "a wrong version",
            "a wrong submerchant",
        ],
    )
    def test_credentials(self, key, hunt, make) -> None:
        """A key that can't be used is not shown, and neither is its passphrase."""
        source, options = make(key.pem(PHRASE.encode()), key.pem())
        hunt.secrets |= set(key.pem(PHRASE.encode()).decode().splitlines()[1:-1])

        with pytest.raises(sg.InvalidCredentials) as refused:
            sg.SmartGlocal("demo", source, sg.DEMO, **options)

        hunt.look_at_error(refused.value)

    def test_a_client_that_was_not_built(self) -> None:
        """A traceback with its variables can be written where a client was refused."""
        with pytest.raises(sg.InvalidCredentials) as refused:
            sg.SmartGlocal("demo", b"", sg.DEMO)

        told = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
        assert "isn't PEM" in "".join(told.format())


async def test_a_broken_rule_shows_no_value(hunt, key) -> None:
    """It names the field and the page; nothing of the card, in text or in the traceback."""
    async with sg.SmartGlocal("demo", key, sg.DEMO) as api:
        error = await come_of(hunt, api, PAYMENT)
    assert type(error) is sg.InvalidRequest
    assert error.field.startswith("payment_details.card.bank_card.")
