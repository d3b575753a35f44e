"""Serving pages to a browser on this machine: who may read them, their headers, their events."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEARTBEAT_SECONDS: Final = 15.0
_RECONNECT_MILLISECONDS: Final = 1000
_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""Values of ``Sec-Fetch-Site`` for requests of the page itself, and of the address bar."""
# A form of a page with the policy `no-referrer` has the Origin `null`, which is refused.
_REFERRER_POLICY: Final = "same-origin"


def page_headers(nonce: str | None = None) -> dict[str, str]:
    """Return the headers that protect an answer; with ``nonce``, those of a page that has it.

    The page may run only the style and script with the nonce, connect to its own server, and
    can't be put in a frame. Nothing is cached.
    """
    policy = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    if nonce is not None:
        own = f"'nonce-{nonce}'"
        policy += f"; script-src {own}; style-src {own}; connect-src 'self'; img-src data:"
    return {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": _REFERRER_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def html_response(text: str, nonce: str | None = None, status: int = 200) -> web.Response:
    """Return a page as a response with `page_headers`; lone surrogates are shown as escapes."""
    return web.Response(
        body=text.encode("utf-8", "backslashreplace"),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=page_headers(nonce),
    )


def why_refused(request: web.BaseRequest) -> str | None:
    """Return why a page for this machine must not answer a request; None if it may.

    The client must be on this machine. The Host must name it, so that another site can't read the
    page by having its own name resolve to this machine (DNS rebinding). A request of another
    site's page is refused, except that a link there may open the page.
    """
    remote = address_of(request.remote or "")
    if remote is None or not is_this_machine(remote):
        return "this page answers this machine only"
    if not names_this_machine(request):
        return "this page is for this machine only: open it as localhost or 127.0.0.1"
    is_foreign = is_of_other_site(request, f"{request.scheme}://{request.headers['Host']}")
    return "a page of another site can't use this page" if is_foreign else None


def is_of_other_site(request: web.BaseRequest, own_origin: str) -> bool:
    """Whether a browser sends a request for a page of another site than the one of this origin."""
    headers: Mapping[str, str] = request.headers
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != own_origin.lower():
        return True
    if headers.get("Sec-Fetch-Site", "none") in _OWN_SITES:
        return False
    is_link = request.method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
    return not (is_link and headers.get("Sec-Fetch-Dest") == "document")


def names_this_machine(request: web.BaseRequest) -> bool:
    """Whether the Host is ``localhost`` or a loopback address, with any port and nothing else.

    Any other name may belong to a page elsewhere that was made to resolve to this machine
    (DNS rebinding). A user in front of the name is no part of a Host.
    """
    header = request.headers.get("Host", "")
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    if "@" in header:
        return False
    address = address_of(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def address_of(host: str) -> Address | None:
    """Return the IP address that a host is; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_this_machine(address: Address) -> bool:
    """Whether an address is a loopback address, also one of IPv4 inside IPv6."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


async def send_events(
    request: web.BaseRequest, next_event: Callable[[], Awaitable[str]]
) -> web.StreamResponse:
    """Send a server-sent event for each line that ``next_event`` returns, until it is cancelled.

    ``next_event`` is cancelled and called again every 15 seconds, when a comment is sent to keep
    the connection open. The server must cancel the handler when the client disconnects.
    """
    response = web.StreamResponse(headers=page_headers())
    response.content_type = "text/event-stream"
    _ = await response.prepare(request)
    await response.write(f"retry: {_RECONNECT_MILLISECONDS}\n\n".encode("ascii"))
    while True:
        try:
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                line = await next_event()
        except TimeoutError:
            await response.write(b": open\n\n")
        else:
            await response.write(f"data: {line}\n\n".encode())
