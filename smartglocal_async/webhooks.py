"""Verify webhooks: the provider's signature over the raw bytes first, the JSON after it.

Nothing here waits. The provider signs the body and nothing else: no time, no id, no project, no
address. A delivery that somebody recorded verifies for ever, so that what is handled is handled
once (`smartglocal_async.inbox`).
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self, cast

from attrs import field, frozen

from .codec import NotDecodable, codec
from .errors import InvalidCredentials, InvalidRequest, WebhookFault, WebhookRefused
from .signing import PublicKey
from .values.events import WebhookEvent
from .values.exactness import above_zero, discreet

Headers = Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]
"""Headers of a request: a mapping as aiohttp's or Starlette's, or pairs as ASGI has them."""
PublicKeySource = PublicKey | bytes | Path | str

HTTP_STATUS: Final[Mapping[WebhookFault, int]] = MappingProxyType(
    {
        WebhookFault.NO_SIGNATURE: 401,
        WebhookFault.BAD_SIGNATURE: 401,
        WebhookFault.TOO_LARGE: 413,
        WebhookFault.NOT_JSON: 400,
        WebhookFault.NOT_AN_EVENT: 400,
    }
)
"""What to answer to a webhook that is refused; the provider delivers it again after any of them."""

_SIGNATURE: Final = "x-partner-sign"
_VARIABLE: Final = "SMARTGLOCAL_WEBHOOK_KEY"
_LONGEST_DETAIL: Final = 300
_LONGEST_PATH: Final = 1_000  # A path that long is a key, most likely.
_RAW_BYTES: Final = (
    "hand over the raw bytes of the request; a body that was decoded, or parsed and written "
    "again, has another signature"
)


def _read_keys(given: PublicKeySource | Iterable[PublicKeySource]) -> tuple[PublicKey, ...]:
    keys = tuple(_read_key(source) for source in _sources(given))
    if not keys:
        raise InvalidCredentials("no public key was given; one of the provider's is needed")
    return keys


def _sources(given: object) -> Iterable[object]:
    # Text and bytes are iterable, and each is one source.
    if isinstance(given, bytes | str) or not isinstance(given, Iterable):
        return (given,)
    return cast("Iterable[object]", given)


def _read_key(source: object) -> PublicKey:
    if isinstance(source, PublicKey):
        return source
    if isinstance(source, bytes):
        return _from_pem(source, "the public key")
    if not isinstance(source, Path | str):
        raise InvalidCredentials(
            f"a public key must be a path, PEM bytes, or a PublicKey; got {type(source).__name__}"
        )
    if "-----BEGIN" in str(source) or len(str(source)) > _LONGEST_PATH:
        raise InvalidCredentials("a public key was given as text; give a path, or PEM as bytes")
    try:
        pem = Path(source).read_bytes()
    except OSError as error:
        raise InvalidCredentials(
            f"the public key {source} can't be read: {error.strerror}"
        ) from None
    return _from_pem(pem, f"the public key {source}")


def _from_pem(pem: bytes, name: str) -> PublicKey:
    if b"PRIVATE KEY" in pem:
        raise InvalidCredentials(f"{name} is a private key; give the provider's public one")
    if pem.count(b"-----BEGIN") > 1:
        raise InvalidCredentials(f"{name} is several keys in one; give each by itself")
    try:
        return PublicKey.from_pem(pem)
    except InvalidCredentials as error:
        raise InvalidCredentials(str(error).replace("the public key", name, 1)) from None


@discreet
@frozen(eq=False)
class WebhookVerifier:
    """Read webhooks of whoever holds the other half of these keys, and of nobody else.

    An event is a hint. The provider signs the body alone, the body names no project, and as far
    as is known all merchants of an environment share one key. So a delivery that was meant for
    another merchant may verify here, and one that was recorded verifies for ever. Look the id of
    the session up among your own, or ask ``api.session.status``, before you do anything of value.

    ``public_keys`` is the provider's public key, or several while it changes them: a `PublicKey`,
    PEM as bytes, or the path of a PEM file. ``most_bytes`` is the largest body that is looked at.

    Raises:
        InvalidCredentials: no key, or one that can't be used.

    """

    _keys: tuple[PublicKey, ...] = field(alias="public_keys", converter=_read_keys, repr=False)
    most_bytes: int = field(default=1_000_000, kw_only=True)

    def __attrs_post_init__(self) -> None:
        above_zero("most_bytes", self.most_bytes, whole=True)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Take the key whose path is in ``SMARTGLOCAL_WEBHOOK_KEY``.

        Several paths stand there as in PATH: with a colon between them, on Windows a semicolon.
        """
        paths = [path for path in environment.get(_VARIABLE, "").split(os.pathsep) if path]
        if not paths:
            raise InvalidCredentials(f"set {_VARIABLE} to the path of the provider's public key")
        try:
            return cls([Path(path) for path in paths])
        except InvalidCredentials as error:
            raise InvalidCredentials(f"{_VARIABLE}: {error}") from None

    def read(self, headers: Headers, body: bytes) -> WebhookEvent:
        """Give the event of a delivery that carries a good signature.

        ``body`` is the request's raw bytes. The size is looked at first, then the signature, and
        only then the JSON. A type that isn't known gives a plain `WebhookEvent`.

        Raises:
            WebhookRefused: what came is not the provider's, or can't be read; ``fault`` says which.
            InvalidRequest: not raw bytes, or no headers.

        """
        event = self._read(headers, body)
        # The frames of an error are written down by some tools: they must not hold these.
        del headers, body
        if isinstance(event, WebhookEvent):
            return event
        raise event

    def _read(
        self, headers: Headers, body: object
    ) -> WebhookEvent | WebhookRefused | InvalidRequest:
        if not isinstance(body, bytes | bytearray):
            return InvalidRequest("body", f"{_RAW_BYTES}; got {type(body).__name__}")
        if len(body) > self.most_bytes:
            return WebhookRefused(WebhookFault.TOO_LARGE, f"more than {self.most_bytes:,} bytes")
        try:
            signatures = list(_signatures(headers))
        except (TypeError, ValueError, AttributeError):
            return InvalidRequest("headers", "expected a mapping of names to text, or pairs")
        raw = bytes(body)
        fault = self._fault(signatures, raw)
        return _event(raw) if fault is None else fault

    def _fault(self, signatures: list[str], body: bytes) -> WebhookRefused | None:
        if not any(signatures):
            return WebhookRefused(WebhookFault.NO_SIGNATURE)
        if len(signatures) > 1:
            return WebhookRefused(WebhookFault.BAD_SIGNATURE, "X-PARTNER-SIGN comes more than once")
        if not any(key.verifies(body, signatures[0]) for key in self._keys):
            return WebhookRefused(WebhookFault.BAD_SIGNATURE)
        return None


def _signatures(headers: Headers) -> Iterator[str]:
    # items() of a multi-dict gives every value of a name, where its [] would give one.
    pairs = cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        if _text(name).lower() == _SIGNATURE:
            yield _text(value).strip(" \t")


def _text(value: object) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise TypeError(type(text).__name__)
    return text


def _event(body: bytes) -> WebhookEvent | WebhookRefused:
    try:
        # The codec reads the names of both versions of the API; which a webhook has is unknown.
        return codec("v1").decode(body, WebhookEvent)
    except NotDecodable as error:
        return WebhookRefused(WebhookFault.NOT_AN_EVENT, str(error)[:_LONGEST_DETAIL])
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        return WebhookRefused(WebhookFault.NOT_JSON, place)
    except UnicodeDecodeError as error:
        return WebhookRefused(WebhookFault.NOT_JSON, f"not UTF-8 at byte {error.start}")
    except ValueError:
        return WebhookRefused(WebhookFault.NOT_JSON)
