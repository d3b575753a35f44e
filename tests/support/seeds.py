"""Personal and secret values that must show up nowhere, and requests that carry them."""

from typing import Any, Final

import smartglocal_async as sg

CARD: Final = "4929717384915026"
CODE: Final = "cvv-90125"
TOKEN: Final = "tkn_5f0c1b7ad9"  # noqa: S105 - a seed
IBAN: Final = "DE89370400440532013000"
ACCOUNT: Final = "40817810099910004312"
NAME: Final = "Tamsin Quillfeather"
EMAIL: Final = "quillfeather@example.org"
PHONE: Final = "447911123456"
SECRETS: Final = frozenset({CARD, CODE, TOKEN, IBAN, ACCOUNT, NAME, EMAIL, PHONE})

PAYEE: Final = sg.Participant(full_name=NAME, account=ACCOUNT)
WHO: Final = sg.Customer(reference="c-1", contacts=(sg.Contact(email=EMAIL, phone=PHONE),))
METADATA: Final = {"iban": IBAN, "who": NAME, "card": CARD, "mail": EMAIL, "phone": PHONE}


def requests() -> list[sg.CreateSession]:
    """Return requests with every kind of secret."""
    card = sg.BankCard(number=CARD, security_code=CODE, cardholder_name=NAME)
    options: dict[str, Any] = {"customer": WHO, "metadata": METADATA}
    return [
        sg.CreateSession(
            amount_details=sg.AmountDetails(10_000, "usd"), payment_details=card, **options
        ),
        sg.CreateSession(payment_method=sg.Recurrent(token=TOKEN), **options),
    ]
