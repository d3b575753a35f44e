"""The commands that make one call each: their options and their help, one row per operation.

Method, key and the last lines of the help are those of the operation, which is loaded when needed.
"""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

import attrs
import typer

from ..command import Command, add_command, command, load
from ..options import AsJson, Key, KeyOfCreate, OptionalDeadline

GROUPS: Final = {
    "session": typer.Typer(
        no_args_is_help=True,
        help="Create a session, pay out or take a payment in it.",
    ),
    "wallet": typer.Typer(
        no_args_is_help=True, help="Show the balances of your wallets at the provider."
    ),
    "token": typer.Typer(no_args_is_help=True, help="Issue and look up tokens."),
    "recurrent": typer.Typer(no_args_is_help=True, help="Disable a recurring payment."),
    "fps": typer.Typer(
        no_args_is_help=True, help="Look up people and banks of Faster Payments (Russia)."
    ),
    "sberpay": typer.Typer(no_args_is_help=True, help="Have Sber notify the payer of a payment."),
    "exchange_rate": typer.Typer(
        no_args_is_help=True, help="Show the exchange rate of payouts to Steam accounts."
    ),
}
other = typer.Typer()

SessionId = Annotated[str, typer.Argument(help="Id of the session, such as ps_3230.")]
SessionIdOrFile = Annotated[
    str | None,
    typer.Argument(
        metavar="SESSION_ID", help="Id of the session, such as ps_3230. Can be in --file instead."
    ),
]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        metavar="FILE|-",
        help="File with the request as JSON, with the API's field names; - reads standard input. "
        "--set, --set-json and the options for single fields override it. Put card numbers only "
        "into this file or standard input, never into an option: options are kept in the shell's "
        "history and shown in the list of processes.",
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=TEXT",
        help="Set one field, such as customer.reference=user7 or "
        "customer.contacts[0].email=a@b.example. Can be repeated.",
    ),
]
JsonFields = Annotated[
    list[str] | None,
    typer.Option(
        "--set-json",
        metavar="PATH=JSON",
        help="Set one field that isn't text, such as payment_options.recurrent=true. "
        "Can be repeated.",
    ),
]
AmountText = Annotated[
    str | None,
    typer.Option(
        "--amount",
        metavar="DECIMAL",
        help="Amount in major units, such as 100.00. Needs --currency.",
    ),
]
Currency = Annotated[
    str | None, typer.Option("--currency", metavar="CODE", help="ISO 4217 code, such as usd.")
]
Metadata = Annotated[
    str | None,
    typer.Option(
        "--metadata",
        metavar="TEXT",
        help="Text that is returned in answers and webhooks, such as an order id. Can't be used "
        "with --key or --json-metadata.",
    ),
]
JsonMetadata = Annotated[
    str | None,
    typer.Option(
        "--json-metadata",
        metavar="JSON",
        help="Metadata as JSON. With --key it must be an object, because the key is added to it.",
    ),
]
CardToken = Annotated[
    str | None,
    typer.Option(
        "--card-token",
        metavar="TOKEN",
        help="Token of a card (`number_hash` in the API), from the provider's widget for cards.",
    ),
]
RecurrentTokenText = Annotated[
    str | None,
    typer.Option(
        "--recurrent-token",
        metavar="TOKEN",
        help="Token for recurring payments, from the answer to an earlier payment.",
    ),
]
CustomerReference = Annotated[
    str | None,
    typer.Option("--customer", metavar="TEXT", help="Your id for the payer (customer.reference)."),
]

_MONEY: Final = {"amount": AmountText, "currency": Currency}
_METADATA: Final = {"metadata": Metadata, "json_metadata": JsonMetadata}
_FILE: Final = {"file": File, "fields": Fields, "json_fields": JsonFields}
_KEY: Final = {"key": Key}
_PAYING: Final = {**_MONEY, **_METADATA, **_FILE, **_KEY}
_ID: Final = {"session_id": SessionId}
_ID_OR_FILE: Final = {"session_id": SessionIdOrFile}
_CARD: Final = {"card_token": CardToken}
_PAYER: Final = {
    **_CARD,
    "recurrent_token": RecurrentTokenText,
    "customer": CustomerReference,
}
_NEEDED: Final = frozenset({SessionId})


_NEEDED_BY_START: Final = {
    "session.start_payout": ("payment_method", "amount_details"),
    "session.start_payment": ("payment_details", "amount_details", "customer"),
}
"""Fields that a start requires, unless `session/create` has set them."""


class CallCommand(Command):
    """A command whose help ends with the fields of its request; its epilog names the method."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Typer's own
        """Write the help."""
        can_set_fields = any(param.name == "fields" for param in self.params)
        self.epilog = _fields_and_page(str(self.epilog), can_set_fields=can_set_fields)
        super().format_help(ctx, formatter)


def _fields_and_page(method: str, *, can_set_fields: bool) -> str:
    """Return the last lines of a command's help: the fields of its request, and the page."""
    # Imported for a help text only: the operations need every model of the API.
    from ...codec.versions import PAYOUT_INSTRUMENT  # noqa: PLC0415
    from ...operations import OPERATIONS, python_method  # noqa: PLC0415

    operation = next(one for one in OPERATIONS if python_method(one) == method)
    # Without its scheme the address fits a line.
    page = f"developer.smart-glocal.com/docs/{operation.page}"
    needed: list[str] = []
    others: list[str] = []
    for field in attrs.fields(cast("type[attrs.AttrsInstance]", operation.request)):
        name = field.name
        if name == "payment_method" and "v2" in operation.versions:
            name += f" ({PAYOUT_INSTRUMENT['v2']} in v2)"
        (needed if field.default is attrs.NOTHING else others).append(name)
    parts: list[str] = []
    if can_set_fields:
        either = [name for name in others if name.split()[0] in _NEEDED_BY_START.get(method, ())]
        others = [name for name in others if name not in either]
        if needed:
            parts.append(f"Required fields: {', '.join(needed)}.")
        if either:
            parts.append(f"Required, unless `session create` set them: {', '.join(either)}.")
        words = "Optional"
        parts += [f"{words}: {', '.join(others)}."] if others else []
    if "v2" not in operation.versions:
        parts.append("Always uses version 1 of the API.")
    return "\n\n".join(filter(None, [" ".join(parts), page]))


def _call(method: str, text: str, options: Mapping[str, Any]) -> None:
    """Add the command that calls a method of the client.

    ``options`` are the annotations of its parameters by name. `calls.perform` has what is special
    about a method: the fields behind its own options, and how its answer is shown.
    """

    def run(given: Mapping[str, Any]) -> None:
        load("calls.perform:perform")(method, given)

    types = {**options, "deadline": OptionalDeadline, "as_json": AsJson}
    group, _, name = method.partition(".")
    add_command(
        GROUPS[group],
        name.replace("_", "-"),
        run,
        help_text=text,
        parameters={name: (kind, _default(kind)) for name, kind in types.items()},
        cls=CallCommand,
        epilog=method,
    )


def _default(annotation: Any) -> Any:  # noqa: ANN401 - any annotation, any value
    if annotation in _NEEDED:
        return inspect.Parameter.empty
    return False if annotation.__origin__ is bool else None


_call(
    "session.create",
    "Create a session for a payment or payout; no money moves.",
    {**_MONEY, **_METADATA, **_FILE, "key": KeyOfCreate},
)
_call(
    "session.start_payout",
    """Start a payout in a session.

    With manual confirmation, money moves only after `smartglocal session confirm`.
    """,
    {**_ID_OR_FILE, **_CARD, **_PAYING},
)
_call(
    "session.start_payment",
    """Start a payment in a session.

    If the payer must act, as for 3-D Secure, the answer or a later status has the URL to redirect
    the payer to.
    """,
    {**_ID_OR_FILE, **_PAYER, **_PAYING},
)
_call(
    "session.init_payout",
    """Create a session and start a payout in it.

    This is one call instead of two. If its answer is lost, you have no session id to ask about:
    `create` and `start-payout` are safer.
    """,
    {**_CARD, **_PAYING},
)
_call(
    "session.init_payment",
    """Create a session and start a payment in it.

    This is one call instead of two. If its answer is lost, you have no session id to ask about:
    `create` and `start-payment` are safer.
    """,
    {**_PAYER, **_PAYING},
)
_call(
    "session.confirm",
    """Confirm a started payout or payment.

    Money moves or, if a payment has a delayed capture, is held until `capture`.
    """,
    {**_ID, **_KEY},
)
_call(
    "session.cancel",
    "Cancel a payout or payment that moved no money yet.",
    {**_ID, **_KEY},
)
_call(
    "session.capture",
    """Capture the money that a payment holds.

    Captures all of it, or --amount of it.
    """,
    {**_ID_OR_FILE, **_MONEY, **_FILE, **_KEY},
)
_call(
    "session.refund",
    """Refund a payment.

    Refunds all of it, or --amount of it. A payout can't be refunded.
    """,
    {**_ID_OR_FILE, **_PAYING},
)
_call("session.status", "Show the current state of a session.", _ID)


@command(GROUPS["session"], "wait", "calls.perform:wait", cls=CallCommand, epilog="session.status")
class WaitOptions:
    """Wait until a session is final, or needs an action.

    Requests the status repeatedly. A session is final when it is accepted or cancelled. Actions are
    a confirm, a capture, or what the payer must do. Exit code 1 if --deadline passes first.
    """

    session_id: SessionId
    final: Annotated[
        bool, typer.Option("--final", help="Wait until it is final, also if an action is needed.")
    ] = False
    deadline: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longest time to wait, in seconds.")
    ] = 300.0
    as_json: AsJson = False


_call(
    "sberpay.push",
    """Have Sber notify the payer of a SberPay payment by PUSH or SMS.

    No money moves. Pass the phone number in --file, or as --set phone=+79000000001.
    """,
    {**_ID_OR_FILE, **_FILE},
)
_call(
    "exchange_rate.get",
    "Show the rate of payouts to Steam: US dollars for one rouble.",
    {},
)
_call("wallet.balance", "Show each wallet with its balance.", {})
_call(
    "token.issue",
    """Issue a public token for widgets.

    It is valid for 24 hours and for one call. Use at least one of --tokenize, --acquiring and
    --fps, or --file.
    """,
    {
        "tokenize": Annotated[
            bool, typer.Option("--tokenize", help="For the widget that turns a card into a token.")
        ],
        "acquiring": Annotated[
            str | None,
            typer.Option(
                "--acquiring", metavar="SESSION_ID", help="For the widget that takes payments."
            ),
        ],
        "fps": Annotated[
            str | None,
            typer.Option(
                "--fps",
                metavar="SESSION_ID",
                help="For transfers between individuals through Faster Payments. Set "
                "SMARTGLOCAL_SUBMERCHANT, which is sent as X-PARTNER-SUBMERCHANT, to your id for "
                "the payer. The return_url of the session must "
                "be the literal text dummy:/url.",
            ),
        ],
        **_FILE,
    },
)
_call(
    "token.info",
    """Show the details of a token.

    Use exactly one of --card-token, --public-token and --recurrent-token, or --file.
    """,
    {
        **_CARD,
        "public_token": Annotated[
            str | None,
            typer.Option("--public-token", metavar="TOKEN", help="Public token of a widget."),
        ],
        "recurrent_token": RecurrentTokenText,
        **_FILE,
    },
)
_call(
    "recurrent.disable",
    "Disable a recurring payment; a repeat changes nothing.",
    {
        "token": Annotated[
            str | None,
            typer.Argument(
                metavar="TOKEN",
                help="Token for recurring payments, from the answer to an earlier payment. Can be "
                "in --file instead.",
            ),
        ],
        **_FILE,
    },
)


def _name(option: str, words: str) -> Any:  # noqa: ANN401 - an annotation
    return Annotated[
        str | None, typer.Option(option, metavar="TEXT", help=f"{words} of the recipient.")
    ]


_call(
    "fps.verify_customer",
    """Check whether a phone number belongs to the recipient.

    Free of charge. First create a session. Its status becomes `accepted` if the number belongs to
    the recipient, and `cancelled` if not.
    """,
    {
        **_ID_OR_FILE,
        "phone": Annotated[
            str | None,
            typer.Option(
                "--phone",
                metavar="TEXT",
                help="Phone number of the recipient, such as 79000000001. Needs --bank-id.",
            ),
        ],
        "bank_id": Annotated[
            str | None,
            typer.Option(
                "--bank-id",
                metavar="TEXT",
                help="Id of the recipient's bank, from `smartglocal fps banks`, such as "
                "100000000069. Needs --phone.",
            ),
        ],
        "first_name": _name("--first-name", "First name"),
        "last_name": _name("--last-name", "Last name"),
        "middle_name": _name("--middle-name", "Middle name"),
        **_FILE,
    },
)
_call("fps.banks", "List the banks of the Faster Payments System.", {})


@command(other, "call", "calls.perform:call_any")
class AnyCallOptions:
    """Make any call to the API.

    The body is that of --file, with the fields of --set and --set-json. It is not validated, and
    nothing is added to it: --key is sent as a header only. Without --harmless the call is treated
    as one that moves money: it isn't sent again if the first request may have been processed.
    """

    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="Path after the version, such as session/chargeback."),
    ]
    harmless: Annotated[
        bool,
        typer.Option(
            "--harmless",
            help="Declare that repeating this call can't move money a second time, so that it is "
            "retried after a lost answer.",
        ),
    ] = False
    api_version: Annotated[
        str | None,
        typer.Option(
            metavar="v1|v2",
            help="Version in the path. Default: SMARTGLOCAL_API_VERSION, or else v1.",
            show_default=False,
        ),
    ] = None
    method: Annotated[
        str, typer.Option(metavar="POST|GET", help="HTTP method; a GET sends its body, too.")
    ] = "POST"
    success_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Field that shows success if the answer has no `status`; for example, `rate` in "
            "the answer to the exchange rate.",
            show_default=False,
        ),
    ] = None
    file: File = None
    fields: Fields = None
    json_fields: JsonFields = None
    key: Key = None
    deadline: OptionalDeadline = None
    as_json: AsJson = False
