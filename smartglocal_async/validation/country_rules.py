"""The fields that each page requires: one row for an instrument and country.

If only a part of a page's list is known, the row has that part.
"""

from typing import Final

from attrs import evolve, field, frozen

from ..codec.instruments import kind_of
from ..models.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentBinding,
    FasterPaymentQr,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    Recurrent,
    RussianAccount,
    SberPay,
    SteamWallet,
    TPay,
)
from .identifiers import (
    CHINESE_CARD_CURRENCY,
    CPF,
    DEVICE,
    MIR,
    ROUTING_NUMBER,
    Form,
    Forms,
    one_of,
)


@frozen(kw_only=True)
class Requirements:
    """What a page requires of an operation by one kind of instrument."""

    name: str
    page: str
    kind: str
    country: str | None = None
    """Only for recipients in this country (ISO 3166-1, alpha-3)."""
    either_currency: str | None = None
    """Only if the amount or the recipient has this currency."""
    card_numbers: tuple[str, ...] = ()
    """Also for cards whose numbers begin so, whatever the country."""
    instrument: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...] = ()
    """One of these sets of the instrument's fields must be present."""
    recipient: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    payer: tuple[str, ...] = ()
    """The fields of the request of which one must be present, to name the payer."""
    is_advice: bool = False
    """Whether all of these fields are advice, as the page of the recipient's country is unknown."""
    advised: tuple[str, ...] = ()
    """The fields that are advice: the page shows them without marking them as mandatory."""
    currency: str | None = None
    """The only currency that ``amount_details`` may have."""
    is_currency_advice: bool = False
    """Whether that is advice, as nothing tells for certain that the page is about the operation."""
    instrument_forms: Forms = field(factory=dict[str, tuple[Form, ...]])
    recipient_forms: Forms = field(factory=dict[str, tuple[Form, ...]])
    request_forms: Forms = field(factory=dict[str, tuple[Form, ...]])
    """The forms of fields by their path in the request."""


_FIVE: Final = ("bank_name", "currency", "country_iso3", "first_name", "last_name")
_FPS_PAYER: Final = ("customer.reference", "participant_details.sender.ipv4")
_FOUR: Final = ("company_name", "registration_number", "country_iso3", "code")

_OPEN_CARD: Final = Requirements(
    name="payout to a card by its number",
    page="restricted/bank-card",
    kind=kind_of(BankCard),
    instrument=("number",),
    recipient=("full_name",),
)
_CARD_TOKEN: Final = Requirements(
    name="payout to a card by its token",
    page="restricted/bank-card",
    kind=kind_of(EncryptedCard),
    instrument=("number_hash",),
    recipient=("full_name",),
)
_CHINA: Final = (
    "city",
    "postal_code",
    "state",
    "bank_name",
    "currency",
    "country_iso3",
    "full_name",
)
_CHINA_USD: Final = (*_CHINA, "address_line", "swift_bic_code", "first_name")
_CHINESE_CARDS: Final = tuple(
    evolve(
        card,
        name=f"{card.name} in China{suffix}",
        page="payouts/payout-china",
        country="CHN",
        either_currency=currency,
        recipient=recipient,
        recipient_forms={"currency": (CHINESE_CARD_CURRENCY,)},
    )
    for card in (_OPEN_CARD, _CARD_TOKEN)
    for currency, recipient, suffix in (("usd", _CHINA_USD, ", in USD"), (None, _CHINA, ""))
)
_RUSSIAN_CARDS: Final = tuple(
    evolve(
        card,
        name=f"{card.name} in Russia",
        page="payouts/bank-card-russia",
        country="RUS",
        card_numbers=numbers,
        currency="rub",
        is_currency_advice=True,
    )
    for card, numbers in ((_OPEN_CARD, MIR), (_CARD_TOKEN, ()))
)
_ACCOUNT: Final = Requirements(
    name="payout to an account abroad",
    page="payouts/payout-* (every country's page)",
    kind=kind_of(GlobalAccount),
    instrument=("description",),
    recipient=_FIVE,
)
_ACCOUNTS: Final = (
    evolve(
        _ACCOUNT,
        name="payout to an account in Hungary",
        page="payouts/payout-hungary",
        country="HUN",
        instrument=("iban", "description"),
        recipient=(*_FIVE, "address_line", "city"),
        sender=(*_FOUR, "address_line", "city"),
    ),
    evolve(
        _ACCOUNT,
        name="payout to an account in Czechia",
        page="payouts/payout-czechia",
        country="CZE",
        alternatives=(
            ("iban",),
            ("iban", "swift_bic_code"),
            ("bank_account_number", "branch_number"),
        ),
        sender=_FOUR,
    ),
    evolve(
        _ACCOUNT,
        name="payout to an account in the United Kingdom",
        page="payouts/payout-united-kingdom",
        country="GBR",
        instrument=("account_type", "description"),
        alternatives=(("iban", "swift_bic_code"), ("sort_code", "account_number")),
        recipient=(*_FIVE, "address_line"),
        instrument_forms={
            "account_type": (one_of(("CHECKING",), "payouts/payout-united-kingdom"),)
        },
    ),
    evolve(
        _ACCOUNT,
        name="payout to an account in the USA",
        page="payouts/payout-USA",
        country="USA",
        instrument=("bank_account_number", "account_type", "routing_code", "description"),
        recipient=(*_FIVE, "address_line", "city", "postal_code", "state"),
        sender=(*_FOUR, "address_line"),
        instrument_forms={
            "account_type": (one_of(("CHECKING", "SAVINGS"), "payouts/payout-USA"),),
            "routing_code": (ROUTING_NUMBER,),
        },
    ),
    evolve(
        _ACCOUNT,
        name="payout to an account in Australia",
        page="payouts/payout-australia",
        country="AUS",
        instrument=("bank_account_number", "bsb_number", "description"),
        recipient=(*_FIVE, "address_line", "city", "postal_code", "state"),
        sender=("address_line", "company_name"),
    ),
    evolve(
        _ACCOUNT,
        name="payout to an account in Brazil",
        page="payouts/payout-brazil",
        country="BRA",
        instrument=("bank_account_number", "branch_number", "account_type", "description"),
        recipient=(*_FIVE, "identity_document.id_number"),
        sender=_FOUR,
        instrument_forms={
            "account_type": (
                one_of(("CHECKING", "SAVINGS", "DEPOSIT", "OTHERS"), "payouts/payout-brazil"),
            )
        },
        recipient_forms={"identity_document.id_number": (CPF,)},
    ),
    *(
        evolve(
            _ACCOUNT,
            name=f"payout to an account in {name}",
            page=f"payouts/payout-{page}",
            country=country,
            instrument=("description", account),
            sender=sender,
        )
        for name, page, country, account, sender in (
            ("Turkey", "turkey", "TUR", "iban", _FOUR),
            ("Vietnam", "vietnam", "VNM", "bank_account_number", _FOUR),
            ("Korea", "korea", "KOR", "bank_account_number", _FOUR),
            ("Kenya", "kenya", "KEN", "bank_account_number", _FOUR),
            ("Thailand", "thailand", "THA", "bank_account_number", (*_FOUR, "address_line")),
            ("Indonesia", "indonesia", "IDN", "bank_account_number", (*_FOUR, "address_line")),
            # Whether a sender is mandatory at all differs between versions of the page.
            ("the Philippines", "philippines", "PHL", "bank_account_number", ("code",)),
        )
    ),
    evolve(
        _ACCOUNT,
        name="payout to an account in Hong Kong",
        page="payouts/payout-hong-kong",
        country="HKG",
        instrument=("description", "bank_account_number"),
        recipient=(*_FIVE, "address_line"),
        sender=_FOUR,
    ),
    evolve(
        _ACCOUNT,
        name="payout to an account in Israel",
        page="payouts/payout-israel",
        country="ISR",
        alternatives=(("iban",), ("bank_account_number", "branch_number")),
        sender=_FOUR,
    ),
    evolve(_ACCOUNT, is_advice=True),
)
_WALLET: Final = Requirements(
    name="payout to a wallet",
    page="payouts/wallet-philippines",
    kind=kind_of(GlobalWallet),
    instrument=("name", "msisdn"),
    recipient=("country_iso3",),
)

PAYOUTS: Final = (
    *_CHINESE_CARDS,
    *_RUSSIAN_CARDS,
    _OPEN_CARD,
    _CARD_TOKEN,
    *_ACCOUNTS,
    evolve(
        _WALLET,
        name="payout to a wallet in the Philippines",
        country="PHL",
        instrument=("name", "description", "msisdn"),
        recipient=("currency", "country_iso3", "first_name", "last_name"),
        sender=_FOUR,
    ),
    evolve(_WALLET, is_advice=True),
    Requirements(
        name="payout to a Steam account",
        page="payouts/payout-steam",
        kind=kind_of(SteamWallet),
        instrument=("account",),
        currency="rub",
    ),
    Requirements(
        name="payout to an account in Russia",
        page="payouts/payout-russia",
        kind=kind_of(RussianAccount),
        instrument=("bik", "account", "full_name", "description"),
    ),
    Requirements(
        name="payout by the Faster Payments System",
        page="payouts/payout-fps",
        kind=kind_of(FasterPayment),
        instrument=("phone", "bank_id", "description"),
        currency="rub",
    ),
    Requirements(
        name="check of a phone in the Faster Payments System",
        page="reference/methods/fps-verification",
        kind=kind_of(FasterPaymentVerification),
        instrument=("phone", "bank_id"),
        recipient=("first_name", "last_name"),
        advised=("first_name", "last_name"),
    ),
)
"""The first row that fits applies; rows for one country come before those for any country."""

PAYMENTS: Final = (
    Requirements(
        name="payment by a card's number",
        page="reference/methods/session-init-payment",
        kind=kind_of(BankCard),
        instrument=("number", "expiration_month", "expiration_year", "security_code"),
        advised=("expiration_month", "expiration_year", "security_code"),
    ),
    Requirements(
        name="payment by a card's token",
        page="reference/methods/session-init-payment",
        kind=kind_of(EncryptedCard),
        instrument=("number_hash",),
    ),
    Requirements(
        name="payment by the token of an earlier one",
        page="payments/payment-recurringMIT",
        kind=kind_of(Recurrent),
        instrument=("token",),
    ),
    Requirements(
        name="payment by the Faster Payments System",
        page="payments/payment-qr",
        kind=kind_of(FasterPaymentQr),
        instrument=(),
        payer=_FPS_PAYER,
        currency="rub",
    ),
    Requirements(
        name="token for payments by the Faster Payments System",
        page="restricted/recurring-token",
        kind=kind_of(FasterPaymentBinding),
        instrument=(),
        payer=_FPS_PAYER,
        currency="rub",
    ),
    Requirements(
        name="payment by SberPay",
        page="payments/payment-sberpay",
        kind=kind_of(SberPay),
        instrument=("channel",),
        currency="rub",
        instrument_forms={
            "channel": (one_of(("app", "mobile_web", "web"), "payments/payment-sberpay"),)
        },
    ),
    Requirements(
        name="payment by T-Pay",
        page="restricted/payment-tpay",
        kind=kind_of(TPay),
        instrument=(),
        currency="rub",
        request_forms={"payment_options.platform_details.type": (DEVICE,)},
    ),
)
