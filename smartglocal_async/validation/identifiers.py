"""Formats of fields: lengths, digits, check digits."""

import itertools
import re
import string
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import frozen

from ..codec.instruments import kind_of
from ..models.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    GlobalAccount,
    GlobalWallet,
    RussianAccount,
    SteamWallet,
)
from ..models.money import EXPONENTS


@frozen
class Form:
    """A format that a field must have."""

    holds: Callable[[str], bool]
    problem: str
    page: str
    certain_in: Mapping[str, str] | None = None
    """Countries (ISO 3166-1, alpha-3), each with the page that states it: it is certain for
    accounts there, and advice elsewhere. None: certain everywhere."""


Forms: TypeAlias = Mapping[str, tuple[Form, ...]]
"""Field -> its forms. The first one broken is reported, a certain one before advice."""


_IBAN: Final = re.compile("[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,30}")
_LETTERS_AS_NUMBERS: Final = str.maketrans(
    {letter: str(int(letter, 36)) for letter in string.ascii_letters}
)
_ISO_BIC: Final = "[A-Za-z0-9]{4}[A-Za-z]{2}[A-Za-z0-9]{2}([A-Za-z0-9]{3})?"
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9]+(?:[ ./-]{1,2}[A-Za-z0-9]+)*")
_RUINED: Final = re.compile(
    r"[0-9]+[.,]0+"  # 12345678.0
    r"|[0-9][.,][0-9]*[Ee]\+?[0-9]+|[0-9]+[Ee]\+[0-9]+"  # 4.10025E+15; 12E34 may be real
    r"|[=\'].*"  # a formula, and the mark of a text
    r"|\#(?:N/A|REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!)"
    r"|(?i:n/a|null|none|nan|undefined)",
    re.DOTALL,
)
"""What spreadsheets and programs write instead of an identifier."""
_SPREADSHEET: Final = (
    "a spreadsheet has made a number or a formula of it: format the column as text and write it "
    "again"
)
_ABA: Final = re.compile(r"[0-9]{9}")
_UNION_PAY: Final = ("62", "81")
SCHEMES: Final = "the card schemes' rules"
_CARD_NUMBERS: Final = "ISO/IEC 7812"
RUSSIAN_BANKS: Final = "Bank of Russia 762-P"
_INIT_PAYMENT: Final = "reference/methods/session-init-payment"
_LARGEST_DIGIT: Final = 9
_ADVICE: Final[Mapping[str, str]] = MappingProxyType({})
_LIMITS: Final = {"USA": "payouts/payout-USA", "AUS": "payouts/payout-USA"}
_ASIA: Final = {"THA": "payouts/payout-thailand", "IDN": "payouts/payout-indonesia"}
_COMPANIES: Final = {
    **_ASIA,
    "AUS": "payouts/payout-australia",
    "TUR": "payouts/payout-turkey",
    "VNM": "payouts/payout-vietnam",
    "KOR": "payouts/payout-korea",
    "KEN": "payouts/payout-kenya",
    "HKG": "payouts/payout-hong-kong",
    "PHL": "payouts/payout-philippines",
    "ISR": "payouts/payout-israel",
    "CZE": "payouts/payout-czechia",
}
"""The countries whose pages say what a company's name may be."""
MIR: Final = ("2200", "2201", "2202", "2203", "2204")
"""How the numbers of Mir, Russia's card scheme, begin."""


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _at_most(length: int, page: str, certain_in: Mapping[str, str] = _LIMITS) -> Form:
    return Form(
        lambda text: len(text) <= length,
        f"may have {length} characters; shorten it",
        page,
        certain_in,
    )


def _is_card_number(number: str) -> bool:
    # Not all of UnionPay's numbers end in a check digit.
    return _are_digits(number) and (
        number.startswith(_UNION_PAY) or _ends_in_its_check_digit(number)
    )


def _are_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _ends_in_its_check_digit(number: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + place % 2)
        total += value if value <= _LARGEST_DIGIT else value - _LARGEST_DIGIT
    return total % 10 == 0


def _is_iban(iban: str) -> bool:
    if not _IBAN.fullmatch(iban):
        return False
    return int((iban[4:] + iban[:4]).translate(_LETTERS_AS_NUMBERS)) % 97 == 1


def _is_routing_number(code: str) -> bool:
    if not _ABA.fullmatch(code):
        return False
    weighted = (weight * int(digit) for weight, digit in zip((3, 7, 1) * 3, code, strict=True))
    return sum(weighted) % 10 == 0


def _is_identifier(text: str) -> bool:
    return _IDENTIFIER.fullmatch(text) is not None and _RUINED.fullmatch(text) is None


def is_ruined(text: str) -> bool:
    """Return whether a text is what a spreadsheet or a program writes instead of an identifier."""
    return _RUINED.fullmatch(text) is not None


def has_control_key(bik: str, account: str) -> bool:
    """Return whether the ninth digit of a Russian account fits the account and its bank.

    Only banks with accounts at the Bank of Russia (their BIK begins with 04) have such keys
    (Bank of Russia, rules of 1997-09-08, no. 515).
    """
    if not bik.startswith("04"):
        return True
    is_of_central_bank = bik.endswith(("000", "001", "002"))
    bank = f"0{bik[4:6]}" if is_of_central_bank else bik[6:]
    digits = (int(digit) for digit in bank + account)
    weights = itertools.cycle((7, 1, 3))
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False)) % 10 == 0


def one_of(words: tuple[str, ...], page: str) -> Form:
    """Return the form of a field with a fixed set of values."""
    return Form(lambda text: text in words, f"must be {' or '.join(words)}", page)


CHINESE_CARD_CURRENCY: Final = Form(
    lambda text: text.lower() in {"cny", "usd"}, "must be CNY or USD", "payouts/payout-china"
)
CPF: Final = Form(_pattern("[0-9]{11}"), "must be the CPF: 11 digits", "payouts/payout-brazil")
ROUTING_NUMBER: Final = Form(
    _is_routing_number,
    "must be an ABA routing number: nine digits, the last of them the check digit",
    "payouts/payout-USA",
)
EXPIRATION_MONTH: Final = Form(
    _pattern("0[1-9]|1[0-2]"), "must be two digits, 01 to 12", _INIT_PAYMENT
)
EXPIRATION_YEAR: Final = Form(_pattern("[0-9]{2}"), "must be two digits", _INIT_PAYMENT)
_BANKS: Final = "the banks' own forms"
IDENTIFIER: Final = Form(
    _is_identifier,
    f"must be letters and digits, as the bank writes it; {_SPREADSHEET}",
    _BANKS,
)
WRITTEN_IDENTIFIER: Final = Form(
    lambda text: not is_ruined(text), f"isn't what was written: {_SPREADSHEET}", _BANKS
)
"""Of an identifier that may have any characters."""
_BIC: Final = Form(_pattern(_ISO_BIC), "must be a BIC: 8 or 11 letters and digits", "ISO 9362")

INSTRUMENT_FORMS: Final[Mapping[str, Forms]] = MappingProxyType(
    {
        kind_of(BankCard): {
            "number": (
                Form(
                    _is_card_number,
                    "must be digits only, the last of them the check digit",
                    _CARD_NUMBERS,
                ),
                Form(
                    lambda number: not _are_digits(number) or _ends_in_its_check_digit(number),
                    "should end in its check digit, as most of UnionPay's numbers do",
                    _CARD_NUMBERS,
                    _ADVICE,
                ),
            ),
            "expiration_month": (EXPIRATION_MONTH,),
            "expiration_year": (EXPIRATION_YEAR,),
            "security_code": (
                Form(_pattern("[0-9]{3,4}"), "must be three or four digits", SCHEMES),
            ),
        },
        kind_of(EncryptedCard): {
            "number_hash": (
                Form(
                    lambda text: bool(text.strip()),
                    "must not be empty; use the token of the widget",
                    "restricted/bank-card",
                ),
            )
        },
        kind_of(GlobalAccount): {
            "iban": (
                Form(
                    _is_iban,
                    "must be an IBAN: letters and digits without spaces, with the right check "
                    "digits",
                    "ISO 13616",
                ),
            ),
            "swift_bic_code": (_BIC,),
            "bank_account_number": (IDENTIFIER,),
            "account_number": (IDENTIFIER,),
            "branch_number": (IDENTIFIER,),
            "routing_code": (IDENTIFIER,),
            "sort_code": (
                IDENTIFIER,
                Form(
                    _pattern("[0-9]{2}-[0-9]{2}-[0-9]{2}"),
                    "must be three pairs of digits: 12-34-56",
                    "payouts/payout-united-kingdom",
                    {"GBR": "payouts/payout-united-kingdom"},
                ),
            ),
            "bsb_number": (
                IDENTIFIER,
                Form(
                    _pattern("[0-9]{6}"),
                    "must be six digits",
                    "payouts/payout-australia",
                    {"AUS": "payouts/payout-australia"},
                ),
            ),
        },
        kind_of(RussianAccount): {
            "bik": (Form(_pattern("[0-9]{9}"), "must be nine digits", RUSSIAN_BANKS),),
            "account": (Form(_pattern("[0-9]{20}"), "must be twenty digits", RUSSIAN_BANKS),),
            "inn": (IDENTIFIER,),
            "kpp": (IDENTIFIER,),
        },
        kind_of(FasterPayment): {
            "phone": (WRITTEN_IDENTIFIER,),
            "bank_id": (WRITTEN_IDENTIFIER,),
        },
        kind_of(GlobalWallet): {"msisdn": (WRITTEN_IDENTIFIER,)},
        kind_of(SteamWallet): {"account": (WRITTEN_IDENTIFIER,)},
        "recurrent": {
            "initiator": (one_of(("merchant", "client"), "payments/payment-recurringMIT"),)
        },
    }
)
"""Kind of instrument -> the forms of its fields."""

PARTICIPANT_FORMS: Final[Forms] = MappingProxyType(
    {
        "company_name": (
            _at_most(
                100,
                "payouts/payout-australia",
                {"USA": "payouts/payout-australia", **_COMPANIES},
            ),
            Form(
                lambda text: not text.isdigit(),
                "must not be digits only",
                "payouts/payout-australia",
                _COMPANIES,
            ),
        ),
        "first_name": (_at_most(64, "payouts/payout-USA"),),
        "last_name": (_at_most(80, "payouts/payout-USA"),),
        "registration_number": (WRITTEN_IDENTIFIER, _at_most(64, "payouts/payout-USA")),
        "code": (WRITTEN_IDENTIFIER,),
        "msisdn": (WRITTEN_IDENTIFIER,),
        "address_line": (_at_most(256, "payouts/payout-USA", {**_LIMITS, **_ASIA}),),
        "city": (_at_most(64, "payouts/payout-USA"),),
        "postal_code": (WRITTEN_IDENTIFIER, _at_most(64, "payouts/payout-USA")),
        "state": (_at_most(64, "payouts/payout-USA"),),
        "country_iso3": (Form(_pattern("[A-Za-z]{3}"), "must be three letters", "ISO 3166-1"),),
        "currency": (
            Form(_pattern("[A-Za-z]{3}"), "must be three letters", "ISO 4217"),
            # Advice, as the list is of one date.
            Form(
                lambda text: text.lower() in EXPONENTS,
                "should be the code of a currency",
                "ISO 4217",
                _ADVICE,
            ),
        ),
        "swift_bic_code": (_BIC,),
        "account": (IDENTIFIER,),
        "identity_document.id_number": (IDENTIFIER,),
    }
)
"""The forms of a recipient's and a sender's fields."""

INDIVIDUALS: Final = "payments/payment-individuals"
BETWEEN_INDIVIDUALS: Final = "dummy:/url"
"""The ``return_url`` of a transfer between individuals, to the letter."""
REQUEST_FORMS: Final[Forms] = MappingProxyType(
    {
        "payment_options.return_url": (
            Form(
                lambda text: (
                    text == BETWEEN_INDIVIDUALS or not text.strip().lower().startswith("dummy:")
                ),
                f"must be {BETWEEN_INDIVIDUALS} for a transfer between individuals",
                INDIVIDUALS,
            ),
        )
    }
)
"""The forms of fields beside the instrument and the participants."""
DEVICE: Final = one_of(("mobile", "desktop"), "restricted/payment-tpay")

PAYER_FORMS: Final[Forms] = MappingProxyType(
    {
        # If it is missing or malformed, the provider substitutes another.
        "postal_code": (
            Form(_pattern("[0-9]{1,6}"), "should be one to six digits", "payments/params", _ADVICE),
        )
    }
)
"""The forms of the fields of a payment's sender."""
