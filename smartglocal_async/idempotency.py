"""The idempotency key of a call: taken from the caller or made, and carried in the metadata."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

from attrs import define, field, frozen

from .codec import Wire, parse
from .errors import InvalidRequest

DEFAULT_KEY_FIELD: Final = "idempotency_key"
"""Where in the metadata a key travels unless a setting says otherwise; undocumented."""
WHOLE: Final = "request"
"""The one field of a fingerprint that was shortened."""
_LONGEST_KEY: Final = 255
_DIGEST_BYTES: Final = 8
_MOST_DIGESTS: Final = 64
_SHORT: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


@define
class Key:
    """The key of one logical call."""

    text: str
    is_own: bool
    """Whether the caller chose it; one that was made here can't be met twice."""


def choose_key(
    given: str | None,
    metadata: object,
    *,
    field: str,
    metadata_is_key: bool,
    make: Callable[[], str],
) -> Key:
    """Choose the key: the caller's, else the one in the metadata, else a fresh one.

    Metadata that is an object may have it under ``field``. Metadata that is text or a whole
    number counts only with ``metadata_is_key``: partners send constants there, and two customers
    would share a session.

    Raises:
        InvalidRequest: a key that isn't text of 1 to 255 printable characters, or two keys.

    """
    carried = _carried(metadata, field, metadata_is_key=metadata_is_key)
    if given is not None and carried is not None and given != carried:
        raise InvalidRequest(
            f"metadata.{field}", "differs from key=; give one key, or the same one twice"
        )
    own = given if given is not None else carried
    if own is None:
        return Key(make(), is_own=False)
    return Key(_checked(own), is_own=True)


def _carried(metadata: object, field: str, *, metadata_is_key: bool) -> str | None:
    if metadata is None:
        return None
    if type(metadata) is dict or isinstance(metadata, Mapping):
        return cast("Mapping[str, Any]", metadata).get(field)
    if metadata_is_key and isinstance(metadata, str | int) and not isinstance(metadata, bool):
        return str(metadata)
    return None


def is_key(value: object) -> bool:
    """Return whether a value can be the key of a call or a payout."""
    return isinstance(value, str) and _is_printable(value) and value == value.strip()


def _is_printable(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_KEY and text.isprintable()


def _checked(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidRequest("key", f"expected text, got {type(key).__name__}")
    if not _is_printable(key):
        raise InvalidRequest("key", f"expected 1 to {_LONGEST_KEY} printable characters")
    if key != key.strip():
        raise InvalidRequest("key", "begins or ends with a space, which a header would lose")
    return key


@define
class Mark:
    """How the effect of one call is recognised: its key, in metadata that is echoed."""

    key: str
    field: str

    def is_on(self, metadata: object) -> bool:
        """Return whether echoed metadata is that of this call."""
        if isinstance(metadata, dict):
            return cast("Wire", metadata).get(self.field) == self.key
        return type(metadata) in {str, int} and str(metadata) == self.key

    def contradicts(self, metadata: object) -> bool:
        """Return whether echoed metadata carries another key than this one."""
        if not isinstance(metadata, dict):
            return False
        shown = cast("Wire", metadata).get(self.field)
        return isinstance(shown, str) and shown != self.key


def carry_key(wire: Wire, key: Key, field: str) -> Mark | None:
    """Put the key into the wire object's metadata, so that answers and webhooks echo it.

    An object gets the field, absent metadata becomes such an object; metadata that is text,
    a number or a list is the caller's own and stays as it is. Returns the mark by which the call
    can be recognised, if its metadata carries the key now.
    """
    metadata, mark = wire.get("metadata"), Mark(key.text, field)
    if metadata is None or isinstance(metadata, dict):
        wire["metadata"] = {**cast("Wire", metadata or {}), field: key.text}
        return mark
    return mark if mark.is_on(metadata) else None


@frozen
class Fingerprint:
    """What a request says, as keyed digests of its fields: two can be compared, none read."""

    digests: tuple[tuple[str, bytes], ...]

    @classmethod
    def of_short(cls, text: object) -> "Fingerprint":
        """Return the shortened fingerprint of this `short` text; an empty one of any other."""
        if not isinstance(text, str) or _SHORT.fullmatch(text) is None:
            return cls(())
        return cls(((WHOLE, bytes.fromhex(text)),))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the request."""
        return not self.digests

    @property
    def is_short(self) -> bool:
        """Whether one digest is of all fields."""
        return [path for path, _ in self.digests] == [WHOLE]

    def shortened(self) -> "Fingerprint":
        """Return it with one digest in the place of all fields; an empty one stays empty."""
        if self.is_empty or self.is_short:
            return self
        text = repr(sorted(self.digests)).encode()
        return Fingerprint(((WHOLE, hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()),))

    @property
    def short(self) -> str | None:
        """Digest of all of it, 16 hexadecimal digits; None where nothing is known."""
        return None if self.is_empty else self.shortened().digests[0][1].hex()

    def differing_fields(self, other: "Fingerprint") -> tuple[str, ...]:
        """Name the fields in which two requests differ."""
        differing = set(self.digests) ^ set(other.digests)
        return tuple(sorted({path for path, _ in differing}))


def fingerprint(body: bytes, secret: bytes) -> Fingerprint:
    """Take the fingerprint of a request from the bytes that will be sent.

    ``secret`` keeps the digests of short values, such as a card number, from being guessed.
    A request of very many fields is digested by its top ones.
    """
    request = parse(body)
    leaves = list(_leaves(request, ""))
    if len(leaves) > _MOST_DIGESTS:
        leaves = [(name, json.dumps(item, sort_keys=True)) for name, item in request.items()]
    return Fingerprint(
        tuple(
            (path, hashlib.blake2b(text.encode(), key=secret, digest_size=_DIGEST_BYTES).digest())
            for path, text in leaves
        )
    )


def _leaves(
    value: object, path: str, steps: tuple[str | int, ...] = ()
) -> Iterator[tuple[str, str]]:
    match value:
        case dict() if value:
            for name, item in sorted(cast("Wire", value).items()):
                yield from _leaves(item, f"{path}.{name}" if path else name, (*steps, name))
        case list() | tuple() if value:
            for index, item in enumerate(cast("list[Any]", value)):
                yield from _leaves(item, f"{path}[{index}]", (*steps, index))
        case _:
            # The steps, too: {"a.b": 1} and {"a": {"b": 1}} have one path, and are two requests.
            yield path, repr((steps, value))


_NAME_BYTES: Final = 2
_VALUE_BYTES: Final = 6
_FIELD_BYTES: Final = _NAME_BYTES + _VALUE_BYTES
# Of requests: a field that a second request lacks has no other place to take its name from.
_KNOWN_NAMES: Final = (
    "amount_details",
    "customer",
    "metadata",
    "participant_details",
    "payment_details",
    "payment_method",
    "payment_options",
    "payout_details",
    "session_id",
)


@define
class RequestDigest:
    """A few bytes for each top field of a request: two requests can be compared, none read.

    A client remembers thousands of keys with the request of each, so it keeps ``packed`` alone.
    """

    packed: bytes
    """Never empty."""
    names: tuple[str, ...]
    secret: bytes = field(repr=False)

    def differing_fields(self, known: bytes) -> tuple[str, ...]:
        """Name the top fields in which this request differs from one that is remembered."""
        mine, other = _fields_of(self.packed), _fields_of(known)
        differing = {name for name, _ in mine.items() ^ other.items()}
        called = {_name_digest(name, self.secret): name for name in (*_KNOWN_NAMES, *self.names)}
        found = {called.get(name, "another field") for name in differing}
        return tuple(sorted(found)) or ("request",)


def request_digest(fields: Mapping[str, bytes], secret: bytes) -> RequestDigest:
    """Return the digest of a request, from the JSON text of each of its top fields.

    ``secret`` keeps short values, such as a card number, from being guessed.
    """
    empty, names = _prepared(secret)
    parts: list[bytes] = []
    for name, text in fields.items():
        taken = empty.copy()
        taken.update(text)
        parts.append((names.get(name) or _name_digest(name, secret)) + taken.digest())
    # Marked, so that a request without any field is something, too.
    return RequestDigest(b"".join([*sorted(parts), b"."]), tuple(fields), secret)


@lru_cache(maxsize=64)
def _prepared(secret: bytes) -> tuple[hashlib.blake2b, dict[str, bytes]]:
    """Return the keyed digest of nothing, to be copied, and those of the known names."""
    empty = hashlib.blake2b(key=secret, digest_size=_VALUE_BYTES)
    return empty, {name: _name_digest(name, secret) for name in _KNOWN_NAMES}


def _name_digest(name: str, secret: bytes) -> bytes:
    return hashlib.blake2b(name.encode(), key=secret, digest_size=_NAME_BYTES).digest()


def _fields_of(packed: bytes) -> dict[bytes, bytes]:
    ends = range(_FIELD_BYTES, len(packed), _FIELD_BYTES)
    fields = (packed[end - _FIELD_BYTES : end] for end in ends)
    return {part[:_NAME_BYTES]: part[_NAME_BYTES:] for part in fields}
