"""After a lost answer: the status checks, the retries, and the result for the caller."""

import asyncio
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from rawserver import Peer, answer, serve
from scripted import LOST, FakeSigner, Provider, refused, session_answer

import smartglocal_async as sg
from smartglocal_async.operations import SESSION_START_PAYOUT
from smartglocal_async.request import CallOptions

USD: Final = sg.AmountDetails(10_000, "usd")
CARD: Final = sg.EncryptedCard(number_hash="hash")
CONFIRM: Final = "session/confirm"
STATUS: Final = "session/status"


AWAITED: Final = session_answer(
    next_action="confirm", payments=[{"id": "po_1", "status": "pending"}]
)
MOVED_ON: Final = session_answer("accepted", payments=[{"id": "po_1", "status": "succeeded"}])
PENDING: Final = session_answer(payments=[{"id": "po_1", "status": "pending"}])
ANOTHER: Final = answer(b'{"status":"ok","session":{"id":"ps_2","status":"accepted"}}')
IN_ERROR: Final = session_answer("error", payments=[{"id": "po_1", "status": "failed"}])
TOO_MANY: Final = answer(b"", "429 Too Many Requests", "Retry-After: 1")


@pytest.fixture
async def meet(clock):
    """Return a function that makes a call of a client to a scripted provider."""

    async def make(provider: Provider, call: Any, **policy: Any) -> Any:
        settings = sg.Settings(timing=clock.timing(), retry=sg.RetryPolicy(**policy))
        with serve(provider) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                try:
                    return await call(api)
                except sg.CallFailed as error:
                    return error

    return make


def confirm(api: sg.SmartGlocal) -> Any:
    """Confirm the session."""
    return api.session.confirm(sg.SessionRef("ps_1"))


def start(api: sg.SmartGlocal) -> Any:
    """Start a payout in the session."""
    request = sg.StartPayout(session_id="ps_1", payment_method=CARD, amount_details=USD)
    return api.session.start_payout(request, key="p-1")


OURS: Final = session_answer(
    payments=[{"id": "po_1", "status": "pending", "metadata": {"idempotency_key": "p-1"}}]
)


@pytest.mark.parametrize(
    ("confirms", "statuses", "seen", "outcome"),
    [
        # Lost, and carried out: the session is the answer, and nothing is sent again.
        ([LOST], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
        ([LOST], [session_answer(next_action="capture")], [CONFIRM, STATUS], "in_progress"),
        # Lost on the way there: the session still waits for the confirm, which is sent once more.
        ([LOST, MOVED_ON], [AWAITED], [CONFIRM, STATUS, CONFIRM], "accepted"),
        # The status is a read, so it is retried on its own.
        ([LOST], [LOST, MOVED_ON], [CONFIRM, STATUS, STATUS], "accepted"),
        # The status can't be read: unknown, and no second confirm.
        ([LOST], [session_answer("created")], [CONFIRM, STATUS], sg.OutcomeUnknown),
        ([LOST], [PENDING], [CONFIRM, STATUS], sg.OutcomeUnknown),
        ([LOST], [ANOTHER], [CONFIRM, STATUS, STATUS, STATUS], sg.OutcomeUnknown),
        ([LOST], [IN_ERROR], [CONFIRM, STATUS], sg.OutcomeUnknown),
        ([LOST], [LOST], [CONFIRM, STATUS, STATUS, STATUS], sg.OutcomeUnknown),
        ([LOST], [refused("invalid_request")], [CONFIRM, STATUS], sg.OutcomeUnknown),
        # Lost each time: as often as the policy allows.
        ([LOST], [AWAITED], [CONFIRM, STATUS] * 3, sg.OutcomeUnknown),
        # Refused after a lost one, perhaps because the lost one arrived.
        (
            [LOST, refused("invalid_request")],
            [AWAITED, session_answer("accepted")],
            [CONFIRM, STATUS, CONFIRM, STATUS],
            "accepted",
        ),
        (
            [LOST, refused("invalid_request")],
            [AWAITED, AWAITED],
            [CONFIRM, STATUS, CONFIRM, STATUS],
            sg.OutcomeUnknown,
        ),
        # Refused, perhaps because it was done before.
        ([refused("invalid_request")], [AWAITED], [CONFIRM, STATUS], sg.Refused),
        ([refused("already_confirmed")], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
        ([refused("invalid_request")], [refused("x")], [CONFIRM, STATUS], sg.Refused),
        # Refused because of the credentials: the request wasn't processed.
        ([refused("authentication_error")], [MOVED_ON], [CONFIRM], sg.Refused),
        # Throttled and not carried out: sent again without a status check.
        ([TOO_MANY, MOVED_ON], [AWAITED], [CONFIRM, CONFIRM], "accepted"),
        # The key was used: the first one arrived, so it is never sent again.
        ([refused("idempotency_key_already_exists")], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
        ([refused("idempotency_key_in_use")], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
        (
            [refused("idempotency_key_already_exists")],
            [AWAITED],
            [CONFIRM, STATUS],
            sg.OutcomeUnknown,
        ),
        # A temporary error may come after the effect.
        ([refused("internal_error")], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
    ],
)
async def test_a_confirm(meet, confirms, statuses, seen, outcome) -> None:
    """A confirm is sent again only while the session waits for it."""
    provider = Provider(session_confirm=confirms, session_status=statuses)

    came = await meet(provider, confirm)

    assert provider.seen == seen
    assert (came.status if isinstance(came, sg.Session) else type(came)) == outcome
    assert len(set(provider.heads[CONFIRM])) == 1, "every attempt is the same, key and signature"


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ([OURS], "in_progress"),
        ([session_answer("created")], sg.OutcomeUnknown),
        ([session_answer(payments=[{"id": "po_1", "status": "pending"}])], sg.OutcomeUnknown),
        ([LOST], sg.OutcomeUnknown),
    ],
)
async def test_a_start_is_never_sent_twice(meet, statuses, outcome) -> None:
    """The first start may still be in progress, and a session can hold two payouts."""
    provider = Provider(session_start_payout=[LOST], session_status=statuses)

    came = await meet(provider, start)

    assert provider.seen.count("session/start/payout") == 1
    assert (came.status if isinstance(came, sg.Session) else type(came)) == outcome


async def test_what_the_error_says(meet) -> None:
    """The error has the session, the key, what the status showed, and what it means."""
    provider = Provider(session_start_payout=[LOST], session_status=[IN_ERROR])

    error = await meet(provider, start)

    assert (error.session_id, error.key, error.attempts) == ("ps_1", "p-1", 1)
    assert "session/status shows error" in str(error)
    assert "this status is not final" in str(error)


INITS: Final = {
    "init_payout": sg.InitPayout(
        payment_method=CARD,
        amount_details=USD,
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="N N")),
    ),
    "init_payment": sg.InitPayment(
        payment_details=CARD, amount_details=USD, customer=sg.Customer(reference="c")
    ),
}


@pytest.mark.parametrize("call", INITS)
@pytest.mark.parametrize("line", [LOST, refused("idempotency_key_already_exists"), answer(b"<")])
async def test_an_init_ends_unknown(meet, call, line) -> None:
    """There is no session to check: the error has the key, and nothing is sent again."""
    provider = Provider(session_init_payout=[line], session_init_payment=[line])

    came = await meet(provider, lambda api: getattr(api.session, call)(INITS[call], key="i-1"))

    assert isinstance(came, sg.OutcomeUnknown)
    assert (came.key, came.session_id, came.attempts) == ("i-1", None, 1)
    assert len(provider.seen) == 1


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (start, "session/start/payout"),
        (confirm, CONFIRM),
        (lambda api: api.session.cancel(sg.SessionRef("ps_1")), "session/cancel"),
        (
            lambda api: api.session.capture(sg.CapturePayment(session_id="ps_1")),
            "session/capture",
        ),
        (lambda api: api.session.refund(sg.RefundPayment(session_id="ps_1")), "session/refund"),
        (lambda api: api.session.init_payout(INITS["init_payout"]), "session/init/payout"),
        (lambda api: api.session.init_payment(INITS["init_payment"]), "session/init/payment"),
    ],
)
async def test_calls_that_move_money_carry_the_header(meet, call, path) -> None:
    """The key is in the header, and in the metadata if the call has some.

    The pages of the two inits ask for it; as the first calls of their sessions they have no suffix.
    """
    provider = Provider(**{path.replace("/", "_"): [MOVED_ON]})

    await meet(provider, call)

    [head] = provider.heads[path]
    [key] = [
        line.partition(b": ")[2].decode()
        for line in head.split(b"\r\n")
        if line.startswith(b"X-PARTNER-IDEMPOTENCY-KEY")
    ]
    [body] = provider.bodies[path]
    said_in, slash, of = key.partition("/")
    suffix = ("", "") if "/init/" in path else ("/", path.removeprefix("session/"))
    assert (slash, of) == suffix, "each call of an order has its own"
    assert body.get("metadata", {"idempotency_key": said_in}) == {"idempotency_key": said_in}


async def test_the_deadline_holds_over_the_asking(meet, clock) -> None:
    """Status checks belong to the call: at its deadline it ends as unknown."""
    provider = Provider(session_confirm=[LOST], session_status=[TOO_MANY])

    error = await meet(provider, lambda api: api.session.confirm(sg.SessionRef("ps_1"), deadline=3))

    assert isinstance(error, sg.OutcomeUnknown)
    assert clock.now <= 3


async def test_a_key_is_that_of_one_call(meet) -> None:
    """An order's id can be the key of its create and of its start, but not of two starts."""
    provider = Provider(session_create=[session_answer("created")], session_start_payout=[OURS])

    async def both(api: sg.SmartGlocal) -> None:
        await api.session.create(sg.CreateSession(), key="p-1")
        await start(api)
        other = sg.StartPayout(
            session_id="ps_2", payment_method=CARD, amount_details=sg.AmountDetails(1, "usd")
        )
        with pytest.raises(sg.KeyReused, match="session_id"):
            await api.session.start_payout(other, key="p-1")

    await meet(provider, both)
    assert provider.seen == ["session/create", "session/start/payout"]


class TestTheSameKeyAgain:
    """A second call with a key may have moved money: it is checked, and not sent again."""

    @pytest.mark.parametrize(
        ("statuses", "starts", "outcome", "words"),
        [
            # Lost, then found by its key.
            ([session_answer("created"), OURS], 1, "in_progress", None),
            # Lost and not visible: it may still be in progress.
            ([session_answer("created")], 1, sg.OutcomeUnknown, "session/status shows created, "),
            ([session_answer("created"), LOST], 1, sg.OutcomeUnknown, "session/status: "),
        ],
    )
    async def test_a_start(self, meet, statuses, starts, outcome, words) -> None:
        """The second call sends no second start."""
        provider = Provider(session_start_payout=[LOST], session_status=statuses)

        async def twice(api: sg.SmartGlocal) -> Any:
            with pytest.raises(sg.OutcomeUnknown):
                await start(api)
            return await start(api)

        came = await meet(provider, twice)

        assert provider.seen.count("session/start/payout") == starts
        assert (came.status if isinstance(came, sg.Session) else type(came)) == outcome
        if words is not None:
            assert (
                f"; an earlier call with this key was sent, and this one was not; {words}"
                in str(came)
            )
            assert (came.attempts, came.stopped_by) == (0, None)

    async def test_a_start_that_was_answered(self, meet) -> None:
        """The second call returns the session in its current state."""
        provider = Provider(session_start_payout=[OURS], session_status=[OURS])

        async def twice(api: sg.SmartGlocal) -> Any:
            return await start(api), await start(api)

        first, second = await meet(provider, twice)
        assert first == second
        assert provider.seen == ["session/start/payout", STATUS]

    async def test_what_the_result_of_an_earlier_call_has(self, clock) -> None:
        """The session, the key, the time that the check took; nothing was sent of the call."""
        provider = Provider(session_start_payout=[LOST], session_status=[LOST, LOST, LOST, OURS])
        settings = sg.Settings(timing=clock.timing())
        with serve(provider) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                with pytest.raises(sg.OutcomeUnknown):
                    await start(api)
                clock.now += 5.0
                request = sg.StartPayout(session_id="ps_1", payment_method=CARD, amount_details=USD)
                options = CallOptions(key="p-1")
                result = await api._caller.call(SESSION_START_PAYOUT, request, options)
        assert (result.answer.id, result.key, result.attempts) == ("ps_1", "p-1", 0)
        assert result.elapsed_seconds == 0.0
        assert provider.seen.count("session/start/payout") == 1

    async def test_a_start_that_was_cancelled_by_its_caller(self, meet) -> None:
        """A cancelled start may have arrived: the second call checks it and doesn't pay twice."""
        arrived = asyncio.Event()

        class Silent(Provider):
            def __call__(self, peer: Peer) -> None:
                if self.seen:
                    super().__call__(peer)
                else:
                    self.seen.append("session/start/payout")
                    peer.read_request()
                    loop.call_soon_threadsafe(arrived.set)
                    peer.hold()

        loop = asyncio.get_running_loop()
        provider = Silent(session_start_payout=[OURS], session_status=[session_answer("created")])

        async def twice(api: sg.SmartGlocal) -> Any:
            task = asyncio.ensure_future(start(api))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await start(api)

        came = await meet(provider, twice)
        assert isinstance(came, sg.OutcomeUnknown)
        assert "an earlier call with this key was sent" in str(came)
        assert provider.seen.count("session/start/payout") == 1

    @pytest.mark.parametrize(
        "line", [LOST, session_answer(), refused("idempotency_key_already_exists")]
    )
    async def test_an_init(self, meet, line) -> None:
        """Its status can't be checked: the second call sends nothing, and says why."""
        provider = Provider(session_init_payout=[line])
        named = sg.ParticipantDetails(recipient=sg.Participant(full_name="N N"))
        request = sg.InitPayout(payment_method=CARD, amount_details=USD, participant_details=named)

        async def twice(api: sg.SmartGlocal) -> Any:
            with contextlib.suppress(sg.OutcomeUnknown):
                await api.session.init_payout(request, key="i-1")
            return await api.session.init_payout(request, key="i-1")

        came = await meet(provider, twice)
        assert isinstance(came, sg.OutcomeUnknown)
        assert (came.key, came.attempts) == ("i-1", 0)
        assert (
            "; an earlier call with this key was sent, and this one was not; "
            "wait for its webhook, or for a report;"
        ) in str(came)
        assert len(provider.seen) == 1

    async def test_refused_call_frees_its_key(self, meet) -> None:
        """A refused call had no effect, so the corrected request may use its key."""
        provider = Provider(
            session_start_payout=[refused("invalid_request"), OURS],
            session_status=[session_answer("created")],
        )

        async def twice(api: sg.SmartGlocal) -> Any:
            with pytest.raises(sg.Refused):
                await start(api)
            return await start(api)

        assert (await meet(provider, twice)).status == "in_progress"
        assert provider.seen.count("session/start/payout") == 2

    async def test_a_confirm_that_is_refused_after_an_earlier_one(self, meet) -> None:
        """The earlier request may still arrive, so the refusal doesn't show that none has."""
        provider = Provider(
            session_confirm=[LOST, refused("invalid_request")], session_status=[AWAITED]
        )

        async def twice(api: sg.SmartGlocal) -> Any:
            with pytest.raises(sg.OutcomeUnknown):
                await api.session.confirm(sg.SessionRef("ps_1"), key="c-1", attempts=1)
            return await api.session.confirm(sg.SessionRef("ps_1"), key="c-1", attempts=1)

        came = await meet(provider, twice)
        assert isinstance(came, sg.OutcomeUnknown)
        assert "an earlier attempt may have been processed (an earlier call with this key)" in str(
            came
        )

    async def test_confirm_is_sent_again_while_the_session_waits(self, meet) -> None:
        """A confirm acts once per session, however often it is sent."""
        provider = Provider(session_confirm=[MOVED_ON], session_status=[AWAITED])

        async def twice(api: sg.SmartGlocal) -> Any:
            await api.session.confirm(sg.SessionRef("ps_1"), key="c-1")
            return await api.session.confirm(sg.SessionRef("ps_1"), key="c-1")

        assert (await meet(provider, twice)).status == "accepted"
        assert provider.seen == [CONFIRM, STATUS, CONFIRM]

    def test_two_event_loops(self) -> None:
        """While a call with the key is in progress in one loop, another loop sends none."""
        in_flight, may_end = threading.Event(), threading.Event()

        def meet(peer: Peer) -> None:
            peer.read_request()
            in_flight.set()
            may_end.wait(10)
            peer.send(OURS)

        with serve(meet) as server:
            api = sg.SmartGlocal("demo", FakeSigner(), server.url)
            with ThreadPoolExecutor(1) as pool:
                first = pool.submit(asyncio.run, _closing(start(api), api))
                assert in_flight.wait(10)
                words = "; another call with this key is in progress in another event loop;"
                with pytest.raises(sg.OutcomeUnknown, match=words):
                    asyncio.run(_awaited(start(api)))
                may_end.set()
                assert first.result().status == "in_progress"
            assert len(server.requests) == 1


async def _awaited(call: Any) -> Any:
    return await call


async def _closing(call: Any, api: sg.SmartGlocal) -> Any:
    try:
        return await call
    finally:
        await api.close()


class TestFreeCalls:
    """`api.call`, for operations without a method."""

    async def test_an_answer_as_it_is(self, meet) -> None:
        """The fields of the envelope except its status."""
        provider = Provider(session_chargeback=[session_answer("accepted")])
        came = await meet(
            provider, lambda api: api.call("session/chargeback", {"session_id": "ps_1"})
        )
        assert came == {"session": {"id": "ps_1", "status": "accepted"}}
        assert provider.bodies["session/chargeback"] == [{"session_id": "ps_1"}]

    async def test_an_answer_as_a_record(self, meet) -> None:
        """Structured like every other answer."""
        provider = Provider(session_chargeback=[session_answer("accepted")])
        came = await meet(
            provider,
            lambda api: api.call("session/chargeback", {}, answer=sg.Session),
        )
        assert came == sg.Session(id="ps_1", status=sg.SessionStatus.ACCEPTED)

    @pytest.mark.parametrize(
        ("repeat", "sent"), [(sg.Repeat.MOVES_MONEY, 1), (sg.Repeat.HARMLESS, 3)]
    )
    async def test_a_lost_answer(self, meet, repeat, sent) -> None:
        """The call isn't declared as repeatable, so it isn't repeated."""
        provider = Provider(session_chargeback=[LOST])
        error = await meet(
            provider, lambda api: api.call("session/chargeback", {}, repeat=repeat, key="c-1")
        )
        assert isinstance(error, sg.OutcomeUnknown)
        assert len(provider.seen) == sent

    @pytest.mark.parametrize("answer_type", [None, sg.Session, dict[str, Any]])
    @pytest.mark.parametrize(
        ("named", "is_believed"),
        [("ps_1", True), ("ps_2", False), ("", False), (None, True), (7, True)],
    )
    async def test_an_answer_about_another_session(self, meet, answer_type, named, is_believed):
        """It counts as lost for every operation; a body without a session id can't be checked."""
        provider = Provider(session_chargeback=[session_answer("accepted")])
        path, body = "session/chargeback", {"session_id": named}
        came = await meet(provider, lambda api: api.call(path, body, answer=answer_type))
        assert isinstance(came, sg.OutcomeUnknown) is not is_believed
        if not is_believed:
            assert (came.cause, came.attempts) == ("the answer is about another session", 1)

    @pytest.mark.parametrize(
        ("version", "method", "line"),
        [
            (None, "POST", "POST /api/v2/calculate"),
            ("v1", "POST", "POST /api/v1/calculate"),
            ("v1", "GET", "GET /api/v1/calculate"),
            ("v2", "GET", "GET /api/v2/calculate"),
        ],
    )
    async def test_version_and_method_are_named(self, version, method, line) -> None:
        """The caller's own; what a GET says goes in its body, which is what is signed."""
        lines: list[tuple[str, bytes]] = []

        def reply(peer: Peer) -> None:
            while body := peer.read_request():
                head = peer.server.requests[-1][0]
                lines.append((head.split(b" HTTP")[0].decode(), body))
                peer.send(answer(b'{"status":"ok","sum":1}'))

        with serve(reply) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, api_version="v2") as api:
                came = await api.call("calculate", {"a": 1}, version=version, method=method)
        assert came == {"sum": 1}
        assert lines == [(line, b'{"a":1}')]

    @pytest.mark.parametrize(
        ("name", "value"), [("version", "v3"), ("method", "PUT"), ("success_field", "")]
    )
    async def test_options_that_are_none(self, api, name, value) -> None:
        """Each is named, and nothing is sent."""
        with pytest.raises(sg.InvalidRequest, match=f"^{name}: "):
            await api.call("calculate", {}, **{name: value})

    async def test_an_answer_without_a_status(self, meet) -> None:
        """The member that the call promises tells it from what is no answer."""
        priced = answer(b'{"exchanges":{"rate":1}}')
        for named, reply, is_read in (
            ("exchanges", priced, True),
            (None, priced, False),
            ("amounts", priced, False),
            ("exchanges", answer(b'{"exchanges":null}'), False),
            ("exchanges", answer(b'{"exchanges":1,"error":{"code":"internal_error"}}'), False),
            ("exchanges", answer(b'{"exchanges":1,"status":"error"}'), False),
            ("exchanges", answer(b'{"exchanges":1,"status":"new"}'), False),
        ):
            came = await meet(
                Provider(calculate=[reply]),
                lambda api, named=named: api.call("calculate", {}, success_field=named),
            )
            assert (came == {"exchanges": {"rate": 1}}) is is_read
            assert isinstance(came, sg.CallFailed) is not is_read

    @pytest.mark.parametrize("path", ["", "/session", "session/", "a//b", "../x", "a?b", "a b"])
    async def test_invalid_path(self, api, path) -> None:
        """A path is the part after the version, and nothing else."""
        with pytest.raises(sg.InvalidRequest, match="path: expected"):
            await api.call(path, {})

    async def test_a_body_that_is_no_json(self, api) -> None:
        """The error names the path, and nothing is sent."""
        with pytest.raises(sg.InvalidRequest, match=r"request.when"):
            await api.call("session/chargeback", {"when": object()})

    @pytest.mark.parametrize("body", [[1], "text", 7, None, b"{}", [("a", 1)], {1, 2}])
    async def test_a_body_that_is_no_object(self, api, body) -> None:
        """A request body must be an object; nothing is sent."""
        with pytest.raises(sg.InvalidRequest, match="body: expected an object of names and values"):
            await api.call("session/chargeback", body)

    async def test_names_that_are_no_text(self, api) -> None:
        """They would be converted to text, and two names might become the same."""
        with pytest.raises(sg.InvalidRequest, match="has a name that isn't text but int"):
            await api.call("session/chargeback", {"a": {1: 2}}, key="k")


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.wallet.balance(),
        lambda api: api.token.issue(sg.IssueToken(tokenize_widget=sg.models.TokenizeWidget())),
        lambda api: api.token.info(sg.GetTokenInfo(card=CARD)),
        lambda api: api.recurrent.disable(sg.DisableRecurrent(recurrent=sg.TokenRef("t"))),
        lambda api: api.fps.banks(),
    ],
)
async def test_what_v2_lacks_is_called_in_v1(run_provider, connect, call) -> None:
    """A client of v2 makes the calls that exist in v1 alone there, and no others."""
    seen: list[Any] = []
    provider = run_provider(on_request=seen.append)
    api = connect(provider, api_version="v2")
    with contextlib.suppress(sg.Refused):  # There are no such tokens.
        await call(api)
    # A path that doesn't exist would be logged whole.
    [one] = seen
    assert not one.operation.startswith("/")
    assert provider.report().bad_signatures == 0
    assert (await api.session.create(sg.CreateSession())).status == "created"


async def test_a_widget_that_needs_a_submerchant(connect, provider) -> None:
    """The provider requires X-PARTNER-SUBMERCHANT for it."""
    request = sg.IssueToken(fps_no_account_widget=sg.models.FpsNoAccountWidget(session_id="ps_1"))
    with pytest.raises(sg.InvalidRequest, match="submerchant="):
        await connect(provider).token.issue(request)


async def test_balances(meet) -> None:
    """Wallets come as a list, or as the single object of the documented table."""
    usd = {"id": "w_1", "amount_details": {"amount": 0, "currency": "USD"}}
    for shown in ([usd], usd):
        body = json.dumps({"status": "ok", "wallets": shown}).encode()
        provider = Provider(wallet_balance=[answer(body)])
        wallets = await meet(provider, lambda api: api.wallet.balance())
        assert wallets == (sg.models.Wallet(id="w_1", amount_details=sg.Amount(0, "usd")),)
        [asked] = provider.bodies["wallet/balance"]
        assert asked["request_datetime"].endswith("+00:00")


async def test_banks_are_got_without_a_request(meet) -> None:
    """The body follows a setting, and is signed like any other."""
    body = b'{"status":"ok","banks":[{"id":"100000000069","eng_name":"Bank"}]}'
    provider = Provider(fps_banks=[answer(body)])

    banks = await meet(provider, lambda api: api.fps.banks())

    assert banks == (sg.models.Bank(id="100000000069", eng_name="Bank"),)
    assert provider.bodies["fps/banks"] == [[]]
    [head] = provider.heads["fps/banks"]
    assert head.startswith(b"GET /api/v1/fps/banks ")
    assert b"X-PARTNER-SIGN: " in head


# --- Answers about something else -----------------------------------------------------------------


def failing(session_id: object) -> bytes:
    """Return a refusal that names a session."""
    error = {"code": "invalid_request", "description": "why"}
    body = {"status": "error", "error": error, "session": {"id": session_id}}
    return answer(json.dumps(body).encode(), "400 Bad Request")


@pytest.mark.parametrize(
    ("line", "kind", "cause"),
    [
        (failing("ps_1"), sg.Refused, None),
        (failing(None), sg.Refused, None),
        (failing("ps_2"), sg.OutcomeUnknown, "the answer is about another session"),
        (session_answer(id="ps_2"), sg.OutcomeUnknown, "the answer is about another session"),
    ],
)
async def test_an_answer_about_another_session(meet, line, kind, cause) -> None:
    """It doesn't show whether the call was carried out."""
    provider = Provider(session_status=[line])
    error = await meet(provider, lambda api: api.session.status(sg.SessionRef("ps_1")), attempts=1)
    status = 200 if line == session_answer(id="ps_2") else 400
    assert (type(error), error.cause, error.http_status) == (kind, cause, status)


@pytest.mark.parametrize(
    ("metadata", "echoed", "cause"),
    [
        ({"invoice": 7}, {"idempotency_key": "p-1"}, None),
        ({"invoice": 7}, {"idempotency_key": "p-2"}, "the answer carries another idempotency key"),
        ("order123", "order123", None),
        ("order123", None, None),
        ("order123", "order124", "the answer carries the metadata of another call"),
    ],
)
async def test_an_answer_about_another_call(meet, metadata, echoed, cause) -> None:
    """The key in the answer must be the one that was sent."""
    provider = Provider(session_create=[session_answer("created", metadata=echoed)])
    request = sg.CreateSession(metadata=metadata)
    came = await meet(provider, lambda api: api.session.create(request, key="p-1"), attempts=1)
    if cause is None:
        assert came.id == "ps_1"
    else:
        assert (type(came), came.cause) == (sg.OutcomeUnknown, cause)


SHOWS: Final = "but not whether the call took effect"


@pytest.mark.parametrize(
    ("line", "look", "kind", "cause"),
    [
        (answer(b"", "502 No"), PENDING, sg.OutcomeUnknown, "an empty answer; {} in_progress, {}"),
        (
            refused("provider_timeout"),
            PENDING,
            sg.OutcomeUnknown,
            "provider_timeout; {} in_progress, {}",
        ),
        (
            refused(None, 409),
            PENDING,
            sg.OutcomeUnknown,
            "arrived, with an unknown result; {} in_progress, {}",
        ),
        (
            refused("provider_timeout"),
            IN_ERROR,
            sg.OutcomeUnknown,
            (
                "provider_timeout; {} error, {}; this status is not final: don't repeat the call, "
                "ask the provider's support"
            ),
        ),
        (
            refused("provider_timeout"),
            refused("invalid_request"),
            sg.OutcomeUnknown,
            "provider_timeout; session/status failed: refused",
        ),
        (
            refused("provider_timeout"),
            LOST,
            sg.OutcomeUnknown,
            "provider_timeout; session/status failed: outcome unknown",
        ),
        (refused("invalid_request"), LOST, sg.Refused, None),
        (refused("invalid_request"), PENDING, sg.Refused, None),
    ],
)
async def test_the_words_of_a_lost_confirm(meet, line, look, kind, cause) -> None:
    """The message has the result of the attempt, and of the status check after it."""
    provider = Provider(session_confirm=[line], session_status=[look])
    error = await meet(provider, confirm, attempts=1)
    words = cause and cause.format("session/status shows", SHOWS)
    assert (type(error), error.cause) == (kind, words)
