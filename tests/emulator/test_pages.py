"""The emulator's own pages: their contents, who may read them, and money by mark."""

import asyncio
import json
from typing import Any, Final

import pytest

from smartglocal_async.emulator import Confirmation, PayoutMark, Provider, Rules, run
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
NOTICE: Final = (
    b"This is an emulator for tests, not Smart Glocal and no bank: it moves no money, and its keys "
    b"are test keys."
)


async def visit(  # noqa: PLR0913  # the parts of a request
    provider: Provider,
    path: str,
    host: str | None,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: str = "",
) -> tuple[int, bytes]:
    """Send one request with this Host header, or without one; return status and body."""
    port = int(provider.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    named = "" if host is None else f"Host: {host.replace('PORT', str(port))}\r\n"
    version = "1.0" if host is None else "1.1"
    head = f"{method} {path} HTTP/{version}\r\n{named}{headers}Connection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)
    answer = await reader.read()
    writer.close()
    start, _, rest = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), rest


async def ask(provider: Provider, call: str, request: object, host: str = "localhost") -> Any:
    """Make one signed call."""
    body = json.dumps(request).encode("ascii")
    signed = f"X-PARTNER-PROJECT: demo\r\nX-PARTNER-SIGN: {KEY.sign(body)}\r\n"
    path = f"/api/v1/{call}"
    _, got = await visit(provider, path, host, method="POST", body=body, headers=signed)
    return json.loads(got)


PAGES: Final = (
    *("/", "/emulator/", "/emulator/report", "/emulator/orders", "/emulator/marks"),
    *("/emulator/payouts-report", "/emulator/payments-report"),
)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:PORT", "localhost:PORT", "localhost", "LOCALHOST", "[::1]:PORT", "127.9.9.9"],
)
async def test_this_machine_reads_the_pages(path: str, host: str) -> None:
    """A Host of this machine is accepted, with or without a port."""
    async with run(public_key=KEY.public) as provider:
        assert (await visit(provider, path, host))[0] == 200


@pytest.mark.parametrize("path", [*PAGES, "/emulator/3ds/pm_1"])
@pytest.mark.parametrize(
    "host",
    [
        *(
            "shop.example:PORT",
            "localhost.shop.example",
            "notlocalhost",
            "192.0.2.1:PORT",
            "",
            None,
        ),
        *("127.0.0.1.shop.example", "[::2]:PORT", "[", "127.0.0.1@shop.example"),
    ],
)
async def test_another_name_reads_nothing(path: str, host: str | None) -> None:
    """A foreign page whose name resolves to this machine gets no counts."""
    async with run(public_key=KEY.public) as provider:
        status, body = await visit(provider, path, host)

    assert status in {400, 421}
    assert b"requests" not in body
    assert b"movements" not in body


async def test_another_name_presses_no_button() -> None:
    """Such a page can't pass 3-D Secure for the payer, either."""
    payment = {
        "payment_details": {
            "type": "card",
            "card": {
                "type": "encrypted_card",
                "encrypted_card": {"number_hash": "hash-4000000000003220"},
            },
        },
        "amount_details": {"amount": 100, "currency": "usd"},
        "customer": {"reference": "c"},
    }
    rules = Rules(confirmation=Confirmation.AUTOMATIC)
    async with run(public_key=KEY.public, rules=rules) as provider:
        _ = await ask(provider, "session/init/payment", payment)
        shown = await ask(provider, "session/status", {"session_id": "ps_1"})
        [item] = shown["session"]["acquiring_payments"]
        path = f"/emulator/3ds/{item['id']}"
        form = {"method": "POST", "body": b"choice=pass"}
        foreign = await visit(provider, path, "shop.example", **form)
        moved_then = provider.report().moved
        own = await visit(provider, path, "localhost", **form)
        moved_now = provider.report().moved

    assert item["status"] == "pending"
    assert (foreign[0], moved_then) == (421, 0)
    assert (own[0], moved_now) == (200, 1)


async def test_the_api_has_signatures_and_any_name() -> None:
    """A call is checked by its signature, with any Host."""
    async with run(public_key=KEY.public) as provider:
        made = await ask(provider, "session/create", {}, host="api.shop.example")

    assert made["session"]["id"] == "ps_1"


async def test_bound_to_all_addresses_any_name_is_right() -> None:
    """Other machines may use any name."""
    async with run(public_key=KEY.public, host="0.0.0.0") as provider:  # noqa: S104
        status, body = await visit(provider, "/", "emulator.test:PORT")

    assert status == 200
    assert NOTICE in body


@pytest.mark.parametrize("path", ["/", "/emulator/", "/emulator/3ds/none"])
async def test_each_page_says_that_it_is_no_bank(path: str) -> None:
    """Every page says that it isn't a bank."""
    async with run(public_key=KEY.public) as provider:
        _, body = await visit(provider, path, "localhost")

    assert NOTICE in body


class TestMarks:
    """Money by journal and key."""

    async def pay(self, provider: Provider, key: str, mark: object, card: str = "hash") -> None:
        """Pay out in one step, with that metadata."""
        request = {
            "payment_method": {"type": "encrypted_card", "encrypted_card": {"number_hash": card}},
            "amount_details": {"amount": 100, "currency": "usd"},
            "metadata": {"idempotency_key": key, **mark} if isinstance(mark, dict) else mark,
        }
        answer = await ask(provider, "session/init/payout", request)
        assert answer["status"] == "ok", answer

    async def test_two_journals_with_one_key_are_two_payouts(self) -> None:
        """Equal keys of different journals are distinguished, and neither was paid twice."""
        rules = Rules(confirmation=Confirmation.AUTOMATIC)
        async with run(public_key=KEY.public, rules=rules) as provider:
            for journal in ("jan", "feb"):
                mark = {"payout_journal": journal, "payout_key": "row-1", "payout_order": "d1"}
                await self.pay(provider, "row-1", mark)
            jan, feb = (provider.marked(journal, "row-1") for journal in ("jan", "feb"))
            report, order = provider.report(), provider.order("row-1")
            page = json.loads((await visit(provider, "/emulator/marks", "localhost"))[1])

        assert [movement.mark for movement in (*jan, *feb)] == [
            PayoutMark(journal="jan", key="row-1", order="d1"),
            PayoutMark(journal="feb", key="row-1", order="d1"),
        ]
        assert [movement.session_id for movement in (*jan, *feb)] == ["ps_1", "ps_2"]
        assert (report.moved, report.moved_twice, order.moved) == (2, 0, 2)
        assert [(one["journal"], one["key"], len(one["movements"])) for one in page] == [
            ("jan", "row-1", 1),
            ("feb", "row-1", 1),
        ]
        assert page[0]["movements"][0]["mark"] == {"journal": "jan", "key": "row-1", "order": "d1"}

    async def test_one_mark_under_two_keys_is_paid_twice(self) -> None:
        """Payouts with the same metadata count as one, with any key."""
        rules = Rules(confirmation=Confirmation.AUTOMATIC)
        mark = {"payout_journal": "jan", "payout_key": "row-1"}
        async with run(public_key=KEY.public, rules=rules) as provider:
            await self.pay(provider, "a", mark)
            await self.pay(provider, "b", mark)
            moved, report = provider.marked("jan", "row-1"), provider.report()

        assert len(moved) == 2
        assert (report.moved, report.moved_twice) == (2, 1)

    async def test_the_key_of_a_start_is_that_of_its_mark(self) -> None:
        """If the metadata has a journal and no key, the idempotency key counts."""
        rules = Rules(confirmation=Confirmation.AUTOMATIC)
        async with run(public_key=KEY.public, rules=rules) as provider:
            await self.pay(provider, "row-1", {"payout_journal": "jan", "payout_order": "d1"})
            [movement] = provider.marked("jan", "row-1")

        assert movement.mark == PayoutMark(journal="jan", key="row-1", order="d1")

    @pytest.mark.parametrize(
        "mark", [{}, {"payout_key": "row-1"}, {"payout_key": 1, "payout_journal": "jan"}]
    )
    async def test_half_a_mark_is_none(self, mark: dict[str, object]) -> None:
        """Without a journal and a text key, only the order's key counts."""
        rules = Rules(confirmation=Confirmation.AUTOMATIC)
        async with run(public_key=KEY.public, rules=rules) as provider:
            await self.pay(provider, "a", mark)
            await self.pay(provider, "a", mark)
            moved, report = provider.order("a").movements, provider.report()

        assert [movement.mark for movement in moved] == [None, None]
        assert report.moved_twice == 1

    async def test_equal_payees_have_equal_digests(self) -> None:
        """A test can count the payouts of one payee without the payee's data."""
        rules = Rules(confirmation=Confirmation.AUTOMATIC)
        async with run(public_key=KEY.public, rules=rules) as provider:
            for key, card in (("a", "jane"), ("b", "jane"), ("c", "joe")):
                await self.pay(provider, key, {}, card)
            payees = [provider.order(key).movements[0].payee for key in "abc"]

        assert payees[0] == payees[1] != payees[2]
        assert all(len(payee) == 16 for payee in payees)
        assert "jane" not in str(payees)
