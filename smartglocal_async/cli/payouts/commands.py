"""The commands of ``payouts``: their options and their help."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from ..command import command
from ..options import AsJson, Concurrency, OptionalOutput, Yes
from .options import (
    GLOSSARY,
    WAIT_SECONDS,
    AllowRepeats,
    BatchArgument,
    BatchName,
    Confirm,
    Deadline,
    Delimiter,
    ExpectTotal,
    File,
    FormatOptions,
    JournalOptions,
    JournalPlace,
    KeyPrefix,
    Offline,
    OptionalFile,
    OptionalReason,
    OptionalStopOnLowBalance,
    PayoutKey,
    Reason,
    Results,
    Server,
    SpendLimit,
    StopAfterFailures,
    StopOnLowBalance,
    StopOnRefusal,
    Wait,
)

_REASON: Final = {"reason": "--reason"}

payouts = typer.Typer(
    no_args_is_help=True,
    help="Pay out from files: CSV, JSON Lines, workbooks, pain.001.",
    epilog=GLOSSARY,
)
batch = typer.Typer(
    no_args_is_help=True, help="Pause, resume or cancel a batch; limit all workers."
)
journal = typer.Typer(
    no_args_is_help=True, help="End a halt, block a restored journal, delete data, make a key."
)


@command(payouts, "check", "payouts.check:check")
class CheckOptions(FormatOptions):
    """Check a file of payouts before paying it.

    Shows totals, invalid rows and repeated keys. No payout is sent, and no credentials are needed.
    If they are set, one call shows what the wallets hold, unless --offline is used. Exit code 0 if
    the file can be paid, 1 if not, whatever the wallets hold.
    """

    file: File
    key_prefix: KeyPrefix = None
    expect_total: ExpectTotal = None
    max_listed: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many problems of a kind to list.")
    ] = 100
    offline: Offline = False
    as_json: AsJson = False


@command(payouts, "template", "payouts.check:template")
class TemplateOptions:
    """Write a file to fill in, with the columns of a country.

    In the workbook the columns of identifiers are text, so that a spreadsheet keeps leading zeros,
    and a second sheet explains each column. Nothing is sent, and no credentials are needed.
    """

    country: Annotated[
        str | None,
        typer.Option(
            "--country",
            metavar="COUNTRY",
            help="Country of the recipients' accounts: a code, such as GBR, or a name. By default "
            "the columns of any account abroad.",
            show_default=False,
        ),
    ] = None
    file_format: Annotated[
        Literal["csv", "xlsx"] | None,
        typer.Option(
            "--format",
            help="CSV, or an Excel workbook (extra files). By default the suffix of --output, "
            "else csv.",
            show_default=False,
        ),
    ] = None
    output: OptionalOutput = None
    as_json: AsJson = False


@command(payouts, "pay", "payouts.pay:pay")
class PayOptions(FormatOptions):
    """Check a file, ask, then pay each payout at most once.

    Before it asks, one call reads the wallets: it shows what is left to pay and what they hold. The
    run stops before a payout that they can't cover, unless --ignore-balance is used. After an
    interruption or a crash, run it again: no payout is paid twice. Finished payouts are skipped,
    and for the others the provider is asked first. After the first Ctrl-C no new payouts start, and
    those in flight are finished; the second one ends immediately. If at least half of the rows have
    the payee and the sum of a payout of another batch in the last five days, it says so, and with
    --yes it stops. Requires the credentials.

    Exit codes: 0 all paid. 1 some failed, the file can't be paid, or the answer was no; none is
    open. 2 invalid arguments, nothing sent. 3 some are open or unknown. 4 the provider was not
    reached, nothing is in flight. 6 stopped early. 7 payouts are halted. If several apply, the
    first of 7, 3, 4, 6, 1. All others as in `smartglocal --help`.
    """

    file: File
    journal: JournalPlace = None
    server: Server = None
    batch: BatchName = None
    key_prefix: KeyPrefix = None
    results: Results = None
    confirm: Confirm = "manual"
    concurrency: Concurrency = 64
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", metavar="N", help="Start at most N payouts per second (extra batch)."
        ),
    ] = None
    deadline: Deadline = 60.0
    expect_total: ExpectTotal = None
    spend_limit: SpendLimit = None
    stop_on_refusal: StopOnRefusal = False
    stop_after_failures: StopAfterFailures = None
    stop_on_low_balance: StopOnLowBalance = True
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Build and sign every request; send none, and record nothing."
        ),
    ] = False
    wait: Wait = WAIT_SECONDS
    allow_repeats: AllowRepeats = False
    yes: Yes = False
    as_json: AsJson = False


@command(payouts, "submit", "payouts.submit:submit")
class SubmitOptions(FormatOptions):
    """Store a file in a journal, for any number of workers to pay.

    No payout is sent. Like `pay`, it checks the whole file, reads the wallets (unless --offline is
    used) and asks first. Submitting the file again adds the rows that are missing, and shows the
    state of the others. A key stays in the batch that had it first; a payout that failed is paid
    after `retry`, or under a new key. --spend-limit and the --stop options apply to all workers
    together, and pause the batch. Requires the credentials and SMARTGLOCAL_JOURNAL_KEY, which
    encrypts the requests for the workers.

    Exit codes: 0 stored; each row is paid, or waits for the workers. 1 the file can't be paid, the
    answer was no, or no worker pays some of the rows: they failed or were cancelled before, are in
    no batch or in a cancelled one, or their keys belong to other orders, which are listed; all
    other rows are stored. 2 invalid arguments. 3 some are unknown. 4 the provider was not reached,
    and nothing was stored.
    """

    file: File
    journal: JournalPlace = None
    server: Server = None
    batch: BatchName = None
    key_prefix: KeyPrefix = None
    confirm: Confirm = "manual"
    expect_total: ExpectTotal = None
    spend_limit: SpendLimit = None
    stop_on_refusal: StopOnRefusal = False
    stop_after_failures: StopAfterFailures = None
    stop_on_low_balance: OptionalStopOnLowBalance = None
    offline: Offline = False
    allow_repeats: AllowRepeats = False
    yes: Yes = False
    as_json: AsJson = False


@command(payouts, "work", "payouts.worker:work", error_event="error")
class WorkOptions:
    """Run a worker that pays what was submitted.

    Any number of workers share the work. Runs until stopped. The first Ctrl-C or SIGTERM finishes
    the payouts in flight; the second one ends immediately, and other workers take them over. If the
    database is down, the worker waits for it. It can be started before the first `submit`, and then
    creates the journal. Requires the credentials and SMARTGLOCAL_JOURNAL_KEY.

    Exit codes: 0 stopped, or done. 1 the credentials are refused. 2 --until-done and there is no
    journal, or requests that another key encrypted. 3 ended by the second signal. 6 --until-done,
    and the open payouts are in a paused batch. 7 payouts are halted.
    """

    journal: JournalPlace = None
    server: Server = None
    confirm: Confirm = "manual"
    concurrency: Concurrency = 64
    until_done: Annotated[
        bool,
        typer.Option(
            "--until-done", help="End when only paused and cancelled batches have open payouts."
        ),
    ] = False
    as_json: AsJson = False


@command(payouts, "settle", "payouts.pay:settle")
class SettleOptions(FormatOptions):
    """Find out the results of open payouts; start no new ones.

    The open payouts are those of FILE, of a --batch, or of the whole journal. A payout whose start
    had no effect is started in another session; that needs its data: the row of FILE, or
    SMARTGLOCAL_JOURNAL_KEY if the journal has it. Requires the credentials. Exit codes like those
    of `pay`.
    """

    file: OptionalFile = None
    journal: JournalPlace = None
    server: Server = None
    batch: BatchName = None
    key_prefix: KeyPrefix = None
    results: Results = None
    confirm: Confirm = "manual"
    concurrency: Concurrency = 16
    deadline: Deadline = 60.0
    due: Annotated[
        bool, typer.Option("--due", help="Skip payouts whose next check isn't due yet.")
    ] = False
    wait: Wait = WAIT_SECONDS
    as_json: AsJson = False


@command(payouts, "status", "payouts.status:status")
class StatusOptions:
    """Show counts, sums, a halt, and payouts that need review.

    The payouts are those of FILE, of a --batch, or of the whole journal with each of its batches.
    Doesn't change the journal, and may run while `pay` runs. Requires SMARTGLOCAL_PROJECT and
    SMARTGLOCAL_SERVER, unless --journal names a file. With --watch it repeats until nothing is
    open, and shows payouts per second and the time left, of all workers together: as a live table,
    or as JSON Lines. The masked payees of what needs review are shown with SMARTGLOCAL_JOURNAL_KEY.

    Exit codes: 0 all started payouts are paid. 1 some failed. 2 invalid arguments. 3 some are open
    or unknown. 6 rows of the file are not in the batch. 7 payouts are halted.
    """

    file: OptionalFile = None
    journal: JournalPlace = None
    batch: BatchName = None
    server: Server = None
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until nothing is open.")] = False
    every: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Interval of --watch: 2, or longer if the database takes long to count.",
            show_default=False,
        ),
    ] = None
    as_json: AsJson = False


ReportFormat = Literal["csv", "xlsx", "html", "json", "jsonl", "results", "pain.002", "camt.054"]


@command(payouts, "report", "payouts.report:report")
class ReportOptions:
    """Write a report of the payouts in the journal.

    Of FILE, of a --batch, or of the whole journal; the suffix of --output selects the format. html:
    a page with totals, plots and what needs a person. xlsx: the same as a workbook. csv: a line for
    bookkeeping per payout. json: all of it. pain.002 and camt.054: the answer to the pain.001 FILE,
    and the debits. jsonl and results: the lines of `pay`, which are written without --output.

    Names and accounts are shown only with SMARTGLOCAL_JOURNAL_KEY as at the time of the payouts; in
    a csv, names are masked (J*** R***) unless --full-names is used.
    Doesn't change the journal, and may run while `pay` runs. Requires SMARTGLOCAL_PROJECT and
    SMARTGLOCAL_SERVER, unless --journal names a file. Exit code 0, or 2 for invalid arguments.
    """

    file: OptionalFile = None
    journal: JournalPlace = None
    batch: BatchName = None
    key_prefix: KeyPrefix = None
    server: Server = None
    output: OptionalOutput = None
    format: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="The format, if the suffix doesn't say it."),
    ] = None
    full_names: Annotated[
        bool, typer.Option("--full-names", help="Write the whole names of the payees into a csv.")
    ] = False
    as_json: AsJson = False


Time = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Start or end of the report's period: a day such as 2026-11-26, or a time such as "
        "2026-11-26T18:30+03:00; in UTC without an offset. With both, payouts that are missing in "
        "the report are listed.",
    ),
]


@command(payouts, "reconcile", "payouts.reconcile:reconcile")
class ReconcileOptions(JournalOptions):
    """Compare the provider's daily report with the journal.

    The report is that of payouts or that of payments, by its columns; a CSV or a workbook. A payout
    of the journal that the report shows as paid is recorded as paid. Of payments, the sums by type
    and currency are shown, and refunds, chargebacks and keys that were paid twice are listed.
    --output also writes the findings to a new Excel workbook (.xlsx). Nothing is sent. Requires
    SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.

    Exit codes: 0 no differences. 1 something needs review. 2 invalid arguments. 7 payouts are
    halted, by this report or before: the journal lacks a payout, money moved differently than
    recorded, or the journal may lack payouts and this report can't rule that out.
    """

    report: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The provider's daily report, of payouts or of payments."
        ),
    ]
    since: Time = None
    until: Time = None
    amount_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of the amounts, in major units; default paymentLocalAmount. '' compares "
            "no amounts, for example if they are in the recipient's currency.",
        ),
    ] = None
    currency_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the currencies; default 'Currency amount'."),
    ] = None
    kind_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column that tells payouts (Advice) from returned ones (Refund); default "
            "typeOfPayment. '' if the report has payouts only.",
        ),
    ] = None
    delimiter: Delimiter = None
    output: OptionalOutput = None
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt", help="Add to the journal, as paid, the payouts that only the report has."
        ),
    ] = False
    as_json: AsJson = False


@command(payouts, "decide", "payouts.control:decide", fields=_REASON)
class DecideOptions(JournalOptions):
    """Record by hand whether a payout was paid.

    Shows the payout, and asks. Be sure whether money moved: the decision can't be changed, and the
    key is never paid again. Nothing is sent. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER;
    no private key. Exit code 1 if the answer was no.
    """

    key: PayoutKey
    is_paid: Annotated[
        bool | None,
        typer.Option(
            "--paid/--not-paid", help="Whether money moved; required.", show_default=False
        ),
    ] = None
    reason: Reason
    yes: Yes = False
    as_json: AsJson = False


@command(payouts, "retry", "payouts.control:retry")
class RetryOptions(JournalOptions):
    """Take up again what failed for a passing cause.

    Takes the failed payouts of a batch, named by its BATCH or its FILE, whose code is one of
    insufficient_funds, internal_error, provider_internal_error, provider_issuer_unavailable,
    activity_count_exceeded, or of --code. Each is taken up again only if its session shows that no
    money can move in it any more; all others are listed with the reason. The results of FILE show
    it as open then. Pay the file again, or let the workers do it: this command pays nothing.

    Requires the credentials. Exit codes: 0 all are taken up. 1 some are not, or the answer was no.
    2 invalid arguments. 4 the provider was not reached. 7 payouts are halted.
    """

    target: Annotated[
        str, typer.Argument(metavar="BATCH|FILE", help="Batch in the journal, or the paid file.")
    ]
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="KEY", help="Only this payout; several times for several payouts."
        ),
    ] = None
    codes: Annotated[
        list[str] | None,
        typer.Option(
            "--code", metavar="CODE", help="Another code whose cause has passed; repeatable."
        ),
    ] = None
    results: Results = None
    yes: Yes = False
    as_json: AsJson = False


@command(payouts, "cancel", "payouts.control:cancel", fields=_REASON)
class CancelOptions(JournalOptions):
    """Cancel a payout that was not sent yet.

    Its key can't be paid any more; to pay it after all, use a new key. Nothing is sent. Requires
    SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    key: PayoutKey
    reason: Reason
    as_json: AsJson = False


@command(batch, "pause", "payouts.control:pause_batch", fields=_REASON)
class PauseBatchOptions:
    """Start no more payouts of a batch; finish those in flight.

    Takes effect within seconds, for each worker. `batch resume` ends it. A batch that is paused
    keeps its reason without --reason. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER.
    """

    batch: BatchArgument
    journal: JournalPlace = None
    reason: OptionalReason = None
    server: Server = None
    wait: Wait = WAIT_SECONDS
    as_json: AsJson = False


@command(batch, "resume", "payouts.control:resume_batch")
class ResumeBatchOptions(JournalOptions):
    """Resume a paused batch, also one that reached a limit.

    The workers continue within seconds. A spending limit stays in force; the output shows what it
    leaves. Nothing is sent. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    batch: BatchArgument
    as_json: AsJson = False


@command(batch, "cancel", "payouts.control:cancel_batch", fields=_REASON)
class CancelBatchOptions:
    """Cancel for good the payouts of a batch that were not sent.

    Payouts in flight are finished. The keys of the cancelled payouts can't be paid any more, in no
    batch: submit them under new keys, as another batch. Requires SMARTGLOCAL_PROJECT and
    SMARTGLOCAL_SERVER; no private key. Exit code 1 if the answer was no.
    """

    batch: BatchArgument
    journal: JournalPlace = None
    reason: OptionalReason = None
    server: Server = None
    wait: Wait = WAIT_SECONDS
    yes: Yes = False
    as_json: AsJson = False


@command(batch, "limits", "payouts.control:limits")
class LimitsOptions:
    """Show or set the limits that all workers share.

    Takes effect while they run. A limit that isn't given stays as it is; `none` removes one.
    Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    journal: JournalPlace = None
    rate: Annotated[
        str | None,
        typer.Option("--rate", metavar="N|none", help="Start at most N payouts per second."),
    ] = None
    concurrency: Annotated[
        str | None,
        typer.Option("--concurrency", metavar="N|none", help="How many run at the same time."),
    ] = None
    server: Server = None
    as_json: AsJson = False


@command(journal, "resume", "payouts.control:resume_journal")
class ResumeJournalOptions:
    """End a halt, after its cause was checked.

    If the journal may lack payouts, first run `reconcile` with a report: it has to find none
    missing, or add them with --adopt. Nothing is sent. Requires SMARTGLOCAL_PROJECT and
    SMARTGLOCAL_SERVER; no private key. Exit code 1 if the answer was no.
    """

    journal: JournalPlace = None
    server: Server = None
    unchecked: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Resume although no report was compared since the halt. REASON says why no report "
            "can have a payout that the journal lacks.",
            show_default=False,
        ),
    ] = None
    wait: Wait = WAIT_SECONDS
    yes: Yes = False
    as_json: AsJson = False


@command(journal, "quarantine", "payouts.control:quarantine")
class QuarantineOptions(JournalOptions):
    """Block payouts from a restored journal for --hours.

    In this time the webhooks of payouts that it lacks should arrive. `journal resume` ends it
    early. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    hours: Annotated[
        float, typer.Option(min=0.01, max=1000.0, metavar="N", help="How long to pay nothing.")
    ] = 4.5
    as_json: AsJson = False


@command(journal, "forget", "payouts.control:forget")
class ForgetOptions(JournalOptions):
    """Delete names, reasons and logs of payouts ended before a date.

    Key, state, ids, code, amount and currency are kept, and a digest of the payout, so that its key
    can't be used for another one. Open and unknown payouts are not changed. Can't be undone.
    Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key. Exit code 1 if the answer
    was no.
    """

    before: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Payouts since then are kept unchanged: a day such as 2025-11-01, or a time such "
            "as 2025-11-01T18:30+03:00; in UTC without an offset.",
        ),
    ]
    yes: Yes = False
    as_json: AsJson = False


@command(journal, "grants", "payouts.control:print_grants")
class GrantsOptions:
    """Print the SQL that lets a database user pay from a journal.

    The owner of the tables, or a superuser, runs it after the journal was opened once, as by
    `payouts submit`: `smartglocal payouts journal grants payer | psql ADDRESS`. The database isn't
    read.
    """

    role: Annotated[str, typer.Argument(metavar="USER", help="The user that gets the rights.")]
    journal: JournalPlace = None
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Only what `status`, `report` and the like need."),
    ] = False
    as_json: AsJson = False


@command(journal, "new-key", "payouts.control:new_key")
class NewKeyOptions:
    """Generate a key that encrypts the requests in a journal.

    Set it as SMARTGLOCAL_JOURNAL_KEY wherever you run `submit` and `work`. Keep it as secret as a
    password, and apart from the journal: with both, accounts and names can be read; without the
    key, submitted payouts can't be paid.
    """

    as_json: AsJson = False


payouts.add_typer(batch, name="batch")
payouts.add_typer(journal, name="journal")
