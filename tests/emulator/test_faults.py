"""The emulator's faults: which requests they meet, and what a simple client sees."""

import asyncio
import itertools
import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import pytest
from attrs import frozen

from smartglocal_async.emulator import (
    Fault,
    FaultKind,
    FaultScript,
    Foreign,
    Provider,
    RequestRecord,
    TwiceAnswer,
    run,
)
from smartglocal_async.emulator.bank.messages import OPERATIONS
from smartglocal_async.emulator.faults import FaultPicker
from smartglocal_async.errors import InvalidRequest
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
BODY: Final = b'{"metadata": {"idempotency_key": "a"}}'
HEADERS: Final = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": KEY.sign(BODY)}
NOW: Final = datetime(2024, 5, 27, 2, 3, 0, 1, tzinfo=UTC)
PROCESSED: Final = ("ps_1",)


@frozen
class Saw:
    """The result."""

    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes


async def ask(provider: Provider) -> Saw:
    """Create a session on a new connection, as a simple client."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session,
        session.post(
            f"{provider.url}/api/v1/session/create",
            data=BODY,
            headers=HEADERS,
            allow_redirects=False,
        ) as answer,
    ):
        body = await answer.read()
        return Saw(answer.status, answer.content_type, dict(answer.headers), body)


def first(kind: FaultKind) -> FaultScript:
    """Return a script for the first attempt only."""
    return FaultScript((Fault(kind, nth=(1,)),))


class TestOnTheWire:
    """What a client without retries sees."""

    @pytest.mark.parametrize(
        ("kind", "error", "made"),
        [
            (FaultKind.BEFORE, aiohttp.ServerDisconnectedError, ()),
            (FaultKind.AFTER, aiohttp.ServerDisconnectedError, PROCESSED),
            (FaultKind.LATE, aiohttp.ServerDisconnectedError, ()),
            (FaultKind.RESET, aiohttp.ClientOSError, ()),
            (FaultKind.CUT, aiohttp.ClientPayloadError, PROCESSED),
            (FaultKind.CHUNK_CUT, aiohttp.ClientPayloadError, PROCESSED),
        ],
    )
    async def test_a_broken_connection(
        self, kind: FaultKind, error: type[Exception], made: tuple[str, ...]
    ) -> None:
        """The connection breaks as the fault says, and the next attempt meets no fault."""
        async with run(public_key=KEY.public, faults=first(kind)) as provider:
            with pytest.raises(error) as caught:
                _ = await ask(provider)

            assert type(caught.value) is error
            assert provider.session_ids == made
            assert provider.report().faults == {kind.value: 1}
            assert (await ask(provider)).status == 200
            assert provider.session_ids == PROCESSED

    @pytest.mark.parametrize(
        ("fault", "status", "content_type", "made"),
        [
            (Fault(FaultKind.SLOW, rate=1, seconds=0.001), 200, "application/json", PROCESSED),
            (Fault(FaultKind.TRUNCATED, rate=1), 200, "application/json", PROCESSED),
            (Fault(FaultKind.GARBAGE, rate=1), 200, "text/html", PROCESSED),
            (Fault(FaultKind.BAD_UTF8, rate=1), 200, "application/json", PROCESSED),
            (Fault(FaultKind.EMPTY, rate=1), 200, "application/json", PROCESSED),
            (Fault(FaultKind.WRONG_TYPE, rate=1), 200, "text/html", PROCESSED),
            (Fault(FaultKind.HUGE, rate=1), 200, "application/json", PROCESSED),
            (Fault(FaultKind.ERROR_200, rate=1), 200, "application/json", ()),
            (Fault(FaultKind.THROTTLE, rate=1), 429, "text/html", ()),
            (Fault(FaultKind.SERVER_ERROR, rate=1), 503, "text/html", ()),
            (
                Fault(FaultKind.SERVER_ERROR, rate=1, status=502, processed=True),
                502,
                "text/html",
                PROCESSED,
            ),
            (Fault(FaultKind.REDIRECT, rate=1), 307, "text/html", ()),
            (Fault(FaultKind.CLOSES, rate=1), 200, "application/json", PROCESSED),
        ],
    )
    async def test_a_spoiled_answer(
        self, fault: Fault, status: int, content_type: str, made: tuple[str, ...]
    ) -> None:
        """HTTP is complete; status, type and whether the call was carried out are the fault's."""
        records: list[RequestRecord] = []
        async with run(
            public_key=KEY.public, faults=FaultScript((fault,)), on_request=records.append
        ) as provider:
            saw = await ask(provider)

            assert (saw.status, saw.content_type) == (status, content_type)
            assert provider.session_ids == made
        [seen] = records
        assert (seen.fault, seen.http_status) == (fault.kind, status)
        assert (seen.session_id is not None) == bool(made)

    async def body(self, kind: FaultKind) -> bytes:
        """Return the body that a first attempt gets."""
        async with run(public_key=KEY.public, faults=first(kind)) as provider:
            return (await ask(provider)).body

    @pytest.mark.parametrize("kind", [FaultKind.TRUNCATED, FaultKind.GARBAGE, FaultKind.EMPTY])
    async def test_a_body_that_is_no_json(self, kind: FaultKind) -> None:
        """The body is complete and can't be parsed."""
        with pytest.raises(json.JSONDecodeError):
            json.loads(await self.body(kind))

    async def test_a_body_that_is_no_text(self) -> None:
        """Only the bytes are wrong: with them replaced, it is the right answer."""
        body = await self.body(FaultKind.BAD_UTF8)

        with pytest.raises(UnicodeDecodeError):
            _ = body.decode("utf-8")
        assert json.loads(body.decode("utf-8", "replace"))["session"]["id"] == "ps_1"

    @pytest.mark.parametrize(
        ("kind", "size"),
        [(FaultKind.SLOW, None), (FaultKind.WRONG_TYPE, None), (FaultKind.HUGE, 10_000_000)],
    )
    async def test_a_body_that_is_right(self, kind: FaultKind, size: int | None) -> None:
        """Only the form of the answer is unusual."""
        body = await self.body(kind)

        assert json.loads(body)["session"]["id"] == "ps_1"
        assert size is None or len(body) == size

    async def test_an_error_under_200(self) -> None:
        """HTTP is successful, the envelope isn't."""
        assert json.loads(await self.body(FaultKind.ERROR_200)) == {
            "error": {"code": "internal_error", "description": "internal error"},
            "status": "error",
        }

    @pytest.mark.parametrize(
        ("as_date", "seconds", "header"),
        [
            (False, 0, "0"),
            (False, 1.2, "2"),
            (True, 0, "Mon, 27 May 2024 02:03:01 GMT"),
            (True, 60, "Mon, 27 May 2024 02:04:01 GMT"),
        ],
    )
    async def test_throttling_says_when_to_come_back(
        self, *, as_date: bool, seconds: float, header: str
    ) -> None:
        """Both forms of Retry-After are rounded up, never down."""
        fault = Fault(FaultKind.THROTTLE, rate=1, seconds=seconds, as_date=as_date)
        async with run(
            public_key=KEY.public, faults=FaultScript((fault,)), clock=lambda: NOW
        ) as provider:
            assert (await ask(provider)).headers["Retry-After"] == header

    async def test_a_redirect_leads_to_the_same_address(self) -> None:
        """A client that follows it arrives at the same method again."""
        async with run(public_key=KEY.public, faults=first(FaultKind.REDIRECT)) as provider:
            assert (await ask(provider)).headers["Location"] == "/api/v1/session/create"

    async def test_closes_comes_after_the_answer(self) -> None:
        """The answer promises keep-alive, and the connection closes right after it."""
        async with run(public_key=KEY.public, faults=first(FaultKind.CLOSES)) as provider:
            host, port = provider.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            head = ["POST /api/v1/session/create HTTP/1.1", f"Host: {host}"]
            head += [f"{name}: {value}" for name, value in HEADERS.items()]
            head += [f"Content-Length: {len(BODY)}", "", ""]
            writer.write("\r\n".join(head).encode() + BODY)
            answer = await reader.read()  # to the end, which only a close can bring
            writer.close()
            await writer.wait_closed()

        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b'"id": "ps_1"' in answer
        assert b"connection: close" not in answer.lower()

    async def test_hang_ends_with_the_client(self) -> None:
        """The call is carried out, and the server stops waiting once the client gives up."""
        arrived = asyncio.Event()
        before = asyncio.all_tasks()
        async with run(
            public_key=KEY.public,
            faults=first(FaultKind.HANG),
            on_request=lambda _: arrived.set(),
        ) as provider:
            asking = asyncio.ensure_future(ask(provider))
            _ = await arrived.wait()
            serving = asyncio.all_tasks() - before - {asking}
            _ = asking.cancel()
            _ = await asyncio.wait({asking, *serving})

            assert asking.cancelled()
            assert provider.session_ids == PROCESSED

    async def test_hang_ends_with_the_server(self) -> None:
        """A client that never gives up is disconnected when the emulator stops."""
        arrived = asyncio.Event()
        async with run(
            public_key=KEY.public,
            faults=first(FaultKind.HANG),
            on_request=lambda _: arrived.set(),
        ) as provider:
            asking = asyncio.ensure_future(ask(provider))
            _ = await arrived.wait()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            _ = await asking
        assert provider.session_ids == PROCESSED

    async def test_no_fault_without_a_signature(self) -> None:
        """A request with a wrong signature isn't counted and meets no fault."""
        records: list[RequestRecord] = []
        async with run(
            public_key=PrivateKey.generate().public,
            faults=FaultScript((Fault(FaultKind.AFTER, rate=1),)),
            on_request=records.append,
        ) as provider:
            assert (await ask(provider)).status == 400
            assert provider.report().faults == {}
        assert [seen.attempt for seen in records] == [0]


def faults_of(
    script: FaultScript, order: list[tuple[str, int]]
) -> dict[tuple[str, int], str | None]:
    """Run the attempts in order; return the fault of each."""
    strikes = FaultPicker(script)
    faults = {(key, attempt): strikes.pick(key, attempt) for key, attempt in order}
    return {who: fault.kind if fault else None for who, fault in faults.items()}


def shuffled_by_key(attempts: int, keys: int, seed: int) -> list[tuple[str, int]]:
    """Shuffle the keys, but keep each key's own attempts in order, as on a server."""
    keys_in_turn = [f"k{number}" for number in range(keys)] * attempts
    random.Random(seed).shuffle(keys_in_turn)  # noqa: S311  # a shuffle, not a secret
    counts = {key: itertools.count(1) for key in keys_in_turn}
    return [(key, next(counts[key])) for key in keys_in_turn]


class TestScript:
    """Which fault meets which request."""

    @pytest.fixture(params=[1, 2, 3])
    def order(self, request: pytest.FixtureRequest) -> list[tuple[str, int]]:
        """Return 50 keys of 4 attempts each, mixed in one of three ways."""
        return shuffled_by_key(attempts=4, keys=50, seed=request.param)

    def test_the_order_of_arrival_decides_nothing(self, order: list[tuple[str, int]]) -> None:
        """A seed meets the same attempts of the same keys, in any order of arrival."""
        limited = Fault(FaultKind.CUT, rate=0.5, times=1)
        script = FaultScript((limited, *FaultScript.drops(0.5).faults), seed=7)

        assert faults_of(script, order) == faults_of(script, sorted(order))

    def test_seeds_key_attempts_and_places_differ(self) -> None:
        """Each of the four inputs changes the random number."""
        fault = Fault(FaultKind.CUT, rate=0.5)
        order = shuffled_by_key(attempts=40, keys=2, seed=0)

        one, two = (faults_of(FaultScript((fault,), seed=seed), order) for seed in (1, 2))
        twice = faults_of(FaultScript((fault, Fault(FaultKind.AFTER, rate=0.5)), seed=1), order)

        assert one != two
        assert {one["k0", n] for n in range(1, 41)} == {None, FaultKind.CUT}
        assert [one["k0", n] for n in range(1, 41)] != [one["k1", n] for n in range(1, 41)]
        assert set(twice.values()) == {None, FaultKind.CUT, FaultKind.AFTER}

    @pytest.mark.parametrize(
        ("fault", "struck"),
        [
            (Fault(FaultKind.CUT), [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]),
            (Fault(FaultKind.CUT, rate=1), [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]),
            (Fault(FaultKind.CUT, rate=0), []),
            (Fault(FaultKind.CUT, times=1), [("a", 1), ("b", 1)]),
            (Fault(FaultKind.CUT, key="b"), [("b", 1), ("b", 2)]),
            (Fault(FaultKind.CUT, nth=(2,)), [("a", 2), ("b", 2)]),
            (Fault(FaultKind.CUT, nth=(1, 3)), [("a", 1), ("a", 3), ("b", 1)]),
            (Fault(FaultKind.CUT, rate=1, times=1), [("a", 1), ("b", 1)]),
            (Fault(FaultKind.CUT, rate=1, times=2, key="a"), [("a", 1), ("a", 2)]),
            (Fault(FaultKind.CUT, nth=(1,), key="b"), [("b", 1)]),
            (Fault(FaultKind.CUT, rate=1, key="c"), []),
        ],
    )
    def test_whom_a_fault_meets(self, fault: Fault, struck: list[tuple[str, int]]) -> None:
        """Attempt numbers and limits are counted for each key."""
        order = [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)]

        result = faults_of(FaultScript((fault,)), order)

        assert sorted(who for who, kind in result.items() if kind) == struck

    def test_a_request_without_a_key_goes_by_the_server(self) -> None:
        """Without a key the server's number counts, and a fault for one key doesn't apply."""
        script = FaultScript(
            (Fault(FaultKind.CUT, rate=1, key="a"), Fault(FaultKind.AFTER, nth=(2,)))
        )

        assert [script.choose(None, number) for number in (1, 2, 3)] == [None, 1, None]

    def test_each_kind_happens_if_all_are_on(self) -> None:
        """With every kind at 10 % all of them happen."""
        script = FaultScript.each(dict.fromkeys(FaultKind, 0.1), seed=5)
        hits = [
            script.choose(f"k{number}", 1, operation="session/status") for number in range(20_000)
        ]

        kinds = Counter(script.faults[place].kind for place in hits if place is not None)
        assert [fault.kind for fault in script.faults] == list(FaultKind)
        assert set(kinds) == set(FaultKind)
        assert min(kinds.values()) > 50
        assert abs(kinds[FaultKind.BEFORE] / len(hits) - 0.1) < 0.01

    @pytest.mark.parametrize(
        ("kind", "faults_of"),
        [
            (FaultKind.STALE, {"session/status"}),
            (
                FaultKind.SWAPPED,
                {
                    *("session/create", "session/start/payout", "session/start/payment"),
                    *("session/init/payout", "session/init/payment", "session/confirm"),
                    *("session/cancel", "session/capture", "session/refund", "session/status"),
                    "fps/customer_verification",
                },
            ),
        ],
    )
    def test_kinds_for_some_calls_only(self, kind: FaultKind, faults_of: set[str]) -> None:
        """A fault ignores calls whose answer it couldn't change, and isn't counted there."""
        strikes = FaultPicker(FaultScript((Fault(kind, rate=1), Fault(FaultKind.SLOW, rate=1))))
        struck = {call: strikes.pick("a", 1, call) for call in OPERATIONS}

        assert {call for call, fault in struck.items() if fault and fault.kind is kind} == faults_of
        assert {fault.kind for fault in struck.values() if fault} == {kind, FaultKind.SLOW}

    def test_first_of_two_faults(self) -> None:
        """Faults are tried in order; the second gets what the first lets pass."""
        script = FaultScript((Fault(FaultKind.CUT, nth=(1,)), Fault(FaultKind.AFTER, rate=1)))

        assert [script.choose("a", attempt) for attempt in (1, 2)] == [0, 1]

    @pytest.mark.parametrize("rate", [0, 0.07, 0.5, 1])
    def test_drops_have_the_rate_they_promise(self, rate: float) -> None:
        """All seven together meet the given share of attempts, in equal parts."""
        script = FaultScript.drops(rate, seed=3)
        hits = [script.choose(f"k{number}", 1) for number in range(20_000)]

        struck = [place for place in hits if place is not None]
        assert abs(len(struck) / len(hits) - rate) < 0.01
        assert len(script.faults) == (7 if rate else 0)
        for place in range(7):
            assert abs(struck.count(place) / len(hits) - rate / 7) < 0.01

    @pytest.mark.parametrize("wrong", [Fault, FaultKind.CUT, [Fault(FaultKind.CUT)]])
    def test_what_is_no_fault(self, wrong: Any) -> None:
        """It is refused at once, and not when a request arrives."""
        with pytest.raises(InvalidRequest) as caught:
            _ = FaultScript((Fault(FaultKind.BEFORE), wrong))
        assert caught.value.field == "faults[1]"


GOOD: Final = """
seed = 7
[[fault]]
kind = "cut"
rate = 0.05
[[fault]]
kind = "server_error"
nth = [1, 3]
key = "order-1"
operation = "session/confirm"
times = 2
seconds = 1
status = 502
processed = true
as_date = true
"""


class TestToml:
    """Scripts from a file."""

    def test_a_script_is_read(self) -> None:
        """Each field of a fault has its name in the file."""
        assert FaultScript.from_toml(GOOD) == FaultScript(
            (
                Fault(FaultKind.CUT, rate=0.05),
                Fault(
                    FaultKind.SERVER_ERROR,
                    nth=(1, 3),
                    key="order-1",
                    operation="session/confirm",
                    times=2,
                    seconds=1,
                    status=502,
                    processed=True,
                    as_date=True,
                ),
            ),
            seed=7,
        )

    @pytest.mark.parametrize(
        ("lines", "fault"),
        [
            ("kind = 'swapped'", Fault(FaultKind.SWAPPED, rate=0.1, shows=Foreign.OTHER)),
            (
                "kind = 'swapped'\nshows = 'paid'",
                Fault(FaultKind.SWAPPED, rate=0.1, shows=Foreign.PAID),
            ),
            ("kind = 'surplus'", Fault(FaultKind.SURPLUS, rate=0.1, seconds=0)),
            ("kind = 'surplus'\nseconds = 0.5", Fault(FaultKind.SURPLUS, rate=0.1, seconds=0.5)),
            (
                "kind = 'twice'",
                Fault(FaultKind.TWICE, rate=0.1, seconds=0, answer=TwiceAnswer.FIRST),
            ),
            (
                "kind = 'twice'\nanswer = 'second'",
                Fault(FaultKind.TWICE, rate=0.1, answer=TwiceAnswer.SECOND),
            ),
            ("kind = 'late'\ntwice = true", Fault(FaultKind.LATE, rate=0.1, twice=True)),
            ("kind = 'stale'", Fault(FaultKind.STALE, rate=0.1, seconds=60)),
            (
                "kind = 'amount'\nfactor = 3\ncurrency = 'eur'\nmoved = true",
                Fault(FaultKind.AMOUNT, rate=0.1, factor=3, currency="eur", moved=True),
            ),
            (
                "kind = 'bare_error'",
                Fault(FaultKind.BARE_ERROR, rate=0.1, status=400, code="internal_error"),
            ),
            (
                "kind = 'unknown_code'\nstatus = 200\ncode = 'new'\nprocessed = true",
                Fault(FaultKind.UNKNOWN_CODE, rate=0.1, status=200, code="new", processed=True),
            ),
            ("kind = 'bom'", Fault(FaultKind.BOM, rate=0.1)),
            ("kind = 'surrogate'", Fault(FaultKind.SURROGATE, rate=0.1)),
        ],
    )
    def test_each_kind_has_its_options(self, lines: str, fault: Fault) -> None:
        """Each option of a kind has a name in the file, and a default of its own."""
        script = FaultScript.from_toml(f"[[fault]]\nrate = 0.1\n{lines}")

        assert script == FaultScript((fault,))

    def test_a_fault_without_an_aim_applies_to_all(self) -> None:
        """As for the record itself: the file needs neither rate nor nth."""
        script = FaultScript.from_toml("[[fault]]\nkind = 'cut'\ntimes = 1")
        assert [script.choose("a", attempt) for attempt in (1, 2)] == [0, 0]
        assert script == FaultScript((Fault(FaultKind.CUT, times=1),))

    def test_an_empty_script_is_no_faults(self) -> None:
        """An empty script has no faults."""
        assert FaultScript.from_toml("") == FaultScript()

    @pytest.mark.parametrize(
        ("text", "field"),
        [
            ("seed = ", "script"),
            ("sead = 1", "sead"),
            ("seed = true", "seed"),
            ("seed = 1.5", "seed"),
            ("fault = 1", "fault"),
            ("fault = [1]", "fault[0].kind"),
            ("[[fault]]\nrate = 1", "fault[0].kind"),
            ("[[fault]]\nkind = 'explode'\nrate = 1", "fault[0].kind"),
            ("[[fault]]\nkind = 7\nrate = 1", "fault[0].kind"),
            (GOOD + "[[fault]]\nkind = 'cut'\nrate = 1.5", "fault[2].rate"),
            *(
                (f"[[fault]]\nkind = 'cut'\nrate = 0\n{line}", f"fault[0].{field}")
                for line, field in (
                    ("rates = 1", "rates"),
                    ("nth = 1", "nth"),
                    ("nth = [0]", "nth"),
                    ("nth = [true]", "nth"),
                    ("nth = [1.0]", "nth"),
                    ("key = 1", "key"),
                    ("times = 0", "times"),
                    ("times = '1'", "times"),
                    ("operation = 'session/start'", "operation"),
                    ("seconds = -1", "seconds"),
                    ("seconds = inf", "seconds"),
                    ("seconds = true", "seconds"),
                    ("status = 404", "status"),
                    ("status = 400.0", "status"),
                    ("twice = 1", "twice"),
                    ("answer = 'second'", "answer"),
                    ("answer = 'both'", "answer"),
                    ("shows = 'paid'", "shows"),
                    ("shows = 1", "shows"),
                    ("factor = 2", "factor"),
                    ("currency = 'eur'", "currency"),
                    ("moved = true", "moved"),
                    ("moved = 'yes'", "moved"),
                    ("code = 'x'", "code"),
                    ("status = 502.0", "status"),
                    ("processed = 1", "processed"),
                    ("as_date = 'yes'", "as_date"),
                )
            ),
            *(
                (f"[[fault]]\nrate = 0\n{lines}", f"fault[0].{field}")
                for lines, field in (
                    ("kind = 'server_error'\nstatus = 404", "status"),
                    ("kind = 'bare_error'\nstatus = 100", "status"),
                    ("kind = 'unknown_code'\nstatus = 600", "status"),
                    ("kind = 'unknown_code'\ncode = ''", "code"),
                    ("kind = 'error_200'\ncode = 'two words'", "code"),
                    ("kind = 'before'\ntwice = true", "twice"),
                    ("kind = 'bare_error'\ntwice = true", "twice"),
                    ("kind = 'twice'\nanswer = 'second'\nseconds = 1", "seconds"),
                    ("kind = 'amount'\nfactor = 0", "factor"),
                    ("kind = 'amount'\nfactor = 1", "factor"),
                    ("kind = 'amount'\nfactor = 1.5", "factor"),
                    ("kind = 'amount'\ncurrency = 'euro'", "currency"),
                    ("kind = 'stale'\noperation = 'session/confirm'", "operation"),
                    ("kind = 'swapped'\noperation = 'wallet/balance'", "operation"),
                    ("kind = 'swapped'\nshows = 'mine'", "shows"),
                )
            ),
            *(
                (f"[[fault]]\nkind = 'cut'\nrate = {rate}", "fault[0].rate")
                for rate in ("-0.1", "1.1", "nan", "true", "'1'")
            ),
        ],
    )
    def test_a_wrong_entry_is_named(self, text: str, field: str) -> None:
        """The error names the field and the fault."""
        with pytest.raises(InvalidRequest) as caught:
            _ = FaultScript.from_toml(text)

        assert caught.value.field == field

    @pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
    def test_drops_check_their_rate(self, rate: float) -> None:
        """A share is from 0 to 1."""
        with pytest.raises(InvalidRequest, match=r"^rate: "):
            _ = FaultScript.drops(rate)
