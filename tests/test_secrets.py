"""No secret in a log, an error, a repr, a traceback or a pickle."""

import asyncio
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from paying import order
from rawserver import Peer, answer, serve
from secret_search import SecretSearch

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.journal.postgres.address import check_schema, name_of, without_secrets
from smartglocal_async.matching import check_unmarked
from smartglocal_async.session_pool import SessionPool

CARD: Final = "4929717384915026"
CODE: Final = "cvv-90125"
CARD_TOKEN: Final = "tkn_5f0c1b7ad9"  # noqa: S105 - a seed
PHRASE: Final = "tomato-anvil-lamp"

PAYMENT: Final = sg.CreateSession(
    amount_details=sg.AmountDetails(10_000, "usd"),
    payment_details=sg.BankCard(number=CARD, security_code=CODE, cardholder_name="ANN"),
)
TOKENED: Final = sg.CreateSession(payment_method=sg.Recurrent(token=CARD_TOKEN))

OPEN: Final = {"number": CARD, "security_code": CODE}
USD: Final = sg.AmountDetails(1, "usd")
WHO: Final = sg.Customer(reference="user123")


@pytest.fixture
def leaks(key, caplog) -> Iterator[SecretSearch]:
    """Record all logs; fail if a secret was found at the end."""
    pem = key.pem().decode().splitlines()
    caplog.set_level(logging.DEBUG)
    leaks = SecretSearch({CARD, CODE, CARD_TOKEN, PHRASE, *pem[1:-1]})
    yield leaks
    leaks.search_logs(caplog.records)
    assert leaks.found == []


@pytest.fixture
async def client(key, clock):
    """Return a function that makes a client whose key has a passphrase."""
    async with SessionPool() as pool:

        def make(url: str, **options: Any) -> sg.SmartGlocal:
            settings = sg.Settings(
                timing=clock.timing(),
                retry=sg.RetryPolicy(attempts=2, attempt_timeout_seconds=1.0),
                rules=sg.RuleUse.OFF,  # A code of three digits would match by chance.
                **options,
            )
            pem = key.pem(PHRASE.encode())
            return sg.SmartGlocal("demo", pem, url, passphrase=PHRASE, settings=settings, pool=pool)

        yield make


async def search_call(
    leaks: SecretSearch, api: sg.SmartGlocal, request: Any, **options: Any
) -> Any:
    """Make a call, search its results for secrets, and return its error if there was one."""
    error: BaseException | None = None
    try:
        session = await api.session.create(request, **options)
        leaks.search("repr of the session", repr(session))
    except sg.SmartGlocalError as failure:
        error = failure
        leaks.search_error(failure)
    outcomes = [each async for each in api.session.create_many([request])]
    leaks.search_objects(api, outcomes, error)
    for outcome in outcomes:
        if outcome.error is not None:
            leaks.search_error(outcome.error)
    return error


class TestFailures:
    """Failed calls."""

    @pytest.mark.parametrize("kind", list(FaultKind))
    @pytest.mark.parametrize("request_", [PAYMENT, TOKENED], ids=["card", "token"])
    async def test_every_fault(self, run_provider, client, leaks, kind, request_) -> None:
        """Neither a fault nor a success shows a secret."""
        hangs = kind is FaultKind.HANG
        fault = Fault(kind, rate=1, seconds=0.001)
        provider = run_provider(faults=FaultScript((fault,)))
        api = client(provider.url)
        if hangs:
            options = {"deadline": 0.2}
            with pytest.raises(sg.OutcomeUnknown) as failed:
                await api.session.create(request_, **options)
            leaks.search_error(failed.value)
            leaks.search_objects(api)
        else:
            await search_call(leaks, api, request_, key="order-1")

    @pytest.mark.parametrize("place", ["refused", "no such name"])
    async def test_unreachable_server(self, client, leaks, place: str) -> None:
        """The error has the address and nothing of the request."""
        url = "http://127.0.0.1:9" if place == "refused" else "https://nowhere.invalid"

        assert type(await search_call(leaks, client(url), PAYMENT)) is sg.NotSent

    async def test_cancelled(self, run_provider, client, leaks) -> None:
        """The traceback of a cancelled call has no secret."""
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
        leaks.search_error(cancelled.value)

    async def test_signer_that_quotes_its_input(self, leaks, clock) -> None:
        """The message of a signer that quotes the body and its key isn't shown."""

        class Talkative:
            async def sign(self, body: bytes) -> str:
                raise ValueError(PHRASE, body)

        settings = sg.Settings(timing=clock.timing(), rules=sg.RuleUse.OFF)
        async with sg.SmartGlocal("demo", Talkative(), sg.DEMO, settings=settings) as api:
            assert type(await search_call(leaks, api, PAYMENT)) is sg.NotSent

    async def test_the_signature(self, key, client, leaks) -> None:
        """The signature isn't kept anywhere."""
        with serve(Peer.read_request) as server:
            api = client(server.url)
            error = await search_call(leaks, api, PAYMENT, key="order-1")

        signatures = {key.sign(body) for _, body in server.requests}
        assert type(error) is sg.OutcomeUnknown
        assert all(
            any(signature.encode() in head for signature in signatures)
            for head, _ in server.requests
        )
        leaks.secrets |= signatures
        leaks.search_error(error)
        leaks.search_objects(api, error)


def refusal(**error: Any) -> bytes:
    """Return a refusal in the provider's form."""
    return answer(json.dumps({"status": "error", "error": error}).encode(), "400 Bad Request")


GROUPED: Final = f"{CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]}"


class TestQuotingServer:
    """A server that returns what it received."""

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
    async def test_are_not_passed_on(self, client, leaks, said: bytes) -> None:
        """Parts of the request that an answer quotes aren't passed on."""

        def echo(peer: Peer) -> None:
            peer.read_request()
            peer.send(said)
            peer.finish()

        with serve(echo) as server:
            error = await search_call(leaks, client(server.url), PAYMENT)

        assert isinstance(error, sg.CallFailed)


def variables(path: Path, phrase: str) -> dict[str, str]:
    """Return the environment of a client whose key has a passphrase."""
    return {
        "SMARTGLOCAL_PROJECT": "demo",
        "SMARTGLOCAL_PRIVATE_KEY": str(path),
        "SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE": phrase,
        "SMARTGLOCAL_SERVER": sg.DEMO,
    }


class TestMisuse:
    """Mistakes of the caller."""

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
    def test_invalid_values(self, leaks, make: Callable[[], object]) -> None:
        """A record that refuses a value doesn't show it."""
        with pytest.raises(sg.InvalidRequest) as refused:
            make()

        error = refused.value
        leaks.search("str", str(error))
        leaks.search("repr", repr(error) + repr(error.args))
        leaks.search("pickle", pickle.dumps(error).decode("latin-1"))
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None

    @pytest.mark.parametrize("number", [f"{CARD} ", int(CARD)])
    def test_a_card_that_is_refused(self, leaks, number) -> None:
        """A mistyped number is still a card number: not even a variable contains it."""
        with pytest.raises(sg.InvalidRequest) as refused:
            sg.BankCard(number=number, security_code=CODE)

        leaks.search_error(refused.value)

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
            (sg.GetTokenInfo, {"public_token": CARD_TOKEN}),
            (sg.GetTokenInfo, {"card": sg.EncryptedCard(number_hash="h"), "public_token": CARD}),
            (sg.IssueToken, {"tokenize_widget": CARD_TOKEN}),
            (sg.models.TokenizeWidget, {"locale": [CARD_TOKEN]}),
            (sg.models.AcquiringWidget, {"session_id": [CARD_TOKEN]}),
            (sg.models.FpsNoAccountWidget, {"session_id": [CARD_TOKEN]}),
            (sg.GetBalance, {"request_datetime": CARD}),
        ],
    )
    def test_a_request_that_is_refused(self, leaks, record, fields) -> None:
        """The frames of the constructor would contain the values, so they are removed."""
        with pytest.raises(sg.InvalidRequest) as refused:
            record(**fields)
        leaks.search_error(refused.value)

        with pytest.raises(TypeError, match="misspelt") as unknown:
            record(**fields, misspelt=CARD)
        leaks.search_error(unknown.value)

    def test_a_card_with_a_field_misspelt(self, leaks) -> None:
        """Python's own error about the call doesn't contain the number either."""
        with pytest.raises(TypeError, match="expiry") as refused:
            sg.BankCard(number=CARD, security_code=CODE, expiry="05/25")

        leaks.search_error(refused.value)

    @pytest.mark.parametrize(
        ("options", "settings"),
        [
            ({"key": ""}, {}),
            ({"key": 7}, {}),
            ({}, {"max_request_bytes": 10}),
            ({"deadline": 0}, {}),
        ],
    )
    async def test_calls_that_are_not_made(self, client, leaks, options, settings) -> None:
        """A call that is refused before it is sent doesn't show its request."""
        api = client(sg.DEMO, **settings)

        with pytest.raises(sg.InvalidRequest) as refused:
            await api.session.create(PAYMENT, **options)

        leaks.search_error(refused.value)
        leaks.search_objects(api)

    async def test_metadata_that_changed(self, client, leaks) -> None:
        """The error names the path in metadata that is no longer JSON."""
        metadata: dict[str, Any] = {"note": "x"}
        request = sg.CreateSession(
            payment_details=sg.BankCard(number=CARD, security_code=CODE), metadata=metadata
        )
        metadata["at"] = object()

        with pytest.raises(sg.InvalidRequest, match=r"metadata\.at") as refused:
            await client(sg.DEMO).session.create(request)

        leaks.search_error(refused.value)

    async def test_a_key_used_again(self, client, provider, leaks) -> None:
        """The error names only the fields in which the two requests differ."""
        api = client(provider.url)
        await api.session.create(PAYMENT, key="order-1")
        other = sg.CreateSession(
            amount_details=PAYMENT.amount_details, payment_details=sg.BankCard(number="4" * 16)
        )

        with pytest.raises(sg.KeyReused, match=r"payment_details") as refused:
            await api.session.create(other, key="order-1")

        leaks.search_error(refused.value)
        leaks.search_objects(api)

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
    def test_credentials(self, key, leaks, make) -> None:
        """Neither an unusable key nor its passphrase is shown."""
        source, options = make(key.pem(PHRASE.encode()), key.pem())
        leaks.secrets |= set(key.pem(PHRASE.encode()).decode().splitlines()[1:-1])

        with pytest.raises(sg.InvalidCredentials) as refused:
            sg.SmartGlocal("demo", source, sg.DEMO, **options)

        leaks.search_error(refused.value)

    @pytest.mark.parametrize(
        ("file", "phrase"),
        [
            ("none.pem", PHRASE),
            ("folder", PHRASE),
            ("shop.pem", f"{PHRASE}!"),
            ("plain.pem", PHRASE),
            ("cut.pem", PHRASE),
            ("x" * 1_001, PHRASE),
        ],
    )
    @pytest.mark.parametrize("by_environment", [False, True])
    def test_a_key_in_a_file(self, key, leaks, tmp_path, file, phrase, by_environment) -> None:  # noqa: PLR0913, PLR0917
        """No frame of the error or its causes has a passphrase, right or wrong."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "shop.pem").write_bytes(key.pem(PHRASE.encode()))
        (tmp_path / "plain.pem").write_bytes(key.pem())
        (tmp_path / "cut.pem").write_bytes(key.pem(PHRASE.encode())[:400])
        path = tmp_path / file
        if by_environment:
            with pytest.raises(sg.InvalidCredentials) as refused:
                sg.SmartGlocal.from_env(environment=variables(path, phrase))
        else:
            with pytest.raises(sg.InvalidCredentials) as refused:
                sg.SmartGlocal("demo", path, sg.DEMO, passphrase=phrase)

        leaks.search_error(refused.value)

    @pytest.mark.parametrize("missing", ["PROJECT", "PRIVATE_KEY", "SERVER"])
    def test_a_variable_that_is_missing(self, leaks, missing) -> None:
        """The frames have nothing of the environment, which has the passphrase."""
        environment = variables(Path("shop.pem"), PHRASE)
        del environment[f"SMARTGLOCAL_{missing}"]
        with pytest.raises(sg.InvalidCredentials, match=missing) as refused:
            sg.SmartGlocal.from_env(environment=environment)

        leaks.search_error(refused.value)

    def test_a_client_that_was_not_built(self) -> None:
        """A traceback of a refused client can be logged with its variables."""
        with pytest.raises(sg.InvalidCredentials) as refused:
            sg.SmartGlocal("demo", b"", sg.DEMO)

        told = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
        assert "isn't PEM" in "".join(told.format())


async def test_a_broken_rule_shows_no_value(leaks, key) -> None:
    """The error names the field and the page, and nothing of the card."""
    async with sg.SmartGlocal("demo", key, sg.DEMO) as api:
        error = await search_call(leaks, api, PAYMENT)
    assert type(error) is sg.InvalidRequest
    assert error.field.startswith("payment_details.card.bank_card.")


PASSWORD: Final = "pw-marmot-7311"  # noqa: S105 - a seed


@pytest.mark.parametrize(
    ("dsn", "options"),
    [
        (f"postgres://bob:{PASSWORD}@[::1/x", {}),
        (f"postgres://bob:{PASSWORD}/@127.0.0.1/x", {}),
        (f"postgres://bob:{PASSWORD}@a@127.0.0.1/x", {}),
        (f"mysql://bob:{PASSWORD}@127.0.0.1/x", {}),
        (f"postgres://bob:{PASSWORD}@127.0.0.1/x?schema=a", {"schema": "b"}),
        (f"postgres://bob:{PASSWORD}@127.0.0.1/x?schema=A", {}),
        (f"postgres://bob:{PASSWORD}@127.0.0.1/x", {"schema": "A"}),
        (f"postgres://bob:{PASSWORD}@127.0.0.1/x", {"patience_seconds": 0}),
        (f"postgres://bob:{PASSWORD}@127.0.0.1/x", {"unknown": 1}),
    ],
)
def test_no_password_of_a_database(dsn, options) -> None:
    """An address that is refused is in no frame of the error."""
    leaks = SecretSearch({PASSWORD})
    with pytest.raises((sg.InvalidRequest, TypeError)) as refused:
        _ = sg.PostgresJournal(dsn, **options)
    leaks.search_error(refused.value)
    assert leaks.found == []


@pytest.mark.parametrize(
    ("function", "dsn"),
    [
        (lambda dsn: name_of(dsn, "a"), "[::1/x"),
        (lambda dsn: check_schema(dsn, "a"), "[::1]/x?schema=b"),
        (without_secrets, "[::1/x"),
    ],
)
def test_no_password_in_the_frames_of_an_address(function, dsn) -> None:
    """Also where a command reads it, before there is a journal."""
    leaks = SecretSearch({PASSWORD})
    with pytest.raises(sg.InvalidRequest) as refused:
        _ = function(f"postgres://bob:{PASSWORD}@{dsn}")
    leaks.search_error(refused.value)
    assert leaks.found == []


async def test_no_password_of_a_database_that_refuses() -> None:
    """Nothing listens there: the driver's frames, which have the address, are dropped."""
    leaks = SecretSearch({PASSWORD})
    address = f"postgres://bob:{PASSWORD}@127.0.0.1:1/x"
    journal = sg.PostgresJournal(address, patience_seconds=0.1)
    with pytest.raises(sg.JournalUnusable) as refused:
        await journal.open("scope")
    leaks.search_error(refused.value)
    leaks.search("repr", repr(journal))
    assert leaks.found == []


SEED: Final = "note-heron-5520"


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": SEED, "b": object()},
        {"a": SEED, "b": float("nan")},
        {"a": [SEED, {"b": "\ud800"}]},
        [SEED],
        SEED,
    ],
)
def test_no_metadata_of_an_order_that_is_refused(metadata) -> None:
    """Only the path to what is wrong is named."""
    leaks = SecretSearch({SEED})
    with pytest.raises(sg.InvalidRequest) as refused:
        _ = order(metadata=metadata)
    leaks.search_error(refused.value)
    assert [one for one in leaks.found if "evolve" not in one] == []


def test_no_metadata_of_an_order_with_one_of_our_fields() -> None:
    """The field is named, and neither its value nor another one's."""
    leaks = SecretSearch({SEED})
    with pytest.raises(sg.InvalidRequest, match="payout_key") as refused:
        check_unmarked({"note": SEED, "payout_key": SEED})
    leaks.search_error(refused.value)
    assert leaks.found == []
