"""Verifies webhooks: first the provider's signature over the raw bytes, then the JSON.

The provider signs only the body, which has no time, no id, no project and no address. A recorded
delivery therefore verifies for ever; `smartglocal_async.webhooks.receiver` handles each event once.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self, cast

from attrs import field, frozen

from ..codec import NameTwice, NotDecodable, codec
from ..codec.incoming import clean_text, parse_incoming
from ..errors import InvalidCredentials, InvalidRequest, WebhookFault, WebhookRefused
from ..keys import MINIMUM_KEY_BITS, PublicKey, read_pem
from ..models.events import WebhookEvent
from ..models.validators import above_zero, discreet

Headers = Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]
"""Headers of a request: a mapping as in aiohttp or Starlette, or pairs as in ASGI."""
PublicKeySource = PublicKey | bytes | Path | str

DELIVERED: Final = 200
"""The only HTTP status that ends the delivery of a webhook (documented)."""
HTTP_STATUS: Final[Mapping[WebhookFault, int]] = MappingProxyType(
    {
        WebhookFault.NO_SIGNATURE: 401,
        WebhookFault.BAD_SIGNATURE: 401,
        WebhookFault.TOO_LARGE: 413,
        WebhookFault.TOO_SLOW: 408,
        WebhookFault.NOT_JSON: 400,
        WebhookFault.NOT_AN_EVENT: 400,
    }
)
"""HTTP status of the answer to a refused webhook; after each of them the provider redelivers."""

_SIGNATURE: Final = "x-partner-sign"
_VARIABLE: Final = "SMARTGLOCAL_WEBHOOK_KEY"
_MAX_DETAIL: Final = 300
_RAW_BYTES: Final = (
    "pass the raw bytes of the request; a body that was decoded, or parsed and written "
    "again, has another signature"
)


def _read_keys(given: PublicKeySource | Iterable[PublicKeySource]) -> tuple[PublicKey, ...]:
    keys = tuple(_read_key(source) for source in _sources(given))
    if not keys:
        raise InvalidCredentials("no public key was given; one of the provider's is needed")
    return keys


def _sources(given: object) -> Iterable[object]:
    # Text and bytes are iterable, but each is one source.
    if isinstance(given, bytes | str) or not isinstance(given, Iterable):
        return (given,)
    return cast("Iterable[object]", given)


def _read_key(source: object) -> PublicKey:
    key = _key_of(source)
    if key.bits < MINIMUM_KEY_BITS:
        raise InvalidCredentials(
            f"a public key of {key.bits} bits can be forged: {MINIMUM_KEY_BITS} or more are "
            "needed; ask the provider for its present key"
        )
    return key


def _key_of(source: object) -> PublicKey:
    if isinstance(source, PublicKey):
        return source
    if not isinstance(source, bytes | Path | str):
        raise InvalidCredentials(
            f"a public key must be a path, PEM bytes, or a PublicKey; got {type(source).__name__}"
        )
    pem = read_pem(source, "the public key")
    return _from_pem(pem, "the public key" + ("" if isinstance(source, bytes) else f" {source}"))


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
    """Reads webhooks that are signed with one of the provider's keys, and refuses all others.

    An event is only a hint. The provider signs the body alone, the body names no project, and as
    far as is known all merchants of an environment share one key. A delivery for another merchant
    may therefore verify here, and a recorded one verifies for ever. Before you do anything of
    value, look up the session's id among your own, or call ``api.session.status``.

    ``public_keys`` is the provider's public key, or several while it changes them: a `PublicKey`,
    PEM as bytes, or the path of a PEM file. A body larger than ``max_bytes`` is refused unread.

    Raises:
        InvalidCredentials: no key, or one that can't be used.

    """

    _keys: tuple[PublicKey, ...] = field(alias="public_keys", converter=_read_keys, repr=False)
    max_bytes: int = field(default=1_000_000, kw_only=True)

    def __attrs_post_init__(self) -> None:
        above_zero("max_bytes", self.max_bytes, whole=True)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return a verifier with the key whose path is in ``SMARTGLOCAL_WEBHOOK_KEY``.

        Several paths are separated as in PATH: by a colon, on Windows by a semicolon.

        Raises:
            InvalidCredentials: the variable isn't set, or a key can't be used.

        """
        paths = [path for path in environment.get(_VARIABLE, "").split(os.pathsep) if path]
        if not paths:
            raise InvalidCredentials(f"set {_VARIABLE} to the path of the provider's public key")
        try:
            return cls([Path(path) for path in paths])
        except InvalidCredentials as error:
            raise InvalidCredentials(f"{_VARIABLE}: {error}") from None

    def verify(self, headers: Headers, body: bytes) -> WebhookEvent:
        """Return the event of a delivery with a valid signature.

        ``body`` is the request's raw bytes. The size is checked first, then the signature, then
        the JSON. An event of an unknown type is a plain `WebhookEvent`.

        Raises:
            WebhookRefused: it isn't signed by the provider, or can't be read; see ``fault``.
            InvalidRequest: not raw bytes, or no headers.

        """
        event = self._verified(headers, body)
        # Some tools record the variables of an error's frames, which must not include these.
        del headers, body
        if isinstance(event, WebhookEvent):
            return event
        raise event

    def _verified(
        self, headers: Headers, body: object
    ) -> WebhookEvent | WebhookRefused | InvalidRequest:
        if not isinstance(body, bytes | bytearray):
            return InvalidRequest("body", f"{_RAW_BYTES}; got {type(body).__name__}")
        if len(body) > self.max_bytes:
            return WebhookRefused(WebhookFault.TOO_LARGE, f"more than {self.max_bytes:,} bytes")
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
    # items() of a multi-dict has all values of a name; its [] has only the first.
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
        # The codec reads the names of both API versions; which of them webhooks use is unknown.
        return codec("v1").structure(parse_incoming(body), WebhookEvent)
    except NotDecodable as error:
        return WebhookRefused(WebhookFault.NOT_AN_EVENT, str(error)[:_MAX_DETAIL])
    except NameTwice as error:
        name = clean_text(error.name)[:_MAX_DETAIL]
        return WebhookRefused(WebhookFault.NOT_AN_EVENT, f"an object has the name {name!r} twice")
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        return WebhookRefused(WebhookFault.NOT_JSON, place)
    except UnicodeDecodeError as error:
        return WebhookRefused(WebhookFault.NOT_JSON, f"not UTF-8 at byte {error.start}")
    except ValueError:
        return WebhookRefused(WebhookFault.NOT_JSON)
