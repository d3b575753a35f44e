"""The idempotency key of a call: taken from the caller or made, and carried in the metadata."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from attrs import frozen

from .codec import Wire, parse
from .errors import InvalidRequest

_LONGEST_KEY: Final = 255
_DIGEST_BYTES: Final = 8
_MOST_DIGESTS: Final = 64


@frozen
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
    if isinstance(metadata, Mapping):
        return cast("Mapping[str, Any]", metadata).get(field)
    if metadata_is_key and isinstance(metadata, str | int) and not isinstance(metadata, bool):
        return str(metadata)
    return None


def _checked(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidRequest("key", f"expected text, got {type(key).__name__}")
    if not (0 < len(key) <= _LONGEST_KEY and key.isprintable()):
        raise InvalidRequest("key", f"expected 1 to {_LONGEST_KEY} printable characters")
    if key != key.strip():
        raise InvalidRequest("key", "begins or ends with a space, which a header would lose")
    return key


@frozen
class Mark:
    """What tells the effect of one call among others: the key, in metadata that is echoed."""

    key: str
    field: str

    def is_on(self, metadata: object) -> bool:
        """Say whether echoed metadata is that of this call."""
        if isinstance(metadata, dict):
            return cast("Wire", metadata).get(self.field) == self.key
        return type(metadata) in {str, int} and str(metadata) == self.key


def carry_key(wire: Wire, key: Key, field: str) -> Mark | None:
    """Put the key into the wire object's metadata, so that answers and webhooks echo it.

    An object gets the field, absent metadata becomes such an object; metadata that is text,
    a number or a list is the caller's own and stays as it is. Gives the mark by which the call
    can be known again, if its metadata carries the key now.
    """
    metadata, mark = wire.get("metadata"), Mark(key.text, field)
    if metadata is None:
        wire["metadata"] = {field: key.text}
    elif isinstance(metadata, dict):
        wire["metadata"] = {**cast("Wire", metadata), field: key.text}
    return mark if mark.is_on(wire["metadata"]) else None


@frozen
class Fingerprint:
    """What a request says, as keyed digests of its fields: two can be compared, none read."""

    digests: tuple[tuple[str, bytes], ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the request."""
        return not self.digests

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
