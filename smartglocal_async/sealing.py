"""Seal what must not lie on a disk in the clear: AES-256-GCM, bound to the name of its row."""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import InvalidCredentials, JournalUnusable, WrongSeal

_VARIABLE: Final = "SMARTGLOCAL_JOURNAL_KEY"
_KEY_BYTES: Final = 32
_NAME_BYTES: Final = 4
_NONCE_BYTES: Final = 12  # What AES-GCM is made for (NIST SP 800-38D, 8.2).


class Seal:
    """Keeps requests in a journal so that only who has the key reads them.

    ``Seal(key)``, or ``Seal(new, old)`` while keys change: the first one seals, all of them open.
    A key is 32 bytes in Base64, as `new_key` makes it. Keep it apart from the journal: who has
    both reads accounts and names; who loses it can only go on with the orders themselves.

    Raises:
        InvalidCredentials: something that isn't a key; the text doesn't show it.

    """

    def __init__(self, *keys: str) -> None:
        known = _read(keys)
        del keys
        if not known:
            raise InvalidCredentials(
                f"{_VARIABLE}: expected {_KEY_BYTES} bytes in Base64; make a key with "
                "`sg.Seal.new_key()`"
            )
        self._keys = known

    @classmethod
    def from_env(cls) -> Self | None:
        """Take the keys from ``SMARTGLOCAL_JOURNAL_KEY``, apart by commas; None if it isn't set."""
        texts = os.environ.get(_VARIABLE)
        return cls(*texts.split(",")) if texts else None

    @staticmethod
    def new_key() -> str:
        """Make a key."""
        return base64.b64encode(os.urandom(_KEY_BYTES)).decode()

    def close(self, text: bytes, row: str) -> bytes:
        """Seal the text of a row."""
        key, nonce = self._keys[0], os.urandom(_NONCE_BYTES)
        return _name(key) + nonce + AESGCM(key).encrypt(nonce, text, row.encode())

    def open(self, sealed: bytes, row: str) -> bytes:
        """Give the text of a row.

        Raises:
            WrongSeal: it was sealed with a key that isn't here.
            JournalUnusable: it was sealed for another row, or changed.

        """
        if not _is_named(self._keys, sealed):
            raise WrongSeal(
                f"the request of the key {row!r} was sealed with another {_VARIABLE} than the one "
                "given here: give the one that sealed it, or several, apart by commas"
            )
        text = _opened(self._keys, sealed, row)
        if text is None:
            words = "can't be opened: it was sealed for another row, or was changed"
            raise JournalUnusable(f"the request of the key {row!r} {words}")
        return text


def _read(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Give the keys; none if one of them can't be read. No error is raised where they are seen."""
    try:
        keys = tuple(base64.b64decode(text, validate=True) for text in texts)
    except (binascii.Error, ValueError, TypeError):
        return ()
    return keys if all(len(key) == _KEY_BYTES for key in keys) else ()


def _is_named(keys: Sequence[bytes], sealed: bytes) -> bool:
    return sealed[:_NAME_BYTES] in map(_name, keys)


def _opened(keys: Sequence[bytes], sealed: bytes, row: str) -> bytes | None:
    name, rest = sealed[:_NAME_BYTES], sealed[_NAME_BYTES:]
    nonce, text = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
    for key in keys:
        if _name(key) == name:
            try:
                return AESGCM(key).decrypt(nonce, text, row.encode())
            except (InvalidTag, ValueError):
                return None
    return None


def _name(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:_NAME_BYTES]
