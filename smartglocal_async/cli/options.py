"""The options that commands share, each with one name and one help text everywhere."""

from typing import Annotated

import typer

from .screen import AsJson

__all__ = [
    "Amount",
    "AsJson",
    "CardToken",
    "Currency",
    "Customer",
    "Deadline",
    "Fields",
    "File",
    "JsonFields",
    "JsonMetadata",
    "Key",
    "Metadata",
    "MoneyKey",
    "RecurrentToken",
    "SessionId",
    "SessionIdOrFile",
]

SessionId = Annotated[str, typer.Argument(help="Such as ps_3230.")]
SessionIdOrFile = Annotated[
    str | None,
    typer.Argument(metavar="SESSION_ID", help="Such as ps_3230; may stand in --file instead."),
]
File = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|-",
        help="The request as JSON, under the names of the API; - is standard input. "
        "The other options override it. A card number belongs here, and in no option: "
        "those stay in the shell's history and show in the list of processes.",
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=TEXT",
        help="One field by its path, such as customer.reference=user7 or "
        "customer.contacts[0].email=a@b.example; may be given again.",
    ),
]
JsonFields = Annotated[
    list[str] | None,
    typer.Option("--set-json", metavar="PATH=JSON", help="The same, for what isn't text."),
]
Amount = Annotated[
    str | None, typer.Option(help="In major units, such as 100.00; needs --currency.")
]
Currency = Annotated[str | None, typer.Option(help="ISO 4217 code, such as usd.")]
Metadata = Annotated[
    str | None, typer.Option(help="Text that answers and webhooks echo, such as an order id.")
]
JsonMetadata = Annotated[str | None, typer.Option(help="The same, any JSON.")]
CardToken = Annotated[
    str | None,
    typer.Option(metavar="HASH", help="A card by its token (number_hash) from the widget."),
]
RecurrentToken = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="A card by the token of an earlier payment.")
]
Customer = Annotated[
    str | None,
    typer.Option(metavar="REFERENCE", help="Your own id of the payer (customer.reference)."),
]
Key = Annotated[
    str | None,
    typer.Option(
        help="Idempotency key: your order id. It travels in the metadata, which must be an "
        "object (--json-metadata) or absent; give the same one when you repeat the call. "
        "Recognised within one run only; the provider decides."
    ),
]
MoneyKey = Annotated[
    str | None,
    typer.Option(
        help="Idempotency key: your own id of this call; another than that of any other call. "
        "It travels in the metadata, too, where the call has some: an object, or absent. "
        "Recognised within one run only; the provider decides."
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="For the whole call, attempts and waits included."),
]
