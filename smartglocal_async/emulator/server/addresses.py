"""Addresses of a server."""

import socket
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from ...errors import InvalidRequest
from ...pages.serving import Address, address_of

# Documentation addresses (RFC 5737, RFC 3849): a route is looked up, and nothing is sent.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_DISCARD_PORT: Final = 9
_MAX_URL: Final = 2_000
_SCHEMES: Final = frozenset({"http", "https"})


def url_of(host: str, port: int) -> str:
    """Return the address of a server, such as ``http://127.0.0.1:8080``."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_url(url: str) -> str:
    """Return an address to connect to on this machine, for a server that listens on all of them."""
    host, port = _parts(url)
    address = address_of(host)
    if address is None or not address.is_unspecified:
        return url
    return url_of(_LOOPBACK[address.version], port)


def page_url(url: str) -> str | None:
    """Return the address of a server's page, for this machine; None if it has no loopback address.

    The page is for this machine only.
    """
    here = local_url(url)
    return f"{here}/emulator/" if is_loopback(here) else None


def outside_urls(url: str) -> tuple[str, ...]:
    """Return the addresses that other machines may reach a server at; none on loopback."""
    host, port = _parts(url)
    address = address_of(host)
    if address is None or address.is_loopback:
        return ()
    if not address.is_unspecified:
        return (url,)
    hosts = (_own_address(family, far) for family, far in _ELSEWHERE)
    families = {4} if address.version == 4 else {4, 6}  # noqa: PLR2004  # versions of IP
    return tuple(
        url_of(str(own), port)
        for own in hosts
        if own is not None and own.version in families and not own.is_loopback
    )


def is_loopback(url: str) -> bool:
    """Whether only this machine can reach a server."""
    address = address_of(_parts(url)[0])
    return address is not None and address.is_loopback


def _parts(url: str) -> tuple[str, int]:
    split = urlsplit(url)
    return split.hostname or "", split.port or 80


def _own_address(family: socket.AddressFamily, far: str) -> Address | None:
    """Return the address from which this machine would reach others; None without a route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, _DISCARD_PORT))
            name: tuple[str, int] = probe.getsockname()
    except OSError:
        return None
    return address_of(name[0])


def check_webhook_url(url: str, name: str = "url") -> None:
    """Check that webhooks can be sent to an address.

    Raises:
        InvalidRequest: it isn't a URL of HTTP or HTTPS with a host, has a user or a password, or is
            longer than 2,000 characters; its field is ``name``.

    """
    if len(url) > _MAX_URL:
        raise InvalidRequest(name, f"must have at most {_MAX_URL:,} characters")
    problem = "must be an http or https address with a host"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in _SCHEMES and parts.port != 0 and bool(URL(url).host)
    except ValueError:
        raise InvalidRequest(name, problem) from None
    if not is_usable or not url.isprintable() or " " in url:
        raise InvalidRequest(name, problem)
    if "@" in parts.netloc:
        raise InvalidRequest(name, "must have no user and no password")
