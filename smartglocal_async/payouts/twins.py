"""Rows that may be one payout: found through digests in a temporary database on the disk."""

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final

from attrs import define, field, frozen

from ..values.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    OtherInstrument,
    Recurrent,
    RussianAccount,
)
from .orders import PayoutOrder

_TABLE: Final = "CREATE TABLE seen (digest BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID"
_PRAGMAS: Final = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4096")
_DIGEST_BYTES: Final = 16
# What tells where the money goes; a purpose or a holder's name may differ, and it goes there still.
_TELLING: Final[Mapping[type[Any], tuple[str, ...]]] = {
    BankCard: ("number",),
    EncryptedCard: ("number_hash",),
    GlobalAccount: (
        "iban",
        "swift_bic_code",
        "bank_account_number",
        "account_number",
        "branch_number",
        "sort_code",
        "routing_code",
        "bsb_number",
        "extra",
    ),
    RussianAccount: ("bik", "account"),
    FasterPayment: ("phone", "bank_id"),
    FasterPaymentVerification: ("phone", "bank_id"),
    GlobalWallet: ("name", "msisdn"),
    Recurrent: ("token",),
}


@frozen(kw_only=True)
class Twin:
    """A row that may be one payout with a row above it."""

    first_line: int
    """Of the row above."""
    line: int
    key: str
    """Of the row below."""

    def __str__(self) -> str:
        return f"line {self.line} (key {self.key!r}) and line {self.first_line}"


@define(eq=False)
class Memory:
    """What was seen so far; digests only, with a salt that is forgotten at the end."""

    _database: sqlite3.Connection
    _salt: bytes = field(factory=lambda: os.urandom(16), repr=False)

    def same_key(self, line: int, order: PayoutOrder) -> Twin | None:
        """Give the twin of the same key, and remember this one."""
        return self._twin("key", order.key.encode(), line, order)

    def same_payment(self, line: int, order: PayoutOrder) -> Twin | None:
        """Give the twin to the same instrument, of the same amount, and remember this one."""
        return self._twin("payment", _payment(order), line, order)

    def _twin(self, what: str, text: bytes, line: int, order: PayoutOrder) -> Twin | None:
        digest = hashlib.blake2b(
            text, digest_size=_DIGEST_BYTES, key=self._salt, person=what.encode()
        ).digest()
        known = self._database.execute(
            "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, line)
        )
        if known.rowcount:
            return None
        found = self._database.execute("SELECT line FROM seen WHERE digest = ?", (digest,))
        return Twin(first_line=found.fetchone()[0], line=line, key=order.key)


@contextmanager
def remembering() -> Generator[Memory]:
    """Hold a memory that takes no more room for a million rows than for ten.

    Raises:
        OSError: the disk has no room for it.

    """
    try:
        # Without a name it lies in the folder for temporary files, and in no directory.
        with closing(sqlite3.connect("", isolation_level=None)) as database:
            for pragma in _PRAGMAS:
                _ = database.execute(f"PRAGMA {pragma}")
            _ = database.execute(_TABLE)
            _ = database.execute("BEGIN")
            yield Memory(database)
    except sqlite3.OperationalError as error:
        words = f"the temporary database of the pre-flight: {error}"
        raise OSError(errno.ENOSPC, words) from None


def _payment(order: PayoutOrder) -> bytes:
    paid, amount = order.payment_method, order.amount_details
    if isinstance(paid, OtherInstrument):
        told: Any = json.dumps(dict(paid.wire), sort_keys=True)
    else:
        told = [_plain(getattr(paid, name)) for name in _TELLING[type(paid)]]
    return repr((type(paid).__name__, told, amount.amount, amount.currency)).encode()


def _plain(value: object) -> object:
    return value.replace(" ", "").upper() if isinstance(value, str) else value
