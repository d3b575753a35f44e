"""The emulator's answers that are complete HTTP and wrong: what each sends."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from attrs import define, field

from smartglocal_async.emulator import (
    Confirmation,
    Fault,
    FaultKind,
    FaultScript,
    Foreign,
    Permission,
    Provider,
    Rules,
    TwiceAnswer,
    run,
)
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
NOW: Final = datetime(2024, 5, 27, 2, 3, 0, tzinfo=UTC)
CREATE: Final = "session/create"
START: Final = "session/start/payout"
STATUS: Final = "session/status"
CONFIRM: Final = "session/confirm"
PAYOUT: Final = {
    "session_id": "ps_1",
    "payment_method": {"type": "encrypted_card", "encrypted_card": {"number_hash": "hash"}},
    "amount_details": {"amount": 100, "currency": "usd"},
    "participant_details": {"recipient": {"full_name": "Jane Roe"}},
}


@define
class Clock:
    """A clock set by hand."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """Return the time that was set."""
        return self.now


@define
class Connection:
    """One connection to the emulator, as a client that trusts the order of responses reads it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    raw: list[bytes] = field(factory=list[bytes])

    def send(self, call: str, request: object, version: int = 1) -> None:
        """Write one signed request."""
        body = json.dumps(request).encode("ascii")
        head = (
            f"POST /api/v{version}/{call} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"X-PARTNER-PROJECT: demo\r\nX-PARTNER-SIGN: {KEY.sign(body)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode("ascii") + body)

    async def read(self) -> tuple[int, bytes]:
        """Read the next response: its HTTP status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        headers = dict(connection.lower().split(": ", 1) for connection in lines[1:] if connection)
        body = await self.reader.readexactly(int(headers["content-length"]))
        self.raw.append(head + body)
        return int(lines[0].split()[1]), body

    async def ask(self, call: str, request: object, version: int = 1) -> dict[str, Any]:
        """Write one request and read one response, as JSON."""
        self.send(call, request, version)
        answer: dict[str, Any] = json.loads((await self.read())[1])
        return answer

    async def create(self, key: str) -> str:
        """Create a session; return its id."""
        answer = await self.ask(CREATE, {"metadata": {"idempotency_key": key}})
        return str(answer["session"]["id"])

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()


async def connect(provider: Provider) -> Connection:
    """Connect."""
    host, port = provider.url.removeprefix("http://").split(":")
    return Connection(*await asyncio.open_connection(host, int(port)))


def with_fault(fault: Fault, **options: Any) -> Any:
    """Run an emulator with this fault."""
    return run(public_key=KEY.public, faults=FaultScript((fault,), seed=1), **options)


class TestSurplus:
    """One response too many."""

    @pytest.mark.parametrize("seconds", [0, 0.01])
    async def test_the_response_comes_twice(self, seconds: float) -> None:
        """The second equals the first to the byte, and the connection stays open after it."""
        fault = Fault(FaultKind.SURPLUS, nth=(1,), operation=CREATE, key="a", seconds=seconds)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            connection.send(CREATE, {"metadata": {"idempotency_key": "a"}})
            first, second = await connection.read(), await connection.read()
            other = await connection.create("b")
            connection.close()

        assert connection.raw[0] == connection.raw[1]
        assert first == second
        assert connection.raw[0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"close" not in connection.raw[0].lower()
        assert json.loads(first[1])["session"]["id"] == "ps_1"
        assert other == "ps_2"

    async def test_a_naive_client_is_one_answer_behind(self) -> None:
        """Each later answer is that of the call before."""
        fault = Fault(FaultKind.SURPLUS, nth=(1,), operation=CREATE, key="a")
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            ids = [await connection.create(key) for key in ("a", "b", "c")]
            connection.close()
            made = provider.session_ids

        assert ids == ["ps_1", "ps_1", "ps_2"]
        assert made == ("ps_1", "ps_2", "ps_3")


class TestSwapped:
    """The answer of another session."""

    @pytest.mark.parametrize(("version", "payouts"), [(1, "payments"), (2, "payout_list")])
    async def test_another_session_answers(self, version: int, payouts: str) -> None:
        """It is shown as it is, in the names of the requested version."""
        fault = Fault(FaultKind.SWAPPED, rate=1, key="a", operation=STATUS)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            one, two = await connection.create("a"), await connection.create("b")
            _ = await connection.ask(START, PAYOUT | {"session_id": two})
            crossed = await connection.ask(STATUS, {"session_id": one}, version)
            connection.close()

        assert crossed["status"] == "ok"
        assert (crossed["session"]["id"], crossed["session"]["status"]) == (two, "in_progress")
        assert crossed["session"]["metadata"] == {"idempotency_key": "b"}
        [payout] = crossed["session"][payouts]
        assert payout["amount_details"] == {"amount": 100, "currency": "usd"}

    async def test_the_order_is_carried_out(self) -> None:
        """Only the answer is wrong: the call was carried out in the right session."""
        fault = Fault(FaultKind.SWAPPED, rate=1, key="a", operation=START)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            one, two = await connection.create("a"), await connection.create("b")
            crossed = await connection.ask(START, PAYOUT | {"session_id": one})
            true = await connection.ask(STATUS, {"session_id": one})
            connection.close()

        assert crossed["session"]["id"] == two
        assert "payments" not in crossed["session"]
        assert true["session"]["payments"][0]["status"] == "pending"

    @pytest.mark.parametrize("operation", [CREATE, "session/init/payout"])
    async def test_a_call_that_makes_a_session_gets_an_older_one(self, operation: str) -> None:
        """The answer is never its own session."""
        fault = Fault(FaultKind.SWAPPED, rate=1, key="b", operation=operation)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            _ = await connection.create("a")
            payout = {name: PAYOUT[name] for name in PAYOUT if name != "session_id"}
            crossed = await connection.ask(
                operation, payout | {"metadata": {"idempotency_key": "b"}}
            )
            connection.close()
            made = provider.session_ids

        assert crossed["session"]["id"] == "ps_1"
        assert made == ("ps_1", "ps_2")

    async def test_made_up_and_cancelled(self) -> None:
        """An invented session that ended before anything was started in it."""
        fault = Fault(FaultKind.SWAPPED, rate=1, operation=STATUS, shows=Foreign.CANCELLED)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            session = (await connection.ask(STATUS, {"session_id": own}))["session"]
            connection.close()
            made = provider.session_ids

        assert session["id"].startswith("ps_foreign_")
        assert session["status"] == "cancelled"
        assert session["metadata"]["idempotency_key"].startswith("foreign-")
        assert "payments" not in session
        assert made == ("ps_1",)

    @pytest.mark.parametrize(("version", "payouts"), [(1, "payments"), (2, "payout_list")])
    async def test_made_up_and_paid(self, version: int, payouts: str) -> None:
        """A payout that succeeded, with another key, amount and recipient; no money moved."""
        fault = Fault(FaultKind.SWAPPED, rate=1, operation=STATUS, shows=Foreign.PAID)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            session = (await connection.ask(STATUS, {"session_id": own}, version))["session"]
            connection.close()
            moved = provider.report().moved

        [payout] = session[payouts]
        assert (session["status"], payout["status"]) == ("accepted", "succeeded")
        assert payout["amount_details"] == {"amount": 1_234_500, "currency": "eur"}
        assert payout["metadata"]["payout_key"].startswith("foreign-")
        assert payout["metadata"]["payout_journal"].startswith("foreign-journal-")
        assert moved == 0

    async def test_the_only_session_is_answered_with_a_made_up_one(self) -> None:
        """If there is no other session one is invented, equal for equal seeds."""
        fault = Fault(FaultKind.SWAPPED, rate=1, operation=STATUS)
        ids: list[str] = []
        for _ in range(2):
            async with with_fault(fault) as provider:
                connection = await connect(provider)
                own = await connection.create("a")
                ids += [(await connection.ask(STATUS, {"session_id": own}))["session"]["id"]]
                connection.close()

        assert ids[0].startswith("ps_foreign_")
        assert ids[0] == ids[1]


class TestTwice:
    """Carried out twice."""

    @pytest.mark.parametrize(
        ("second_start", "answer", "told", "payouts"),
        [
            (Permission.ALLOW, TwiceAnswer.FIRST, ["in_progress"], 2),
            (Permission.ALLOW, TwiceAnswer.SECOND, ["in_progress", "in_progress"], 2),
            (Permission.REFUSE, TwiceAnswer.FIRST, ["in_progress"], 1),
            (Permission.REFUSE, TwiceAnswer.SECOND, "invalid_session_state", 1),
        ],
    )
    async def test_a_start(
        self, second_start: Permission, answer: TwiceAnswer, told: object, payouts: int
    ) -> None:
        """The rules apply to the second start; either answer can be sent."""
        fault = Fault(FaultKind.TWICE, rate=1, operation=START, answer=answer)
        async with with_fault(fault, rules=Rules(second_start=second_start)) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            got = await connection.ask(START, PAYOUT | {"session_id": own})
            true = await connection.ask(STATUS, {"session_id": own})
            connection.close()
            calls = provider.order("a").calls

        if got["status"] == "ok":
            assert [item["status"] for item in got["session"]["payments"]] == told
        else:
            assert got["error"]["code"] == told
        assert len(true["session"]["payments"]) == payouts
        assert calls == {CREATE: 1, START: 1, STATUS: 1}

    @pytest.mark.parametrize(
        ("fault", "answered"),
        [
            (Fault(FaultKind.TWICE, rate=1, operation=START, seconds=5), [1, 1, 2]),
            (Fault(FaultKind.LATE, rate=1, operation=START, seconds=5, twice=True), [0, 2]),
            (Fault(FaultKind.AFTER, rate=1, operation=START, twice=True), [2, 2]),
        ],
    )
    async def test_duplicate_on_its_way(self, fault: Fault, answered: list[int]) -> None:
        """The second may come later, both may, and the answer may be lost, too."""
        clock = Clock()
        rules = Rules(second_start=Permission.ALLOW)
        counts: list[int] = []
        async with with_fault(fault, rules=rules, clock=clock) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            connection.send(START, PAYOUT | {"session_id": own})
            if fault.is_answered:
                counts.append(len(json.loads((await connection.read())[1])["session"]["payments"]))
            else:
                assert await connection.reader.read() == b""
            connection.close()
            connection = await connect(provider)
            for _ in range(2):
                shown = (await connection.ask(STATUS, {"session_id": own}))["session"]
                counts.append(len(shown.get("payments", ())))
                clock.now += timedelta(seconds=5)
            connection.close()

        assert counts == answered

    async def test_both_are_paid_where_nothing_keeps_a_key_once(self) -> None:
        """Without idempotency keys the duplicate is paid, too, and the counts show it."""
        fault = Fault(FaultKind.TWICE, rate=1, operation=START)
        rules = Rules(second_start=Permission.ALLOW, confirmation=Confirmation.AUTOMATIC)
        async with with_fault(fault, rules=rules) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            _ = await connection.ask(START, PAYOUT | {"session_id": own})
            connection.close()
            report = provider.report()

        assert (report.moved, report.moved_twice) == (2, 1)
        assert report.faults == {"twice": 1}


class TestStale:
    """The status as it was a while ago."""

    @pytest.mark.parametrize(
        ("seconds", "status", "payouts"),
        [(4, "in_progress", 1), (11, "created", 0), (60, "created", 0)],
    )
    async def test_the_session_as_it_was(self, seconds: float, status: str, payouts: int) -> None:
        """Before its creation, the status shows the session as it was created."""
        fault = Fault(FaultKind.STALE, nth=(1,), seconds=seconds)
        clock = Clock()
        async with with_fault(fault, clock=clock) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            clock.now += timedelta(seconds=10)
            _ = await connection.ask(START, PAYOUT | {"session_id": own})
            clock.now += timedelta(seconds=2)
            _ = await connection.ask(CONFIRM, {"session_id": own})
            clock.now += timedelta(seconds=3)
            old = (await connection.ask(STATUS, {"session_id": own}))["session"]
            new = (await connection.ask(STATUS, {"session_id": own}))["session"]
            connection.close()

        assert (old["status"], len(old.get("payments", ()))) == (status, payouts)
        assert (new["status"], len(new["payments"])) == ("accepted", 1)

    async def test_any_other_call_is_up_to_date(self) -> None:
        """Only the status may be stale."""
        fault = Fault(FaultKind.STALE, rate=1)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            started = (await connection.ask(START, PAYOUT | {"session_id": own}))["session"]
            shown = (await connection.ask(STATUS, {"session_id": own}))["session"]
            connection.close()
            faults = provider.report().faults

        assert len(started["payments"]) == 1
        assert "payments" not in shown
        assert faults == {"stale": 1}


class TestAmount:
    """Another sum or currency."""

    @pytest.mark.parametrize(
        ("options", "shown"),
        [
            ({}, {"amount": 1000, "currency": "usd"}),
            ({"factor": 3}, {"amount": 300, "currency": "usd"}),
            ({"factor": 1, "currency": "eur"}, {"amount": 100, "currency": "eur"}),
            ({"factor": 2, "currency": "eur"}, {"amount": 200, "currency": "eur"}),
        ],
    )
    @pytest.mark.parametrize("moved", [False, True])
    @pytest.mark.parametrize("operation", [START, CONFIRM])
    async def test_it_is_shown_and_may_be_moved(
        self, options: dict[str, Any], shown: dict[str, Any], operation: str, *, moved: bool
    ) -> None:
        """If it is only shown, the right amount is paid, and shown by the next answer."""
        fault = Fault(FaultKind.AMOUNT, rate=1, operation=operation, moved=moved, **options)
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            own = await connection.create("a")
            answers = [await connection.ask(START, PAYOUT | {"session_id": own})]
            _ = await connection.ask(STATUS, {"session_id": own})
            answers += [await connection.ask(CONFIRM, {"session_id": own})]
            true = await connection.ask(STATUS, {"session_id": own})
            connection.close()
            [movement] = provider.order("a").movements

        struck = answers[operation == CONFIRM]["session"]["payments"][0]["amount_details"]
        right = {"amount": 100, "currency": "usd"}
        paid = shown if moved else right
        assert struck == shown
        assert true["session"]["payments"][0]["amount_details"] == paid
        assert {"amount": movement.amount, "currency": movement.currency} == paid

    async def test_a_balance_has_amounts_too(self) -> None:
        """Every amount in an answer is changed."""
        fault = Fault(FaultKind.AMOUNT, rate=1, currency="gbp", moved=True)
        async with with_fault(fault, rules=Rules(wallets={"usd": 7})) as provider:
            connection = await connect(provider)
            answer = await connection.ask(
                "wallet/balance", {"request_datetime": "2024-05-27T02:03:00Z"}
            )
            connection.close()
            balances = provider.report().balances

        [wallet] = answer["wallets"]
        assert wallet["amount_details"] == {"amount": 70, "currency": "gbp"}
        assert balances["usd"]["wallet"] == 7


def error(code: str, description: str) -> bytes:
    """Return an error envelope, in the order of the provider's sample."""
    text = f'{{"error": {{"code": "{code}", "description": "{description}"}}, "status": "error"}}'
    return text.encode("ascii")


class TestErrors:
    """Errors that a client may misread."""

    @pytest.mark.parametrize(
        ("fault", "status", "body", "sessions"),
        [
            (
                Fault(FaultKind.BARE_ERROR, rate=1),
                400,
                b'{"error": {"code": "internal_error", "description": "internal error"}}',
                0,
            ),
            (
                Fault(
                    FaultKind.BARE_ERROR,
                    rate=1,
                    status=409,
                    code="invalid_request",
                    processed=True,
                ),
                409,
                b'{"error": {"code": "invalid_request", "description": "invalid request"}}',
                1,
            ),
            (
                Fault(FaultKind.UNKNOWN_CODE, rate=1),
                400,
                error("emulated_unknown_code", "emulated unknown code"),
                0,
            ),
            (
                Fault(FaultKind.UNKNOWN_CODE, rate=1, status=200, code="E-17", processed=True),
                200,
                error("E-17", "E-17"),
                1,
            ),
            (
                Fault(FaultKind.ERROR_200, rate=1, code="provider_timeout"),
                200,
                error("provider_timeout", "provider timeout"),
                0,
            ),
        ],
    )
    async def test_an_error(self, fault: Fault, status: int, body: bytes, sessions: int) -> None:
        """Status, body and whether the call was carried out are the fault's."""
        async with with_fault(fault) as provider:
            connection = await connect(provider)
            connection.send(CREATE, {"metadata": {"idempotency_key": "a"}})
            got = await connection.read()
            connection.close()
            made = provider.report().sessions

        assert got == (status, body)
        assert made == sessions


class TestText:
    """Bytes and texts that a strict reader refuses."""

    async def test_bom(self) -> None:
        """The right answer after three bytes."""
        async with with_fault(Fault(FaultKind.BOM, rate=1)) as provider:
            connection = await connect(provider)
            connection.send(CREATE, {"metadata": {"idempotency_key": "a"}})
            status, body = await connection.read()
            connection.close()

        assert (status, body[:3]) == (200, b"\xef\xbb\xbf")
        assert json.loads(body[3:])["session"]["id"] == "ps_1"

    async def test_surrogate(self) -> None:
        """Every text without a function contains what JSON allows and few databases store."""
        odd = (
            rb'"description": "half a pair \ud800, a NUL \u0000, a red \u001b[31mword\u001b[0m,'
            rb'\r\nanother line"'
        )
        async with with_fault(Fault(FaultKind.SURROGATE, rate=1)) as provider:
            connection = await connect(provider)
            connection.send(CREATE, {"metadata": {"idempotency_key": "a"}})
            made = await connection.read()
            connection.send(STATUS, {"session_id": "ps_none"})
            refused = await connection.read()
            connection.close()

        assert made[0] == 200
        assert made[1].count(odd) == 3  # The answer's, its session's, and in its metadata.
        session = json.loads(made[1])["session"]
        assert (session["id"], session["metadata"]["idempotency_key"]) == ("ps_1", "a")
        assert refused[0] == 400
        assert refused[1].count(odd) == 2
        assert json.loads(refused[1])["error"]["code"] == "session_not_found"

    async def test_surrogate_in_a_decline(self) -> None:
        """The errors of payouts have such a text, too."""
        declined = PAYOUT | {"amount_details": {"amount": 66601, "currency": "usd"}}
        fault = Fault(FaultKind.SURROGATE, rate=1, operation=STATUS)
        async with with_fault(fault, rules=Rules(confirmation=Confirmation.AUTOMATIC)) as provider:
            connection = await connect(provider)
            _ = await connection.create("a")
            _ = await connection.ask(START, declined)
            session = (await connection.ask(STATUS, {"session_id": "ps_1"}))["session"]
            connection.close()

        text = "half a pair \ud800, a NUL \0, a red \x1b[31mword\x1b[0m,\r\nanother line"
        assert session["error"] == {"code": "account_not_found", "description": text}
        assert session["payments"][0]["error"] == session["error"]
