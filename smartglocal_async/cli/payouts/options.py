"""Options that several commands of ``payouts`` share."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from attrs import frozen

JOURNAL_VARIABLE: Final = "SMARTGLOCAL_JOURNAL"
"""Names the journal of all commands, as `--journal` does for one."""

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV or JSON Lines; with the extra files also a workbook of Excel or OpenDocument, or "
        "an ISO 20022 pain.001.",
    ),
]
OptionalFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The file that was paid; the whole journal without it."),
]
JournalPlace = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="PATH|postgres://...",
        envvar=JOURNAL_VARIABLE,
        help="The journal, in which each payout is recorded before it is sent: a file, or a "
        "database with ?schema=NAME. By default a file in your state directory, one for each "
        "server and project.",
        show_default=False,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="URL", help="Address of the provider, instead of SMARTGLOCAL_SERVER."
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        min=0.0,
        metavar="SECONDS",
        help="How long to wait for another process that uses the journal's file.",
    ),
]
BatchName = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="NAME",
        help="Name of the file's payouts in the journal. By default the name under which the "
        "journal has the same content, else the file's name.",
        show_default=False,
    ),
]
BatchArgument = Annotated[
    str, typer.Argument(metavar="BATCH", help="Name of the batch in the journal.")
]
KeyPrefix = Annotated[
    str | None,
    typer.Option(
        "--key-prefix",
        metavar="TEXT",
        help="Prefix for the key of every row, for files whose keys only count the rows: nov- "
        "makes nov-1 of 1. It belongs to the batch: always use the same one.",
        show_default=False,
    ),
]
FormatFile = Annotated[
    Path | None,
    typer.Option(
        "--format",
        metavar="PATH",
        help="TOML file that says how FILE is read where that can't be recognised: kind, encoding, "
        "delimiter, decimal, sheet, columns, ignored. The options for one of these override it.",
        show_default=False,
    ),
]
_delimiter = typer.Option(
    "--delimiter",
    metavar="CHARACTER",
    help="Between the columns of a CSV: a comma, semicolon, bar, or the word tab.",
)
Delimiter = Annotated[str | None, _delimiter]


@frozen(kw_only=True, repr=False)
class FormatOptions:
    """How FILE is read, where that can't be recognised."""

    format_file: FormatFile = None
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="NAME",
            help="csv, jsonl, xlsx, xls, ods or pain.001.",
            show_default=False,
        ),
    ] = None
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding",
            metavar="NAME",
            help="Encoding of a text file, such as cp1252 or utf-16.",
            show_default=False,
        ),
    ] = None
    delimiter: Delimiter = None
    decimal: Annotated[
        str | None,
        typer.Option(
            "--decimal",
            metavar="CHARACTER",
            help="Decimal sign of the amounts: a point or a comma; the other one separates "
            "thousands.",
            show_default=False,
        ),
    ] = None
    sheet: Annotated[
        str | None,
        typer.Option("--sheet", metavar="NAME", help="Sheet of a workbook.", show_default=False),
    ] = None
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=FIELD",
            help="Field that a column of FILE means, such as 'Betrag=amount'; may be repeated.",
        ),
    ] = None
    ignored: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-column",
            metavar="COLUMN",
            help="Column of FILE that isn't read; may be repeated.",
        ),
    ] = None

    @property
    def words(self) -> list[str]:
        """The options as the next command needs them."""
        given = [("--format", None if self.format_file is None else str(self.format_file))]
        given += [("--kind", self.kind), ("--encoding", self.encoding)]
        given += [("--delimiter", self.delimiter), ("--decimal", self.decimal)]
        given += [("--sheet", self.sheet)]
        given += [("--map", text) for text in self.columns or ()]
        given += [("--ignore-column", text) for text in self.ignored or ()]
        return [word for name, text in given if text is not None for word in (name, text)]


Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="PATH",
        help="File that gets a line for each settled payout: CSV, or JSON Lines by suffix. By "
        "default FILE.results.csv.",
        show_default=False,
    ),
]
Confirm = Annotated[
    Literal["manual", "automatic"],
    typer.Option(
        "--confirm",
        help="Who confirms payouts: this program, or the provider itself. A setting of your "
        "project.",
    ),
]
Deadline = Annotated[
    float,
    typer.Option(
        "--deadline",
        metavar="SECONDS",
        help="Time limit of each payout; a payout that isn't settled by then stays open.",
    ),
]
ExpectTotal = Annotated[
    list[str] | None,
    typer.Option(
        "--expect-total",
        metavar="AMOUNT",
        help="The sum that you expect, in major units, such as 1234.56usd; once per currency.",
    ),
]
SpendLimit = Annotated[
    list[str] | None,
    typer.Option(
        "--spend-limit",
        metavar="AMOUNT",
        help="Stop before more than this is spent, such as 1000.00usd; once per currency.",
    ),
]
StopOnRefusal = Annotated[
    bool,
    typer.Option("--stop-on-refusal", help="Stop after the first that failed or was refused."),
]
StopAfterFailures = Annotated[
    int | None,
    typer.Option(
        "--stop-after-failures",
        min=1,
        metavar="N",
        help="Stop after N payouts in a row that were not paid.",
    ),
]
_low_balance = typer.Option(
    "--stop-on-low-balance/--ignore-balance",
    help="Stop before a payout that the wallets can't cover; the default.",
    show_default=False,
)
StopOnLowBalance = Annotated[bool, _low_balance]
OptionalStopOnLowBalance = Annotated[bool | None, _low_balance]
Offline = Annotated[bool, typer.Option("--offline", help="Send nothing: don't read the wallets.")]
AllowRepeats = Annotated[
    bool,
    typer.Option(
        "--allow-repeats",
        help="With --yes: pay also if half of the rows or more have a payee and a sum that "
        "another batch paid in the last five days.",
    ),
]
_REASON: Final = typer.Option(
    "--reason", metavar="TEXT", help="Why; kept in the journal.", show_default=False
)
Reason = Annotated[str, _REASON]
OptionalReason = Annotated[str | None, _REASON]
PayoutKey = Annotated[str, typer.Argument(metavar="KEY", help="Key of the payout.")]
