"""Options that several commands of ``payouts`` share."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from attrs import frozen

JOURNAL_VARIABLE: Final = "SMARTGLOCAL_JOURNAL"
"""Names the journal of all commands, as `--journal` does for one."""

GLOSSARY: Final = """\
A journal records each payout before it is sent. Within one journal, each key is paid at most once.
A batch is the payouts of one file in the journal. A worker (`work`) is a process that pays batches
from a database. The payee is who receives a payout. A wallet is an account at the provider that you
fund in advance.

States of a payout: open (not final yet); succeeded (paid); failed (not paid: the provider refused
it, or `decide` recorded this); cancelled (not paid: you cancelled it); unknown (may have been paid:
check it yourself). In progress means started, and not final yet.

A run stops when it meets one of its stop conditions (--spend-limit, --stop-...). A paused batch
starts no payouts until you run `batch resume`. A journal is halted if it may lack payouts, or if
money moved differently than recorded: nothing is paid from it until you have checked the cause and
run `journal resume`. A quarantine is a halt that ends by itself after some hours if no missing
payout was found.

After an interruption, run `pay` again: it also finishes open payouts. If some stay open or unknown:
first `status`, then `settle`, then `reconcile` with the provider's report of the day, and last
`decide` for each payout that is still unknown.

To watch a batch in the browser: `smartglocal payouts serve`.
"""

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV or JSON Lines. With the pip extra `files` (in a checkout: pip install "
        "'.[files]'), also an Excel or OpenDocument workbook, or an ISO 20022 pain.001 message.",
    ),
]
OptionalFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The file that was paid. Default: the whole journal."),
]
JournalPlace = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="PATH|postgres://...",
        envvar=JOURNAL_VARIABLE,
        help="Journal file, or PostgreSQL address of the journal; append ?schema=NAME to choose "
        "the schema. Default: a file for this server and project in your state directory (on Linux "
        "~/.local/state/smartglocal).",
        show_default=False,
    ),
]
DatabasePlace = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="postgres://...",
        envvar=JOURNAL_VARIABLE,
        help="Required. PostgreSQL address of the journal, such as postgres://user@host/database; "
        "append ?schema=NAME to choose the schema.",
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
        "--until-done",
        help="End when no payout is left to pay, apart from those of paused or cancelled batches.",
    ),
]
HealthAddress = Annotated[
    str | None,
    typer.Option(
        "--health",
        metavar="[HOST:]PORT",
        help="Serve /healthz, /readyz and /metrics at this address, for a supervisor and for "
        "Prometheus. With a port only, they are served to this machine; with 0.0.0.0:9464, to all.",
        show_default=False,
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        min=0.0,
        metavar="SECONDS",
        help="Longest time to wait for another process that has locked the journal's file.",
    ),
]
BatchName = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="NAME",
        help="Name of the batch in the journal. Default: the batch that has the content of FILE, "
        "if there is one; otherwise the batch with the file's name. So a changed file of the same "
        "name belongs to the same batch.",
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
        help="Text to put before the key of each row, for files with keys such as 1, 2, 3: with "
        "nov-, 1 becomes nov-1. Use the same prefix every time you use this file: with another "
        "prefix its rows are other payouts, which can be paid again.",
        show_default=False,
    ),
]
FormatFile = Annotated[
    Path | None,
    typer.Option(
        "--layout",
        metavar="PATH",
        help="TOML file that says how to read FILE, instead of detecting it. Its settings are "
        "those of --kind, --encoding, --delimiter, --decimal, --sheet, --map (`columns`) and "
        "--ignore-column (`ignored`); these options override it.",
        show_default=False,
    ),
]
_delimiter = typer.Option(
    "--delimiter",
    metavar="CHARACTER",
    help="Character between the columns of a CSV: one of , ; | or the word tab.",
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
            help="Kind of FILE: csv, jsonl, xlsx, xls, ods or pain.001.",
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
            help="Decimal sign of the amounts: . or , (the other one then separates thousands).",
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
            help="Map a column of FILE to a field, such as 'Betrag=amount'. Can be repeated.",
        ),
    ] = None
    ignored: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-column",
            metavar="COLUMN",
            help="Column of FILE to leave out. Can be repeated.",
        ),
    ] = None

    @property
    def words(self) -> list[str]:
        """The options as the next command needs them."""
        given = [("--layout", None if self.format_file is None else str(self.format_file))]
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
        help="File to write a line with the outcome of each payout to: JSON Lines if its name "
        "ends in .jsonl or .ndjson, otherwise CSV. Default: FILE.results.csv, if there is a FILE.",
        show_default=False,
    ),
]
Confirm = Annotated[
    Literal["manual", "automatic"],
    typer.Option(
        "--confirm",
        help="How your project at the provider confirms payouts: must match its setting. manual: "
        "each payout needs a confirm call, which `pay`, `settle` or `work` makes. automatic: it "
        "needs none.",
    ),
]
Deadline = Annotated[
    float,
    typer.Option(
        "--deadline",
        metavar="SECONDS",
        help="Time limit of each payout. A payout that isn't final by then stays open.",
    ),
]
ExpectTotal = Annotated[
    list[str] | None,
    typer.Option(
        "--expect-total",
        metavar="AMOUNT",
        help="Expected total in major units, such as 1234.56usd. Repeat the option for each "
        "currency. If the file has another total, the command ends with exit code 1.",
    ),
]
SpendLimit = Annotated[
    list[str] | None,
    typer.Option(
        "--spend-limit",
        metavar="AMOUNT",
        help="Stop before more than this amount is spent, such as 1000.00usd. Repeat the option "
        "for each currency.",
    ),
]
StopOnRefusal = Annotated[
    bool,
    typer.Option("--stop-on-failure", help="Stop after the first payout that failed."),
]
StopAfterFailures = Annotated[
    int | None,
    typer.Option(
        "--stop-after-failures",
        min=1,
        metavar="N",
        help="Stop after N payouts in a row that failed or are unknown, in the order in which "
        "they end.",
    ),
]
_low_balance = typer.Option(
    "--stop-on-low-balance/--ignore-balance",
    help="Whether to stop before a payout that the wallets can't cover. Default: stop.",
    show_default=False,
)
StopOnLowBalance = Annotated[bool, _low_balance]
OptionalStopOnLowBalance = Annotated[bool | None, _low_balance]
Offline = Annotated[
    bool, typer.Option("--offline", help="Send nothing: don't read the wallets' balances.")
]
AllowRepeats = Annotated[
    bool,
    typer.Option(
        "--allow-repeats",
        help="With --yes: continue even if half of the rows or more have the payee and the "
        "amount of a payout that another batch made in the last five days.",
    ),
]
_REASON: Final = typer.Option(
    "--reason", metavar="TEXT", help="The reason, kept in the journal.", show_default=False
)
Reason = Annotated[str, _REASON]
OptionalReason = Annotated[str | None, _REASON]
PayoutKey = Annotated[str, typer.Argument(metavar="KEY", help="Key of the payout.")]

Country = Annotated[
    str | None,
    typer.Option(
        "--country",
        metavar="COUNTRY",
        help="Country of the payees' bank accounts: a code of three letters, such as GBR, or a "
        "name. The file gets the columns that payouts to this country need. Default: the columns "
        "that every country needs.",
        show_default=False,
    ),
]
TemplateFormat = Annotated[
    Literal["csv", "xlsx"] | None,
    typer.Option(
        "--format",
        help="CSV, or an Excel workbook (needs the pip extra `files`). Default: by the suffix of "
        "--output; csv without --output.",
        show_default=False,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="N",
        help="Start at most N payouts per second. Needs the pip extra `batch`.",
    ),
]
SharedRate = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="N|none",
        help="Start at most N payouts per second, in all workers together.",
    ),
]
SharedConcurrency = Annotated[
    str | None,
    typer.Option(
        "--concurrency",
        metavar="N|none",
        help="Maximum number of payouts in progress at the same time, in all workers together.",
    ),
]
_TIME: Final = "a day such as 2026-11-26, or a time such as 2026-11-26T18:30+03:00"
_IN_UTC: Final = "Times without an offset are in UTC"
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help=f"Start of the report's period: {_TIME}. {_IN_UTC}.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="End of the report's period, which isn't part of it: for the report of 2026-11-26, "
        "use --since 2026-11-26 --until 2026-11-27. With both options, payouts of the journal "
        "that the report lacks are listed.",
        show_default=False,
    ),
]
Before = Annotated[
    str,
    typer.Option(
        "--before",
        metavar="TIME",
        help=f"Payouts that ended later are kept unchanged: {_TIME}. {_IN_UTC}.",
    ),
]
AmountColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Column of the amounts, in major units. Default: paymentLocalAmount. With '' no "
        "amounts are compared, for example because they are in the recipient's currency.",
    ),
]
CurrencyColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of the currencies. Default: 'Currency amount'."),
]
KindColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Column that shows whether a row is a payout (Advice) or one that the bank returned "
        "(Refund). "
        "Default: typeOfPayment. Use '' if the report has payouts only.",
    ),
]
