"""After a lost answer: what is asked, what is repeated, what the caller gets."""

import asyncio
import contextlib
import json
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from rawserver import Peer, answer, serve

import smartglocal_async as sg

USD: Final = sg.AmountDetails(10_000, "usd")
CARD: Final = sg.EncryptedCard(number_hash="hash")
CONFIRM: Final = "session/confirm"
STATUS: Final = "session/status"
LOST: Final = None


def said(status: str = "in_progress", **session: Any) -> bytes:
    """Give an answer with a session."""
    shown = {"id": "ps_1", "status": status, **session}
    return answer(json.dumps({"status": "ok", "session": shown}).encode())


def refused(code: str) -> bytes:
    """Give an answer with an error."""
    error = {"code": code, "description": "why"}
    return answer(json.dumps({"status": "error", "error": error}).encode(), "400 Bad Request")


AWAITED: Final = said(next_action="confirm", payments=[{"id": "po_1", "status": "pending"}])
MOVED_ON: Final = said("accepted", payments=[{"id": "po_1", "status": "succeeded"}])
PENDING: Final = said(payments=[{"id": "po_1", "status": "pending"}])
ANOTHER: Final = answer(b'{"status":"ok","session":{"id":"ps_2","status":"accepted"}}')
IN_ERROR: Final = said("error", payments=[{"id": "po_1", "status": "failed"}])
TOO_MANY: Final = answer(b"", "429 Too Many Requests", "Retry-After: 1")


class Provider:
    """Says to each call what its script says, the last line for ever; LOST closes the line."""

    def __init__(self, **script: list[bytes | None]) -> None:
        self.script = {name.replace("_", "/"): list(lines) for name, lines in script.items()}
        self.seen: list[str] = []
        self.heads: dict[str, list[bytes]] = defaultdict(list)
        self.bodies: dict[str, list[Any]] = defaultdict(list)

    def __call__(self, peer: Peer) -> None:
        """Play one connection."""
        while body := peer.read_request():
            head = peer.server.requests[-1][0]
            path = head.split()[1].decode().removeprefix("/api/v1/")
            self.seen.append(path)
            self.heads[path].append(head)
            self.bodies[path].append(json.loads(body))
            lines = self.script[path]
            line = lines.pop(0) if len(lines) > 1 else lines[0]
            if line is LOST:
                return
            peer.send(line)


class Stamp:
    """A signer that costs nothing."""

    async def sign(self, body: bytes) -> str:
        """Sign nothing."""
        del body
        return "c3RhbXA="


@pytest.fixture
async def meet(clock):
    """Give a function that makes a call of a client to a scripted provider."""

    async def make(provider: Provider, call: Any, **policy: Any) -> Any:
        settings = sg.Settings(timing=clock.timing(), retry=sg.RetryPolicy(**policy))
        with serve(provider) as server:
            async with sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api:
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


OURS: Final = said(
    payments=[{"id": "po_1", "status": "pending", "metadata": {"idempotency_key": "p-1"}}]
)


@pytest.mark.parametrize(
    ("confirms", "statuses", "seen", "outcome"),
    [
        # Lost, and carried out: the session is the answer, and nothing is sent again.
        ([LOST], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
        ([LOST], [said(next_action="capture")], [CONFIRM, STATUS], "in_progress"),
        # Lost on the way there: it is awaited still, and given once more.
        ([LOST, MOVED_ON], [AWAITED], [CONFIRM, STATUS, CONFIRM], "accepted"),
        # The status is a read: it is asked again by itself.
        ([LOST], [LOST, MOVED_ON], [CONFIRM, STATUS, STATUS], "accepted"),
        # It can't be told: unknown, and no second confirm.
        ([LOST], [said("created")], [CONFIRM, STATUS], sg.OutcomeUnknown),
        ([LOST], [PENDING], [CONFIRM, STATUS], sg.OutcomeUnknown),
        ([LOST], [ANOTHER], [CONFIRM, STATUS], sg.OutcomeUnknown),
        ([LOST], [IN_ERROR], [CONFIRM, STATUS], sg.OutcomeUnknown),
        ([LOST], [LOST], [CONFIRM, STATUS, STATUS, STATUS], sg.OutcomeUnknown),
        ([LOST], [refused("invalid_request")], [CONFIRM, STATUS], sg.OutcomeUnknown),
        # Lost each time: as often as the policy says.
        ([LOST], [AWAITED], [CONFIRM, STATUS] * 3, sg.OutcomeUnknown),
        # Refused after a lost one: perhaps because that one arrived.
        (
            [LOST, refused("invalid_request")],
            [AWAITED, said("accepted")],
            [CONFIRM, STATUS, CONFIRM, STATUS],
            "accepted",
        ),
        (
            [LOST, refused("invalid_request")],
            [AWAITED, AWAITED],
            [CONFIRM, STATUS, CONFIRM, STATUS],
            sg.OutcomeUnknown,
        ),
        # Refused: perhaps because it was done before.
        ([refused("invalid_request")], [AWAITED], [CONFIRM, STATUS], sg.Refused),
        ([refused("already_confirmed")], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
        ([refused("invalid_request")], [refused("x")], [CONFIRM, STATUS], sg.Refused),
        # Refused for who we are: nobody looked at the request.
        ([refused("authentication_error")], [MOVED_ON], [CONFIRM], sg.Refused),
        # Turned away for now, and never sent: sent again without asking.
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
        # A temporary fault may have come after the deed.
        ([refused("internal_error")], [MOVED_ON], [CONFIRM, STATUS], "accepted"),
    ],
)
async def test_a_confirm(meet, confirms, statuses, seen, outcome) -> None:
    """A confirm is given again only while the session awaits one."""
    provider = Provider(session_confirm=confirms, session_status=statuses)

    came = await meet(provider, confirm)

    assert provider.seen == seen
    assert (came.status if isinstance(came, sg.Session) else type(came)) == outcome
    assert len(set(provider.heads[CONFIRM])) == 1, "every attempt is the same, key and signature"


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ([OURS], "in_progress"),
        ([said("created")], sg.OutcomeUnknown),
        ([said(payments=[{"id": "po_1", "status": "pending"}])], sg.OutcomeUnknown),
        ([LOST], sg.OutcomeUnknown),
    ],
)
async def test_a_start_is_never_sent_twice(meet, statuses, outcome) -> None:
    """The first may be under way still, and a session can hold two payouts."""
    provider = Provider(session_start_payout=[LOST], session_status=statuses)

    came = await meet(provider, start)

    assert provider.seen.count("session/start/payout") == 1
    assert (came.status if isinstance(came, sg.Session) else type(came)) == outcome


async def test_what_the_error_says(meet) -> None:
    """The session, the key, what the status showed, and what it means."""
    provider = Provider(session_start_payout=[LOST], session_status=[IN_ERROR])

    error = await meet(provider, start)

    assert (error.session_id, error.key, error.attempts) == ("ps_1", "p-1", 1)
    assert "session/status shows error" in str(error)
    assert "that status is not final" in str(error)


@pytest.mark.parametrize("call", ["init_payout", "init_payment"])
@pytest.mark.parametrize("line", [LOST, refused("idempotency_key_already_exists"), answer(b"<")])
async def test_an_init_ends_unknown(meet, call, line) -> None:
    """There is no session to ask about: the key is what is left, and nothing is sent again."""
    provider = Provider(session_init_payout=[line], session_init_payment=[line])
    requests = {
        "init_payout": sg.InitPayout(
            payment_method=CARD,
            amount_details=USD,
            participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="N N")),
        ),
        "init_payment": sg.InitPayment(
            payment_details=CARD, amount_details=USD, customer=sg.Customer(reference="c")
        ),
    }

    came = await meet(provider, lambda api: getattr(api.session, call)(requests[call], key="i-1"))

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
    ],
)
async def test_calls_that_move_money_carry_the_header(meet, call, path) -> None:
    """The key goes in the header, and in the metadata where the call has some."""
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
    assert (slash, of) == ("/", path.removeprefix("session/")), "each call of an order has its own"
    assert body.get("metadata", {"idempotency_key": said_in}) == {"idempotency_key": said_in}


async def test_the_deadline_holds_over_the_asking(meet, clock) -> None:
    """Asking belongs to the call: when its time is up, it ends as unknown."""
    provider = Provider(session_confirm=[LOST], session_status=[TOO_MANY])

    error = await meet(provider, lambda api: api.session.confirm(sg.SessionRef("ps_1"), deadline=3))

    assert isinstance(error, sg.OutcomeUnknown)
    assert clock.now <= 3


async def test_a_key_is_that_of_one_call(meet) -> None:
    """An order's id can be the key of its create and of its start; not of two starts."""
    provider = Provider(session_create=[said("created")], session_start_payout=[OURS])

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
    """A call of this key may have moved money: it is asked about, and not sent again."""

    @pytest.mark.parametrize(
        ("statuses", "starts", "outcome"),
        [
            # Lost, then found by its key.
            ([said("created"), OURS], 1, "in_progress"),
            # Lost, and not to be seen: it may be under way still.
            ([said("created")], 1, sg.OutcomeUnknown),
            ([said("created"), LOST], 1, sg.OutcomeUnknown),
        ],
    )
    async def test_a_start(self, meet, statuses, starts, outcome) -> None:
        """The second call sends no second start."""
        provider = Provider(session_start_payout=[LOST], session_status=statuses)

        async def twice(api: sg.SmartGlocal) -> Any:
            with pytest.raises(sg.OutcomeUnknown):
                await start(api)
            return await start(api)

        came = await meet(provider, twice)

        assert provider.seen.count("session/start/payout") == starts
        assert (came.status if isinstance(came, sg.Session) else type(came)) == outcome

    async def test_a_start_that_was_answered(self, meet) -> None:
        """The session, as it stands now."""
        provider = Provider(session_start_payout=[OURS], session_status=[OURS])

        async def twice(api: sg.SmartGlocal) -> Any:
            return await start(api), await start(api)

        first, second = await meet(provider, twice)
        assert first == second
        assert provider.seen == ["session/start/payout", STATUS]

    async def test_a_start_that_was_cancelled_by_its_caller(self, meet) -> None:
        """It may have arrived: whoever was impatient asks, and does not pay twice."""
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
        provider = Silent(session_start_payout=[OURS], session_status=[said("created")])

        async def twice(api: sg.SmartGlocal) -> Any:
            task = asyncio.ensure_future(start(api))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await start(api)

        came = await meet(provider, twice)
        assert isinstance(came, sg.OutcomeUnknown)
        assert "a call of this key was sent before" in str(came)
        assert provider.seen.count("session/start/payout") == 1

    @pytest.mark.parametrize("line", [LOST, said(), refused("idempotency_key_already_exists")])
    async def test_an_init(self, meet, line) -> None:
        """Nobody can ask: the second call sends nothing, and says why."""
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
        assert len(provider.seen) == 1

    async def test_a_call_that_was_refused_frees_its_key(self, meet) -> None:
        """Nothing came of it, and the mended request may go out under its key."""
        provider = Provider(
            session_start_payout=[refused("invalid_request"), OURS],
            session_status=[said("created")],
        )

        async def twice(api: sg.SmartGlocal) -> Any:
            with pytest.raises(sg.Refused):
                await start(api)
            return await start(api)

        assert (await meet(provider, twice)).status == "in_progress"
        assert provider.seen.count("session/start/payout") == 2

    async def test_a_confirm_is_given_again_while_it_is_awaited(self, meet) -> None:
        """It acts once per session, however often it is given."""
        provider = Provider(session_confirm=[MOVED_ON], session_status=[AWAITED])

        async def twice(api: sg.SmartGlocal) -> Any:
            await api.session.confirm(sg.SessionRef("ps_1"), key="c-1")
            return await api.session.confirm(sg.SessionRef("ps_1"), key="c-1")

        assert (await meet(provider, twice)).status == "accepted"
        assert provider.seen == [CONFIRM, STATUS, CONFIRM]

    def test_two_event_loops(self) -> None:
        """While a call of the key is out in one loop, another sends none."""
        in_flight, may_end = threading.Event(), threading.Event()

        def meet(peer: Peer) -> None:
            peer.read_request()
            in_flight.set()
            may_end.wait(10)
            peer.send(OURS)

        with serve(meet) as server:
            api = sg.SmartGlocal("demo", Stamp(), server.url)
            with ThreadPoolExecutor(1) as pool:
                first = pool.submit(asyncio.run, _closing(start(api), api))
                assert in_flight.wait(10)
                with pytest.raises(sg.OutcomeUnknown, match="in another event loop"):
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
    """`api.call`: whatever has no row."""

    async def test_an_answer_as_it_is(self, meet) -> None:
        """What the envelope holds, beside its status."""
        provider = Provider(session_chargeback=[said("accepted")])
        came = await meet(
            provider, lambda api: api.call("session/chargeback", {"session_id": "ps_1"})
        )
        assert came == {"session": {"id": "ps_1", "status": "accepted"}}
        assert provider.bodies["session/chargeback"] == [{"session_id": "ps_1"}]

    async def test_an_answer_as_a_record(self, meet) -> None:
        """Read like every other."""
        provider = Provider(session_chargeback=[said("accepted")])
        came = await meet(
            provider,
            lambda api: api.call("session/chargeback", {}, answer=sg.Session),
        )
        assert came == sg.Session(id="ps_1", status=sg.SessionStatus.ACCEPTED)

    @pytest.mark.parametrize(
        ("repeat", "sent"), [(sg.Repeat.MOVES_MONEY, 1), (sg.Repeat.HARMLESS, 3)]
    )
    async def test_a_lost_answer(self, meet, repeat, sent) -> None:
        """Nobody said that a repeat is harmless: it is not repeated."""
        provider = Provider(session_chargeback=[LOST])
        error = await meet(
            provider, lambda api: api.call("session/chargeback", {}, repeat=repeat, key="c-1")
        )
        assert isinstance(error, sg.OutcomeUnknown)
        assert len(provider.seen) == sent

    @pytest.mark.parametrize("path", ["", "/session", "session/", "a//b", "../x", "a?b", "a b"])
    async def test_a_path_that_is_none(self, api, path) -> None:
        """It is what follows the version, and nothing else."""
        with pytest.raises(sg.InvalidRequest, match="path: expected"):
            await api.call(path, {})

    async def test_a_body_that_is_no_json(self, api) -> None:
        """It is named by its path, and nothing is sent."""
        with pytest.raises(sg.InvalidRequest, match=r"request.when"):
            await api.call("session/chargeback", {"when": object()})


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.wallet.balance(),
        lambda api: api.token.issue(sg.IssueToken(tokenize_widget=sg.TokenizeWidget())),
        lambda api: api.token.info(sg.DescribeToken(card=CARD)),
        lambda api: api.recurrent.disable(sg.DisableRecurrent(recurrent=sg.TokenRef("t"))),
        lambda api: api.fps.banks(),
    ],
)
async def test_what_v2_lacks_says_so(connect, provider, call) -> None:
    """Calls that exist in one version name it, and what to do."""
    with pytest.raises(
        sg.InvalidRequest, match=r"has v1 only; make a client with api_version='v1'"
    ):
        await call(connect(provider, api_version="v2"))
    assert provider.report().requests == 0


async def test_a_widget_that_needs_a_submerchant(connect, provider) -> None:
    """The provider wants X-PARTNER-SUBMERCHANT with it."""
    request = sg.IssueToken(fps_no_account_widget=sg.FpsNoAccountWidget(session_id="ps_1"))
    with pytest.raises(sg.InvalidRequest, match="submerchant="):
        await connect(provider).token.issue(request)


async def test_balances(meet) -> None:
    """Wallets come as a list, or as the one object that the table speaks of."""
    usd = {"id": "w_1", "amount_details": {"amount": 0, "currency": "USD"}}
    for shown in ([usd], usd):
        body = json.dumps({"status": "ok", "wallets": shown}).encode()
        provider = Provider(wallet_balance=[answer(body)])
        wallets = await meet(provider, lambda api: api.wallet.balance())
        assert wallets == (sg.Wallet(id="w_1", amount_details=sg.Amount(0, "usd")),)
        [asked] = provider.bodies["wallet/balance"]
        assert asked["request_datetime"].endswith("+00:00")


async def test_banks_is_the_one_get(meet) -> None:
    """Its body is the setting's, and it is signed like any other."""
    body = b'{"status":"ok","banks":[{"id":"100000000069","eng_name":"Bank"}]}'
    provider = Provider(fps_banks=[answer(body)])

    banks = await meet(provider, lambda api: api.fps.banks())

    assert banks == (sg.Bank(id="100000000069", eng_name="Bank"),)
    assert provider.bodies["fps/banks"] == [[]]
    [head] = provider.heads["fps/banks"]
    assert head.startswith(b"GET /api/v1/fps/banks ")
    assert b"X-PARTNER-SIGN: " in head
