"""Settings of a client, and the credentials it works with: read and checked at construction."""

import enum
import os
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final, cast, get_args

from attrs import field, frozen
from yarl import URL

from .codec import ApiVersion
from .envelope import Happened
from .errors import InvalidCredentials, InvalidRequest
from .retry import RetryPolicy, Timing
from .servers import plain
from .signing import PrivateKey, Signer
from .values.exactness import above_zero, mask

_NEEDED: Final = ("PROJECT", "PRIVATE_KEY", "SERVER")
_NEEDED_WITHOUT_KEY: Final = ("PROJECT", "SERVER")
_VARIABLES: Final = (*_NEEDED, "PRIVATE_KEY_PASSPHRASE", "SUBMERCHANT", "API_VERSION")
# No longer than this in any of our errors: a path that long is a key, most likely.
_LONGEST_PATH: Final = 1_000

KeySource = Path | str | bytes | PrivateKey | Signer


class HeaderUse(enum.Enum):
    """Which calls carry the header ``X-PARTNER-IDEMPOTENCY-KEY``.

    The provider asks for a key with ``session/init/*`` and does not say where it goes; the
    header is what public integrations send. On the sister platform a used key is refused.
    Whether a key used with one call is free for another is unknown, so the header of a call that
    follows a session's first one says which it is: ``order-7/confirm``.
    """

    OFF = "off"
    MONEY = "money"
    ALWAYS = "always"


class RuleUse(enum.Enum):
    """What becomes of a request that breaks a rule of the provider's pages.

    The pages may change, and the provider knows best; a record's own types and mandatory fields
    are checked in any case.
    """

    REFUSE = "refuse"
    """`InvalidRequest`, before anything is sent; what is only advice is warned of."""
    WARN = "warn"
    """A `RuleBroken` warning for each, and the request is sent."""
    OFF = "off"
    """No rule is looked at."""


@frozen(kw_only=True)
class AttemptDetails:
    """What one attempt came to; handed to `Settings.on_attempt`, and free of secrets."""

    operation: str
    key: str | None
    attempt: int
    """1 for the first of a call."""
    happened: Happened | None
    """None when the caller's cancellation or deadline struck while it was out."""
    cause: str | None
    code: str | None
    http_status: int | None
    elapsed_seconds: float


@frozen(kw_only=True)
class Settings:
    """How a client behaves; each is a safe default where the provider's documents are silent."""

    retry: RetryPolicy = field(factory=RetryPolicy)
    timing: Timing = field(factory=Timing)
    on_attempt: Callable[[AttemptDetails], None] | None = None
    """Told about every attempt as it ends; it must not block."""
    key_field: str = "idempotency_key"
    """Where in the metadata the key travels."""
    metadata_is_key: bool = False
    """Whether metadata that is text or a whole number is unique per order, and so the key."""
    idempotency_header: HeaderUse = HeaderUse.MONEY
    rules: RuleUse = RuleUse.REFUSE
    """What becomes of a request without a field that a country's page asks for, or the like."""
    bodiless: bytes = b"[]"
    """What a call without a request (``fps/banks``) sends and signs; the sister platform's SDK
    sends an empty list. Unknown for this provider."""
    remembered_keys: int = 10_000
    """How many of the caller's keys a client keeps, to refuse one that comes with another
    request."""
    most_request_bytes: int = 1_000_000
    """The provider's limit is unknown; a larger request is refused before it is signed."""
    most_answer_bytes: int = 4_000_000
    allow_plain_http: bool = False
    """Whether a server other than this machine may be reached without TLS."""

    def __attrs_post_init__(self) -> None:
        for name, wanted in _SETTINGS_ARE:
            value = getattr(self, name)
            if not isinstance(value, wanted):
                problem = f"expected {wanted.__name__}, got {type(value).__name__}"
                raise InvalidRequest(f"Settings.{name}", problem)
        if not (self.on_attempt is None or callable(self.on_attempt)):
            raise InvalidRequest("Settings.on_attempt", "must be callable")
        if not self.key_field:
            raise InvalidRequest("Settings.key_field", "is empty; give the name of a field")
        for name in ("remembered_keys", "most_request_bytes", "most_answer_bytes"):
            above_zero(f"Settings.{name}", getattr(self, name), whole=True)


_SETTINGS_ARE: Final = (
    ("retry", RetryPolicy),
    ("timing", Timing),
    ("key_field", str),
    ("metadata_is_key", bool),
    ("idempotency_header", HeaderUse),
    ("rules", RuleUse),
    ("bodiless", bytes),
    ("allow_plain_http", bool),
)


@frozen(kw_only=True)
class Credentials:
    """Who calls whom, in whose name."""

    project: str
    key: PrivateKey | Signer
    server: URL
    submerchant: str | None
    version: ApiVersion

    def url(self, path: str) -> URL:
        """Give the address of a call, such as ``<server>/api/v1/session/create``."""
        return self.server / "api" / self.version / path


@frozen(kw_only=True)
class Given:
    """What a client was given; not checked yet."""

    project: str
    private_key: KeySource = field(repr=mask)
    server: str
    passphrase: str | bytes | None = field(default=None, repr=mask)
    submerchant: str | None = None
    api_version: str = "v1"


def read_credentials(given: Given, *, allow_plain_http: bool) -> Credentials | InvalidCredentials:
    """Check what a client was given; the error is returned, for the caller to raise.

    The frames down from here hold the key's text, and tools that record the variables of a
    traceback would write it down. Returned, the error has no such frames.
    """
    try:
        return _checked(given, allow_plain_http=allow_plain_http)
    except InvalidCredentials as error:
        return error.with_traceback(None)


def _checked(given: Given, *, allow_plain_http: bool) -> Credentials:
    version, submerchant = given.api_version, given.submerchant
    if version not in get_args(ApiVersion):
        raise InvalidCredentials(f"api_version must be 'v1' or 'v2', got {version!r}")
    return Credentials(
        project=_header_text("project", given.project),
        key=_read_key(given.private_key, given.passphrase),
        server=_read_server(given.server, allow_plain_http=allow_plain_http),
        submerchant=None if submerchant is None else _header_text("submerchant", submerchant),
        version=cast("ApiVersion", version),
    )


def _header_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise InvalidCredentials(f"{name} must be printable ASCII text, as the manager gave it")
    return value


def _read_key(source: KeySource, passphrase: str | bytes | None) -> PrivateKey | Signer:
    secret = passphrase.encode() if isinstance(passphrase, str) else passphrase
    if isinstance(source, bytes):
        return PrivateKey.from_pem(source, secret)
    if isinstance(source, Path | str):
        return _key_in_file(Path(source), secret)
    if isinstance(source, PrivateKey) or callable(getattr(source, "sign", None)):
        return source
    raise InvalidCredentials(
        "private_key must be a path, PEM bytes, or an object with `async def sign(body)`; "
        f"got {type(source).__name__}"
    )


def _key_in_file(path: Path, passphrase: bytes | None) -> PrivateKey:
    if "-----BEGIN" in str(path) or len(str(path)) > _LONGEST_PATH:
        # A key given as text would be quoted in the error, as the name of a file.
        raise InvalidCredentials("the private key was given as text; give a path, or PEM as bytes")
    try:
        return PrivateKey.from_pem(path.read_bytes(), passphrase)
    except InvalidCredentials as error:
        raise InvalidCredentials(f"{path}: {error}") from None
    except OSError as error:
        raise InvalidCredentials(
            f"the private key {path} can't be read: {error.strerror}; "
            "make a pair with: smartglocal keygen"
        ) from None


def _read_server(server: object, *, allow_plain_http: bool) -> URL:
    try:
        given = URL(server if isinstance(server, str) else "")
        url = plain(given)
    except ValueError:
        given = url = URL()
    has_more = given.query or given.fragment or given.user or given.password
    if url.scheme not in {"http", "https"} or not url.host or has_more:
        raise InvalidCredentials(
            "server must be an address like https://host (sg.DEMO and sg.LIVE are two)"
        )
    if url.scheme == "http" and not (allow_plain_http or _is_loopback(url.host)):
        raise InvalidCredentials(
            f"server {url.host} would be reached without TLS; use https, or "
            "Settings(allow_plain_http=True) inside a network you trust"
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@frozen(kw_only=True)
class Environment(Given):
    """A client's arguments, as the variables ``SMARTGLOCAL_*`` hold them."""

    private_key: Path
    passphrase: str | None = field(default=None, repr=mask)


def from_environment(environment: Mapping[str, str] = os.environ) -> Environment:
    """Read the client's arguments from the environment.

    Raises:
        InvalidCredentials: a variable that is needed is missing; the text names all of them.

    """
    said = _said(environment, _NEEDED)
    return Environment(
        project=said["PROJECT"],
        private_key=Path(said["PRIVATE_KEY"]),
        server=said["SERVER"],
        passphrase=said["PRIVATE_KEY_PASSPHRASE"] or None,
        submerchant=said["SUBMERCHANT"] or None,
        api_version=said["API_VERSION"] or "v1",
    )


def without_key(environment: Mapping[str, str], signer: Signer) -> Given:
    """Read them for somebody who brings the signer along; the key isn't looked at.

    Raises:
        InvalidCredentials: a variable that is needed is missing; the text names all of them.

    """
    said = _said(environment, _NEEDED_WITHOUT_KEY)
    return Given(
        project=said["PROJECT"],
        private_key=signer,
        server=said["SERVER"],
        submerchant=said["SUBMERCHANT"] or None,
        api_version=said["API_VERSION"] or "v1",
    )


def _said(environment: Mapping[str, str], needed: Collection[str]) -> dict[str, str]:
    said = {name: environment.get(f"SMARTGLOCAL_{name}") or "" for name in _VARIABLES}
    if missing := [f"SMARTGLOCAL_{name}" for name in needed if not said[name]]:
        raise InvalidCredentials(f"set {', '.join(missing)} in the environment")
    return said
