"""Who may read the page, and who may change something: addresses, the token, the cookie."""

import hmac
import ipaddress
import secrets
import time
from typing import Final, Self
from urllib.parse import urlsplit

from aiohttp import web
from attrs import define, field, frozen

from ....errors import InvalidRequest
from ....pages.serving import address_of, is_of_other_site, is_this_machine, why_refused
from .options import ServeOptions

_TOKEN_BYTES: Final = 24
_SESSION_SECONDS: Final = 12 * 3600.0
_MAX_SESSIONS: Final = 100


@frozen(kw_only=True)
class PageAddress:
    """Where the page is served, and under which address browsers open it."""

    host: str
    port: int
    has_tls: bool
    origin: str | None
    """The only origin that is answered; None: those of this machine."""

    @classmethod
    def of(cls, options: ServeOptions) -> Self:
        """Return the address that the options name.

        Raises:
            InvalidRequest: other machines could reach the page without TLS; or an option is
                missing or invalid.

        """
        has_tls = options.tls_cert is not None
        if has_tls != (options.tls_key is not None):
            raise InvalidRequest("--tls-cert", "goes with --tls-key")
        is_local = _is_local(options.host)
        if not (is_local or has_tls or options.behind_proxy):
            raise InvalidRequest(
                "--host",
                f"{options.host} can be reached by other machines: use --tls-cert and --tls-key, "
                "or --behind-proxy if a proxy with TLS is in front of it",
            )
        if options.behind_proxy and options.url is None:
            raise InvalidRequest("--url", "required with --behind-proxy")
        origin = None if options.url is None else _origin_of(options.url)
        if origin is None and not is_local:
            if _is_unspecified(options.host):
                raise InvalidRequest("--url", f"required, as {options.host} is no name of a page")
            if not options.port:
                raise InvalidRequest("--port", "other machines have to know it: choose one")
            origin = _shown("https", options.host, options.port)
        return cls(host=options.host, port=options.port, has_tls=has_tls, origin=origin)

    def url(self, port: int) -> str:
        """Return the address to open, for a server that listens at this port."""
        if self.origin is not None:
            return f"{self.origin}/"
        return f"{_shown('https' if self.has_tls else 'http', self.host, port)}/"


def _is_local(host: str) -> bool:
    address = address_of(host)
    return host == "localhost" if address is None else is_this_machine(address)


def _is_unspecified(host: str) -> bool:
    address = address_of(host)
    return address is not None and address.is_unspecified


def _shown(scheme: str, host: str, port: int) -> str:
    address = address_of(host)
    name = f"[{host}]" if isinstance(address, ipaddress.IPv6Address) else host
    is_default = (scheme, port) in {("https", 443), ("http", 80)}
    return f"{scheme}://{name}" if is_default else f"{scheme}://{name}:{port}"


def _origin_of(url: str) -> str:
    """Return the origin of an address.

    Raises:
        InvalidRequest: it isn't one of https, with nothing after the host.

    """
    problem = "expected an address such as https://payouts.example.com"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("--url", problem) from None
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query:
        raise InvalidRequest("--url", problem)
    if parts.path.strip("/") or parts.fragment:
        raise InvalidRequest("--url", f"{problem}, without a path")
    return _shown("https", parts.hostname, port or 443)


@define(eq=False)
class PageAccess:
    """Decides about each request."""

    address: PageAddress
    allows_changes: bool
    token: str = field(factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES), init=False, repr=False)
    _sessions: dict[str, float] = field(factory=dict[str, float], init=False, repr=False)
    """The values of cookies, with when each ends."""
    cookie: str = field(init=False)
    """Its name; one for each server, as browsers send cookies to every port of a host."""

    def __attrs_post_init__(self) -> None:
        self.cookie = f"smartglocal-{secrets.token_hex(4)}"

    @property
    def needs_token(self) -> bool:
        """Whether the token is needed to read: the page can be opened on other machines."""
        return self.address.origin is not None

    @property
    def uses_token(self) -> bool:
        """Whether there is something that needs the token."""
        return self.allows_changes or self.needs_token

    def why_refused(self, request: web.BaseRequest) -> str | None:
        """Return why a request isn't answered: another Host or Origin; None if it is."""
        origin = self.address.origin
        if origin is None:
            return why_refused(request)
        host = urlsplit(origin).netloc
        if request.headers.get("Host", "").lower() != host.lower():
            return f"this page is open at {origin} only"
        is_foreign = is_of_other_site(request, origin)
        return "a page of another site can't use this page" if is_foreign else None

    def is_signed_in(self, request: web.BaseRequest) -> bool:
        """Whether a request has the cookie of a session that hasn't ended."""
        ends = self._sessions.get(request.cookies.get(self.cookie, ""))
        return ends is not None and time.monotonic() < ends

    def sign_in(self, token: str, response: web.StreamResponse) -> bool:
        """Set the cookie of a new session, if the token is right; return whether it is."""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return False
        now = time.monotonic()
        for session in [one for one, ends in self._sessions.items() if ends <= now]:
            del self._sessions[session]
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions[session] = now + _SESSION_SECONDS
        response.set_cookie(
            self.cookie,
            session,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self.address.has_tls or self.address.origin is not None,
        )
        return True
