"""Settings and credentials of a client and of its payouts, checked at construction."""

import enum
import os
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, cast, get_args

from attrs import Attribute, field, frozen
from yarl import URL

from .codec import ApiVersion
from .error_codes import KNOWN_CODES, REFUSAL_CODES
from .errors import InvalidCredentials, InvalidRequest
from .idempotency import DEFAULT_KEY_FIELD
from .keys import PrivateKey, Signer, read_pem
from .models.money import EXPONENTS
from .models.validators import above_zero, is_quoted, mask
from .observer.delivery import Observer, checked_observers
from .operations import HttpMethod
from .retry import RetryPolicy, Timing
from .servers import DEMO, PROXY_FORM, SYSTEM, is_proxy, normalized, system_proxy

_REQUIRED: Final = ("PROJECT", "PRIVATE_KEY", "SERVER")
_REQUIRED_WITHOUT_KEY: Final = ("PROJECT", "SERVER")
_VARIABLES: Final = (*_REQUIRED, "PRIVATE_KEY_PASSPHRASE", "SUBMERCHANT", "API_VERSION", "PROXY")
_LIMITS: Final = "Settings.amount_limits"
_KEY_HINT: Final = "; make a pair with: smartglocal keygen"

KeySource = Path | str | bytes | PrivateKey | Signer


class HeaderUse(enum.Enum):
    """Which calls carry the header ``X-PARTNER-IDEMPOTENCY-KEY``.

    The provider requires a key for ``session/init/*`` but does not say where to send it; public
    integrations use the header. The sister platform refuses a used key. Whether a key used with one
    call may be used with another is unknown, so the header of each call that follows a session's
    first one has a suffix: ``order-7/confirm``.
    """

    OFF = "off"
    MONEY = "money"
    ALWAYS = "always"


class RuleUse(enum.Enum):
    """What happens to a request that breaks a rule of the provider's pages.

    The pages may be out of date. Types and mandatory fields of the models are always checked.
    """

    REFUSE = "refuse"
    """Raise `InvalidRequest` before anything is sent; warn of broken advice."""
    WARN = "warn"
    """Warn with `RuleBroken` for each, and send the request."""
    OFF = "off"
    """Check no rule."""


def _codes(codes: object) -> frozenset[str]:
    """Return the codes as a set; a single string, which would become letters, is refused."""
    if isinstance(codes, Iterable) and not isinstance(codes, str):
        found = tuple(cast("Iterable[object]", codes))
        texts = [code for code in found if isinstance(code, str) and code]
        if len(texts) == len(found):
            return frozenset(texts)
    raise InvalidRequest("Settings.refusal_codes", "expected a set of codes, each a text")


def _limits(limits: object) -> dict[str, tuple[int, int]]:
    if not isinstance(limits, Mapping):
        raise InvalidRequest(_LIMITS, "expected currencies, each with two amounts in minor units")
    given = cast("Mapping[object, object]", limits)
    return {_currency(code): _bounds(code, bounds) for code, bounds in given.items()}


def _currency(code: object) -> str:
    text = code.lower() if isinstance(code, str) else ""
    if EXPONENTS.get(text) is None:
        raise InvalidRequest(_LIMITS, f"{code!r} is no currency of ISO 4217 with an amount")
    return text


def _bounds(code: object, bounds: object) -> tuple[int, int]:
    pair = tuple(cast("Iterable[object]", bounds)) if isinstance(bounds, tuple | list) else ()
    match pair:
        case (int(least), int(most)) if 0 < least <= most and bool not in map(type, pair):
            return least, most
        case _:
            problem = "expected the least and the largest amount, in minor units"
            raise InvalidRequest(f"{_LIMITS}.{code}", problem)


def _methods(methods: Mapping[str, HttpMethod]) -> dict[str, HttpMethod]:
    # For callers without a type checker, as above.
    if not isinstance(methods, Mapping) or not all(  # pyright: ignore[reportUnnecessaryIsInstance]
        path and method in get_args(HttpMethod) for path, method in methods.items()
    ):
        raise InvalidRequest("Settings.http_methods", "expected paths, each with POST or GET")
    return dict(methods)


@frozen(kw_only=True)
class Settings:
    """How a client behaves; the defaults are safe where the provider's documents say nothing."""

    retry: RetryPolicy = field(factory=RetryPolicy)
    timing: Timing = field(factory=Timing)
    observers: tuple[Observer, ...] = field(default=(), converter=checked_observers)
    """Called with every event of the client and of its payouts, see `observer`: functions or
    objects, synchronous or not. A list is taken, too."""
    key_field: str = DEFAULT_KEY_FIELD
    """The metadata field that carries the key."""
    metadata_is_key: bool = False
    """Whether metadata that is text or an integer is unique per order, and used as the key."""
    idempotency_header: HeaderUse = HeaderUse.MONEY
    rules: RuleUse = RuleUse.REFUSE
    """What happens to a request that lacks a field which a country's page requires, or the like."""
    refusal_codes: frozenset[str] = field(default=frozenset(), converter=_codes)
    """More codes of the provider after which no money moves, beside those documented in
    `smartglocal_async.error_codes`: an error with one of them is a refusal. Any other code of a
    call that moves money leaves its outcome unknown."""
    bodiless: bytes = b"[]"
    """The body that a call without a request (``fps/banks``) sends and signs. The sister platform's
    SDK sends an empty list; what this provider expects is unknown."""
    http_methods: Mapping[str, HttpMethod] = field(
        factory=dict[str, HttpMethod], converter=_methods, hash=False
    )
    """Calls by path, each with the HTTP method that it is made with. The provider's pages show
    ``sberpay/push`` as a GET and say that all requests are POST; whether ``exchange_rate``, which
    is a GET, may be a POST is unknown: ``{"sberpay/push": "GET"}``."""
    amount_limits: Mapping[str, tuple[int, int]] = field(
        factory=dict[str, tuple[int, int]], converter=_limits, hash=False
    )
    """The least and the largest amount of a payment or a payout by currency, in minor units: a call
    that creates or starts one with another amount is refused before it is sent. Empty: no limit,
    since one version of the provider's page has 10 to 1000 EUR for payments, and another none;
    those of payouts are in the agreement. ``{"eur": (10_00, 1000_00)}``. A start without an amount
    has that of its session, which was checked with it."""
    remembered_keys: int = 10_000
    """How many keys of calls a client remembers, to refuse one that is used with another request:
    this many of calls that move money, and this many of others. The key of a call that may have
    moved money is also kept until its outcome is known. 10,000 keys take less than 2 MB."""
    max_request_bytes: int = 1_000_000
    """The provider's limit is unknown; a larger request is refused before it is signed."""
    max_response_bytes: int = 4_000_000
    allow_plain_http: bool = False
    """Whether a server other than this machine may be used without TLS."""

    def __attrs_post_init__(self) -> None:
        for name, wanted in _SETTING_TYPES:
            value = getattr(self, name)
            if not isinstance(value, wanted):
                problem = f"expected {wanted.__name__}, got {type(value).__name__}"
                raise InvalidRequest(f"Settings.{name}", problem)
        if known := sorted(self.refusal_codes & _NO_REFUSALS):
            problem = f"{known[0]} is documented to leave the outcome open"
            raise InvalidRequest("Settings.refusal_codes", problem)
        if not self.key_field:
            raise InvalidRequest("Settings.key_field", "is empty; give the name of a field")
        for name in ("remembered_keys", "max_request_bytes", "max_response_bytes"):
            above_zero(f"Settings.{name}", getattr(self, name), whole=True)


_NO_REFUSALS: Final = KNOWN_CODES.keys() - REFUSAL_CODES
_SETTING_TYPES: Final = (
    ("retry", RetryPolicy),
    ("timing", Timing),
    ("key_field", str),
    ("metadata_is_key", bool),
    ("idempotency_header", HeaderUse),
    ("rules", RuleUse),
    ("bodiless", bytes),
    ("allow_plain_http", bool),
)


def _positive(_instance: object, attribute: "Attribute[Any]", value: object) -> None:
    above_zero(f"StatusChecks.{attribute.name}", value, whole=attribute.type is int)


@frozen(kw_only=True)
class StatusChecks:
    """How often ``session/status`` is called for a payout, and when a session is left.

    The pause between two status calls begins with ``initial_delay_seconds`` and doubles up to
    ``max_delay_seconds``; each is shortened at random by up to a half. After a start whose answer
    was lost, the session is cancelled once ``before_leaving`` status calls have shown no payout in
    it, since the start may still be on its way. The payout then goes on in a new session. Another
    sum than was ordered, seen before a confirm was sent, halts payouts after as many status calls.

    Raises:
        InvalidRequest: a setting isn't a number above zero.

    """

    initial_delay_seconds: float = field(default=0.2, validator=_positive)
    max_delay_seconds: float = field(default=30.0, validator=_positive)
    before_leaving: int = field(default=5, validator=_positive)


@frozen(kw_only=True)
class Credentials:
    """The checked credentials of a client, and the server that it calls."""

    project: str
    key: PrivateKey | Signer
    server: URL
    submerchant: str | None
    version: ApiVersion

    def url(self, path: str, version: ApiVersion | None = None) -> URL:
        """Return the address of a call, such as ``<server>/api/v1/session/create``."""
        return self.server / "api" / (version or self.version) / path


@frozen(kw_only=True)
class Given:
    """The arguments of a client, not checked yet."""

    project: str
    private_key: KeySource = field(repr=mask)
    server: str
    passphrase: str | bytes | None = field(default=None, repr=mask)
    submerchant: str | None = None
    api_version: str = "v1"


def read_credentials(given: Given, *, allow_plain_http: bool) -> Credentials | InvalidCredentials:
    """Check a client's arguments; return the error instead of raising it.

    The frames of this function hold the key's text and its passphrase, and tools that record the
    variables of a traceback would store them. A new error that the caller raises has no such frames
    and no cause that has them.
    """
    try:
        return _checked(given, allow_plain_http=allow_plain_http)
    except InvalidCredentials as error:
        problem, setting = error.problem, error.setting
    return InvalidCredentials(problem, setting)


def _checked(given: Given, *, allow_plain_http: bool) -> Credentials:
    version, submerchant = given.api_version, given.submerchant
    if version not in get_args(ApiVersion):
        raise InvalidCredentials(
            f"api_version must be 'v1' or 'v2', got {version!r}", "api_version"
        )
    return Credentials(
        project=_header_text("project", given.project),
        key=_read_key(given.private_key, given.passphrase),
        server=_read_server(given.server, allow_plain_http=allow_plain_http),
        submerchant=None if submerchant is None else _header_text("submerchant", submerchant),
        version=cast("ApiVersion", version),
    )


def _header_text(name: str, value: object) -> str:
    if isinstance(value, str) and value != value.strip():
        raise InvalidCredentials(
            f"{name} begins or ends with a space or a line break: remove it. A header loses it, so "
            f"the provider would take it for the same {name}, and the journal for another one",
            name,
        )
    if isinstance(value, str) and is_quoted(value):
        raise InvalidCredentials(
            f"{name} is in quotes, which are part of its value (`docker --env-file` keeps them): "
            "remove them",
            name,
        )
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        problem = f"{name} must be printable ASCII text, as the manager gave it"
        raise InvalidCredentials(problem, name)
    return value


def _read_key(source: KeySource, passphrase: str | bytes | None) -> PrivateKey | Signer:
    secret = passphrase.encode() if isinstance(passphrase, str) else passphrase
    if isinstance(source, bytes):
        return PrivateKey.from_pem(source, secret)
    if isinstance(source, Path | str):
        return _key_in_file(source, secret)
    if isinstance(source, PrivateKey) or callable(getattr(source, "sign", None)):
        return source
    raise InvalidCredentials(
        "private_key must be a path, PEM bytes, or an object with `async def sign(body)`; "
        f"got {type(source).__name__}",
        "private_key",
    )


def _key_in_file(path: Path | str, passphrase: bytes | None) -> PrivateKey:
    pem = read_pem(path, "the private key", _KEY_HINT, "private_key")
    try:
        return PrivateKey.from_pem(pem, passphrase)
    except InvalidCredentials as error:
        raise InvalidCredentials(f"{path}: {error.problem}", error.setting) from None


def _read_server(server: object, *, allow_plain_http: bool) -> URL:
    text = server.strip() if isinstance(server, str) else ""
    try:
        given = URL(text)
        url = normalized(given)
    except ValueError:
        given = url = URL()
    has_more = bool(given.query or given.fragment or given.user or given.password)
    # One server has one name in journals: such paths may lead to the same as those without.
    has_more |= not text.isprintable() or " " in text or "//" in url.raw_path
    if url.scheme not in {"http", "https"} or not url.host or has_more:
        raise InvalidCredentials(
            f"server must be an address like https://host, such as {DEMO}", "server"
        )
    if url.scheme == "http" and not (allow_plain_http or _is_loopback(url.host)):
        raise InvalidCredentials(
            f"server {url.host} would be reached without TLS; use https://. Plain HTTP is for "
            "this machine; inside a network you trust, allow_plain_http of the client allows it",
            "server",
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@frozen(kw_only=True)
class Environment(Given):
    """A client's arguments, read from the variables ``SMARTGLOCAL_*``."""

    private_key: Path
    passphrase: str | None = field(default=None, repr=mask)
    proxy: str | None = field(default=None, repr=mask)
    """The address of the proxy for `SessionPool`; None if the server is reached directly."""


def from_environment(environment: Mapping[str, str] = os.environ) -> Environment:
    """Read a client's arguments from the environment.

    Raises:
        InvalidCredentials: required variables are missing, and the text names all of them; or
            ``SMARTGLOCAL_PROXY`` isn't the address of a proxy.

    """
    values, missing = _variables(environment, _REQUIRED)
    del environment  # The frames of an error must not show the passphrase.
    if missing:
        del values
        raise InvalidCredentials(missing)
    return Environment(
        project=values["PROJECT"],
        private_key=Path(values["PRIVATE_KEY"]),
        server=values["SERVER"],
        passphrase=values["PRIVATE_KEY_PASSPHRASE"] or None,
        submerchant=values["SUBMERCHANT"] or None,
        api_version=values["API_VERSION"] or "v1",
        proxy=_proxy(values["PROXY"], values["SERVER"]),
    )


def _proxy(text: str, server: str) -> str | None:
    """Return the proxy that ``SMARTGLOCAL_PROXY`` asks for, an address or ``system``."""
    is_system = text == SYSTEM
    address = system_proxy(server) if is_system else text
    if not address or is_proxy(address):
        return address or None
    del text, address  # The frames of an error must not show the password.
    whose = "HTTPS_PROXY" if is_system else f"SMARTGLOCAL_PROXY, if it isn't {SYSTEM!r},"
    raise InvalidCredentials(f"{whose} {PROXY_FORM}", "proxy")


def without_key(environment: Mapping[str, str], signer: Signer) -> Given:
    """Read the arguments except the key, for a client with a signer of its own.

    Raises:
        InvalidCredentials: required variables are missing; the text names all of them.

    """
    values, missing = _variables(environment, _REQUIRED_WITHOUT_KEY)
    del environment
    if missing:
        del values
        raise InvalidCredentials(missing)
    return Given(
        project=values["PROJECT"],
        private_key=signer,
        server=values["SERVER"],
        submerchant=values["SUBMERCHANT"] or None,
        api_version=values["API_VERSION"] or "v1",
    )


def _variables(
    environment: Mapping[str, str], required: Collection[str]
) -> tuple[dict[str, str], str]:
    """Return the variables by name, and the message for missing ones, else empty."""
    values = {name: environment.get(f"SMARTGLOCAL_{name}") or "" for name in _VARIABLES}
    missing = [f"SMARTGLOCAL_{name}" for name in required if not values[name]]
    return values, f"set {', '.join(missing)} in the environment" if missing else ""
