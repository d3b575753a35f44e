"""Who may read the page, and who may change something: addresses, the token, the cookie."""

import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable
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
_LINK_SECONDS: Final = 600.0


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
        if options.url is not None and not (has_tls or options.behind_proxy):
            raise InvalidRequest("--url", "goes with --tls-cert and --tls-key, or --behind-proxy")
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


@frozen
class _SignIn:
    """A sign-in."""

    ends: float
    secret: str = field(factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES), repr=False)
    """Required for changes, beside the cookie: browsers send that to every port of the host."""


@define(eq=False)
class PageAccess:
    """Decides about each request."""

    address: PageAddress
    allows_changes: bool
    token: str = field(factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES), init=False, repr=False)
    link_token: str = field(
        factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES), init=False, repr=False
    )
    """In the printed address: it signs in once, within ten minutes."""
    clock: Callable[[], float] = time.monotonic
    _link_ends: float | None = field(init=False, repr=False)
    """When the token of the address ends; None: it was used."""
    _sessions: dict[str, _SignIn] = field(factory=dict[str, _SignIn], init=False, repr=False)
    """The values of cookies, with the sign-in of each."""
    cookie: str = field(init=False)
    """Its name; one for each server, as browsers send cookies to every port of a host."""

    def __attrs_post_init__(self) -> None:
        self._link_ends = self.clock() + _LINK_SECONDS
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
        return self._session_of(request) is not None

    def may_change(self, request: web.BaseRequest, secret: str) -> bool:
        """Whether a request has the cookie of a session, and the secret of the same one."""
        session = self._session_of(request)
        return session is not None and _is_same(secret, session.secret)

    def _session_of(self, request: web.BaseRequest) -> _SignIn | None:
        session = self._sessions.get(request.cookies.get(self.cookie, ""))
        return session if session is not None and self.clock() < session.ends else None

    def _is_token(self, token: str) -> bool:
        """Whether it is the token, or that of the address, which ends with this."""
        if _is_same(token, self.token):
            return True
        ends = self._link_ends
        if ends is None or not _is_same(token, self.link_token):
            return False
        self._link_ends = None
        return self.clock() < ends

    def sign_in(self, token: str, response: web.StreamResponse) -> str | None:
        """Set the cookie of a new session; return its secret, or None if the token is wrong."""
        if not self._is_token(token):
            return None
        now = self.clock()
        for session in [name for name, one in self._sessions.items() if one.ends <= now]:
            del self._sessions[session]
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = secrets.token_urlsafe(_TOKEN_BYTES)
        found = self._sessions[session] = _SignIn(now + _SESSION_SECONDS)
        response.set_cookie(
            self.cookie,
            session,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self.address.has_tls or self.address.origin is not None,
        )
        return found.secret


def _is_same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())
