"""What the doctor asks the network: is the server there, what is its time, does it know us."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ..client import SmartGlocal
from ..errors import InvalidCredentials, OutcomeUnknown, Refused, SmartGlocalError
from ..retry import RetryPolicy, Timing
from ..settings import Settings
from ..values.requests import SessionRef
from .doctor_local import Finding, Level, skipped
from .naming import by_variable

_PATIENCE_SECONDS: Final = 5.0
_CALL_SECONDS: Final = 15.0
_CLOCK_SECONDS: Final = 30
_TOO_MANY: Final = 429
_PORTS: Final = {"https": 443, "http": 80}
_NOBODY: Final = "ps_0_doctor"
_MEND_NETWORK: Final = "check SMARTGLOCAL_SERVER, the firewall, and whether your address is allowed"
_MEND_LOCAL: Final = (
    "is the emulator running? start it with: smartglocal emulator, and set SMARTGLOCAL_SERVER "
    "to the address that it prints"
)
_MEND_TLS: Final = "check the clock and the certificates of this machine, and any proxy in between"

# What the provider's code says about the credentials; any other was said to a known partner.
_SAID: Final[Mapping[str, tuple[str, str]]] = {
    "identification_error": (
        "the provider doesn't know this project",
        "check SMARTGLOCAL_PROJECT, and whether it belongs to this server: demo and live differ",
    ),
    "authentication_error": (
        "the provider doesn't accept the signature",
        "have your account manager register the public half of this key for this project",
    ),
    "authorization_error": (
        "the project isn't allowed to make this call",
        "ask your account manager to allow it",
    ),
}


async def check_reach(server: str, timing: Timing) -> list[Finding]:
    """Look the name up, connect, and compare clocks; stop at the first failure."""
    address = urlsplit(server)
    try:
        host, port = address.hostname, address.port or _PORTS.get(address.scheme)
    except ValueError:
        host, port = None, None
    if not host or port is None:
        mend = "write it like https://host"
        failed = Finding("server", Level.FAIL, f"{server} is no address of a server", mend)
        return [failed, *skipped("server", "clock")]
    if _is_literal(host):
        return await _check_connection(address, host, port, timing)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:
        failed = Finding("dns", Level.FAIL, f"{host}: {_why(error)}", _MEND_NETWORK)
        return [failed, *skipped("dns", _line(address), "clock")]
    addresses = sorted({str(entry[4][0]) for entry in found})
    return [
        Finding("dns", Level.OK, f"{host} leads to {', '.join(addresses)}"),
        *await _check_connection(address, host, port, timing),
    ]


async def check_call() -> Finding:
    """Ask for the status of a session that doesn't exist; the refusal tells who we are."""
    once = Settings(retry=RetryPolicy(attempts=1))
    try:
        async with SmartGlocal.from_env(settings=once) as api:
            _ = await api.session.status(SessionRef(_NOBODY), deadline=_CALL_SECONDS)
    except Refused as error:
        return _judge(error)
    except InvalidCredentials as error:
        found = by_variable(str(error))
        return Finding("credentials", Level.FAIL, found, "correct the variable that it names")
    except OutcomeUnknown as error:
        mend = "try again; if it stays, ask the provider"
        return Finding("credentials", Level.WARN, str(error), mend)
    except SmartGlocalError as error:
        return Finding("credentials", Level.FAIL, str(error), _MEND_NETWORK)
    return Finding("credentials", Level.OK, "project and signature are accepted")


def _judge(error: Refused) -> Finding:
    if error.http_status == _TOO_MANY:
        found, mend = "the provider asks for patience (HTTP 429)", "try again in a minute"
        return Finding("credentials", Level.WARN, found, mend)
    if error.code is None:
        found = f"something else than the API answers: {error}"
        return Finding("credentials", Level.FAIL, found, _MEND_NETWORK)
    if error.code in _SAID:
        found, mend = _SAID[error.code]
        return Finding("credentials", Level.FAIL, f"{found} ({error.code})", mend)
    return Finding(
        "credentials", Level.OK, f"project and signature are accepted (answer: {error.code})"
    )


async def _check_connection(
    address: SplitResult, host: str, port: int, timing: Timing
) -> list[Finding]:
    kind = _line(address)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            date = await _date(host, port, secure=kind == "tls")
    except ssl.SSLError as error:
        failed = Finding(kind, Level.FAIL, f"{host}:{port}: {error.reason or error}", _MEND_TLS)
        return [failed, *skipped(kind, "clock")]
    except OSError as error:
        mend = _MEND_LOCAL if _is_refused_here(host, error) else _MEND_NETWORK
        failed = Finding(kind, Level.FAIL, f"{host}:{port}: {_why(error)}", mend)
        return [failed, *skipped(kind, "clock")]
    return [Finding(kind, Level.OK, f"{host}:{port} answers"), _check_clock(date, timing)]


def _line(address: SplitResult) -> str:
    return "tls" if address.scheme == "https" else "tcp"


def _is_literal(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _is_refused_here(host: str, error: OSError) -> bool:
    # A name with several addresses gives one error for all of them, of no kind.
    is_here = host == "localhost" or (_is_literal(host) and ip_address(host).is_loopback)
    return is_here and not isinstance(error, TimeoutError)


async def _date(host: str, port: int, *, secure: bool) -> str:
    """Ask for nothing, and give the ``Date`` of the answer; empty if there is none."""
    reader, writer = await asyncio.open_connection(host, port, ssl=secure or None)
    try:
        asked = f"HEAD / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(asked.encode("ascii"))
        await writer.drain()
        while (line := await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "date":
                return value.strip()
    except ValueError:
        return ""  # A line without an end: not HTTP.
    finally:
        writer.close()
    return ""


def _check_clock(date: str, timing: Timing) -> Finding:
    try:
        ahead = (timing.now() - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return Finding("clock", Level.WARN, "the server doesn't tell its time", None)
    found = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) > _CLOCK_SECONDS:
        return Finding("clock", Level.WARN, found, "have this machine's clock set over NTP")
    return Finding("clock", Level.OK, found)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_PATIENCE_SECONDS:.0f} s"
    words = error.strerror if isinstance(error, OSError) else None
    return words or str(error) or type(error).__name__
