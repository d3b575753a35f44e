"""Which fields each page demands: one row an instrument and country.

Where a page's own list is known in part only, the row holds that part.
"""

from typing import Final

from attrs import evolve, field, frozen

from .forms import CPF, ROUTING_NUMBER, Form, Forms, one_of


@frozen(kw_only=True)
class Demands:
    """What a page demands of an operation by one kind of instrument."""

    name: str
    page: str
    kind: str
    country: str | None = None
    """Only for recipients in this country (ISO 3166-1, alpha-3)."""
    recipient_currency: str | None = None
    """Only for recipients who get this currency."""
    instrument: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...] = ()
    """One of these sets of the instrument's fields must be there."""
    recipient: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    is_advice: bool = False
    """Whether all of these fields are advice: no page of the recipient's country was read."""
    advised: tuple[str, ...] = ()
    """Those of these fields that are advice: the page shows them and doesn't mark them."""
    currency: str | None = None
    """The only one that ``amount_details`` may have."""
    instrument_forms: Forms = field(factory=dict[str, tuple[Form, ...]])
    recipient_forms: Forms = field(factory=dict[str, tuple[Form, ...]])


_FIVE: Final = ("bank_name", "currency", "country_iso3", "first_name", "last_name")
_FOUR: Final = ("company_name", "registration_number", "country_iso3", "code")

_OPEN_CARD: Final = Demands(
    name="payout to a card by its number",
    page="restricted/bank-card",
    kind="card.bank_card",
    instrument=("number",),
    recipient=("full_name",),
)
_CARD_TOKEN: Final = Demands(
    name="payout to a card by its token",
    page="restricted/bank-card",
    kind="card.encrypted_card",
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
        recipient_currency=currency,
        recipient=recipient,
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
        currency="rub",
    )
    for card in (_OPEN_CARD, _CARD_TOKEN)
)
_ACCOUNT: Final = Demands(
    name="payout to an account abroad",
    page="payouts/payout-* (every country's page)",
    kind="bank_account.global",
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
    evolve(_ACCOUNT, is_advice=True),
)
_WALLET: Final = Demands(
    name="payout to a wallet",
    page="payouts/wallet-philippines",
    kind="wallet.global",
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
    Demands(
        name="payout to an account in Russia",
        page="payouts/payout-russia",
        kind="bank_account.ru",
        instrument=("bik", "account", "full_name", "description"),
    ),
    Demands(
        name="payout by the Faster Payments System",
        page="payouts/payout-fps",
        kind="bank_account.faster_payment_system",
        instrument=("phone", "bank_id", "description"),
        currency="rub",
    ),
    Demands(
        name="check of a phone in the Faster Payments System",
        page="reference/methods/fps-verification",
        kind="bank_account.faster_payment_system_verification",
        instrument=("phone", "bank_id"),
        recipient=("first_name", "last_name"),
        advised=("first_name", "last_name"),
    ),
)
"""The first row that fits holds; those of a country stand before those of any."""

PAYMENTS: Final = (
    Demands(
        name="payment by a card's number",
        page="reference/methods/session-init-payment",
        kind="card.bank_card",
        instrument=("number", "expiration_month", "expiration_year", "security_code"),
        advised=("security_code",),
    ),
    Demands(
        name="payment by a card's token",
        page="reference/methods/session-init-payment",
        kind="card.encrypted_card",
        instrument=("number_hash",),
    ),
    Demands(
        name="payment by the token of an earlier one",
        page="payments/payment-recurringMIT",
        kind="recurrent",
        instrument=("token",),
    ),
)
