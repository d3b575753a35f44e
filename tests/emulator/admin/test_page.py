"""The page of the emulator as HTML, and its forms without a script."""

import re
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Final

import pytest
from looking import HOOK, KEY, LookedInto, looked_into

from smartglocal_async.emulator import run

PATHS: Final = ("", "requests", "webhooks", "settings")


class Named(HTMLParser):
    """Notes the ids of a page, and the fields without a label."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:  # noqa: ARG002
        """Note an element."""
        self.ids += [value for name, value in attrs if name == "id"]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]


async def filled(looked: LookedInto) -> str:
    """Make a session of each sort; return the id of one that waits for its confirm."""
    _ = await looked.call("session/create", {}, key="k0")
    id_ = await looked.pays_out(key="<b>k1</b>")
    for amount in (66601, 66610, 66620, 66630):
        _ = await looked.admin.confirm(await looked.pays_out(amount))
    paid = await looked.is_paid()
    _ = await looked.admin.confirm(paid)
    _ = await looked.admin.chargeback(paid)
    _ = await looked.call("session/create", {"a": "b"}, signed=b'{"a":"b"}')
    _ = await looked.admin.set_faults({"kind": "slow", "nth": [99]})
    return id_


async def test_every_page_is_shown():
    """With a nonce, without inline handlers, and each id once; texts are escaped."""
    async with looked_into(has_receiver=True) as looked:
        id_ = await filled(looked)
        total = (await looked.admin.requests())["total"]
        sessions = (await looked.admin.sessions())["items"]
        for path in (
            *PATHS,
            *(f"sessions/{one['id']}" for one in sessions),
            *(f"requests/{total}", "requests/1", "webhooks/1"),
            *("?text=k1", "?only=stuck", "?limit=2&offset=2", "requests?only=refused"),
        ):
            status, text = await looked.get(path)
            assert status == 200, path
            page = Named()
            page.feed(text)
            assert len(page.ids) == len(set(page.ids)), path
            assert page.inline == [], path
            assert "<b>k1</b>" not in text
        _, text = await looked.get(f"sessions/{id_}")
        assert "&lt;b&gt;k1&lt;/b&gt;" in text
        assert "Waits for confirm" in text
        _, text = await looked.get(f"requests/{total}")
        assert "no spaces" in text
        assert "<mark>" in text


@pytest.mark.parametrize("path", ["sessions/none", "requests/9", "webhooks/9"])
async def test_what_is_not_there(path):
    """Is answered with a page that says so."""
    async with looked_into() as looked:
        status, text = await looked.get(path)
    assert status == 404
    assert "There is no such entry" in text


async def test_forms_work_without_a_script():
    """They lead back to the page that they are on, and to no other site."""
    async with looked_into() as looked:
        id_ = await looked.pays_out()
        url = f"{looked.provider.url}/emulator/api"
        page = f"/emulator/sessions/{id_}"
        for path, form, back in (
            (f"sessions/{id_}/confirm", {"page": page}, page),
            ("time", {"seconds": "60", "page": "/emulator/settings"}, "/emulator/settings"),
            ("wallets", {"amount": "1.50", "currency": "usd", "page": "//shop.example/"}, None),
            ("wallets", {"amount": "1.50", "currency": "usd", "page": "http://x/emulator/"}, None),
            ("settings/rules", {"confirmation": "automatic", "webhook_version": "2"}, None),
            ("settings/rules", {"hold_is_named": "false", "converts_to": ""}, None),
            ("settings/webhooks", {"url": "http://127.0.0.1:9/x", "lost": "0.5"}, None),
            ("settings/faults/add", {"kind": "slow", "nth": "1,3", "key": "12", "times": ""}, None),
            ("settings/values", {"shows": "true"}, None),
        ):
            async with looked.http.post(
                f"{url}/{path}", data=form, allow_redirects=False
            ) as answer:
                assert answer.status == 303, (path, await answer.text())
                assert answer.headers["Location"] == back or back is None
                assert answer.headers["Location"].startswith("/emulator/")
        settings = await looked.admin.settings()
        overview = await looked.admin.overview()
    assert settings["fault"] == [{"kind": "slow", "nth": [1, 3], "key": "12"}]
    assert settings["rules"]["webhook_version"] == 2
    assert settings["rules"]["hold_is_named"] is False
    assert (settings["webhook_url"], settings["webhooks"]["lost"]) == ("http://127.0.0.1:9/x", 0.5)
    assert (overview["passed_seconds"], overview["shows_values"]) == (60, True)


async def test_times_of_another_day_have_their_date():
    """Those of today have none; the emulator's clock decides what today is."""
    async with looked_into(clock=lambda: datetime(2026, 11, 30, 23, 59, tzinfo=UTC)) as looked:
        _ = await looked.pays_out()
        today = (await looked.get("requests"))[1]
        _ = await looked.admin.pass_time(120)
        tomorrow = (await looked.get("requests"))[1]
        clock = (await looked.get("settings"))[1]
    assert ('data-label="Time">23:59:00<' in today, "2026-11-30" in today) == (True, False)
    assert 'data-label="Time">2026-11-30 23:59:00<' in tomorrow
    assert "<strong>00:01:00</strong>" in clock


async def test_the_form_of_a_fault_has_its_fields():
    """Each of them is taken; those that are left empty aren't set."""
    names = ("kind", "operation", "rate", "nth", "key", "times", "seconds", "status", "code")
    async with looked_into() as looked:
        _, text = await looked.get("settings")
        [form] = re.findall(
            r'action="/emulator/api/settings/faults/add".*?</form>', text, re.DOTALL
        )
        fields = dict.fromkeys(re.findall(r'name="(\w+)"', form), "")
        assert {*names, "factor"} == fields.keys() - {"page"}
        url = f"{looked.provider.url}/emulator/api/settings/faults/add"
        for more in (
            {"kind": "unknown_code", "nth": "1, 3", "key": "k1", "status": "422", "code": "own"},
            {"kind": "amount", "rate": "0.5", "factor": "3"},
        ):
            async with looked.http.post(url, data={**fields, **more}) as answer:
                assert answer.status == 200, await answer.text()
        shown = (await looked.admin.settings())["fault"]
    assert shown == [
        {"kind": "unknown_code", "nth": [1, 3], "key": "k1", "status": 422, "code": "own"},
        {"kind": "amount", "rate": 0.5, "factor": 3},
    ]


@pytest.mark.parametrize(
    "page",
    [
        *("//[", "http://[", "/emulator/\r\nX-Own: 1", "/emulator/\x00", "/emulator/\n"),
        *("/emulator/\ud7ff", "/emulator\\\\shop.example", "", "//shop.example/emulator/"),
    ],
)
async def test_a_form_with_an_odd_page(page):
    """What it asks for is done, and it leads to the sessions."""
    async with looked_into() as looked:
        form, url = {"seconds": "60", "page": page}, f"{looked.provider.url}/emulator/api/time"
        async with looked.http.post(url, data=form, allow_redirects=False) as answer:
            found = (answer.status, answer.headers["Location"], answer.headers.get("X-Own"))
        assert (await looked.admin.overview())["passed_seconds"] == 60
    assert found == (303, "/emulator/", None)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("time", {"seconds": "x"}),
        ("settings/faults/add", {"kind": "slow", "nth": "[" * 100_000}),
        ("sessions/none/confirm", {}),
        ("settings/faults/add", {"kind": "slow", "rate": "2"}),
        ("settings/faults/3/remove", {}),
        ("none", {}),
    ],
)
async def test_a_form_that_is_wrong(path, form):
    """Is answered with a page that says what is wrong."""
    async with looked_into() as looked:
        url = f"{looked.provider.url}/emulator/api/{path}"
        async with looked.http.post(url, data={"page": "/emulator/", **form}) as answer:
            text = await answer.text()
    assert answer.status == 400
    assert re.search(r'<p id="problem">\w', text)


async def test_the_form_of_all_rules_changes_nothing_as_it_is():
    """Each field shows the present value, and is read as such."""
    async with looked_into() as looked:
        before = await looked.admin.settings()
        _, text = await looked.get("settings")
        for path in ("settings/rules", "settings/webhooks"):
            forms = re.findall(
                rf'<form method="post" action="/emulator/api/{path}".*?</form>', text, re.DOTALL
            )
            assert forms
            for form in forms:
                fields = dict(re.findall(r'<input name="(\w+)"[^>]* value="([^"]*)"', form))
                for name, options in re.findall(r'<select name="(\w+)">(.*?)</select>', form):
                    [fields[name]] = re.findall(r"<option selected>(.*?)</option>", options)
                url = f"{looked.provider.url}/emulator/api/{path}"
                async with looked.http.post(url, data=fields) as answer:
                    assert answer.status == 200, await answer.text()
        assert await looked.admin.settings() == before
        assert len(before["rules"]) > 50


async def test_the_page_is_only_read():
    """Another method is refused."""
    async with looked_into() as looked:
        url = f"{looked.provider.url}/emulator/"
        async with looked.http.post(url, data=b"") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET")


async def test_without_jinja2(monkeypatch):
    """The page is the command that installs it, and the API works."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    async with looked_into() as looked:
        status, text = await looked.get("")
        assert status == 501
        assert "pip install 'smartglocal-async[pages]'" in text
        assert (await looked.admin.overview())["sessions"] == 0


async def test_its_address():
    """Is known where this machine can reach it."""
    async with run(public_key=KEY.public, webhook_key=HOOK) as provider:
        assert provider.page_url == f"{provider.url}/emulator/"
    async with run(public_key=KEY.public, host="0.0.0.0") as provider:  # noqa: S104
        port = provider.url.rpartition(":")[2]
        assert provider.page_url == f"http://127.0.0.1:{port}/emulator/"
