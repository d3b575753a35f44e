"""Fingerprints as a journal stores them: compressed, and shortened when a payout is forgotten."""

import json
import zlib
from functools import lru_cache
from typing import Final

from ..idempotency import WHOLE, Fingerprint

_RECENT: Final = 1_024
_DIGEST_BYTES: Final = 8
_TEXT: Final = b"["
"""The first byte of the format of the first releases: JSON."""
_PACKED: Final = b"\x02"
SHORT: Final = b"\x03"
"""The first byte of the fingerprint of a forgotten payout."""
_LENGTH_BYTES: Final = 2
# Part of the format: packed fingerprints can't be read without it. A new list needs a new first
# byte.
_NAMES: Final = (
    b'payment_method.wallet.global.msisdn","payment_method.bank_account.faster_payment_system.'
    b'phone","bank_id","payment_method.bank_account.ru.bik","payment_method.bank_account.ru.account'
    b'","payment_method.card.bank_card.number","participant_details.sender.full_name","first_name"'
    b',"last_name","country_iso3","postal_code","address_line","city","date_of_birth","document","'
    b'company_name","participant_details.recipient.country_iso3","email","msisdn","description","'
    b"payment_method.bank_account.global.account_number"
    b'","payment_method.bank_account.global.bank_account_number","sort_code","routing_code","'
    b'payment_method.bank_account.global.swift_bic_code","payment_method.bank_account.system_type",'
    b'"customer.reference","customer.contacts[0].email","payment_method.card.encrypted_card.'
    b'number_hash","payment_method.card.type","payment_method.type"]["amount_details.amount",'
    b'"amount_details.currency","key","metadata.","participant_details.recipient.full_name",'
    b'"payment_method.bank_account.global.iban"'
)


def packed(fingerprint: Fingerprint) -> bytes:
    """Return a fingerprint in few bytes: 8 for each field, and the compressed field names."""
    digests = fingerprint.digests
    if fingerprint.is_short:
        return SHORT + digests[0][1]
    text = json.dumps([path for path, _ in digests], separators=(",", ":")).encode()
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, zdict=_NAMES)
    names = packer.compress(text) + packer.flush()
    length = len(names).to_bytes(_LENGTH_BYTES)
    return b"".join([_PACKED, length, names, *(digest for _, digest in digests)])


@lru_cache(_RECENT)  # A row is read again for each step.
def unpacked(text: bytes) -> Fingerprint:
    """Return the fingerprint that this or an older release packed."""
    if text[:1] == _TEXT:
        pairs: list[tuple[str, str]] = json.loads(text)
        return Fingerprint(tuple((path, bytes.fromhex(digest)) for path, digest in pairs))
    if text[:1] == SHORT:
        return Fingerprint(((WHOLE, text[1:]),) if text[1:] else ())
    begin = 1 + _LENGTH_BYTES
    end = begin + int.from_bytes(text[1:begin])
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_NAMES)
    names: list[str] = json.loads(unpacker.decompress(text[begin:end]))
    places = range(end, len(text), _DIGEST_BYTES)
    digests = (text[place : place + _DIGEST_BYTES] for place in places)
    return Fingerprint(tuple(zip(names, digests, strict=True)))


def shortened(text: bytes) -> bytes:
    """Return the 8-byte form of a fingerprint, for a payout that is forgotten."""
    fingerprint = unpacked(text)
    return SHORT if fingerprint.is_empty else packed(fingerprint.shortened())


def differing(found: Fingerprint, new: Fingerprint) -> tuple[str, ...]:
    """Return the fields in which a new request differs from the one that was written.

    A payout that was forgotten, or adopted from a report, has no fields: ``request`` is named for
    all of them, also if nothing is known of them.
    """
    if found.is_empty:
        return (WHOLE,)
    return found.differing_fields(new.shortened() if found.is_short else new)
