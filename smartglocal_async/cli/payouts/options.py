"""Options that several commands of ``payouts`` share."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from attrs import frozen

JOURNAL_VARIABLE: Final = "SMARTGLOCAL_JOURNAL"
"""Names the journal of all commands, as `--journal` does for one."""

GLOSSARY: Final = """\
A journal records each payout before it is sent; each key is paid at most once in it. A batch is the
payouts of one file in the journal. A worker is a process that pays batches from a database.

States of a payout: open, not final yet; succeeded, paid; failed, not paid, by a decision of the
provider; cancelled, not paid, by yours; unknown, may have been paid, so a person has to look at it.

A run stops at a limit that its options set. A batch is paused until `batch resume`. All payouts of
a journal are halted if it may be wrong, until the cause was checked and `journal resume`.

After a run with open or unknown payouts: `status`, then `settle`, then `reconcile` with the
provider's report of the day, and `decide` for what is still unknown.
"""

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV or JSON Lines; after pip install 'smartglocal-async[files]' also a workbook of "
        "Excel or OpenDocument, or an ISO 20022 pain.001.",
    ),
]
OptionalFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The file that was paid. By default the whole journal."),
]
JournalPlace = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="PATH|postgres://...",
        envvar=JOURNAL_VARIABLE,
        help="The journal, in which each payout is recorded before it is sent: a file, or a "
        "PostgreSQL database, whose schema ?schema=NAME selects. By default a file in your state "
        "directory, one for each server and project.",
        show_default=False,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="URL", help="Address of the provider, instead of SMARTGLOCAL_SERVER."
    ),
]
UntilDone = Annotated[
    bool,
    typer.Option(
        "--until-done", help="End when only paused and cancelled batches have open payouts."
    ),
]
HealthAddress = Annotated[
    str | None,
    typer.Option(
        "--health",
        metavar="[HOST:]PORT",
        help="Serve /healthz, /readyz and /metrics there, for a supervisor and for Prometheus. "
        "Without a host only to this machine; 0.0.0.0:9464 to all.",
        show_default=False,
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
        help="Name of the payouts of a file in the journal. By default the name of the batch that "
        "has the same content, else the file's name, also if the file was changed since.",
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
        help="Put before the key of each row, for files with keys such as 1, 2, 3: with nov-, 1 "
        "becomes nov-1. Use the same prefix each time this file is run: with another one its rows "
        "count as new payouts.",
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


WAIT_SECONDS: Final = 600.0
"""Another process pays a file of some 10,000 rows in this time."""


@frozen(kw_only=True, repr=False)
class JournalOptions:
    """Which journal is changed, and how long to wait until another process leaves it."""

    journal: JournalPlace = None
    server: Server = None
    wait: Wait = WAIT_SECONDS


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
        help="File that gets a line for each finished payout: CSV, or JSON Lines by suffix. By "
        "default FILE.results.csv.",
        show_default=False,
    ),
]
Confirm = Annotated[
    Literal["manual", "automatic"],
    typer.Option(
        "--confirm",
        help="Must be as your project is set up at the provider. manual: this program confirms "
        "each payout. automatic: the provider does, as soon as it is started.",
    ),
]
Deadline = Annotated[
    float,
    typer.Option(
        "--deadline",
        metavar="SECONDS",
        help="Time limit of each payout; a payout that isn't finished by then stays open.",
    ),
]
ExpectTotal = Annotated[
    list[str] | None,
    typer.Option(
        "--expect-total",
        metavar="AMOUNT",
        help="The sum that you expect, in major units, such as 1234.56usd; once per currency. "
        "If the file has another sum, it isn't paid.",
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
    typer.Option("--stop-on-refusal", help="Stop after the first payout that failed."),
]
StopAfterFailures = Annotated[
    int | None,
    typer.Option(
        "--stop-after-failures",
        min=1,
        metavar="N",
        help="Stop after N payouts that failed one after the other, as they finish.",
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
