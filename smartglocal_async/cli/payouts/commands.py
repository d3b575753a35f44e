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
    AmountColumn,
    BatchArgument,
    BatchName,
    Before,
    Confirm,
    Country,
    CurrencyColumn,
    DatabasePlace,
    Deadline,
    Delimiter,
    ExpectTotal,
    File,
    FormatOptions,
    HealthAddress,
    JournalOptions,
    JournalPlace,
    KeyPrefix,
    KindColumn,
    Offline,
    OptionalFile,
    OptionalReason,
    OptionalStopOnLowBalance,
    PayoutKey,
    Rate,
    Reason,
    Results,
    Server,
    SharedConcurrency,
    SharedRate,
    Since,
    SpendLimit,
    StopAfterFailures,
    StopOnLowBalance,
    StopOnRefusal,
    TemplateFormat,
    Until,
    UntilDone,
    Wait,
)

_REASON: Final = {"reason": "--reason"}

payouts = typer.Typer(
    no_args_is_help=True,
    help="Pay out from files: CSV, JSON Lines, workbooks, pain.001.",
    epilog=GLOSSARY,
)
batch = typer.Typer(
    no_args_is_help=True, help="Pause, resume or cancel a batch; set limits for all workers."
)
journal = typer.Typer(
    no_args_is_help=True, help="End a halt, block a restored journal, delete data, make a key."
)


@command(payouts, "check", "payouts.check:check")
class CheckOptions(FormatOptions):
    """Check a file of payouts before paying it.

    Shows totals, invalid rows and repeated keys. No payout is sent, and no credentials are needed.
    If they are set, one call reads the balances of your wallets and shows them, unless --offline is
    used. Exit code 0 if the file can be paid, 1 if not. The balances don't change the exit code.
    """

    file: File
    key_prefix: KeyPrefix = None
    expect_total: ExpectTotal = None
    max_listed: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many problems of each kind to list.")
    ] = 100
    offline: Offline = False
    as_json: AsJson = False


@command(payouts, "template", "payouts.check:template")
class TemplateOptions:
    """Write a file to fill in, with the columns for a country.

    In the workbook the columns of identifiers are text, so that a spreadsheet keeps leading zeros,
    and a second sheet explains each column. Nothing is sent, and no credentials are needed.
    """

    country: Country = None
    file_format: TemplateFormat = None
    output: OptionalOutput = None
    as_json: AsJson = False


@command(payouts, "pay", "payouts.pay:pay")
class PayOptions(FormatOptions):
    """Check a file, ask you to confirm, pay each row at most once.

    Before it asks, `pay` reads the balances of your wallets, and shows them beside the amount still
    to pay. The run stops before a payout that they can't cover, unless --ignore-balance is used.

    After an interruption or a crash, run the same command again: no payout is paid twice. Payouts
    that succeeded, failed or were cancelled are skipped; use `retry` before you pay failed ones
    again. If a payout may have been sent already, the provider is asked for its status first. An
    unknown one is never sent again. After the first Ctrl-C no new payouts start, and those in
    flight are finished; the second one ends at once.

    If rows have the same payee and amount as payouts of another batch, `pay` shows how many before
    it asks. With --yes it stops if these are half of the rows or more and were paid in the last
    five days, unless you add --allow-repeats.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER and SMARTGLOCAL_PRIVATE_KEY.

    Exit codes: 0 all paid. 1 some payouts failed and none is open; or the file can't be paid; or
    you answered no. 2 invalid arguments, nothing sent. 3 some are open or unknown. 4 the provider
    was not reached, nothing is in flight. 6 stopped early. 7 payouts are halted. If several apply,
    the first of 7, 3, 4, 6, 1. All others as in `smartglocal --help`.
    """

    file: File
    journal: JournalPlace = None
    server: Server = None
    batch: BatchName = None
    key_prefix: KeyPrefix = None
    results: Results = None
    confirm: Confirm = "manual"
    concurrency: Concurrency = 64
    rate: Rate = None
    deadline: Deadline = 60.0
    expect_total: ExpectTotal = None
    spend_limit: SpendLimit = None
    stop_on_refusal: StopOnRefusal = False
    stop_after_failures: StopAfterFailures = None
    stop_on_low_balance: StopOnLowBalance = True
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Build and sign every request, but send and record nothing."
        ),
    ] = False
    wait: Wait = WAIT_SECONDS
    allow_repeats: AllowRepeats = False
    yes: Yes = False
    as_json: AsJson = False


@command(payouts, "submit", "payouts.submit:submit")
class SubmitOptions(FormatOptions):
    """Store a file in a journal, for any number of workers to pay.

    No payout is sent. Like `pay`, it checks the whole file, reads the balances of your wallets
    (unless --offline is used), and asks you to confirm. If you submit the file again, rows that are
    missing in the journal are added, and the state of the others is shown. A key belongs to the
    batch that first used it. A failed payout isn't paid again unless you run `retry`, or submit it
    under a new key. --spend-limit and the --stop options apply to all workers together. If a limit
    is reached, the batch is paused.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER, SMARTGLOCAL_PRIVATE_KEY and
    SMARTGLOCAL_JOURNAL_KEY, which encrypts the requests for the workers.

    Exit codes: 0 stored; every row was paid earlier or is waiting for a worker. 1 the file can't be
    paid; or you answered no; or no worker will pay some of the rows, because they failed or were
    cancelled earlier, belong to no batch or to a cancelled one, or have the key of a different
    payout. These rows are listed, and all others are stored. 2 invalid arguments. 3 some are
    unknown. 4 the provider was not reached, and nothing was stored.
    """

    file: File
    journal: DatabasePlace = None
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

    Any number of workers share the work. Runs until stopped. After the first Ctrl-C or SIGTERM, the
    worker starts no payouts and finishes those in flight. After the second one it exits at once,
    and other workers continue those payouts. If the database is down, the worker waits for it. It
    can be started before the first `submit`, and then creates the journal.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER, SMARTGLOCAL_PRIVATE_KEY and the same
    SMARTGLOCAL_JOURNAL_KEY as `submit`.

    Exit codes: 0 stopped, or done. 1 the credentials are refused. 2 invalid arguments; or the
    requests were encrypted with a different SMARTGLOCAL_JOURNAL_KEY; or, with --until-done, there
    is no journal. 3 ended by the second signal. 6 with --until-done: the remaining open payouts are
    in a paused batch. 7 payouts are halted.
    """

    journal: DatabasePlace = None
    server: Server = None
    confirm: Confirm = "manual"
    concurrency: Concurrency = 64
    until_done: UntilDone = False
    health: HealthAddress = None
    as_json: AsJson = False


@command(payouts, "settle", "payouts.pay:settle")
class SettleOptions(FormatOptions):
    """Finish the open payouts of the journal, and add no new ones.

    May move money. It asks the provider for the status of each open payout of FILE, of a --batch,
    or of the whole journal, and continues the payout. With --confirm manual, it confirms payouts
    that wait for it. Rows of FILE that the journal lacks are not paid.

    A payout that was not started yet, or whose start had no effect, is started in a new session.
    For this, the payout's data is needed: pass FILE or, if the journal stores the requests, set
    SMARTGLOCAL_JOURNAL_KEY. Without it, the payout stays open.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER and SMARTGLOCAL_PRIVATE_KEY. Exit
    codes as for `pay`.
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
        bool,
        typer.Option(
            "--due",
            help="Skip payouts that were checked a short time ago. The longer a payout has been at "
            "the same step, the longer it is skipped.",
        ),
    ] = False
    wait: Wait = WAIT_SECONDS
    as_json: AsJson = False


@command(payouts, "status", "payouts.status:status")
class StatusOptions:
    """Show counts, sums, and payouts that need review.

    The payouts are those of FILE, of a --batch, or of the whole journal with each of its batches.
    If the journal is halted, the reason is shown. `status` doesn't change the journal, and can run
    while `pay` runs. With --watch it repeats until nothing is open, and shows payouts per second
    and the remaining time, for all workers together: as a live table, or with --json as JSON Lines.
    Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER, unless --journal names a file.
    If SMARTGLOCAL_JOURNAL_KEY is set, the masked payees of what needs review are shown.

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
            help="Interval of --watch. Default: 2, or longer if the database takes long to count.",
            show_default=False,
        ),
    ] = None
    as_json: AsJson = False


ReportFormat = Literal["csv", "xlsx", "html", "json", "jsonl", "results", "pain.002", "camt.054"]


@command(payouts, "report", "payouts.report:report")
class ReportOptions:
    """Write a report of the payouts in the journal.

    The payouts are those of FILE, of a --batch, or of the whole journal. The format follows from
    the suffix of --output, or from --format. html: a page with totals, charts and the payouts that
    need review. xlsx: the same as a workbook. csv: one line per payout, for bookkeeping. json: all
    data of the report. pain.002 and camt.054: the answer to the pain.001 FILE, and the debits.
    results: the lines that `pay` writes to its results file, as CSV; jsonl: the same as JSON Lines.
    Without --output and --format, `results` is printed.

    Names and account numbers appear only if SMARTGLOCAL_JOURNAL_KEY has the value that it had when
    the payouts were made. In a csv, names are masked (J*** R***) unless --full-names is used.

    `report` doesn't change the journal, and can run while `pay` runs. Requires SMARTGLOCAL_PROJECT
    and SMARTGLOCAL_SERVER, unless --journal names a file. Exit code 0, or 2 for invalid arguments.
    """

    file: OptionalFile = None
    journal: JournalPlace = None
    batch: BatchName = None
    key_prefix: KeyPrefix = None
    server: Server = None
    output: OptionalOutput = None
    format: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="The format. Default: by the suffix of --output."),
    ] = None
    full_names: Annotated[
        bool, typer.Option("--full-names", help="Write the full names of the payees into a csv.")
    ] = False
    as_json: AsJson = False


@command(payouts, "reconcile", "payouts.reconcile:reconcile")
class ReconcileOptions(JournalOptions):
    """Compare the provider's daily report with the journal.

    FILE is a CSV or a workbook. Whether it is the report of payouts or of payments is detected from
    its columns. Payouts: if the report shows a payout of the journal as paid, it is recorded as
    paid. Payments: the sums by type and currency are shown, and refunds, chargebacks and keys that
    were paid twice are listed. --output also writes the findings to a new Excel workbook (.xlsx).
    Nothing is sent. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.

    Exit codes: 0 no differences. 1 something needs review. 2 invalid arguments. 7 payouts are
    halted, by this report or earlier: the journal lacks a payout; or money moved differently than
    recorded; or the journal may lack payouts, and this report doesn't prove that it has them all.
    """

    report: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The provider's daily report, of payouts or of payments."
        ),
    ]
    since: Since = None
    until: Until = None
    amount_column: AmountColumn = None
    currency_column: CurrencyColumn = None
    kind_column: KindColumn = None
    delimiter: Delimiter = None
    output: OptionalOutput = None
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt", help="Add payouts that only the report has to the journal, as paid."
        ),
    ] = False
    as_json: AsJson = False


@command(payouts, "decide", "payouts.control:decide", fields=_REASON)
class DecideOptions(JournalOptions):
    """Record your decision whether a payout was paid.

    Shows the payout, and asks you to confirm. First find out whether money moved: the decision
    can't be changed. The key can't be used any more: to pay after --not-paid, use a new key.
    Nothing is sent. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key. Exit code
    1 if you answered no.
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
    """Reopen payouts that failed for a temporary reason.

    This command pays nothing: the next `pay` of the file, or the workers, pay what it reopens. It
    selects the failed payouts of a batch (given by its name, or as the file that was paid) with one
    of the error codes insufficient_funds, internal_error, provider_internal_error,
    provider_issuer_unavailable and activity_count_exceeded, or a code that you name with --code.

    Each is reopened only if its session shows that no money can move in it any more. All others are
    listed with the reason. The results file of FILE then shows the reopened payouts as open.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER and SMARTGLOCAL_PRIVATE_KEY.

    Exit codes: 0 all are reopened. 1 some are not; or you answered no. 2 invalid arguments. 4 the
    provider was not reached. 7 payouts are halted.
    """

    target: Annotated[
        str, typer.Argument(metavar="BATCH|FILE", help="Batch in the journal, or the paid file.")
    ]
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="KEY", help="Reopen only the payout with this key. Can be repeated."
        ),
    ] = None
    codes: Annotated[
        list[str] | None,
        typer.Option(
            "--code",
            metavar="CODE",
            help="Another error code whose cause is over. Can be repeated.",
        ),
    ] = None
    results: Results = None
    yes: Yes = False
    as_json: AsJson = False


@command(payouts, "cancel", "payouts.control:cancel", fields=_REASON)
class CancelOptions(JournalOptions):
    """Cancel a payout that was not sent yet.

    Its key can't be used any more: to pay it after all, use a new key. Nothing is sent. Requires
    SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    key: PayoutKey
    reason: Reason
    as_json: AsJson = False


@command(batch, "pause", "payouts.control:pause_batch", fields=_REASON)
class PauseBatchOptions:
    """Start no more payouts of a batch; finish those in flight.

    Takes effect within seconds, for each worker. `batch resume` ends the pause. If the batch is
    already paused, its reason stays, unless you use --reason. Requires SMARTGLOCAL_PROJECT and
    SMARTGLOCAL_SERVER.
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

    The workers continue within seconds. A spending limit stays in force; the output shows how much
    of it is left. Nothing is sent. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private
    key.
    """

    batch: BatchArgument
    as_json: AsJson = False


@command(batch, "cancel", "payouts.control:cancel_batch", fields=_REASON)
class CancelBatchOptions:
    """Cancel the payouts of a batch that were not sent, for good.

    Payouts in flight are finished. The keys of the cancelled payouts can't be used again in any
    batch: to make these payouts after all, submit them with new keys in another batch. Requires
    SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key. Exit code 1 if you answered no.
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

    A new limit takes effect while they run. `none` removes a limit. Without an option, its limit
    stays as it is. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    journal: DatabasePlace = None
    rate: SharedRate = None
    concurrency: SharedConcurrency = None
    server: Server = None
    as_json: AsJson = False


@command(journal, "resume", "payouts.control:resume_journal")
class ResumeJournalOptions:
    """End a halt, after you have checked its cause.

    If the journal may lack payouts, first run `reconcile` with the provider's reports. `journal
    resume` then works only if `reconcile` found no missing payouts, or if you added them with
    `reconcile --adopt`. Nothing is sent. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no
    private key. Exit code 1 if you answered no.
    """

    journal: JournalPlace = None
    server: Server = None
    unchecked: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Resume without a `reconcile` since the halt. In REASON, state how you know that "
            "the journal has every payout.",
            show_default=False,
        ),
    ] = None
    wait: Wait = WAIT_SECONDS
    yes: Yes = False
    as_json: AsJson = False


@command(journal, "quarantine", "payouts.control:quarantine")
class QuarantineOptions(JournalOptions):
    """Block payouts from a restored journal for --hours.

    Run it after each restore, and before anything is paid: payouts that the restored journal lacks
    would be paid again. In the meantime run `reconcile` with the provider's reports. Webhooks show
    missing payouts, too, if your program passes webhooks to the journal. After --hours, payouts
    continue unless a missing one was found; `journal resume` ends the wait early. Requires
    SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    hours: Annotated[
        float, typer.Option(min=0.01, max=1000.0, metavar="N", help="Hours without payouts.")
    ] = 4.5
    as_json: AsJson = False


@command(journal, "forget", "payouts.control:forget")
class ForgetOptions(JournalOptions):
    """Delete names, reasons and logs of payouts ended before a date.

    The key, state, ids, code, amount, currency and a digest of each payout are kept, so that its
    key can't be used for a different payout. Open and unknown payouts are not changed. Can't be
    undone. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key. Exit code 1 if you
    answered no.
    """

    before: Before
    yes: Yes = False
    as_json: AsJson = False


@command(journal, "grants", "payouts.control:print_grants")
class GrantsOptions:
    """Print the SQL that lets a database user pay from a journal.

    First open the journal once, for example by `payouts submit`. Then run the SQL as the owner of
    the tables or as a superuser: `smartglocal payouts journal grants payer | psql ADDRESS`. This
    command itself doesn't connect to the database.
    """

    role: Annotated[str, typer.Argument(metavar="USER", help="The user that gets the rights.")]
    journal: DatabasePlace = None
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Only the rights that `status` and `report` need."),
    ] = False
    as_json: AsJson = False


@command(journal, "new-key", "payouts.control:new_key")
class NewKeyOptions:
    """Generate a key that encrypts the requests in a journal.

    Set it as SMARTGLOCAL_JOURNAL_KEY wherever you run `submit`, `work`, `settle` or `report`. Keep
    it as secret as a password, and apart from the journal: with both, accounts and names can be
    read. Without the key, submitted payouts can't be paid.
    """

    as_json: AsJson = False


payouts.add_typer(batch, name="batch")
payouts.add_typer(journal, name="journal")
