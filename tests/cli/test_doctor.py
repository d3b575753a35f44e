"""The doctor: every check has a case where it is well, and one where it is not."""

import asyncio
import contextlib
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forward_proxy import forwarding
from rawserver import good, serve
from typer.testing import CliRunner

import smartglocal_async as sg
from smartglocal_async.cli import doctor
from smartglocal_async.cli.app import app
from smartglocal_async.cli.doctor import check_call, check_reach
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

VARIABLES = (
    *("PROJECT", "PRIVATE_KEY", "SERVER", "PRIVATE_KEY_PASSPHRASE", "API_VERSION"),
    *("JOURNAL", "JOURNAL_KEY", "WEBHOOK_KEY", "PROXY"),
)
SYSTEM_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY")
RIGHT, WRONG = "the right one", "the wrong one"


@pytest.fixture
def examine(key, tmp_path, monkeypatch):
    """Return a function that runs the doctor with JSON; it returns exit code and checks by name."""
    path = tmp_path / "shop.pem"
    path.touch(mode=0o600)
    path.write_bytes(key.pem())

    def call(*, system_proxy: str | None = None, **variables: str):
        for name in (*(f"SMARTGLOCAL_{name}" for name in VARIABLES), *SYSTEM_PROXIES):
            monkeypatch.delenv(name, raising=False)
        if system_proxy is not None:
            monkeypatch.setenv("HTTP_PROXY", system_proxy)
        known = {"PROJECT": "demo", "PRIVATE_KEY": str(path), **variables}
        for name, value in known.items():
            monkeypatch.setenv(f"SMARTGLOCAL_{name}", value)
        result = CliRunner().invoke(app, ("doctor", "--json"), catch_exceptions=False)
        said = json.loads(result.stdout)
        assert said["ok"] == (result.exit_code == 0)
        return result.exit_code, {check["check"]: check for check in said["checks"]}

    call.key_file = path
    return call


@contextlib.asynccontextmanager
async def answering(text: bytes):
    """Serve one fixed answer to everything; return the address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_everything_is_well(examine, provider):
    """With good credentials every check is ok, and one signed request left."""
    code, checks = examine(SERVER=provider.url)
    assert code == 0
    assert {check["level"] for check in checks.values()} == {"ok"}
    assert {"environment", "key file", "key", "tcp", "clock", "credentials"} <= set(checks)
    assert "dns" not in checks
    assert provider.report().bad_signatures == 0


def test_calls_through_a_proxy(examine, provider):
    """The proxy is named without its password, and every check goes through it."""
    with forwarding("shop:hunter2") as proxy:
        code, checks = examine(SERVER=provider.url, PROXY=proxy.url)
    assert (code, {check["level"] for check in checks.values()}) == (0, {"ok"})
    shown = proxy.url.replace("shop:hunter2@", "")
    assert checks["proxy"]["found"] == f"calls go through {shown} (SMARTGLOCAL_PROXY)"
    assert checks["tcp"]["found"].endswith("answers through the proxy")
    assert [line.partition(" ")[0] for line in proxy.reached] == ["CONNECT", "POST"]


def test_a_proxy_that_is_not_used(examine, provider):
    """The system's proxy is named, with the setting that uses it."""
    with forwarding() as proxy:
        code, checks = examine(SERVER=provider.url, system_proxy=proxy.url)
        again, through = examine(SERVER=provider.url, PROXY="system", system_proxy=proxy.url)
    assert (code, again, checks["proxy"]["level"]) == (0, 0, "warn")
    assert checks["proxy"]["fix"] == "if they have to: export SMARTGLOCAL_PROXY=system"
    assert checks["proxy"]["found"].startswith(f"this system has the proxy {proxy.url}, and calls")
    assert through["proxy"]["found"] == f"calls go through {proxy.url} (SMARTGLOCAL_PROXY)"


@pytest.mark.parametrize(
    ("user", "denies", "answered"),
    [(None, True, "403 Forbidden"), ("shop:hunter2", False, "407 Proxy Authentication Required")],
)
def test_a_proxy_that_refuses(examine, provider, user, denies, answered):
    """What it answered is shown, and nothing else is tried."""
    with forwarding(user, denies=denies) as proxy:
        address = proxy.url.replace("shop:hunter2@", "")
        code, checks = examine(SERVER=provider.url, PROXY=address)
    assert (code, checks["tcp"]["level"], checks["credentials"]["level"]) == (1, "fail", "skip")
    assert checks["tcp"]["found"].endswith(f": the proxy answered 'HTTP/1.1 {answered}'")
    assert checks["tcp"]["fix"] == "check SMARTGLOCAL_PROXY, and that the proxy allows this server"


def test_a_proxy_with_tls_behind_it(examine, secured, monkeypatch):
    """TLS ends at the server: its certificate is checked through the proxy."""
    with serve(good, tls=secured.server) as server, forwarding() as proxy:
        code, checks = examine(SERVER=server.url, PROXY=proxy.url)
        assert (code, checks["tls"]["level"]) == (1, "fail")
        assert "certificate" in checks["tls"]["found"].lower()
        monkeypatch.setenv("SSL_CERT_FILE", str(secured.certificate))
        _, checks = examine(SERVER=server.url, PROXY=proxy.url)
    assert checks["tls"]["found"].endswith("answers through the proxy")
    assert {line.partition(" ")[0] for line in proxy.reached} == {"CONNECT"}


def test_journal_and_keys(examine, provider, tmp_path, key):
    """The journal is opened for reading, and each key is read; what is wrong is named."""
    place = tmp_path / "payouts.db"
    _, checks = examine(SERVER=provider.url, JOURNAL=str(place))
    assert checks["journal"]["found"] == f"{place}: none yet; `payouts pay` creates it"
    assert {checks[name]["found"][:7] for name in ("journal key", "webhook key")} == {"not set"}
    hook = tmp_path / "hook.pem"
    hook.write_bytes(key.public.pem())
    asyncio.run(made(place, provider.url))
    good = {"JOURNAL_KEY": sg.RequestCipher.new_key(), "WEBHOOK_KEY": str(hook)}
    code, checks = examine(SERVER=provider.url, JOURNAL=str(place), **good)
    assert code == 0
    assert checks["journal"]["found"] == f"{place}: 0 payouts"
    assert checks["webhook key"]["found"] == "SMARTGLOCAL_WEBHOOK_KEY can be used"
    place.write_bytes(b"no journal at all, but long enough to be looked at" * 100)
    bad = {"JOURNAL_KEY": "x", "WEBHOOK_KEY": str(place)}
    code, checks = examine(SERVER=provider.url, JOURNAL=str(place), **bad)
    assert code == 1
    for name in ("journal", "journal key", "webhook key"):
        assert checks[name]["level"] == "fail"
        assert checks[name]["fix"]


async def made(place: Path, server: str) -> None:
    """Make an empty journal."""
    journal = sg.SQLiteJournal(place)
    await journal.open(f"{server}|demo")
    await journal.close()


def test_table_tells_what_to_mend(examine, provider):
    """The table has a line for each check, and the correction below what fails."""
    examine(SERVER=provider.url, PROJECT="stranger")
    result = CliRunner().invoke(app, ("doctor",))
    assert result.exit_code == 1
    assert "fix: check SMARTGLOCAL_PROJECT" in " ".join(result.stdout.split())


def test_environment_is_checked_first(examine):
    """Without an address nothing is sent, and the packages are shown nevertheless."""
    code, checks = examine()
    assert code == 1
    assert "SMARTGLOCAL_SERVER" in checks["environment"]["found"]
    skipped = {"key file", "key", "server", "clock", "credentials"}
    keys = {"journal key", "webhook key"}
    assert set(checks) == {"environment", *skipped, *keys, "python", "packages", "optional"}
    for name in skipped:
        assert checks[name]["level"] == "skip"
        assert checks[name]["found"] == "not run: environment failed"
    assert "SMARTGLOCAL" not in checks["environment"]["fix"]


def test_name_of_a_server_is_looked_up(examine, provider):
    """A name has addresses, which are shown; an address needs no such line."""
    code, checks = examine(SERVER=provider.url.replace("127.0.0.1", "localhost"))
    assert (code, checks["dns"]["level"]) == (0, "ok")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_on_this_machine_may_be_the_emulator(examine, host):
    """A connection refused right here has nothing to do with a firewall."""
    _, checks = examine(SERVER=f"http://{host}:1")
    assert "is the emulator running?" in checks["tcp"]["fix"]


def test_open_key_file_is_a_warning(examine, provider):
    """A key that others can read is reported, with the command that corrects it."""
    examine.key_file.chmod(0o644)
    code, checks = examine(SERVER=provider.url)
    assert (code, checks["key file"]["level"]) == (0, "warn")
    assert checks["key file"]["fix"].startswith("chmod 600 ")


def test_missing_key_file(examine, provider, tmp_path):
    """A key file that isn't there fails, and the server is asked for its time only."""
    code, checks = examine(SERVER=provider.url, PRIVATE_KEY=str(tmp_path / "absent.pem"))
    assert (code, checks["key file"]["level"]) == (1, "fail")
    assert "keygen" in checks["key file"]["fix"]
    for name in ("key", "credentials"):
        assert checks[name]["level"] == "skip"
        assert checks[name]["found"] == "not run: key file failed"


def test_public_key_in_place_of_the_private_one(examine, provider, key):
    """A file with the wrong half is named as such."""
    examine.key_file.write_bytes(key.public.pem())
    code, checks = examine(SERVER=provider.url)
    assert (code, checks["key"]["level"]) == (1, "fail")
    assert "public key" in checks["key"]["found"]


def test_encrypted_key_needs_its_passphrase(examine, provider, key):
    """A wrong passphrase is reported without being shown."""
    examine.key_file.write_bytes(key.pem(RIGHT.encode()))
    _, checks = examine(SERVER=provider.url, PRIVATE_KEY_PASSPHRASE=WRONG)
    assert checks["key"]["level"] == "fail"
    assert checks["key"]["fix"].startswith("correct SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE")
    assert WRONG not in json.dumps(checks)
    _, checks = examine(SERVER=provider.url)
    assert checks["key"]["fix"] == "set SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE"
    code, _ = examine(SERVER=provider.url, PRIVATE_KEY_PASSPHRASE=RIGHT)
    assert code == 0


def test_superfluous_passphrase_is_to_go(examine, provider):
    """A passphrase for a key that has none is to be taken away, and not to be given."""
    code, checks = examine(SERVER=provider.url, PRIVATE_KEY_PASSPHRASE=RIGHT)
    assert (code, checks["key"]["level"]) == (1, "fail")
    assert checks["key"]["fix"] == "unset SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE"


def test_unknown_project(examine, provider):
    """`identification_error` speaks of the project."""
    code, checks = examine(SERVER=provider.url, PROJECT="stranger")
    assert (code, checks["credentials"]["level"]) == (1, "fail")
    assert "SMARTGLOCAL_PROJECT" in checks["credentials"]["fix"]


def test_unregistered_key(examine, run_provider):
    """`authentication_error` speaks of the key."""
    other = run_provider(public_key=sg.PrivateKey.generate().public)
    code, checks = examine(SERVER=other.url)
    assert (code, checks["credentials"]["level"]) == (1, "fail")
    assert "register the public key" in checks["credentials"]["fix"]


@pytest.mark.parametrize(
    ("kind", "level"),
    [(FaultKind.AFTER, "warn"), (FaultKind.THROTTLE, "warn"), (FaultKind.REDIRECT, "fail")],
)
def test_answers_that_decide_nothing(examine, run_provider, kind, level):
    """Where the API itself doesn't answer, the credentials are not called good."""
    faults = FaultScript((Fault(kind, rate=1.0),))
    _, checks = examine(SERVER=run_provider(faults=faults).url)
    assert checks["credentials"]["level"] == level


async def test_session_that_exists_after_all(examine, monkeypatch):
    """An answer instead of a refusal proves the credentials as well."""
    body = b'{"status":"ok","session":{"id":"ps_0_doctor","status":"created"}}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    async with answering(head + body) as server:
        monkeypatch.setenv("SMARTGLOCAL_PROJECT", "demo")
        monkeypatch.setenv("SMARTGLOCAL_PRIVATE_KEY", str(examine.key_file))
        monkeypatch.setenv("SMARTGLOCAL_SERVER", server)
        accepted = await check_call()
    gone = await check_call()
    assert (accepted.level.value, gone.level.value) == ("ok", "fail")
    assert "not sent" in gone.found


@pytest.mark.parametrize("version", ["v3", "one"])
def test_setting_that_no_client_takes(examine, provider, version):
    """An error of the client itself is shown in its words."""
    code, checks = examine(SERVER=provider.url, API_VERSION=version)
    assert (code, checks["credentials"]["level"]) == (1, "fail")
    assert checks["credentials"]["found"].startswith("SMARTGLOCAL_API_VERSION: api_version")


@pytest.mark.parametrize(
    ("server", "check"),
    [
        ("https://nobody.invalid", "dns"),
        ("https://" + "long" * 20 + ".invalid", "dns"),
        ("http://127.0.0.1:1", "tcp"),
        ("nowhere", "server"),
        ("https://host:99999999", "server"),
    ],
)
def test_unreachable_server(examine, server, check):
    """Name, address and connection fail each under their own name, and stop the rest."""
    code, checks = examine(SERVER=server)
    assert (code, checks[check]["level"]) == (1, "fail")
    for name in ("clock", "credentials"):
        assert checks[name]["level"] == "skip"
        assert checks[name]["found"] == f"not run: {check} failed"


def test_tls_that_is_none(examine, provider):
    """A server that doesn't speak TLS under https fails as TLS."""
    code, checks = examine(SERVER=provider.url.replace("http:", "https:"))
    assert (code, checks["tls"]["level"]) == (1, "fail")


@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [(5, "ok", "ahead of"), (-5, "ok", "behind"), (3600, "warn", "3600 s ahead of")],
)
async def test_clock_is_compared_with_the_server(ahead, level, words):
    """Half a minute of difference is reported, in the right direction."""
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    answer = b"HTTP/1.1 200 OK\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT\r\n\r\n"
    async with answering(answer) as server:
        timing = sg.Timing(now=lambda: then + timedelta(seconds=ahead))
        found = (await check_reach(server, timing))[-1]
    assert (found.check, found.level.value) == ("clock", level)
    assert words in found.found


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: soon\r\n\r\n",
        b"",
        b"x" * 100_000,
    ],
)
async def test_server_without_a_clock(answer):
    """A server that tells no time, or no HTTP at all, is a warning."""
    async with answering(answer) as server:
        found = (await check_reach(server, sg.Timing()))[-1]
    assert (found.check, found.level.value) == ("clock", "warn")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer within 5 s"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ssl.SSLError("odd"), "odd"),
        (OSError(), "OSError"),
    ],
)
def test_every_network_error_has_words(error, words):
    """No failure of the network is shown as an empty line."""
    assert words in doctor._why(error)
