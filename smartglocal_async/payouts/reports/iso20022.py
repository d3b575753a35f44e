"""What the ISO 20022 messages of a report share: elements, versions, and the original's names."""

import hashlib
import re
from datetime import datetime
from typing import Final
from xml.sax.saxutils import escape

from attrs import frozen

from ...errors import InvalidRequest
from ...models.money import Amount
from ..files.iso20022 import OriginalMessage, OriginalTransaction
from .records import BatchReport, in_major_units

SPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
MESSAGE_MARK: Final = b"<!-- smartglocal payouts report -->"
"""A comment by which such a message is recognised."""
_OF_ORIGINAL: Final = {
    "pain.001.001.03": ("pain.002.001.03", "camt.054.001.02"),
    "pain.001.001.09": ("pain.002.001.10", "camt.054.001.08"),
    "pain.001.001.11": ("pain.002.001.12", "camt.054.001.10"),
}
"""Version of the message that was paid -> the versions of the same year of the standard."""
_USUAL: Final = _OF_ORIGINAL["pain.001.001.09"]
NOT_PROVIDED: Final = "NOTPROVIDED"
MAX_ID: Final = 35
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def leaf(name: str, text: str | None, attributes: str = "") -> str:
    """Return an element with a text; nothing if there is none."""
    return f"<{name}{attributes}>{escape(_NOT_XML.sub('?', text))}</{name}>" if text else ""


def node(name: str, *children: str) -> str:
    """Return an element with children; nothing if they are all empty."""
    inside = "".join(children)
    return f"<{name}>{inside}</{name}>" if inside else ""


def money(name: str, amount: Amount) -> str:
    """Return an element with an amount in major units; nothing if its decimals aren't known."""
    major = in_major_units(amount)
    text = None if major is None else f"{major:f}"
    return leaf(name, text, f' Ccy="{amount.currency.upper()}"')


def identifier(text: str | None) -> str | None:
    """Return an identifier of the provider, cut to the length that the standard has for it."""
    return text and text[:MAX_ID]


def date_time(time: datetime) -> str:
    """Return a time in UTC as ISO 20022 writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%S}+00:00"


def message_id(report: BatchReport) -> str:
    """Return an id that no report of another batch or moment has, of up to 35 characters."""
    named = hashlib.sha256(f"{report.journal}\0{report.name}".encode()).hexdigest()
    return f"{report.made_at:%Y%m%dT%H%M%S%f}-{named}"[:MAX_ID]


def begin_message(version: str) -> str:
    """Return the start of a message of a version, up to its outermost element."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{MESSAGE_MARK.decode()}\n'
        f'<Document xmlns="{SPACE}{version}">'
    )


def group_header(report: BatchReport) -> str:
    """Return the header of a message."""
    return node(
        "GrpHdr",
        leaf("MsgId", message_id(report)),
        leaf("CreDtTm", date_time(report.made_at)),
    )


@frozen
class PaidMessage:
    """The message that was paid, and the names that it has for payouts."""

    original: OriginalMessage | None
    """None if it isn't known; then its identifiers are ``NOTPROVIDED``."""
    key_prefix: str = ""

    @property
    def status_version(self) -> str:
        """The version of a pain.002 about it."""
        return self._versions[0]

    @property
    def notification_version(self) -> str:
        """The version of a camt.054 about it."""
        return self._versions[1]

    @property
    def _versions(self) -> tuple[str, str]:
        return _USUAL if self.original is None else _OF_ORIGINAL.get(self.original.name, _USUAL)

    def key_of(self, key: str) -> str:
        """Return the key that a payout has in the message."""
        return key.removeprefix(self.key_prefix)

    def transaction(self, key: str) -> OriginalTransaction:
        """Return how the message names a payout; if it isn't known, the key is its end-to-end id.

        Raises:
            InvalidRequest: the key is too long for an identifier.

        """
        own = self.key_of(key)
        known = None if self.original is None else self.original.transactions.get(own)
        if known is not None:
            return known
        if len(own) > MAX_ID:
            words = f"the key {own!r} is longer than the {MAX_ID} characters of an EndToEndId"
            raise InvalidRequest("--format", f"{words}; write a CSV or XLSX")
        return OriginalTransaction(NOT_PROVIDED, None, None, own)
