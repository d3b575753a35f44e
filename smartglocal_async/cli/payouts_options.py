"""The options that the commands of ``payouts`` share."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from ..payouts.protocol import Mode


class Confirm(enum.Enum):
    """Who confirms the payouts of the project."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"

    @property
    def mode(self) -> Mode:
        """The mode of that."""
        return Mode(self.value)


OptionalFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The file that was paid; or give --journal alone."),
]
JournalAt = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="PATH|postgres://...",
        help="Where every payout is written down before it is sent: a file, which is made if it "
        "isn't there, or a database (its schema as ?schema=NAME). Without it: FILE.journal, beside "
        "FILE.",
        show_default=False,
    ),
]
NeededJournal = Annotated[
    str,
    typer.Option(
        "--journal",
        metavar="PATH|postgres://...",
        help="Where the payouts are written down: a file, or a database (?schema=NAME).",
    ),
]
SharedJournal = Annotated[
    str,
    typer.Option(
        "--journal",
        metavar="postgres://...",
        help="The database in which all workers write the payouts down (?schema=NAME).",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The provider's address, instead of SMARTGLOCAL_SERVER."),
]
BatchName = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="NAME",
        help="What the journal calls the payouts of the file; without it: the file's name.",
        show_default=False,
    ),
]
Results = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Where a line for each outcome is written as it settles: CSV, or JSON Lines by its "
        "suffix. Without it: FILE.results.csv, beside FILE.",
        show_default=False,
    ),
]
ConfirmBy = Annotated[
    Confirm,
    typer.Option(
        "--confirm",
        help="Who confirms payouts, as your project is set up at the provider: this program, or "
        "the provider itself.",
    ),
]
Concurrency = Annotated[int, typer.Option(min=1, metavar="N", help="Payouts at the same time.")]
Seconds = Annotated[
    float,
    typer.Option("--deadline", metavar="SECONDS", help="For each payout; then it is left open."),
]
BatchArgument = Annotated[str, typer.Argument(metavar="BATCH", help="What the journal calls it.")]
Reason = Annotated[str, typer.Option(help="Why, and who found it out; it is kept with the payout.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask; needed without a terminal.")]
SpendLimit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AMOUNT",
        help="Stop before more than that is spent, such as 1000.00usd; once for each currency.",
    ),
]
StopOnRefusal = Annotated[
    bool, typer.Option("--stop-on-refusal", help="Stop after the first that failed or was refused.")
]
StopAfterFailures = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Stop after so many in a row that were not paid."),
]
StopOnLowBalance = Annotated[
    bool, typer.Option("--stop-on-low-balance", help="Stop before one that the wallets can't pay.")
]
