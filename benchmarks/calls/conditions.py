"""A call under other conditions: uvloop, larger keys, TLS, a distant server, faults."""

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smartglocal_async import PrivateKey

from ..goals import table
from ..machine import event_loops, say
from ..server import serving
from ..setting import Setting
from .contenders import AIOHTTP, BY_HAND, OURS, Contender
from .costs import Costs, Turn, measure_turns
from .worker import Entrant

_IN_FLIGHT: Final = 50
_DELAY_SECONDS: Final = 0.05
_FAULT_EVERY: Final = 100


@frozen(kw_only=True)
class Condition:
    """What the calls cost under one condition."""

    name: str
    in_flight: int
    costs: Costs
    without: str = ""
    """Who isn't measured, and why."""


@frozen(kw_only=True)
class _Kind:
    """A condition to measure."""

    name: str
    server: str
    contenders: tuple[Contender, ...] = (OURS, BY_HAND, AIOHTTP)
    without: str = ""
    key_file: Path | None = None
    """Another one than the run's own."""
    authority: Path | None = None
    loop: str = "asyncio"


def measure(setting: Setting) -> list[Condition]:
    """Return the cost of signed calls, under one condition after another."""
    with ExitStack() as stack:
        return [_condition(setting, kind) for kind in _kinds(setting, stack)]


def _kinds(setting: Setting, stack: ExitStack) -> Iterator[_Kind]:
    core = setting.cores.server
    plain = stack.enter_context(serving(core))
    yield _Kind(name="plain HTTP, asyncio, RSA-2048", server=plain)
    if "uvloop" in event_loops():
        yield _Kind(name="uvloop", server=plain, loop="uvloop")
    for bits in (3072, 4096):
        key_file = setting.folder / f"{bits}.pem"
        _ = key_file.write_bytes(PrivateKey.generate(bits).pem())
        yield _Kind(name=f"RSA-{bits}", server=plain, key_file=key_file)
    certificate, authority = _certificate(setting.folder)
    tls = stack.enter_context(serving(core, certificate=certificate))
    yield _Kind(name="TLS", server=tls, authority=authority)
    distant = stack.enter_context(serving(core, _DELAY_SECONDS))
    yield _Kind(name="answers after 50 ms", server=distant)
    yield _Kind(
        name="1 % of the connections reset",
        server=stack.enter_context(serving(core, fault_every=_FAULT_EVERY)),
        contenders=(OURS, BY_HAND),
        without="bare aiohttp has no retry",
    )


def _condition(setting: Setting, kind: _Kind) -> Condition:
    say(kind.name)
    entrants = [
        Entrant(
            label=each.name,
            contender=each.name,
            server=kind.server,
            key_file=kind.key_file or setting.key_file,
            authority=kind.authority,
            loop=kind.loop,
        )
        for each in kind.contenders
    ]
    turn = Turn(concurrency=_IN_FLIGHT, calls=100 if setting.is_quick else 500)
    costs = measure_turns(setting, entrants, [turn])
    return Condition(name=kind.name, in_flight=_IN_FLIGHT, costs=costs, without=kind.without)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Return the files of a certificate with its key, and of what it is checked with."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)  # noqa: TID251 - of now
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    both, authority = folder / "server.pem", folder / "authority.pem"
    _ = both.write_bytes(private + public)
    _ = authority.write_bytes(public)
    return both, authority


def tables(found: Sequence[Condition]) -> str:
    """Return what a signed call costs under each condition."""
    rows: list[tuple[str, ...]] = []
    for condition in found:
        costs = condition.costs
        for label in costs.labels():
            row = costs.row(label, condition.in_flight)
            ratio = "-"
            if AIOHTTP.name in costs.labels():
                ratio = costs.cpu_ratio(label, AIOHTTP.name, condition.in_flight).text(2)
            cells = (row.cpu.text(0), ratio, f"{row.rate.median:,.0f}")
            rows.append((condition.name, label, *cells))
    heads = ("Condition", f"Signed calls, {_IN_FLIGHT} in flight", "CPU µs", "÷ bare + signature")
    notes = [f"{each.name}: {each.without}." for each in found if each.without]
    return "\n\n".join([table((*heads, "calls a second"), rows), *notes])
