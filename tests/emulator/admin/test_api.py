"""The admin API over HTTP: what it shows, what it does, and whom it refuses."""

import asyncio
import contextlib
import hashlib
import json
import re
import sys
from datetime import datetime
from io import BytesIO
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from looking import KEY, LookedInto, looked_into

from smartglocal_async.cli.emulator import RequestTable, request_facts
from smartglocal_async.emulator import (
    Capture,
    Confirmation,
    Fault,
    FaultKind,
    RequestRecord,
    Rules,
    outside_urls,
)
from smartglocal_async.emulator.bank.messages import ApiCall, Name
from smartglocal_async.errors import InvalidRequest, Misuse

CARD: Final = "4000000000003220"


def life(session: dict[str, Any]) -> list[str]:
    """Return the stages of a session's only item."""
    [item] = session["items"]
    return [step["stage"] for step in item["life"]]


async def until_webhooks(looked: LookedInto, number: int) -> None:
    """Wait until this many webhooks have arrived."""
    async with asyncio.timeout(20):
        while len(looked.provider.deliveries) < number:  # noqa: ASYNC110 - of the server's task
            await asyncio.sleep(0.001)


class TestSessions:
    """Lists and lives."""

    async def test_the_life_of_a_payout(self):
        """From its creation to its return, with the money and the key."""
        async with looked_into() as looked:
            id_ = await looked.pays_out(key="k1")
            waits = await looked.admin.session(id_)
            paid = await looked.admin.confirm(id_)
            returned = await looked.admin.return_payout(id_)
            _ = await looked.call("session/create", {})
            listed = {
                only: [one["id"] for one in (await looked.admin.sessions(only=only))["items"]]
                for only in ("payout", "payment", "refunded", "created")
            }

        assert (waits["key"], waits["stage"], waits["status"]) == ("k1", "ready", "in_progress")
        assert waits["money"] == {"amount": 10_000, "currency": "usd", "text": "100.00 USD"}
        assert waits["actions"] == ["confirm", "decline", "cancel"]
        assert life(waits) == ["created", "started", "ready"]
        assert life(paid) == ["created", "started", "ready", "confirmed", "succeeded"]
        assert paid["actions"] == ["return"]
        assert life(returned)[-1] == "return"
        assert returned["actions"] == []
        [back] = returned["items"][0]["refunds"]
        assert (back["kind"], back["money"]["text"]) == ("return", "100.00 USD")
        assert listed == {"payout": [id_], "payment": [], "refunded": [id_], "created": ["ps_2"]}
        times = [datetime.fromisoformat(step["time"]) for step in waits["items"][0]["life"]]
        assert times == sorted(times)

    async def test_a_decline_and_its_code(self):
        """A payout that waits for its confirm is declined by it."""
        async with looked_into() as looked:
            id_ = await looked.pays_out()
            waits = await looked.admin.decline(id_, "own_code")
            declined = await looked.admin.confirm(id_)
            with pytest.raises(InvalidRequest, match="settled"):
                _ = await looked.admin.decline(id_)
            default = await looked.pays_out()
            _ = await looked.admin.decline(default)
            by_default = await looked.admin.confirm(default)

        assert (waits["stage"], waits["items"][0]["fate"]) == ("ready", "decline")
        assert (declined["stage"], declined["items"][0]["code"]) == ("declined", "own_code")
        assert by_default["items"][0]["code"] == "account_not_found"
        assert looked.provider.report().balances["usd"]["reserved"] == 0

    @pytest.mark.parametrize(("does", "ends"), [("succeed", "succeeded"), ("decline", "declined")])
    @pytest.mark.parametrize("amount", [66610, 66620])
    async def test_what_is_stuck_or_in_error_is_settled(self, does, ends, amount):
        """Its money moves once, or returns."""
        async with looked_into() as looked:
            id_ = await looked.pays_out(amount)
            _ = await looked.admin.confirm(id_)
            session = await getattr(looked.admin, does)(id_)
            report = looked.provider.report()

        assert session["stage"] == ends
        assert report.balances["usd"]["paid_out"] == (amount if does == "succeed" else 0)
        assert report.balances["usd"]["reserved"] == 0

    async def test_a_payer_acts(self):
        """The payer of a payment with 3-D Secure pays, or the bank declines."""
        async with looked_into(rules=Rules(confirmation=Confirmation.AUTOMATIC)) as looked:
            first, second = [await looked.is_paid(number=CARD, hashed=True) for _ in range(2)]
            waits = await looked.admin.session(first)
            paid = await looked.admin.succeed(first)
            declined = await looked.admin.decline(second)
            charged_back = await looked.admin.chargeback(first)

        assert waits["stage"] == "acting"
        assert (paid["stage"], declined["stage"]) == ("succeeded", "declined")
        assert life(charged_back)[-1] == "chargeback"

    async def test_what_is_being_processed_is_settled_at_once(self):
        """And the money of a payment is held first, if it is to be captured later."""
        rules = Rules(processing_seconds=3600, capture=Capture.DELAYED)
        async with looked_into(rules=rules) as looked:
            id_ = await looked.is_paid()
            _ = await looked.admin.pass_time(3600)
            confirmed = await looked.admin.confirm(id_)
            held = await looked.admin.succeed(id_)

        assert (confirmed["stage"], held["stage"]) == ("confirmed", "held")

    async def test_an_empty_wallet_pays_nothing(self):
        """A payout for which there is no money can't be made to succeed."""
        rules = Rules(wallets={"usd": 0}, processing_seconds=3600)
        async with looked_into(rules=rules) as looked:
            id_ = await looked.pays_out()
            _ = await looked.admin.pass_time(3600)
            _ = await looked.admin.confirm(id_)
            with pytest.raises(InvalidRequest, match="too little money"):
                _ = await looked.admin.succeed(id_)

    async def test_the_list_is_paged(self):
        """Newest first; a page says where the next one begins."""
        async with looked_into() as looked:
            for number in range(5):
                _ = await looked.call("session/create", {}, key=f"k{number}")
            first = await looked.admin.sessions(limit=2)
            second = await looked.admin.sessions(limit=2, offset=first["next_offset"])
            third = await looked.admin.sessions(limit=2, offset=second["next_offset"])
            found = await looked.admin.sessions(text="k3")
            none = await looked.admin.sessions(only="succeeded")

        shown = [[one["id"] for one in page["items"]] for page in (first, second, third)]
        assert shown == [["ps_5", "ps_4"], ["ps_3", "ps_2"], ["ps_1"]]
        assert (first["total"], third["next_offset"]) == (5, None)
        assert [one["id"] for one in found["items"]] == ["ps_4"]
        assert none["items"] == []

    async def test_by_the_id_of_a_payout(self):
        """A session is found by what is in it, too."""
        async with looked_into() as looked:
            id_ = await looked.pays_out()
            item = (await looked.admin.session(id_))["items"][0]["id"]
            assert (await looked.admin.session(item))["id"] == id_
            with pytest.raises(Misuse, match="HTTP 404"):
                _ = await looked.admin.session("ps_none")


class TestRequests:
    """Requests as they arrived."""

    async def test_a_wrong_signature_says_what_was_signed(self):
        """The first difference is shown on both sides."""
        request = {"b": "x", "a": 1}
        signed = json.dumps(request, sort_keys=True).encode()
        async with looked_into() as looked:
            answer = await looked.call("session/create", request, signed=signed)
            listed = await looked.admin.requests(only="refused")
            shown = await looked.admin.request(1)

        assert answer["error"]["code"] == "authentication_error"
        assert [one["verdict"] for one in listed["items"]] == ["wrong"]
        signature = shown["signature"]
        assert signature["verdict"] == "other bytes"
        assert "names sorted" in signature["words"]
        difference = signature["difference"]
        assert (difference["offset"], difference["signed"]["at"]) == (2, "a")
        assert difference["received"]["at"] == "b"
        assert signature["signed_sha256"] != signature["received_sha256"]
        der = load_pem_public_key(KEY.public.pem()).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        assert signature["key_sha256"] == hashlib.sha256(der).hexdigest()

    async def test_all_that_arrived(self):
        """Headers, body, answer, key and session; a valid signature."""
        async with looked_into() as looked:
            id_ = await looked.pays_out(key="k1")
            _ = await looked.admin.confirm(id_)
            _ = await looked.call("session/status", {"session_id": id_})
            of_session = await looked.admin.requests(session=id_)
            shown = await looked.admin.request(1)
            assert (await looked.admin.requests(session="ps_none"))["items"] == []

        assert [one["operation"] for one in of_session["items"]] == [
            "session/status",
            "session/init/payout",
        ]
        assert (shown["key"], shown["session_id"], shown["http_status"]) == ("k1", id_, 200)
        assert dict(shown["headers"])["X-PARTNER-PROJECT"] == "demo"
        assert shown["signature"]["verdict"] == "valid"
        assert '"status": "ok"' in shown["answer"]

    async def test_values_are_masked_until_they_are_shown(self):
        """Card numbers and names, in the request, the answer and the webhook."""
        async with looked_into(has_receiver=True) as looked:
            id_ = await looked.pays_out(key="k1")
            masked = json.dumps(
                [
                    await looked.admin.request(1),
                    await looked.admin.session(id_),
                    await looked.admin.webhook(1),
                ],
                ensure_ascii=False,
            )
            _ = await looked.admin.show_values(shows=True)
            shown = await looked.admin.request(1)

        assert "Anna" not in masked
        assert "4111" not in masked
        assert "k1" in masked
        assert "\N{BULLET}" in masked
        assert "Anna Nagy" in shown["body"]

    async def test_metadata_without_a_key_are_a_digest_until_values_are_shown(self):
        """In the lists, on their pages and in the record; equal metadata have equal digests."""
        metadata = {"card": CARD, "payee": "Anna Nagy"}
        records: list[RequestRecord] = []
        async with looked_into(on_request=records.append) as looked:
            for _ in range(2):
                _ = await looked.call("session/create", {"metadata": metadata})
            sessions, requests = await looked.admin.sessions(), await looked.admin.requests()
            pages = [(await looked.get(path))[1] for path in ("", "requests", "requests/1")]
            found = await looked.admin.sessions(text=CARD)
            of_session = await looked.admin.requests(session="ps_1")
            printed = [RequestTable().request(records[0]), json.dumps(request_facts(records[0]))]
            _ = await looked.admin.show_values(shows=True)
            shown = await looked.admin.requests()
            shown_sessions = await looked.admin.sessions(text=CARD)

        text = json.dumps([sessions, requests, pages, repr(records), printed])
        assert CARD not in text
        assert "Anna" not in text
        keys = {one["key"] for one in (*sessions["items"], *requests["items"])}
        assert len(keys) == 1
        assert re.fullmatch(r"metadata [0-9a-f]{8}", keys.pop())
        assert found["items"] == []
        assert len(of_session["items"]) == 2
        whole = '{"card":"4000000000003220","payee":"Anna Nagy"}'
        assert {one["key"] for one in shown["items"]} == {whole}
        assert len(shown_sessions["items"]) == 2
        assert records[0].counted_under == whole

    async def test_the_query_of_an_address(self):
        """Is kept as it was sent; its values are masked until they are shown."""
        async with looked_into() as looked:
            url = f"{looked.provider.url}/api/v1/fps/banks?token=ab%20c&x=1&y"
            async with looked.http.get(url) as answer:
                assert answer.status == 400
            masked = await looked.admin.request(1)
            _ = await looked.admin.show_values(shows=True)
            shown = await looked.admin.request(1)
        assert "ab" not in masked["path"].partition("?")[2]
        assert masked["path"].startswith("/api/v1/fps/banks?token=\N{BULLET}")
        assert shown["path"] == "/api/v1/fps/banks?token=ab%20c&x=1&y"
        assert shown["operation"] == "fps/banks"

    async def test_requests_with_a_wrong_signature(self):
        """They are listed without those that are refused for another reason."""
        async with looked_into() as looked:
            _ = await looked.call("session/create", {}, signed=b"other")
            _ = await looked.call("session/confirm", {"session_id": "ps_9"})
            _ = await looked.call("session/create", {})
            wrong = await looked.admin.requests(only="wrong signature")
            refused = await looked.admin.requests(only="refused")
            page = (await looked.get("requests?only=wrong+signature"))[1]
        assert [one["number"] for one in wrong["items"]] == [1]
        assert [one["number"] for one in refused["items"]] == [2, 1]
        assert page.count('id="request-') == 1

    async def test_credentials_in_headers_are_masked(self):
        """Those that a proxy, for example, put there."""
        async with looked_into() as looked:
            headers = {"Authorization": "Bearer abc", "X-Own": "abc"}
            async with looked.http.post(f"{looked.provider.url}/x", data=b"", headers=headers):
                pass
            masked = dict((await looked.admin.request(1))["headers"])
            _ = await looked.admin.show_values(shows=True)
            shown = dict((await looked.admin.request(1))["headers"])
        assert (masked["Authorization"], masked["X-Own"]) == ("\N{BULLET}" * 10, "abc")
        assert shown["Authorization"] == "Bearer abc"

    async def test_a_body_that_is_no_json_is_masked(self):
        """As a whole."""
        async with looked_into() as looked:
            headers = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": KEY.sign(b"4111 Anna")}
            url = f"{looked.provider.url}/api/v1/session/create"
            async with looked.http.post(url, data=b"4111 Anna", headers=headers):
                pass
            shown = await looked.admin.request(1)
        assert set(shown["body"]) == {"\N{BULLET}", " "}
        assert shown["error_code"] == "invalid_request"

    async def test_a_long_body_is_cut(self):
        """Its signature can't be compared any more, and the verdict is that of the answer."""
        async with looked_into() as looked:
            _ = await looked.call("session/create", {"metadata": "x" * 100_000})
            shown = await looked.admin.request(1)
        assert (shown["size"] > 100_000, shown["is_cut"]) == (True, True)
        assert shown["signature"]["verdict"] == "valid"
        assert shown["signature"]["received_sha256"] is None

    async def test_the_project_is_checked_first(self):
        """A request of another project has no verdict."""
        async with looked_into() as looked:
            url = f"{looked.provider.url}/api/v1/session/create"
            async with looked.http.post(url, data=b"{}", headers={"X-PARTNER-PROJECT": "other"}):
                pass
            [one] = (await looked.admin.requests())["items"]
        assert (one["verdict"], one["error_code"]) == ("unchecked", "identification_error")


class TestOddText:
    """Bytes and letters that UTF-8 doesn't have are shown, and refused in settings."""

    async def test_a_header_of_raw_bytes(self):
        """A signature that is no text is shown with its bytes."""
        async with looked_into() as looked:
            port = int(looked.provider.url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /api/v1/session/create HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"X-PARTNER-PROJECT: demo\r\nX-PARTNER-SIGN: \xff\x80sign\r\n"
                b"X-PARTNER-IDEMPOTENCY-KEY: k\xff\r\nContent-Length: 2\r\n\r\n{}"
            )
            assert b"authentication_error" in await reader.read(65_536)
            writer.close()
            shown = await looked.admin.request(1)
            pages = [await looked.get(path) for path in ("requests", "requests/1", "")]
        assert dict(shown["headers"])["X-PARTNER-SIGN"] == r"\xff\x80sign"
        assert (shown["key"], shown["signature"]["verdict"]) == (r"k\xff", "not base64")
        assert [status for status, _ in pages] == [200, 200, 200]
        assert r"\xff\x80sign" in pages[1][1]

    async def test_a_key_that_is_half_a_surrogate_pair(self):
        """JSON can hold it, and the lists show it."""
        records: list[RequestRecord] = []
        async with looked_into(on_request=records.append) as looked:
            id_ = await looked.pays_out(key="k\ud800")
            paths = ("", "requests", "requests/1", f"sessions/{id_}", "webhooks/1")
            pages = [await looked.get(path) for path in paths]
            listed = await looked.admin.sessions()
        assert [status for status, _ in pages] == [200] * 5
        assert all(r"k\ud800" in text for _, text in pages[:4])
        assert listed["items"][0]["key"] == "k\ud800"
        assert RequestTable().request(records[0]).encode()

    @pytest.mark.parametrize("odd", ["a\ud800", "a\x00", "a\n", "a\x1b[1m", "\x85"])
    @pytest.mark.parametrize(
        ("path", "fields", "name"),
        [
            ("settings/faults/add", {"kind": "slow", "rate": 1.0}, "fault[0].key"),
            ("settings/webhooks", {}, "url"),
            ("settings/rules", {}, "key_field"),
            ("sessions/ps_1/decline", {}, "code"),
        ],
    )
    async def test_settings_refuse_it(self, odd, path, fields, name):
        """The field is named, and the page works afterwards."""
        async with looked_into() as looked:
            _ = await looked.pays_out()
            url = f"{looked.provider.url}/emulator/api/{path}"
            changes = {**fields, name.rpartition(".")[2]: odd}
            async with looked.http.post(url, json=changes) as answer:
                assert (answer.status, (await answer.json())["error"]["field"]) == (400, name)
            for page in ("", "requests", "webhooks", "settings", "sessions/ps_1"):
                assert (await looked.get(page))[0] == 200
            with pytest.raises(InvalidRequest, match="control characters"):
                looked.provider.decline("ps_1", odd)


class TestWebhooks:
    """Webhooks and their deliveries."""

    async def test_one_is_sent_again(self):
        """With the same bytes, and counted."""
        async with looked_into(has_receiver=True) as looked:
            _ = await looked.pays_out()
            await until_webhooks(looked, 1)
            delivered = await looked.admin.webhook(1)
            _ = await looked.admin.send_again(1)
            await until_webhooks(looked, 2)
            again = await looked.admin.webhook(1)

        assert (delivered["state"], delivered["attempts"]) == ("delivered", 1)
        assert (again["state"], again["attempts"]) == ("delivered", 2)
        assert [one["http_status"] for one in again["deliveries"]] == [200, 200]
        assert looked.received[0] == looked.received[1]
        assert {one.webhook for one in looked.provider.deliveries} == {1}

    async def test_one_that_was_not_sent(self):
        """Without an address it waits for one, and is then sent by hand."""
        async with looked_into() as looked:
            _ = await looked.pays_out()
            listed = await looked.admin.webhooks()
            with pytest.raises(InvalidRequest, match="no address"):
                _ = await looked.admin.send_again(1)
            with pytest.raises(InvalidRequest, match="no such webhook"):
                _ = await looked.admin.send_again(99)
        assert listed["items"][0]["state"] == "no address"
        assert listed["items"][0]["type"] == "ready_to_confirm"

    async def test_faults_of_webhooks(self):
        """Set while it runs."""
        async with looked_into(has_receiver=True) as looked:
            settings = await looked.admin.change_webhooks(lost=1.0)
            _ = await looked.pays_out()
            listed = await looked.admin.webhooks(only="lost")
            without = await looked.admin.change_webhooks(url=None)
            with pytest.raises(InvalidRequest, match="from 0 to 1"):
                _ = await looked.admin.change_webhooks(lost=2.0)
            for wrong in ({"lost": 2.0}, {"none": 1}, {"delay_seconds": 1e300}):
                with pytest.raises(InvalidRequest):
                    _ = await looked.admin.change_webhooks(
                        url="http://127.0.0.1:9/x", bom=1.0, **wrong
                    )
            kept = await looked.admin.settings()
        assert kept["webhook_url"] is None
        assert kept["webhooks"] == without["webhooks"]
        assert settings["webhooks"]["lost"] == 1.0
        assert len(listed["items"]) == 1
        assert without["webhook_url"] is None

    @pytest.mark.parametrize(
        "url",
        [
            *("nonsense", "ftp://127.0.0.1/x", "http://", "http://[", "/hook", "http://a b/"),
            *("http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://127.0.0.1:x/"),
            *("http://user:word@127.0.0.1/", "http://user@127.0.0.1/", "javascript:alert(1)"),
            f"http://127.0.0.1/{'x' * 2_000}",
        ],
    )
    async def test_an_address_that_is_none(self, url):
        """Is refused, and not repeated."""
        async with looked_into() as looked:
            with pytest.raises(InvalidRequest) as raised:
                _ = await looked.admin.change_webhooks(url=url)
            with pytest.raises(InvalidRequest):
                looked.provider.deliver_to(url)
            taken = await looked.admin.change_webhooks(url="https://shop.example:8443/a?b=c")
        assert raised.value.field == "url"
        assert url not in str(raised.value)
        assert taken["webhook_url"] == "https://shop.example:8443/a?b=c"

    async def test_why_there_was_no_answer(self):
        """In the API and on the pages, as far as it is known."""

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, looked_into() as looked:
            _ = await looked.admin.change_webhooks(url=f"http://127.0.0.1:{port}/")
            _ = await looked.pays_out()
            await until_webhooks(looked, 1)
            shown = await looked.admin.webhook(1)
            pages = [(await looked.get(path))[1] for path in ("webhooks", "webhooks/1")]
        words = "the connection was closed without an answer"
        assert shown["deliveries"][0]["problem"] == words
        assert all(words in page for page in pages)


class TestSettings:
    """Time, wallets, faults, rules and the reset."""

    async def test_time_passes(self):
        """A payout that isn't confirmed ends after four hours, and its webhook is sent."""
        async with looked_into(has_receiver=True) as looked:
            id_ = await looked.pays_out()
            overview = await looked.admin.pass_time(4 * 3600 + 1)
            session = await looked.admin.session(id_)
            await until_webhooks(looked, 2)
            for wrong in (0, -1, 1e12):
                with pytest.raises(InvalidRequest, match="above 0"):
                    _ = await looked.admin.pass_time(wrong)
            _ = [await looked.admin.pass_time(365 * 86_400) for _ in range(10)]
            with pytest.raises(InvalidRequest, match="3653 days"):
                _ = await looked.admin.pass_time(365 * 86_400)
            assert (await looked.admin.overview())["passed_seconds"] > 3650 * 86_400
            _ = await looked.admin.reset()
            _ = await looked.admin.pass_time(1)
        assert overview["passed_seconds"] == 4 * 3600 + 1
        assert session["stage"] == "expired"

    async def test_a_wallet_is_funded(self):
        """In minor units, or in major ones as text."""
        async with looked_into(rules=Rules(wallets={"usd": 0, "jpy": 0})) as looked:
            _ = await looked.admin.fund(150, "usd")
            _ = await looked.admin.fund("2.50", "USD")
            settings = await looked.admin.fund("300", "jpy")
            for wrong in ("1,50", "1,0000", ",100", "1.000,00", "1,000,00.5"):
                with pytest.raises(InvalidRequest):
                    _ = await looked.admin.fund(wrong, "usd")
            more = await looked.admin.fund("1,234,500.50", "usd")
            with pytest.raises(InvalidRequest):
                _ = await looked.admin.fund(1, "none")
            with pytest.raises(InvalidRequest):
                _ = await looked.admin.fund(0, "usd")
        assert [one["text"] for one in settings["wallets"]] == ["300 JPY", "4.00 USD"]
        assert more["wallets"][1]["text"] == "1,234,504.50 USD"

    async def test_faults_are_set_while_it_runs(self):
        """They apply to the next request, and are shown as a script has them."""
        fault = {"kind": "server_error", "rate": 1.0, "operation": "session/create", "times": 1}
        async with looked_into() as looked:
            settings = await looked.admin.set_faults(fault, seed=7)
            url = f"{looked.provider.url}/api/v1/session/create"
            headers = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": KEY.sign(b"{}")}
            async with looked.http.post(url, data=b"{}", headers=headers) as answer:
                status = answer.status
            without_aim = await looked.admin.set_faults({"kind": "slow"})
            never = await looked.admin.set_faults({"kind": "slow", "rate": 0})
            none = await looked.admin.set_faults()
            for wrong, name in (
                ({"kind": "none", "rate": 1.0}, "kind"),
                ({"kind": "slow", "rate": 2.0}, "rate"),
                ({"kind": "stale", "rate": 1.0}, "faults"),
            ):
                with pytest.raises(InvalidRequest) as raised:
                    _ = await looked.admin.set_faults(wrong)
                assert raised.value.field.endswith(name)
        assert (settings["seed"], settings["fault"]) == (7, [fault])
        assert status == 503
        assert without_aim["fault"] == [{"kind": "slow", "rate": 1.0}]
        assert never["fault"] == [{"kind": "slow", "rate": 0}]
        assert none["fault"] == []

    async def test_the_faults_that_are_shown_can_be_set(self):
        """What the settings show of every kind is taken as it is, and means the same."""
        faults = [Fault(kind) for kind in FaultKind]
        faults += [Fault(kind, rate=0.5, nth=(2,), key="k1", times=3) for kind in FaultKind]
        faults.append(Fault(FaultKind.AMOUNT, rate=1, factor=3, currency="eur", moved=True))
        async with looked_into(keeps_history=True) as looked:
            with looked.provider.inject(*faults, seed=7):
                shown = await looked.admin.settings()
                url = f"{looked.provider.url}/emulator/api/settings/faults"
                taken = {name: shown[name] for name in ("seed", "fault")}
                async with looked.http.post(url, json=taken) as answer:
                    assert answer.status == 200, await answer.text()
                script = looked.provider._dispatcher.faults.script
        assert (script.faults, script.seed) == (tuple(faults), 7)

    async def test_injected_faults_are_a_change(self):
        """They are shown while they apply, and those of before after that."""
        async with looked_into() as looked:
            versions = [looked.provider._actions.version()]
            with looked.provider.inject(Fault(FaultKind.SLOW, nth=(9,))):
                versions.append(looked.provider._actions.version())
                shown = (await looked.admin.settings())["fault"]
            versions.append(looked.provider._actions.version())
            after = (await looked.admin.settings())["fault"]
        assert len(set(versions)) == 3
        assert (shown, after) == ([{"kind": "slow", "nth": [9]}], [])

    async def test_rules_are_changed_while_it_runs(self):
        """Each part of the bank uses them; some are fixed."""
        async with looked_into() as looked:
            settings = await looked.admin.change_rules(
                confirmation="automatic", usd_for_rub=0.5, converts_to=None
            )
            id_ = await looked.pays_out()
            session = await looked.admin.session(id_)
            rules = looked.provider._dispatcher.bank
            for wrong, name in (
                ({"wallets": {}}, "wallets"),
                ({"none": 1}, "none"),
                ({"confirmation": "x"}, "confirmation"),
                ({"processing_seconds": -1.0}, "processing_seconds"),
                ({"conversion_rate": 0}, "conversion_rate"),
                ({"status_lag_seconds": 5.0}, "status_lag_seconds"),
            ):
                with pytest.raises(InvalidRequest) as raised:
                    _ = await looked.admin.change_rules(**wrong)
                assert raised.value.field == name
        assert settings["rules"]["confirmation"] == "automatic"
        assert session["stage"] == "succeeded"
        assert rules._project_calls.rules.usd_for_rub == 0.5
        assert rules.views.rules is rules.rules

    @pytest.mark.parametrize(
        ("path", "field"),
        [
            *(("time", "seconds"), ("wallets", "amount"), ("settings/rules", "hold_days")),
            *(("settings/rules", "amount_limits"), ("settings/webhooks", "seed")),
            *(("settings/webhooks", "retry_seconds"), ("settings/faults", "seed")),
            *(("settings/faults/add", "factor"), ("settings/faults/add", "seconds")),
        ],
    )
    @pytest.mark.parametrize("number", [10**400, -(10**400), 2**63])
    async def test_a_number_that_is_too_large(self, path, field, number):
        """Is refused, in JSON and in a form."""
        fault = {"kind": "amount", "rate": 1.0}
        more = {"wallets": {"currency": "usd"}, "settings/faults/add": fault}
        fields = {**more.get(path, {}), field: number}
        if field == "amount_limits":
            fields = {field: {"usd": [1, number]}}
        async with looked_into() as looked:
            url = f"{looked.provider.url}/emulator/api/{path}"
            async with looked.http.post(url, json=fields) as answer:
                assert answer.status == 400, await answer.text()
            form = {name: str(value) for name, value in fields.items()}
            async with looked.http.post(url, data=form) as answer:
                assert answer.status == 400, await answer.text()

    async def test_reset(self):
        """Nothing is left of what happened; settings stay, and ids don't come again."""
        async with looked_into(rules=Rules(id_mark="ab_")) as looked:
            old = await looked.pays_out()
            _ = await looked.admin.pass_time(60)
            _ = await looked.admin.set_faults({"kind": "slow", "nth": [5]})
            overview = await looked.admin.reset()
            new = await looked.pays_out()
            settings = await looked.admin.settings()
        counts = ("sessions", "requests", "webhooks", "moved", "passed_seconds")
        assert [overview[name] for name in counts] == [0, 0, 0, 0, 0]
        assert new != old
        assert settings["fault"] == [{"kind": "slow", "nth": [5]}]
        assert settings["wallets"] == []

    async def test_start_over(self):
        """Nothing is left of what happened, nor of what was changed since the start."""
        async with looked_into(has_receiver=True, rules=Rules(wallets={"usd": 500_00})) as looked:
            before = await looked.admin.settings()
            _ = await looked.pays_out()
            _ = await looked.admin.pass_time(60)
            _ = await looked.admin.set_faults({"kind": "slow", "nth": [5]}, seed=3)
            _ = await looked.admin.change_rules(confirmation="automatic")
            _ = await looked.admin.change_webhooks(url="http://127.0.0.1:9/", lost=0.5)
            _ = await looked.admin.fund(100, "usd")
            _ = await looked.admin.show_values(shows=True)
            looked.provider.start_over()
            overview, settings = await looked.admin.overview(), await looked.admin.settings()
            _ = await looked.pays_out(400_00)
        counts = ("sessions", "requests", "webhooks", "moved", "passed_seconds")
        assert [overview[name] for name in counts] == [0, 0, 0, 0, 0]
        assert settings == before

    async def test_a_reset_while_a_webhook_is_sent(self):
        """The one that is under way belongs to what is forgotten; later ones are delivered."""
        async with looked_into(has_receiver=True) as looked:
            looked.answers.clear()
            _ = await looked.pays_out()
            async with asyncio.timeout(20):
                while not looked.received:  # noqa: ASYNC110 - of the server's task
                    await asyncio.sleep(0.001)
            _ = await looked.admin.reset()
            looked.answers.set()
            _ = await looked.pays_out()
            await until_webhooks(looked, 1)
            [one] = (await looked.admin.webhooks())["items"]
        assert (one["number"], one["state"], one["attempts"]) == (1, "delivered", 1)
        assert len(looked.received) == 2

    async def test_the_provider_object_does_the_same(self):
        """Without HTTP, in the process of the emulator."""
        async with looked_into(has_receiver=True) as looked:
            provider = looked.provider
            first, second, third = [await looked.pays_out(66610) for _ in range(3)]
            provider.confirm(first)
            provider.succeed(first)
            provider.decline(second, "own_code")
            provider.confirm(second)
            provider.pass_time(5 * 3600)
            provider.send_again(1)
            stages = [(await looked.admin.session(id_))["stage"] for id_ in (first, second, third)]
            provider.reset()
            assert provider.session_ids == ()
            assert provider.page_url == f"{provider.url}/emulator/"
        assert stages == ["succeeded", "declined", "expired"]


class TestAddresses:
    """Wrong calls, and those of other sites and machines."""

    @pytest.mark.parametrize(
        ("method", "path", "body", "kind", "status"),
        [
            ("GET", "none", b"", "", 404),
            ("GET", "sessions/ps_1/confirm", b"", "", 405),
            ("POST", "sessions", b"", "", 405),
            ("POST", "time", b"no json", "application/json", 400),
            ("POST", "time", b"[]", "application/json", 400),
            ("POST", "time", b'{"seconds": "1"}', "application/json", 400),
            ("POST", "time", b"{}", "application/json", 400),
            ("POST", "time", b'{"seconds": 1}', "text/plain", 415),
            ("POST", "time", bytes(1_100_000), "application/json", 413),
            ("POST", "reset", b'{"x": 1}', "application/json", 400),
            ("GET", "sessions?limit=0", b"", "", 400),
            ("GET", "sessions?limit=201", b"", "", 400),
            ("GET", "sessions?offset=-1", b"", "", 400),
            ("GET", "sessions?offset=x", b"", "", 400),
            ("GET", "sessions?only=nonsense", b"", "", 400),
            ("GET", "requests?only=stuck", b"", "", 400),
            ("GET", "webhooks?only=refused", b"", "", 400),
            ("GET", "requests/1", b"", "", 404),
            ("GET", "webhooks/1", b"", "", 404),
        ],
    )
    async def test_a_wrong_call(self, method, path, body, kind, status):
        """Is answered with JSON that says what is wrong."""
        async with looked_into() as looked:
            url = f"{looked.provider.url}/emulator/api/{path}"
            headers = {"Content-Type": kind} if kind else {}
            async with looked.http.request(
                method, url, data=BytesIO(body), headers=headers
            ) as answer:
                assert answer.status == status
                assert (await answer.json())["error"]["problem"]
            assert (await looked.admin.overview())["passed_seconds"] == 0

    @pytest.mark.parametrize("path", ["", "api/overview", "events", "settings"])
    async def test_another_host_is_refused(self, path):
        """A name of another site that resolves to this machine."""
        async with looked_into() as looked:
            status, text = await looked.get(path, Host="shop.example")
        assert (status, "demo" in text) == (421, False)

    @pytest.mark.parametrize("path", ["", "api/overview", "events", "settings", "report"])
    @pytest.mark.parametrize("host", ["evil@127.0.0.1", "@localhost", "evil:x@[::1]", ""])
    async def test_a_host_with_a_user_is_refused(self, path, host):
        """And an empty one."""
        async with looked_into() as looked:
            status, text = await looked.get(path, Host=host)
        assert (status, "demo" in text) == (421, False)

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            *(("offset=x", "offset"), ("limit=x", "limit"), ("limit=0", "limit")),
            *(("offset=-1", "offset"), (f"offset={10**12}", "offset"), ("only=none", "only")),
        ],
    )
    @pytest.mark.parametrize("path", ["", "requests", "webhooks"])
    async def test_a_wrong_query(self, path, query, name):
        """The page and the API name the field; the page is HTML."""
        async with looked_into() as looked:
            status, text = await looked.get(f"{path}?{query}")
            address = f"{looked.provider.url}/emulator/api/{path or 'sessions'}?{query}"
            async with looked.http.get(address) as answer:
                assert (await answer.json())["error"]["field"] == name
        assert status == 400
        assert re.search(rf'<p id="problem">{name}: must be', text)

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "POST"])
    async def test_the_stream_is_only_read(self, method):
        """Another method is refused, and logs nothing."""
        async with looked_into() as looked:
            url = f"{looked.provider.url}/emulator/events"
            async with looked.http.request(method, url) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "GET")
            assert (await looked.admin.overview())["requests"] == 0

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            *(("GET", "none"), ("POST", "none"), ("GET", "sessions/a/b"), ("GET", "Settings")),
            *(("GET", "requests/x"), ("POST", "report"), ("PUT", "3ds/ps_1")),
        ],
    )
    async def test_an_unknown_address(self, method, path):
        """Is a page, and no request that is logged."""
        records: list[RequestRecord] = []
        async with looked_into(on_request=records.append) as looked:
            url = f"{looked.provider.url}/emulator/{path}"
            async with looked.http.request(method, url) as answer:
                assert (answer.status, answer.content_type) == (404, "text/html")
            assert (await looked.admin.overview())["requests"] == 0
        assert records == []

    @pytest.mark.parametrize("path", ["", "api/overview", "events"])
    async def test_another_origin_is_refused(self, path):
        """A script of another site's page."""
        async with looked_into() as looked:
            status, text = await looked.get(path, Origin="http://shop.example")
        assert (status, "demo" in text) == (403, False)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://shop.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        ],
    )
    async def test_a_form_of_another_site_is_refused(self, headers):
        """Nothing is done."""
        async with looked_into() as looked:
            url = f"{looked.provider.url}/emulator/api/time"
            async with looked.http.post(url, data={"seconds": "60"}, headers=headers) as answer:
                assert answer.status == 403
            assert (await looked.admin.overview())["passed_seconds"] == 0

    async def test_another_machine_is_refused(self):
        """An address of this machine that isn't loopback is that of another one, for example."""
        async with looked_into(host="0.0.0.0") as looked:  # noqa: S104
            port = looked.provider.url.rpartition(":")[2]
            own = outside_urls(looked.provider.url)
            if not own:
                pytest.skip("this machine has loopback addresses only")
            for path in ("", "api/overview", "events"):
                headers = {"Host": f"localhost:{port}"}
                async with looked.http.get(f"{own[0]}/emulator/{path}", headers=headers) as answer:
                    assert (answer.status, "demo" in await answer.text()) == (403, False)
            async with looked.http.get(f"http://127.0.0.1:{port}/emulator/api/overview") as answer:
                assert answer.status == 200


async def test_a_change_is_an_event():
    """A step that falls due by the clock is one, too."""
    rules = Rules(processing_seconds=1.0)
    async with (
        looked_into(rules=rules) as looked,
        looked.http.get(f"{looked.provider.url}/emulator/events") as answer,
    ):
        assert answer.content_type == "text/event-stream"
        _ = await answer.content.readuntil(b"\n\n")
        id_ = await looked.pays_out()
        async with asyncio.timeout(60):
            assert await answer.content.readuntil(b"\n\n") == b"data: changed\n\n"
            while (await looked.admin.session(id_))["stage"] != "ready":
                assert await answer.content.readuntil(b"\n\n") == b"data: changed\n\n"


async def test_many_sessions_cost_no_more():
    """A page of 10,000 sessions needs as many calls of functions as one of 100."""
    counts = [await calls_for_a_page(sessions) for sessions in (100, 10_000)]
    assert counts[1] < counts[0] * 1.2, counts


async def calls_for_a_page(sessions: int) -> int:
    """Return how many functions are called to show the newest 50 sessions."""
    async with looked_into() as looked:
        body = b'{"metadata": {"idempotency_key": "k%d"}}'
        bank, now = looked.provider._dispatcher.bank, looked.provider._dispatcher.now()
        for number in range(sessions):
            params = json.loads(body % number)
            call = ApiCall(
                operation="session/create", params=params, name=Name(f"k{number}", is_key=True)
            )
            _ = bank.answer(call, now)
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        with contextlib.ExitStack() as stack:
            _ = stack.callback(sys.setprofile, sys.getprofile())
            sys.setprofile(count)
            status, text = await looked.get("")
        assert (status, text.count('<tr role="row"') - 1) == (200, 50)
        listed = await looked.admin.sessions()
        assert (len(listed["items"]), listed["total"]) == (50, sessions)
        return calls
