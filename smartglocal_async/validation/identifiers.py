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
    MonetaWallet,
    QiwiWallet,
    Recurrent,
    RussianAccount,
    SteamWallet,
    TokenizedCard,
    YooMoneyWallet,
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
    in_file: str | None = None
    """The problem in the words for a file, if they are others than for a call."""


Forms: TypeAlias = Mapping[str, tuple[Form, ...]]
"""Field -> its forms. The first one broken is reported, a certain one before advice."""


_IBAN: Final = re.compile("[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,30}")
_LETTERS_AS_NUMBERS: Final = str.maketrans(
    {letter: str(int(letter, 36)) for letter in string.ascii_letters}
)
_ISO_BIC: Final = "[A-Za-z0-9]{4}[A-Za-z]{2}[A-Za-z0-9]{2}([A-Za-z0-9]{3})?"
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9]+(?:[ ./-]{1,2}[A-Za-z0-9]+)*")
_ERROR: Final = re.compile(
    r"\#+"  # A column that is too narrow
    r"|\#[¡¿]?[^\W\d]+(?:/(?:0|[^\W\d]+))?\s?[!?]"  # #REF!, #WERT!, #¿NOMBRE?, #DIV/0!
    r"|\#(?:[^\W\d]{1,3}/[^\W\d]{1,4}|NV|YOK|HIÁNYZIK|NENÍ_K_DISPOZICI|GETTING_DATA)"
    r"|(?i:err|error|erro|errore|erreur|fehler)\s?:\s?[0-9]{3}"
)
"""What spreadsheets write in their languages where a formula failed."""
_RUINED: Final = re.compile(
    rf"{_ERROR.pattern}"
    r"|[0-9]+[.,]0+"  # 12345678.0
    r"|[+-]?[0-9][.,][0-9]*\s*[Ee]\s*[+-]?[0-9]+\w*"  # 4.10025E+15
    r"|[0-9]+[Ee][+-][0-9]+"  # 4E+15; 12E34 may be real
    r"|-[0-9][0-9., ]*"
    r"""|[='"`\u00b4\u2018\u2019].*"""  # a formula, and the mark of a text
    r"|(?i:n/a|null|\(null\)|none|nil|nan|undefined|[+-]?inf(?:inity)?|true|false)"
    r"|(?i:wahr|falsch|vrai|faux|verdadero|falso|prawda|fałsz|истина|ложь)"
    r"|\{\}|\{\{.*\}\}|\[object \w+\]"
    r"|\s*(?:[^\w\s]|_)[\W_]*",
    re.DOTALL,
)
"""What spreadsheets and programs write instead of an identifier."""
_LONGEST_WORD: Final = len("erreur : 502")
"""Of those that begin with a letter; only they end with digits, behind a colon."""
_MONTH: Final = "(?:jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]*"
_NO_ACCOUNT: Final = re.compile(
    r"(?:19|20)[0-9]{2}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])(?:[ T][0-9:.]+)?"
    r"|(?:0?[1-9]|[12][0-9]|3[01])([-/.])(?:0?[1-9]|[12][0-9]|3[01])\2(?:19|20)[0-9]{2}"
    r"|(?:0?[1-9]|[12][0-9]|3[01])([/.])(?:0?[1-9]|[12][0-9]|3[01])\3[0-9]{2}"
    rf"|(?i:[0-9]{{1,2}}\.?[-. /]{_MONTH}(?:[-. /][0-9]{{2,4}})?|{_MONTH}[-. /][0-9]{{2,4}})"
    r"|[0-9]+[.,](?:[0-9]{1,2})?|[.,][0-9]+"
    r"|[0-9]{1,3}(?:[ .,'][0-9]{3})+[.,][0-9]{1,2}|[0-9]{1,3}(?:,[0-9]{3})+"
)
"""Dates and decimals, which a spreadsheet makes of numbers of accounts and of phones."""
_SPREADSHEET: Final = (
    "a spreadsheet has made a number or a formula of it: format the column as text and write it "
    "again"
)
_AS_GIVEN: Final = "pass the str that you were given, and never make a number of it"
_MOJIBAKE: Final = re.compile(
    "[\u00c2\u00c3\u00c4\u00c5\u00d0\u00d1][\u0080-\u00bf\u0152\u0160\u0178\u017d\u0153\u0161\u017e"
    "\u0192\u02c6\u02dc\u2013\u2014\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
    "|\u00e2[\u0080\u20ac]"
)
"""A letter in UTF-8 that was read as Western European: J\u00c3\u00b6rg."""
_NO_TEXT: Final = re.compile(
    rf"{_ERROR.pattern}|\{{\{{.*\}}\}}|\[object \w+\]|=[A-Z+-]*[(\"].*", re.DOTALL
)
"""The error of a formula, a formula, and what programs write for a value that they haven't."""
_MAY_BE_NO_TEXT: Final = frozenset("#EeFf{[=")
_UNREADABLE: Final = re.compile("[\ufffd\u202a-\u202e\u2066-\u2069]|[\x00-\x1f]")
_LIKE_CARD: Final = re.compile(r"(?<![0-9])[2-6][0-9](?:[ -]?[0-9]){11,17}(?![0-9])")
_CARD: Final = re.compile(
    "4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|3[47][0-9]{13}|6(?:011|5[0-9]{2})[0-9]{12}"
    "|220[0-4][0-9]{12}|(?:222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
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
_SHORTEST_CARD: Final = 13


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
    if not _are_digits(number) or not number.strip("0"):
        return False
    return number.startswith(_UNION_PAY) or _ends_in_its_check_digit(number)


def _are_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _ends_in_its_check_digit(number: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + place % 2)
        total += value if value <= _LARGEST_DIGIT else value - _LARGEST_DIGIT
    return total % 10 == 0


def is_iban(iban: str) -> bool:
    """Return whether a text has the form and the check digits of an IBAN."""
    if not _IBAN.fullmatch(iban):
        return False
    return int((iban[4:] + iban[:4]).translate(_LETTERS_AS_NUMBERS)) % 97 == 1


def _is_routing_number(code: str) -> bool:
    # Zeros pass, as the page of the provider has them in its example.
    if not _ABA.fullmatch(code):
        return False
    weighted = (weight * int(digit) for weight, digit in zip((3, 7, 1) * 3, code, strict=True))
    return sum(weighted) % 10 == 0


def _is_identifier(text: str) -> bool:
    if text.isdigit() and text.isascii():
        return True
    return _IDENTIFIER.fullmatch(text) is not None and not is_ruined_number(text)


def is_ruined(text: str) -> bool:
    """Return whether a text is what a spreadsheet or a program writes instead of an identifier."""
    if text[:1].isalpha() and (
        len(text) > _LONGEST_WORD or (text[-1].isdigit() and ":" not in text)
    ):
        return False  # Most identifiers of a file, without the twenty branches of the pattern.
    return _RUINED.fullmatch(text) is not None


def is_ruined_number(text: str) -> bool:
    """Return whether a text is that instead of the number of an account or of a phone."""
    return is_ruined(text) or _NO_ACCOUNT.fullmatch(text) is not None


def _is_shown(text: str) -> bool:
    """Return whether each character is seen, and no digit is of another script."""
    if text.isascii():
        return text.isprintable()
    return text.isprintable() and all(char.isascii() or not char.isdigit() for char in text)


def _is_text(text: str) -> bool:
    if text.isascii() and text[:1] not in _MAY_BE_NO_TEXT:
        return True
    return _NO_TEXT.fullmatch(text) is None and _UNREADABLE.search(text) is None


def _is_name(text: str) -> bool:
    return not text.isdigit() and _is_text(text)


def _is_in_its_encoding(text: str) -> bool:
    return text.isascii() or _MOJIBAKE.search(text) is None


def holds_card_number(text: str) -> bool:
    """Return whether a text has the number of a card of a known scheme in it."""
    if len(text) < _SHORTEST_CARD or _LIKE_CARD.search(text) is None:
        return False
    for found in _LIKE_CARD.findall(text):
        number = found.replace(" ", "").replace("-", "")
        if _CARD.fullmatch(number) and _ends_in_its_check_digit(number):
            return True
    return False


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
_AS_THE_BANK: Final = "must be letters and digits, as the bank writes it"
IDENTIFIER: Final = Form(
    _is_identifier,
    f"{_AS_THE_BANK}; {_AS_GIVEN}",
    _BANKS,
    in_file=f"{_AS_THE_BANK}; {_SPREADSHEET}",
)
_VISIBLE: Final = Form(
    _is_shown,
    "holds a character that isn't shown, or a digit of another script; write it again",
    _BANKS,
)


def _written(is_wrong: Callable[[str], bool]) -> Form:
    return Form(
        lambda text: not is_wrong(text),
        f"isn't a real value: programs write this for a number or a missing value; {_AS_GIVEN}",
        _BANKS,
        in_file=f"isn't what was written: {_SPREADSHEET}",
    )


WRITTEN_IDENTIFIER: Final = (_written(is_ruined), _VISIBLE)
"""Of an identifier that may have any characters."""
WRITTEN_NUMBER: Final = (_written(is_ruined_number), _VISIBLE)
"""Of a token, and of the number of an account or of a phone, that may have any characters."""
_UNICODE: Final = "the Unicode Standard"
_ENCODING: Final = Form(
    _is_in_its_encoding,
    "looks as if it was read in another encoding than it was written in; compare it with the "
    "recipient's",
    _UNICODE,
    _ADVICE,
)
TEXT: Final = (
    Form(
        _is_text,
        "isn't readable: it is what programs write for an error or a missing value, or has "
        "characters that no text has; pass the text itself",
        _UNICODE,
        in_file="isn't readable: it is the error of a formula, or has characters that no text has; "
        "write it again",
    ),
    _ENCODING,
)
"""Of words."""
NAME: Final = (
    Form(
        _is_name,
        "is no name: it is a number, or what programs write for an error or a missing value, or "
        "has characters that no name has; pass the name itself",
        _UNICODE,
        in_file="is no name: it is a number, or the error of a formula, or has characters that no "
        "name has; write it again",
    ),
    _ENCODING,
)
"""Of the name of a person or of a city."""


def _is_plain_text(text: str) -> bool:
    if text.isascii() and text[0] not in _MAY_BE_NO_TEXT:
        return True
    return _is_text(text) and _is_in_its_encoding(text)


def _is_plain_name(text: str) -> bool:
    if text.isascii() and text[0] not in _MAY_BE_NO_TEXT:
        return not text.isdigit()
    return _is_name(text) and _is_in_its_encoding(text)


def holders(several: tuple[Form, ...]) -> tuple[Callable[[str], bool], ...]:
    """Return what tests whether a text has all of some forms, in fewer calls."""
    for together, holds in ((TEXT, _is_plain_text), (NAME, _is_plain_name)):
        if several[0] is together[0]:
            return (holds, *(form.holds for form in several[len(together) :]))
    return tuple(form.holds for form in several)


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
                *WRITTEN_NUMBER,
            )
        },
        kind_of(GlobalAccount): {
            "iban": (
                Form(
                    is_iban,
                    "must be an IBAN: letters and digits without spaces, with the right check "
                    "digits",
                    "ISO 13616",
                ),
            ),
            "swift_bic_code": (_BIC,),
            "description": TEXT,
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
            "full_name": NAME,
            "description": TEXT,
        },
        kind_of(TokenizedCard): {"token": WRITTEN_NUMBER},
        kind_of(FasterPayment): {
            "phone": WRITTEN_NUMBER,
            "bank_id": WRITTEN_NUMBER,
            "description": TEXT,
        },
        kind_of(GlobalWallet): {
            "name": WRITTEN_IDENTIFIER,
            "msisdn": WRITTEN_NUMBER,
            "description": TEXT,
        },
        **{
            kind_of(wallet): {"account": WRITTEN_NUMBER}
            for wallet in (SteamWallet, QiwiWallet, YooMoneyWallet, MonetaWallet)
        },
        kind_of(Recurrent): {
            "token": WRITTEN_NUMBER,
            "initiator": (one_of(("merchant", "client"), "payments/payment-recurringMIT"),),
        },
    }
)
"""Kind of instrument -> the forms of its fields."""

PARTICIPANT_FORMS: Final[Forms] = MappingProxyType(
    {
        "company_name": (
            *TEXT,
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
        "first_name": (*NAME, _at_most(64, "payouts/payout-USA")),
        "last_name": (*NAME, _at_most(80, "payouts/payout-USA")),
        "registration_number": (*WRITTEN_IDENTIFIER, _at_most(64, "payouts/payout-USA")),
        "code": WRITTEN_IDENTIFIER,
        "msisdn": WRITTEN_NUMBER,
        "full_name": NAME,
        "middle_name": NAME,
        "bank_name": TEXT,
        "email": WRITTEN_IDENTIFIER,
        "address_line": (*TEXT, _at_most(256, "payouts/payout-USA", {**_LIMITS, **_ASIA})),
        "city": (*NAME, _at_most(64, "payouts/payout-USA")),
        "postal_code": (*WRITTEN_NUMBER, _at_most(64, "payouts/payout-USA")),
        "state": (*TEXT, _at_most(64, "payouts/payout-USA")),
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
