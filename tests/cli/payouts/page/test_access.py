"""Who may open the page and who may change something: refusals over real sockets."""

import aiohttp
import pytest
from aiohttp import web
from payout_pages import browsing, set_environment, words_of, write_journal
from tls import make_certificate

import smartglocal_async as sg
from smartglocal_async.cli.payouts.page.access import PageAccess, PageAddress

URL = "https://payouts.example"
PAUSE = {"change": "pause", "batch": "may.csv"}


@pytest.fixture
async def journal(tmp_path, schema, monkeypatch):
    """Return a journal in a file."""
    set_environment(monkeypatch)
    return await write_journal("sqlite", tmp_path, schema)


async def state_of(journal) -> str:
    """Return the state of the batch."""
    async with journal.opened() as writer:
        return (await writer.batch("may.csv")).state.value


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "payouts.attacker.example"},
        {"Host": "127.0.0.1.attacker.example"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/payouts", "/payout?key=k-paid", "/events", "/sign-in"])
async def test_another_host_or_origin(journal, headers, path):
    """A page of another site, or a name that was made to resolve here, can't read anything."""
    async with browsing(journal) as browser:
        status, text = await browser.get(path, **headers)
        assert (status, "k-" in text) == (403, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://attacker.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
        {"Host": "attacker.example", "Origin": "http://attacker.example"},
        {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        },
    ],
)
async def test_a_form_of_another_site(journal, headers):
    """It changes nothing, even with the cookie of a person who signed in."""
    async with browsing(journal, allow_changes=True) as browser:
        await browser.sign_in()
        status, _, _ = await browser.post("/change", PAUSE, **headers)
        assert status == 403
    assert await state_of(journal) == "running"


FORM = "application/x-www-form-urlencoded"
PART = b'--x\r\nContent-Disposition: form-data; name="token"'


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (FORM, b"token=\xff\xfe", 400),
        (FORM, b"token=%ff%fe", 400),
        (FORM, b"&".join(b"a=%d" % number for number in range(100)), 400),
        (FORM, b"token=" + b"a" * 20_000, 413),
        ("multipart/form-data; boundary=x", b"garbage", 415),
        ("multipart/form-data", PART, 415),
        ("multipart/form-data; boundary=x", PART + b"\r\nContent-Encoding: gzip\r\n\r\na", 415),
        ("application/json", b"{}", 415),
        ("", b"token=a", 415),
        ("\xe9", b"token=a", 415),
    ],
)
@pytest.mark.parametrize("path", ["sign-in", "change"])
async def test_a_form_that_can_not_be_read(journal, path, kind, body, status):
    """It is refused in words, and the page goes on."""
    async with browsing(journal, allow_changes=True) as browser:
        await browser.sign_in()
        own = {"Origin": browser.page.url.rstrip("/"), "Content-Type": kind}
        async with browser.session.post(browser.page.url + path, data=body, headers=own) as answer:
            assert answer.status == status
            assert answer.content_type == "text/html"
        assert (await browser.get())[0] == 200


@pytest.mark.parametrize("kind", ["nonsense", "utf-16"])
async def test_a_charset_of_a_form(journal, kind):
    """A form is always UTF-8, whatever it says."""
    async with browsing(journal, allow_changes=True) as browser:
        own = {"Origin": browser.page.url.rstrip("/"), "Content-Type": f"{FORM}; charset={kind}"}
        url = f"{browser.page.url}sign-in"
        async with browser.session.post(url, data=b"token=wrong", headers=own) as answer:
            assert answer.status == 401


READ = ("", "batch", "payouts", "payout", "search", "events")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods(journal, method):
    """Each is refused with those that there are; HEAD is answered, but for events."""
    async with browsing(journal, allow_changes=True) as browser:
        own = {"Origin": browser.page.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
        for path in READ:
            url = browser.page.url + path
            async with browser.session.request(method, url, headers=own) as answer:
                allowed = "GET" if path == "events" else "GET,HEAD"
                assert (answer.status, answer.headers["Allow"]) == (405, allowed), path
        async with browser.session.head(f"{browser.page.url}payouts") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with browser.session.head(f"{browser.page.url}events") as answer:
            assert answer.status == 405


@pytest.mark.parametrize("token", ["", "wrong", "\u00e9", "x" * 20_000])
async def test_an_unknown_token(journal, token):
    """It sets no cookie, and nothing can be changed."""
    async with browsing(journal, allow_changes=True) as browser:
        status, text, answer = await browser.post("/sign-in", {"token": token})
        assert status in {401, 413}
        assert "Set-Cookie" not in answer.headers
        assert browser.page.access.token not in text
        status, _, _ = await browser.post("/change", PAUSE)
        assert status == 401
    assert await state_of(journal) == "running"


@pytest.mark.parametrize("cookie", [None, "", "guessed"])
async def test_a_change_without_a_session(journal, cookie):
    """Without the cookie, or with one that was made up, nothing is changed."""
    async with browsing(journal, allow_changes=True) as browser:
        if cookie is not None:
            browser.session.cookie_jar.update_cookies({browser.page.access.cookie: cookie})
        assert (await browser.change("pause", batch="may.csv"))[0] == 401
        _, page = await browser.get("/batch?name=may.csv")
        assert ("sign in with the token" in words_of(page), '<form action="/change"' in page) == (
            *(True, False),
        )
    assert await state_of(journal) == "running"


async def test_changes_that_are_not_allowed(journal):
    """Without --allow-changes there is no form and no change, and no token is needed."""
    async with browsing(journal) as browser:
        assert browser.page.link == browser.page.url
        for action in ("pause", "resume", "cancel", "paid", "limits"):
            status, words = await browser.change(action, batch="may.csv", key="k-unknown")
            assert (status, "without --allow-changes" in words) == (403, True)
        # Even the right token changes that not.
        await browser.sign_in()
        assert (await browser.change("pause", batch="may.csv"))[0] == 403
        for path in ("/", "/batch?name=may.csv", "/payout?key=k-unknown"):
            assert 'action="/change"' not in (await browser.get(path))[1]
    assert await state_of(journal) == "running"


async def test_changes_only_by_post(journal):
    """A link changes nothing."""
    async with browsing(journal, allow_changes=True) as browser:
        await browser.sign_in()
        assert (await browser.get("/change?change=pause&batch=may.csv"))[0] == 405
    assert await state_of(journal) == "running"


async def test_the_cookie(journal):
    """Scripts can't read it, other sites don't get it sent, and it isn't the token."""
    async with browsing(journal, allow_changes=True) as browser:
        access = browser.page.access
        async with browser.session.post(
            f"{browser.page.url}sign-in", data={"token": access.token}, allow_redirects=False
        ) as answer:
            cookie = answer.headers["Set-Cookie"]
        assert answer.status == 303
        for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
            assert part in cookie
        assert access.token not in cookie
        assert access.token not in browser.page.link
        assert f"#token={access.link_token}" in browser.page.link


async def test_a_cookie_alone(journal):
    """A program on another port gets the cookie; with it, it can't change or find the secret."""
    async with browsing(journal, allow_changes=True) as browser:
        await browser.sign_in()
        texts = [(await browser.get(path))[1] for path in ("/", "/batch?name=may.csv", "/sign-in")]
        assert not [text for text in texts if browser.secret in text]
        for secret in ("", "guessed", "\u00e9", browser.page.access.token):
            status, _, _ = await browser.post("/change", {**PAUSE, "secret": secret})
            assert status == 403
        first = browser.secret
        await browser.sign_in()
        status, _, _ = await browser.post("/change", {**PAUSE, "secret": first})
        assert status == 403
        assert await state_of(journal) == "running"
        assert (await browser.change("pause", batch="may.csv"))[0] == 200


async def test_the_token_of_the_address():
    """It signs in once, and only within ten minutes; the other one is not spent."""
    now = [0.0]
    address = PageAddress(host="127.0.0.1", port=0, has_tls=False, origin=None)
    access = PageAccess(address, allows_changes=True, clock=lambda: now[0])
    assert access.sign_in(access.link_token, web.Response()) is not None
    assert access.sign_in(access.link_token, web.Response()) is None
    late = PageAccess(address, allows_changes=True, clock=lambda: now[0])
    now[0] = 601.0
    assert late.sign_in(late.link_token, web.Response()) is None
    for _ in range(2):
        assert late.sign_in(late.token, web.Response()) is not None


async def test_headers_of_the_page(journal):
    """No other site can frame the page, and only its own script runs in it."""
    async with browsing(journal) as browser:
        for path in ("/", "/payout?key=none", "/nothing"):
            async with browser.session.get(f"{browser.page.url}{path[1:]}") as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert answer.headers["Cache-Control"] == "no-store"
                assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "can be reached by other machines"),  # noqa: S104 - refused
        ({"host": "::"}, "can be reached by other machines"),
        ({"host": "10.1.2.3"}, "can be reached by other machines"),
        ({"host": "payouts.internal"}, "can be reached by other machines"),
        ({"behind_proxy": True}, "--url: required with --behind-proxy"),
        ({"behind_proxy": True, "url": "http://payouts.example"}, "--url: expected an address"),
        ({"behind_proxy": True, "url": f"{URL}/page"}, "without a path"),
        ({"behind_proxy": True, "url": "https://[x"}, "--url: expected an address"),
        ({"url": URL}, "--url: goes with --tls-cert"),
        ({"tls_cert": "CERT"}, "goes with --tls-key"),
        ({"tls_key": "CERT"}, "goes with --tls-key"),
        ({"tls_cert": "CERT", "tls_key": "CERT", "host": "::"}, "--url: required"),
        ({"tls_cert": "CERT", "tls_key": "CERT", "host": "10.1.2.3"}, "--port: other machines"),
        ({"tls_cert": "TEXT", "tls_key": "TEXT"}, "--tls-cert: can't be used with its key"),
        ({"operator": "\x1b[31m"}, "--as: expected"),
        ({"operator": " "}, "--as: expected"),
        ({"health": "x"}, "health: expected a port"),
    ],
)
async def test_options_that_are_refused(journal, tmp_path, options, words):
    """Nothing is served to other machines without TLS, and each option is named."""
    secured, text = make_certificate(tmp_path), tmp_path / "text.pem"
    text.write_text("no certificate")
    paths = {"CERT": secured.certificate, "TEXT": text}
    given = {name: paths.get(value, value) for name, value in options.items()}
    with pytest.raises(sg.InvalidRequest) as caught:
        async with browsing(journal, **given):
            pass
    assert words in str(caught.value)


async def test_with_tls(journal, tmp_path):
    """The page is served with a certificate; the cookie goes over TLS only."""
    secured = make_certificate(tmp_path)
    async with browsing(
        journal,
        aiohttp.TCPConnector(ssl=secured.client),
        tls_cert=secured.certificate,
        tls_key=tmp_path / "secret.pem",
        allow_changes=True,
    ) as browser:
        assert browser.page.url.startswith("https://127.0.0.1:")
        assert (await browser.get())[0] == 200
        _, _, answer = await browser.post("/sign-in", {"token": browser.page.access.token})
        [first] = answer.history
        assert "Secure" in first.headers["Set-Cookie"]
        await browser.sign_in()
        assert (await browser.change("pause", batch="may.csv"))[0] == 200


async def test_behind_a_proxy(journal):
    """The public name is the only one, and the token is needed to read, too."""
    async with browsing(
        journal, behind_proxy=True, url=URL, allow_changes=True, operator="ann"
    ) as browser:
        port = browser.page.port
        own = {"Host": "payouts.example"}
        local = f"http://127.0.0.1:{port}"
        async with browser.session.get(local) as answer:
            assert (answer.status, "may.csv" in await answer.text()) == (403, False)
        for path in ("/", "/payouts", "/payout?key=k-paid", "/search?q=k-paid", "/events"):
            async with browser.session.get(local + path, headers=own) as answer:
                assert (answer.status, "may.csv" in await answer.text()) == (401, False)
        form = {"token": browser.page.access.token}
        sent = {**own, "Origin": "https://attacker.example"}
        async with browser.session.post(f"{local}/sign-in", data=form, headers=sent) as answer:
            assert answer.status == 403
        sent = {**own, "Origin": URL}
        async with browser.session.post(
            f"{local}/sign-in", data=form, headers={**sent, "Accept": "application/json"}
        ) as answer:
            secret = await answer.json()
            cookie = answer.headers["Set-Cookie"]
        assert "Secure" in cookie
        signed = {**sent, "Cookie": cookie.partition(";")[0]}
        async with browser.session.get(f"{local}/payouts", headers=signed) as answer:
            assert (answer.status, "k-paid" in await answer.text()) == (200, True)
        async with browser.session.post(
            f"{local}/change",
            data={**PAUSE, "secret": secret},
            headers=signed,
            allow_redirects=False,
        ) as answer:
            assert answer.status == 303
    assert await state_of(journal) == "paused"
