"""The commands that make one call each: their options and their help, one row per operation.

Method, key and the last lines of the help are those of the operation, which is loaded when needed.
"""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

import attrs
import typer

from ..command import Command, add_command, command, load
from ..options import AsJson, Deadline, Key, OptionalDeadline

GROUPS: Final = {
    "session": typer.Typer(no_args_is_help=True, help="Create a session, pay in it, and watch it."),
    "wallet": typer.Typer(no_args_is_help=True, help="Show the prefunded balances; API v1 only."),
    "token": typer.Typer(no_args_is_help=True, help="Issue and look up tokens; API v1 only."),
    "recurrent": typer.Typer(no_args_is_help=True, help="Disable recurring payments; API v1 only."),
    "fps": typer.Typer(
        no_args_is_help=True, help="Look up customers and banks of Faster Payments (Russia)."
    ),
    "sberpay": typer.Typer(
        no_args_is_help=True, help="Have Sber notify the payer of a payment; API v1 only."
    ),
    "exchange_rate": typer.Typer(
        no_args_is_help=True, help="Show the rate of Steam top-ups; API v1 only."
    ),
}
other = typer.Typer()

SessionId = Annotated[str, typer.Argument(help="Such as ps_3230.")]
SessionIdOrFile = Annotated[
    str | None,
    typer.Argument(metavar="SESSION_ID", help="Such as ps_3230; can be in --file instead."),
]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        metavar="FILE|-",
        help="The request as JSON, with the API's field names; - reads standard input. The other "
        "options override it. Put a card number here and in no option: options are kept in the "
        "shell's history and shown in the list of processes.",
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
        "--amount", metavar="DECIMAL", help="In major units, such as 100.00; needs --currency."
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
        help="Text that answers and webhooks repeat, such as an order id.",
    ),
]
JsonMetadata = Annotated[
    str | None,
    typer.Option(
        "--json-metadata", metavar="JSON", help="The same as JSON; with --key, an object."
    ),
]
CardToken = Annotated[
    str | None,
    typer.Option(
        "--card-token", metavar="HASH", help="A card, as its token (number_hash) from the widget."
    ),
]
RecurrentTokenText = Annotated[
    str | None,
    typer.Option(
        "--recurrent-token", metavar="TOKEN", help="A card, as the token of an earlier payment."
    ),
]
CustomerReference = Annotated[
    str | None,
    typer.Option(
        "--customer", metavar="TEXT", help="Your own id of the payer (customer.reference)."
    ),
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


class CallCommand(Command):
    """A command whose help ends with the fields of its request; its epilog names the method."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Typer's own
        """Write the help."""
        self.epilog = _fields_and_page(str(self.epilog))
        super().format_help(ctx, formatter)


def _fields_and_page(method: str) -> str:
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
    parts = [f"Required fields: {', '.join(needed)}."] if needed else []
    if others:
        parts.append(f"{'Optional' if needed else 'All fields are optional'}: {', '.join(others)}.")
    if not parts:
        return page
    return f"{' '.join(parts)}{'' if 'v2' in operation.versions else ' API v1 only.'}\n\n{page}"


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
    "Create a payment session; no money moves yet.",
    {**_MONEY, **_METADATA, **_FILE, **_KEY},
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

    amount, customer.reference and payment_details are required, here or in `session create`. If
    the payer has to act, the answer or a later status has the address to send them to.
    """,
    {**_ID_OR_FILE, **_PAYER, **_PAYING},
)
_call(
    "session.init_payout",
    """Create a session and start a payout in it.

    One call instead of two. If its answer is lost, there is no session id to ask about: `create`
    and `start-payout` are safer.
    """,
    {**_CARD, **_PAYING},
)
_call(
    "session.init_payment",
    """Create a session and start a payment in it.

    One call instead of two. If its answer is lost, there is no session id to ask about: `create`
    and `start-payment` are safer.
    """,
    {**_PAYER, **_PAYING},
)
_call("session.confirm", "Confirm what was started: money moves.", {**_ID, **_KEY})
_call("session.cancel", "Cancel what is not confirmed or captured yet.", {**_ID, **_KEY})
_call(
    "session.capture",
    """Capture the money that a payment holds.

    All of it, or --amount.
    """,
    {**_ID_OR_FILE, **_MONEY, **_FILE, **_KEY},
)
_call(
    "session.refund",
    """Refund a payment.

    All of it, or --amount. A payout can't be refunded.
    """,
    {**_ID_OR_FILE, **_PAYING},
)
_call("session.status", "Show the current state of a session.", _ID)


@command(GROUPS["session"], "wait", "calls.perform:wait", cls=CallCommand, epilog="session.status")
class WaitOptions:
    """Wait until a session is final, or an action is needed.

    Requests the status repeatedly. Exit code 1 if the time limit ends first.
    """

    session_id: SessionId
    final: Annotated[
        bool, typer.Option("--final", help="Wait until the session is accepted or cancelled.")
    ] = False
    deadline: Deadline = 300.0
    as_json: AsJson = False


_call(
    "sberpay.push",
    """Have Sber notify the payer of a SberPay payment by PUSH or SMS.

    No money moves. Pass the phone number in --file, or as --set phone=+79000000001.
    """,
    {**_ID_OR_FILE, **_FILE},
)
_call("exchange_rate.get", "Show the rate of Steam top-ups, roubles to US dollars.", {})
_call("wallet.balance", "Show each wallet with its balance.", {})
_call(
    "token.issue",
    "Issue a public token for widgets: 24 hours, one operation.",
    {
        "tokenize": Annotated[
            bool, typer.Option("--tokenize", help="For the widget that turns a card into a token.")
        ],
        "acquiring": Annotated[
            str | None,
            typer.Option(
                "--acquiring", metavar="SESSION_ID", help="For the widget that takes a payment."
            ),
        ],
        "fps": Annotated[
            str | None,
            typer.Option(
                "--fps",
                metavar="SESSION_ID",
                help="For transfers between individuals; needs SMARTGLOCAL_SUBMERCHANT, and a "
                "session with the return_url dummy:/url.",
            ),
        ],
        **_FILE,
    },
)
_call(
    "token.info",
    "Show the details of a token.",
    {
        **_CARD,
        "public_token": Annotated[
            str | None,
            typer.Option("--public-token", metavar="TOKEN", help="The token of a widget."),
        ],
        "recurrent_token": RecurrentTokenText,
        **_FILE,
    },
)
_call(
    "recurrent.disable",
    "Disable a recurring payment; repeating it changes nothing.",
    {
        "token": Annotated[
            str | None, typer.Argument(metavar="TOKEN", help="Can be in --file instead.")
        ],
        **_FILE,
    },
)


def _name(option: str) -> Any:  # noqa: ANN401 - an annotation
    return Annotated[
        str | None, typer.Option(option, metavar="TEXT", help="A name of the recipient.")
    ]


_call(
    "fps.verify_customer",
    """Check whether a phone belongs to a person; free of charge.

    The session becomes accepted if it does, and cancelled if not.
    """,
    {
        **_ID_OR_FILE,
        "phone": Annotated[
            str | None, typer.Option("--phone", metavar="TEXT", help="Needs --bank-id.")
        ],
        "bank_id": Annotated[
            str | None,
            typer.Option(
                "--bank-id",
                metavar="TEXT",
                help="From `smartglocal fps banks`, such as 100000000069.",
            ),
        ],
        "first_name": _name("--first-name"),
        "last_name": _name("--last-name"),
        "middle_name": _name("--middle-name"),
        **_FILE,
    },
)
_call("fps.banks", "List the banks of the system.", {})


@command(other, "call", "calls.perform:call_any")
class AnyCallOptions:
    """Make any call of the API; the body is sent unchanged.

    Without --harmless the call is treated as one that moves money, and never sent twice. --key is
    sent as a header only.
    """

    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="What follows api/v1/, such as session/chargeback."),
    ]
    harmless: Annotated[
        bool,
        typer.Option("--harmless", help="A second call moves no money: retry after a lost answer."),
    ] = False
    api_version: Annotated[
        str | None,
        typer.Option(
            metavar="v1|v2",
            help="Version in the path; default SMARTGLOCAL_API_VERSION.",
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
            help="A member by which a good answer without a status is known, such as rate.",
            show_default=False,
        ),
    ] = None
    file: File = None
    fields: Fields = None
    json_fields: JsonFields = None
    key: Key = None
    deadline: OptionalDeadline = None
    as_json: AsJson = False
