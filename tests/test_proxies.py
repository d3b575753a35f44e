"""Calls through an HTTP proxy: an address of one's own, or that of the system."""

import os
import subprocess
import sys

import pytest
from forward_proxy import forwarding
from places import ROOT
from rawserver import good, serve
from tls import Secured

import smartglocal_async as sg
from smartglocal_async.servers import system_proxy

VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY")
SECRET = "hunter2"  # noqa: S105 - the test's own


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Have no proxy in the environment."""
    for name in (*VARIABLES, *map(str.lower, VARIABLES), "SMARTGLOCAL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def variables(provider, key, tmp_path):
    """Return the variables of a client."""
    (tmp_path / "shop.pem").write_bytes(key.pem())
    return {
        "SMARTGLOCAL_PROJECT": provider.project,
        "SMARTGLOCAL_PRIVATE_KEY": str(tmp_path / "shop.pem"),
        "SMARTGLOCAL_SERVER": provider.url,
    }


async def test_a_pool_with_a_proxy(provider, connect) -> None:
    """All calls go through it, with its user and password, over one connection."""
    with forwarding(f"shop:{SECRET}") as proxy:
        async with sg.SessionPool(proxy=proxy.url) as pool:
            api = connect(provider, pool=pool)
            await api.warm_up()
            first = await api.session.create(sg.CreateSession(), key="k-1")
            again = await api.session.status(sg.SessionRef(first.id))
            assert SECRET not in repr(pool)
    assert again.id == first.id
    host = provider.url.removeprefix("http://")
    assert [line.partition(" ")[2] for line in proxy.reached] == [host]
    assert provider.report().bad_signatures == 0


async def test_tls_ends_at_the_server_and_not_at_the_proxy(key, secured: Secured) -> None:
    """With TLS the proxy only connects; the certificate checked is the server's."""
    with serve(good, tls=secured.server) as server, forwarding() as proxy:
        pool = sg.SessionPool(proxy=proxy.url, ssl_context=secured.client)
        async with pool, sg.SmartGlocal("demo", key, server.url, pool=pool) as api:
            await api.warm_up(2)
            session = await api.session.create(sg.CreateSession())
            assert session.id == "ps_1"
    assert proxy.reached == [f"CONNECT 127.0.0.1:{server.port}"] * 2


@pytest.mark.parametrize(
    ("user", "denies", "words"),
    [(None, True, "the proxy answered HTTP 403"), (f"shop:{SECRET}", False, "HTTP 407")],
    ids=["refuses the server", "wants a password"],
)
async def test_a_proxy_that_refuses(key, secured: Secured, user, denies, words) -> None:
    """Nothing was sent, and the error says what the proxy answered."""
    with serve(good, tls=secured.server) as server, forwarding(user, denies=denies) as proxy:
        address = proxy.url.replace(SECRET, "wrong")
        pool = sg.SessionPool(proxy=address, ssl_context=secured.client)
        async with pool, sg.SmartGlocal("demo", key, server.url, pool=pool) as api:
            with pytest.raises(sg.NotSent, match=words) as caught:
                await api.session.create(sg.CreateSession())
    assert ("wrong" in str(caught.value), caught.value.attempts) == (False, 1)
    assert server.requests == []


async def test_a_proxy_that_is_away(provider, connect) -> None:
    """It is named, and not its password."""
    with forwarding(f"shop:{SECRET}") as proxy:
        pass
    async with sg.SessionPool(proxy=proxy.url) as pool:
        api = connect(provider, pool=pool)
        with pytest.raises(sg.NotSent, match=r"ClientProxyConnectionError") as caught:
            await api.session.create(sg.CreateSession(), attempts=1)
    assert SECRET not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize("way", ["argument", "variable", "system"])
async def test_a_client_with_a_proxy(provider, key, variables, monkeypatch, way) -> None:
    """The client passes it to its own pool: by argument, by variable, or from the system."""
    with forwarding() as proxy:
        if way == "argument":
            made = sg.SmartGlocal(provider.project, key, provider.url, proxy=proxy.url)
        else:
            monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://"))
            chosen = "system" if way == "system" else proxy.url
            made = sg.SmartGlocal.from_env(environment={**variables, "SMARTGLOCAL_PROXY": chosen})
        async with made as api:
            _ = await api.session.create(sg.CreateSession())
    assert len(proxy.reached) == 1


async def test_without_the_setting_the_system_proxy_is_not_used(variables, monkeypatch) -> None:
    """The variables of the system alone change nothing."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with sg.SmartGlocal.from_env(environment=variables) as api:
        _ = await api.session.create(sg.CreateSession())


@pytest.mark.parametrize(
    ("set_", "server", "found"),
    [
        ({"HTTPS_PROXY": "http://p.example:3128"}, "https://pay.example", "http://p.example:3128"),
        ({"https_proxy": "p.example:3128"}, "https://pay.example", "http://p.example:3128"),
        ({"HTTPS_PROXY": "http://p.example:3128"}, "http://pay.example", None),
        ({"HTTP_PROXY": "http://p.example"}, "http://pay.example", "http://p.example"),
        (
            {"HTTPS_PROXY": "http://p.example", "NO_PROXY": "localhost,.example"},
            "https://pay.example",
            None,
        ),
        (
            {"HTTPS_PROXY": "http://p", "NO_PROXY": "other.example"},
            "https://pay.example",
            "http://p",
        ),
        ({"HTTPS_PROXY": ""}, "https://pay.example", None),
        ({}, "https://pay.example", None),
        ({"HTTPS_PROXY": "http://p"}, "https://[", None),
    ],
)
def test_the_proxy_of_the_system(monkeypatch, set_, server, found) -> None:
    """As curl and requests read these variables."""
    for name, value in set_.items():
        monkeypatch.setenv(name, value)
    assert system_proxy(server) == found


ODD = [
    "proxy.example:3128",
    f"socks5://u:{SECRET}@host:1080",
    f"http://u:{SECRET}@",
    "http://host/path",
    "http://host?a=b",
    "http://[",
    7,
]


@pytest.mark.parametrize("address", ODD)
def test_an_address_that_is_no_proxy(address, variables, key) -> None:
    """It is refused before anything is sent, and not shown."""
    with pytest.raises(
        sg.InvalidRequest, match=r"SessionPool.proxy: must be the address"
    ) as caught:
        sg.SessionPool(proxy=address)
    assert SECRET not in str(caught.value)
    with pytest.raises(sg.InvalidRequest, match="must be the address"):
        sg.SmartGlocal("demo", key, "http://127.0.0.1:1", proxy=address)
    if isinstance(address, str):
        with pytest.raises(sg.InvalidCredentials, match="SMARTGLOCAL_PROXY") as caught:
            sg.SmartGlocal.from_env(environment={**variables, "SMARTGLOCAL_PROXY": address})
        assert (caught.value.setting, SECRET in str(caught.value)) == ("proxy", False)


def test_a_system_proxy_that_cannot_be_used(variables, monkeypatch) -> None:
    """The variable that holds it is named."""
    monkeypatch.setenv("HTTP_PROXY", "socks5://host:1080")
    with pytest.raises(sg.InvalidCredentials, match="HTTPS_PROXY must be the address"):
        sg.SmartGlocal.from_env(environment={**variables, "SMARTGLOCAL_PROXY": "system"})


async def test_one_proxy_only(key) -> None:
    """A pool or a session of the caller's own has its own proxy."""
    async with sg.SessionPool() as pool:
        with pytest.raises(sg.InvalidRequest, match=r"SessionPool\(proxy="):
            sg.SmartGlocal("demo", key, "http://127.0.0.1:1", pool=pool, proxy="http://p:1")


@pytest.mark.slow
@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_authority_in_a_variable(key, secured: Secured, tmp_path, is_trusted) -> None:
    """`SSL_CERT_FILE` adds one for a process; without it nothing is sent, and not tried again."""
    (tmp_path / "shop.pem").write_bytes(key.pem())
    variables = {"SSL_CERT_FILE": str(secured.certificate)} if is_trusted else {}
    with serve(good, tls=secured.server) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "shop.pem"), server.url],
            env={**os.environ, **variables},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout == ("ps_1\n" if is_trusted else "True 1\n")


PROGRAM = """
import asyncio, sys
import smartglocal_async as sg

async def main():
    async with sg.SmartGlocal("demo", sys.argv[1], sys.argv[2]) as api:
        try:
            print((await api.session.create(sg.CreateSession())).id)
        except sg.NotSent as error:
            print(error.is_misconfigured, error.attempts)

asyncio.run(main())
"""
