"""The options that several commands share: one name, one placeholder and one help text each."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from ..errors import InvalidRequest
from ..models.money import AmountDetails

_AMOUNT: Final = re.compile(r"([0-9.]+) ?([A-Za-z]{3})")

AsJson = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]
OptionalOutput = Annotated[
    Path | None,
    typer.Option("--output", metavar="PATH", help="File to write.", show_default=False),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", help="Don't ask whether to continue. Required if there is no terminal."),
]
_host = typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
Host = Annotated[str, _host]
OptionalHost = Annotated[str | None, _host]
_port = typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 chooses a free one.")
Port = Annotated[int, _port]
OptionalPort = Annotated[int | None, _port]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="The same seed produces the same faults.")
]
FaultRate = Annotated[
    float | None,
    typer.Option(
        "--fault-rate",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="Share of attempts that fail.",
    ),
]
PassphraseEnv = Annotated[
    str | None,
    typer.Option(
        "--passphrase-env",
        metavar="NAME",
        help="Name of the environment variable that has the passphrase of the private key.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="TEXT",
        help="Idempotency key: your id for this call. This command doesn't remember the keys of "
        "earlier runs. After exit code 3, find out whether money moved before you repeat the call, "
        "even with the same key: by `session status`, or by a webhook or a report if you have no "
        "session id.",
    ),
]
KeyOfCreate = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="TEXT",
        help="Idempotency key: your id for this session. If you repeat the call, use the same key.",
    ),
]
OptionalDeadline = Annotated[
    float | None,
    typer.Option(
        "--deadline",
        metavar="SECONDS",
        help="Time limit of the call, with all its attempts. Default: 30.",
    ),
]
_public_key = typer.Option("--public-key", metavar="FILE", help="Public key, a PEM file.")
PublicKeyFile = Annotated[Path, _public_key]
OptionalPublicKeyFile = Annotated[Path | None, _public_key]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency",
        metavar="N",
        min=1,
        help="Maximum number of payouts in progress at the same time, in this process.",
    ),
]


def time_of(option: str, text: str) -> datetime:
    """Return the time of an option: a day, such as 2026-11-26, or a time of it, in UTC.

    Raises:
        InvalidRequest: it is neither.

    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        words = "expected a day such as 2026-11-26, or a time such as 2026-11-26T18:30+03:00"
        raise InvalidRequest(option, words) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def amounts(option: str, typed: list[str] | None) -> dict[str, AmountDetails]:
    """Return the amounts of an option, by currency.

    Raises:
        InvalidRequest: a text isn't an amount, or a currency is repeated.

    """
    read: dict[str, AmountDetails] = {}
    for text in typed or ():
        parts = _AMOUNT.fullmatch(text)
        if parts is None:
            raise InvalidRequest(option, "expected an amount with its currency, such as 1234.56usd")
        try:
            amount = AmountDetails.of(*parts.groups())
        except InvalidRequest as error:
            raise InvalidRequest(option, error.problem) from None
        if amount.currency in read:
            raise InvalidRequest(option, f"is given twice for {amount.currency}")
        read[amount.currency] = amount
    return read
