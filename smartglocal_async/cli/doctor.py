"""``doctor``: checks the environment, the key, the network, the clock and the credentials."""

import asyncio
import enum
import os
import platform
import re
import ssl
import stat
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from attrs import frozen

from ..client import SmartGlocal
from ..encryption import KEY_VARIABLE, RequestCipher
from ..errors import InvalidCredentials, OutcomeUnknown, Refused, SmartGlocalError
from ..keys import PrivateKey
from ..models.requests import SessionRef
from ..retry import RetryPolicy, Timing
from ..servers import SYSTEM, system_proxy, without_password
from ..settings import Environment, Settings, from_environment
from ..webhooks.verifier import WebhookVerifier
from .app import DoctorOptions
from .errors import ExitCode, message_of, reader_may_leave, variable_of
from .output import counted, version_of, write_json
from .payouts.batches import reading
from .payouts.journals import is_there, place_of, shown
from .payouts.options import JOURNAL_VARIABLE
from .signals import run_async
from .tables import cell, console, show, table

_NEEDED: Final = ("aiohttp", "attrs", "cattrs", "cryptography", "tenacity")
_OPTIONAL: Final = ("typer", "rich", "uvloop")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WEBHOOK_KEY: Final = variable_of("webhook_key")
_PASSPHRASE: Final = variable_of("private_key_passphrase")
_PROXY: Final = variable_of("proxy")


class Level(enum.StrEnum):
    """Result of a check."""

    OK = "ok"
    WARN = "warn"
    """Calls work, but something should be fixed."""
    FAIL = "fail"
    SKIP = "skip"
    """Not run: an earlier check failed."""


@frozen
class CheckResult:
    """The result of one check."""

    check: str
    level: Level
    found: str
    fix: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the result as plain JSON values."""
        return {
            "check": self.check,
            "level": self.level.value,
            "found": self.found,
            "fix": self.fix,
        }


def skipped(failed: str, *checks: str) -> list[CheckResult]:
    """Return results of checks that were not run because another one failed."""
    return [CheckResult(check, Level.SKIP, f"not run: {failed} failed") for check in checks]


def level_of(results: Sequence[CheckResult]) -> Level:
    """Return the worst level."""
    levels = {result.level for result in results}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)


def check_key(environment: Environment) -> Iterator[CheckResult]:
    """Check the file of the private key, then the key."""
    path = environment.private_key
    try:
        mode, pem = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        fix = "check SMARTGLOCAL_PRIVATE_KEY, or generate a key pair with: smartglocal keygen"
        yield CheckResult("key file", Level.FAIL, f"{path}: {error.strerror}", fix)
        yield from skipped("key file", "key")
        return
    yield _permissions(path, mode)
    yield _soundness(pem, environment.passphrase)


def check_packages() -> list[CheckResult]:
    """Return the versions of required and optional packages."""
    versions = {name: version_of(name) for name in (*_NEEDED, *_OPTIONAL)}
    needed = ", ".join(f"{name} {versions[name]}" for name in _NEEDED)
    optional = ", ".join(f"{name} {versions[name] or 'absent'}" for name in _OPTIONAL)
    return [
        CheckResult("python", Level.OK, f"{platform.python_version()} on {platform.system()}"),
        CheckResult("packages", Level.OK, needed),
        CheckResult("optional", Level.OK, optional),
    ]


def _permissions(path: Path, mode: int) -> CheckResult:
    if os.name == "posix" and mode & _OTHERS:
        found = f"{path} can be accessed by others (mode {stat.S_IMODE(mode):04o})"
        return CheckResult("key file", Level.WARN, found, f"chmod 600 {path}")
    return CheckResult("key file", Level.OK, f"{path} can be accessed by its owner only")


def _soundness(pem: bytes, passphrase: str | None) -> CheckResult:
    try:
        key = PrivateKey.from_pem(pem, passphrase.encode() if passphrase else None).prove()
    except InvalidCredentials as error:
        return CheckResult("key", Level.FAIL, str(error), _key_fix(pem, passphrase))
    return CheckResult("key", Level.OK, f"RSA, {key.bits} bits; its signature is valid")


def _key_fix(pem: bytes, passphrase: str | None) -> str:
    if b"ENCRYPTED" in pem:
        return (
            f"correct {_PASSPHRASE}, or SMARTGLOCAL_PRIVATE_KEY if it is the wrong file"
            if passphrase
            else f"set {_PASSPHRASE}"
        )
    if passphrase and b"PRIVATE KEY" in pem:
        return f"unset {_PASSPHRASE}"
    return "set SMARTGLOCAL_PRIVATE_KEY to the file of your private key"


def check_journal() -> CheckResult:
    """Check that the journal of this environment can be read, if there is one."""
    try:
        place = place_of(os.environ.get(JOURNAL_VARIABLE), None, None)
        if not is_there(place):
            return CheckResult("journal", Level.OK, f"{place}: none yet; `payouts pay` creates it")
        counts = run_async(_counts_in(place))
    except (SmartGlocalError, OSError) as error:
        fix = f"correct {JOURNAL_VARIABLE}, or see the page about the journal"
        return CheckResult("journal", Level.FAIL, message_of(error), fix)
    return CheckResult("journal", Level.OK, f"{shown(place)}: {counted(counts, 'payout')}")


async def _counts_in(place: str) -> int:
    async with reading(place) as book:
        return sum((await book.counts()).values())


def check_journal_key() -> CheckResult:
    """Check the key that encrypts the requests in a journal, if it is set."""
    if not os.environ.get(KEY_VARIABLE):
        found = "not set; only `payouts submit` and `work` need it"
        return CheckResult("journal key", Level.OK, found)
    try:
        _ = RequestCipher.from_env()
    except InvalidCredentials as error:
        fix = "make one with: smartglocal payouts journal new-key"
        return CheckResult("journal key", Level.FAIL, str(error), fix)
    return CheckResult("journal key", Level.OK, f"{KEY_VARIABLE} can be used")


def check_webhook_key() -> CheckResult:
    """Check the provider's key that verifies webhooks, if it is set."""
    if not os.environ.get(_WEBHOOK_KEY):
        return CheckResult("webhook key", Level.OK, "not set; only receivers of webhooks need it")
    try:
        _ = WebhookVerifier.from_env()
    except (SmartGlocalError, OSError) as error:
        fix = f"set {_WEBHOOK_KEY} to the file with the provider's public key"
        return CheckResult("webhook key", Level.FAIL, message_of(error), fix)
    return CheckResult("webhook key", Level.OK, f"{_WEBHOOK_KEY} can be used")


_TIMEOUT_SECONDS: Final = 5.0
_CALL_SECONDS: Final = 15.0
_MAX_CLOCK_SECONDS: Final = 30
_TOO_MANY: Final = 429
_PORTS: Final = {"https": 443, "http": 80}
_CONNECTED: Final = re.compile(r"HTTP/1\.[01] 2\d\d(?: .*)?")
_NO_SESSION: Final = "ps_0_doctor"
_FIX_NETWORK: Final = (
    "check SMARTGLOCAL_SERVER, the firewall, and that the provider allows your address"
)
_FIX_LOCAL: Final = (
    "is the emulator running? start it with: smartglocal emulator, and set SMARTGLOCAL_SERVER "
    "to the address that it prints"
)
_FIX_TLS: Final = "check the clock and the certificates of this machine, and any proxy in between"

# The provider's error codes for bad credentials; any other code means that they are accepted.
_CREDENTIAL_ERRORS: Final[Mapping[str, tuple[str, str]]] = {
    "identification_error": (
        "the provider doesn't know this project",
        "check SMARTGLOCAL_PROJECT, and whether it belongs to this server: demo and live differ",
    ),
    "authentication_error": (
        "the provider doesn't accept the signature",
        "have your account manager register the public key of this private key for this project",
    ),
    "authorization_error": (
        "the project isn't allowed to make this call",
        "ask your account manager to allow it",
    ),
}


def check_proxy(environment: Environment) -> CheckResult:
    """Show the proxy that calls go through, or the one of the system that they don't."""
    if environment.proxy is not None:
        found = f"calls go through {without_password(environment.proxy)} ({_PROXY})"
        return CheckResult("proxy", Level.OK, found)
    unused = system_proxy(environment.server)
    if unused is None:
        return CheckResult("proxy", Level.OK, "none")
    found = f"this system has the proxy {without_password(unused)}, and calls don't go through it"
    return CheckResult("proxy", Level.WARN, found, f"if they have to: export {_PROXY}={SYSTEM}")


async def check_reach(server: str, timing: Timing, proxy: str | None = None) -> list[CheckResult]:
    """Resolve the name, connect, and compare the clocks; stop at the first failure.

    With a proxy the name isn't resolved here: the proxy does that.
    """
    address = urlsplit(server)
    try:
        host, port = address.hostname, address.port or _PORTS.get(address.scheme)
    except ValueError:
        host, port = None, None
    if not host or port is None:
        fix = "write it like https://host"
        failed = CheckResult("server", Level.FAIL, f"{server} is not the address of a server", fix)
        return [failed, *skipped("server", "clock")]
    if proxy is not None or _is_literal(host):
        return await _check_connection(address, host, port, timing, proxy)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:
        failed = CheckResult("dns", Level.FAIL, f"{host}: {_why(error)}", _FIX_NETWORK)
        return [failed, *skipped("dns", _layer(address), "clock")]
    addresses = sorted({str(entry[4][0]) for entry in found})
    return [
        CheckResult("dns", Level.OK, f"{host} resolves to {', '.join(addresses)}"),
        *await _check_connection(address, host, port, timing),
    ]


async def check_call() -> CheckResult:
    """Request the status of a session that doesn't exist; the refusal shows who it recognised."""
    once = Settings(retry=RetryPolicy(attempts=1))
    try:
        async with SmartGlocal.from_env(settings=once) as api:
            _ = await api.session.status(SessionRef(_NO_SESSION), deadline=_CALL_SECONDS)
    except Refused as error:
        return _judge(error)
    except InvalidCredentials as error:
        source = variable_of(error.setting) if error.setting else "environment"
        found = f"{source}: {error.problem}"
        return CheckResult("credentials", Level.FAIL, found, "correct this variable")
    except OutcomeUnknown as error:
        fix = "try again; if it persists, ask the provider"
        return CheckResult("credentials", Level.WARN, str(error), fix)
    except SmartGlocalError as error:
        return CheckResult("credentials", Level.FAIL, str(error), _FIX_NETWORK)
    return CheckResult("credentials", Level.OK, "project and signature are accepted")


def _judge(error: Refused) -> CheckResult:
    if error.http_status == _TOO_MANY:
        found, fix = "the provider limits the rate (HTTP 429)", "try again in a minute"
        return CheckResult("credentials", Level.WARN, found, fix)
    if error.code is None:
        found = f"the answer is not from the API: {error}"
        return CheckResult("credentials", Level.FAIL, found, _FIX_NETWORK)
    if error.code in _CREDENTIAL_ERRORS:
        found, fix = _CREDENTIAL_ERRORS[error.code]
        return CheckResult("credentials", Level.FAIL, f"{found} ({error.code})", fix)
    return CheckResult(
        "credentials", Level.OK, f"project and signature are accepted (answer: {error.code})"
    )


async def _check_connection(
    address: SplitResult, host: str, port: int, timing: Timing, proxy: str | None = None
) -> list[CheckResult]:
    kind = _layer(address)
    way = "" if proxy is None else " through the proxy"
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            date = await _date(host, port, secure=kind == "tls", proxy=proxy)
    except ssl.SSLError as error:
        failed = CheckResult(kind, Level.FAIL, f"{host}:{port}: {error.reason or error}", _FIX_TLS)
        return [failed, *skipped(kind, "clock")]
    except OSError as error:
        fix = _FIX_LOCAL if _is_refused_here(host, error) else _FIX_NETWORK
        fix = fix if proxy is None else f"check {_PROXY}, and that the proxy allows this server"
        failed = CheckResult(kind, Level.FAIL, f"{host}:{port}{way}: {_why(error)}", fix)
        return [failed, *skipped(kind, "clock")]
    answers = CheckResult(kind, Level.OK, f"{host}:{port} answers{way}")
    return [answers, _check_clock(date, timing)]


def _layer(address: SplitResult) -> str:
    return "tls" if address.scheme == "https" else "tcp"


def _is_literal(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _is_refused_here(host: str, error: OSError) -> bool:
    # A name with several addresses raises one error for all of them, without a specific type.
    is_here = host == "localhost" or (_is_literal(host) and ip_address(host).is_loopback)
    return is_here and not isinstance(error, TimeoutError)


async def _date(host: str, port: int, *, secure: bool, proxy: str | None) -> str:
    """Send a HEAD request, and return the ``Date`` of the answer; empty if there is none."""
    if proxy is None:
        reader, writer = await asyncio.open_connection(host, port, ssl=secure or None)
    else:
        reader, writer = await _connect_through(urlsplit(proxy), host, port, secure=secure)
    try:
        request = f"HEAD / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode("ascii"))
        await writer.drain()
        while (line := await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "date":
                return value.strip()
    except ValueError:
        return ""  # A line that doesn't end: not HTTP.
    finally:
        writer.close()
    return ""


async def _connect_through(
    proxy: SplitResult, host: str, port: int, *, secure: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a server through a proxy, by the method CONNECT (RFC 9110, 9.3.6)."""
    is_tls = proxy.scheme == "https"
    proxy_port = proxy.port or _PORTS[proxy.scheme]
    reader, writer = await asyncio.open_connection(proxy.hostname, proxy_port, ssl=is_tls or None)
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if proxy.username is not None:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(user.encode()).decode()}")
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        status = (await reader.readline()).decode("latin-1").strip()
        while (await reader.readline()).strip():
            pass
        if not _CONNECTED.fullmatch(status):
            raise OSError(f"the proxy answered {status!r}")  # noqa: TRY301
        if secure:
            await writer.start_tls(ssl.create_default_context(), server_hostname=host)
    except BaseException:
        writer.close()
        raise
    return reader, writer


def _check_clock(date: str, timing: Timing) -> CheckResult:
    try:
        ahead = (timing.now() - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return CheckResult("clock", Level.WARN, "the server's answer has no date", None)
    found = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) > _MAX_CLOCK_SECONDS:
        return CheckResult("clock", Level.WARN, found, "synchronise this machine's clock with NTP")
    return CheckResult("clock", Level.OK, found)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_SECONDS:.0f} s"
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error) or type(error).__name__


_STYLES: Final[Mapping[Level, str]] = {
    Level.OK: "green",
    Level.WARN: "yellow",
    Level.FAIL: "bold red",
    Level.SKIP: "dim",
}


_FIX_ENVIRONMENT: Final = (
    "project and server are from your account manager, and smartglocal keygen generates a key; "
    "to try without them: smartglocal emulator"
)


def doctor(options: DoctorOptions) -> ExitCode:
    """Run all checks, and print their results."""
    results = _examine(os.environ, Timing())
    is_good = level_of(results) is not Level.FAIL
    with reader_may_leave():
        if options.as_json:
            write_json({"ok": is_good, "checks": [result.as_dict() for result in results]})
        else:
            _show(results)
    return ExitCode.DONE if is_good else ExitCode.FAILED


def _examine(variables: Mapping[str, str], timing: Timing) -> list[CheckResult]:
    try:
        environment = from_environment(variables)
    except InvalidCredentials as error:
        found = [
            CheckResult("environment", Level.FAIL, str(error), _FIX_ENVIRONMENT),
            *skipped("environment", "key file", "key", "server", "clock", "credentials"),
        ]
    else:
        found = [
            CheckResult("environment", Level.OK, f"project {environment.project}"),
            *check_key(environment),
        ]
        found = run_async(_check_network(environment, timing, found))
        found.append(check_journal())
    return [*found, check_journal_key(), check_webhook_key(), *check_packages()]


async def _check_network(
    environment: Environment, timing: Timing, found: list[CheckResult]
) -> list[CheckResult]:
    found.append(check_proxy(environment))
    found = [*found, *await check_reach(environment.server, timing, environment.proxy)]
    failed = next((result.check for result in found if result.level is Level.FAIL), None)
    if failed is None:
        return [*found, await check_call()]
    return [*found, *skipped(failed, "credentials")]


def _show(results: list[CheckResult]) -> None:
    shown = table()
    shown.show_header = False
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for result in results:
        text = cell(result.found)
        if result.fix is not None:
            _ = text.append("\n").append(cell(f"fix: {result.fix}", "bold"))
        level = cell(result.level, _STYLES[result.level])
        shown.add_row(level, result.check, text)
    show(console(), shown)
