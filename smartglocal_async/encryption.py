"""Encrypts what a journal must not store in clear: AES-256-GCM, bound to the key of its row."""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import InvalidCredentials, JournalUnusable, WrongJournalKey

KEY_VARIABLE: Final = "SMARTGLOCAL_JOURNAL_KEY"
_KEY_BYTES: Final = 32
_NAME_BYTES: Final = 4
_REQUEST: Final = "request"
_NONCE_BYTES: Final = 12  # The size that AES-GCM recommends (NIST SP 800-38D, 8.2).


class RequestCipher:
    """Encrypts the requests that a journal keeps.

    ``RequestCipher(key)``, or ``RequestCipher(new, old)`` while keys change: the first one
    encrypts, each of them decrypts. A key is 32 bytes in Base64, as `new_key` returns it. Keep it
    apart from the journal: the two together show accounts and names. Without the key, a payout can
    go on only with its order.

    Raises:
        InvalidCredentials: a key is invalid; the text doesn't show it.

    """

    def __init__(self, *keys: str) -> None:
        known = _read(keys)
        del keys
        if not known:
            raise InvalidCredentials(
                f"{KEY_VARIABLE}: expected {_KEY_BYTES} bytes in Base64; make a key with "
                "`sg.RequestCipher.new_key()` or `smartglocal payouts journal new-key`"
            )
        self._keys = known

    @classmethod
    def from_env(cls) -> Self | None:
        """Read ``SMARTGLOCAL_JOURNAL_KEY``, keys separated by commas; None if it isn't set."""
        texts = os.environ.get(KEY_VARIABLE)
        return cls(*texts.split(",")) if texts else None

    @staticmethod
    def new_key() -> str:
        """Return a new random key."""
        return base64.b64encode(os.urandom(_KEY_BYTES)).decode()

    def encrypt(self, text: bytes, row: str, *, purpose: str = _REQUEST) -> bytes:
        """Encrypt the text of a row; it can be decrypted for that row and purpose only."""
        key, nonce = self._keys[0], os.urandom(_NONCE_BYTES)
        return _name(key) + nonce + AESGCM(key).encrypt(nonce, text, _bound(row, purpose))

    def decrypt(self, encrypted: bytes, row: str, *, purpose: str = _REQUEST) -> bytes:
        """Return the text of a row.

        Raises:
            WrongJournalKey: it was encrypted with a key that isn't given.
            JournalUnusable: it was encrypted for another row, or changed.

        """
        if not _is_named(self._keys, encrypted):
            raise WrongJournalKey(
                f"the {purpose} of the key {row!r} was encrypted with another {KEY_VARIABLE} than "
                "the one given here: give the one that encrypted it, or several, separated by "
                "commas"
            )
        text = _decrypted(self._keys, encrypted, _bound(row, purpose))
        if text is None:
            words = "can't be decrypted: it was encrypted for another row, or was changed"
            raise JournalUnusable(f"the {purpose} of the key {row!r} {words}")
        return text


def _read(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Return the keys; none if one of them can't be read.

    It doesn't raise: the frames of an error would hold the keys.
    """
    try:
        keys = tuple(base64.b64decode(text, validate=True) for text in texts)
    except (binascii.Error, ValueError, TypeError):
        return ()
    return keys if all(len(key) == _KEY_BYTES for key in keys) else ()


def _is_named(keys: Sequence[bytes], encrypted: bytes) -> bool:
    return encrypted[:_NAME_BYTES] in map(_name, keys)


def _bound(row: str, purpose: str) -> bytes:
    """Return the associated data of a text; NUL separates its parts, as no payout's key has one."""
    return (row if purpose == _REQUEST else f"{purpose}\0{row}").encode()


def _decrypted(keys: Sequence[bytes], encrypted: bytes, bound: bytes) -> bytes | None:
    name, rest = encrypted[:_NAME_BYTES], encrypted[_NAME_BYTES:]
    nonce, text = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
    for key in keys:
        if _name(key) == name:
            try:
                return AESGCM(key).decrypt(nonce, text, bound)
            except (InvalidTag, ValueError):
                return None
    return None


def _name(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:_NAME_BYTES]
