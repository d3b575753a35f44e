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
    no_args_is_help=True, help="Pause, resume or cancel a batch; limit all workers."
)
journal = typer.Typer(no_args_is_help=True, help="End or begin a halt, delete data, grant rights.")


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

    In the workbook, account numbers, bank codes and other identifiers are text cells, so that a
    spreadsheet keeps leading zeros. A second sheet explains each column. Nothing is sent, and no
    credentials are needed.
    """

    country: Country = None
    file_format: TemplateFormat = None
    output: OptionalOutput = None
    as_json: AsJson = False


@command(payouts, "pay", "payouts.pay:pay")
class PayOptions(FormatOptions):
    """Check a file, ask whether to pay, pay each row at most once.

    Before it asks, `pay` reads the balances of your wallets, and shows them beside the amount still
    to pay. The run stops before a payout that they can't cover, unless --ignore-balance is used.

    After an interruption, run the same command again: no payout is paid twice. Payouts that
    succeeded, failed or were cancelled are skipped. `retry` reopens those that failed for a
    temporary reason; pay the others under a new key. If a payout may have been sent already, the
    provider is asked for its status first. An unknown one is never sent again. After the first
    Ctrl-C no new payouts start, and those in progress are finished. After the second one, the
    program ends at once, and payouts may stay open.

    If rows have the payee and the amount of payouts of another batch, `pay` shows how many before
    it asks. With --yes it stops if half of the rows or more have those of the last five days,
    unless you add --allow-repeats.

    If SMARTGLOCAL_JOURNAL_KEY is set, the requests and the payees' names are stored in the journal,
    encrypted with it: `settle`, `status` and `report` then need the same value.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER and SMARTGLOCAL_PRIVATE_KEY.

    Exit codes: 0 all paid. 1 some payouts failed and none is open; or the file can't be paid; or
    you answered no. 2 invalid arguments, nothing sent. 3 some are open or unknown. 4 the provider
    was not reached, nothing is in progress. 6 stopped early. 7 the journal is halted. If several
    apply, the first of 7, 3, 4, 6, 1. Other codes: see `smartglocal --help`.
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
    (unless --offline is used), and asks whether to continue. If you submit the file again, rows
    that are missing in the journal are added, and the state of the others is shown. A key belongs
    to the batch that first used it. A failed payout isn't paid again unless `retry` reopens it, or
    you submit it under a new key. --spend-limit and the --stop options apply to all workers
    together. If one of these conditions is met, the batch is paused.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER, SMARTGLOCAL_PRIVATE_KEY and
    SMARTGLOCAL_JOURNAL_KEY, which encrypts the requests for the workers.

    Exit codes: 0 stored; every row was paid earlier or is waiting for a worker. 1 the file can't be
    paid, or you answered no, and nothing was stored. Also 1: some rows, which are listed, won't be
    paid, and all others are stored. Such rows failed or were cancelled earlier, have the key of a
    different payout, or have a key that a program paid without a batch, or a cancelled batch. 2
    invalid arguments. 3 some are unknown. 4 the provider was not reached, and nothing was stored.
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
    worker starts no payouts and finishes those in progress. After the second one it exits at once,
    and other workers continue those payouts. If the database is down, the worker waits for it. A
    worker can be started before the first `submit`, and then creates the journal.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER, SMARTGLOCAL_PRIVATE_KEY and the same
    SMARTGLOCAL_JOURNAL_KEY as `submit`.

    Exit codes: 0 stopped by a signal; or, with --until-done, nothing is left to pay (`status` shows
    what failed or is unknown). 1 the credentials are refused. 2 invalid arguments; or the requests
    were encrypted with a different SMARTGLOCAL_JOURNAL_KEY; or, with --until-done, there is no
    journal. 3 ended by the second signal. 6 with --until-done: the remaining open payouts are in a
    paused batch. 7 the journal is halted.
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
    """Pay or finish the payouts that are still open; add no new ones.

    May move money. It asks the provider for the status of each open payout of FILE, of a --batch,
    or of the whole journal, and continues the payout. With --confirm manual, it confirms payouts
    that wait for a confirm. Rows of FILE that the journal lacks are not paid.

    A payout that was not started yet, or whose start had no effect, is started in a new session.
    For this, the payout's data is needed: pass FILE or, if the journal stores the requests, set
    SMARTGLOCAL_JOURNAL_KEY. Without this data, the payout stays open.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER, SMARTGLOCAL_PRIVATE_KEY. Exit codes: as `pay`.
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
            help="Check only payouts whose next check is due. The longer a payout hasn't changed, "
            "the longer the pause between its checks.",
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
    Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER, unless --journal names a file. What needs
    review are unknown payouts, and those that have been open for more than a day. If
    SMARTGLOCAL_JOURNAL_KEY is set, the masked names of their payees are shown.

    Exit codes: 0 all started payouts are paid. 1 some failed. 2 invalid arguments. 3 some are open
    or unknown. 6 some rows of the file were not started yet. 7 the journal is halted.
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
    need review. xlsx: the content of html, in a workbook. csv: one line per payout, for
    bookkeeping. json: all data of the report. pain.002: the status report for the pain.001 FILE.
    camt.054: the list of debits. results: the lines that `pay` writes to its results file, as CSV.
    jsonl: the content of results, as JSON Lines. Without --output and --format, `results` is
    printed.

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
        bool,
        typer.Option("--full-names", help="Write full names of the payees into a csv."),
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

    Exit codes: 0 no differences. 1 something needs review. 2 invalid arguments. 7 the journal is
    halted, by this report or earlier: the journal lacks a payout; or money moved differently than
    recorded; or the journal may lack payouts, and no report that was read since shows payouts of
    this journal and none that it lacks.
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
            "--adopt",
            help="Add to the journal, as paid, the payouts that only the report shows.",
        ),
    ] = False
    as_json: AsJson = False


@command(payouts, "decide", "payouts.control:decide", fields=_REASON)
class DecideOptions(JournalOptions):
    """Record your decision whether a payout was paid.

    Shows the payout, and asks whether to continue. First find out whether money moved: the decision
    can't be changed. The payout's key can't be used any more: to pay after --not-paid, use a new
    one. Nothing is sent. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key. Exit
    code 1 if you answered no.
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

    This command itself pays nothing: the next `pay` of the file, or the workers, do. It selects the
    failed payouts of a batch (given by its name, or as the file that was paid) with one of the
    error codes insufficient_funds, internal_error, provider_internal_error,
    provider_issuer_unavailable and activity_count_exceeded, or a code that you name with --code.

    Each is reopened only if its session shows that no money can move in it any more. All others are
    listed with the reason. The results file of FILE then shows the reopened payouts as open.

    Requires SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER and SMARTGLOCAL_PRIVATE_KEY.

    Exit codes: 0 all are reopened. 1 some are not; or you answered no. 2 invalid arguments. 4 the
    provider was not reached. 7 the journal is halted.
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
            help="Also reopen payouts that failed with this code, once you have removed its cause. "
            "Can be repeated.",
        ),
    ] = None
    results: Results = None
    yes: Yes = False
    as_json: AsJson = False


@command(payouts, "cancel", "payouts.control:cancel", fields=_REASON)
class CancelOptions(JournalOptions):
    """Cancel a payout that was not sent yet.

    Its key can't be used any more: to pay it after all, use a new key. Nothing is sent. Exit code 2
    if it was sent already. Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    key: PayoutKey
    reason: Reason
    as_json: AsJson = False


@command(batch, "pause", "payouts.control:pause_batch", fields=_REASON)
class PauseBatchOptions:
    """Start no more payouts of a batch; finish those in progress.

    Takes effect within seconds, for each worker and a running `pay`. `batch resume` ends the pause.
    If the batch is already paused, its reason stays, unless you use --reason. Requires
    SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    batch: BatchArgument
    journal: JournalPlace = None
    reason: OptionalReason = None
    server: Server = None
    wait: Wait = WAIT_SECONDS
    as_json: AsJson = False


@command(batch, "resume", "payouts.control:resume_batch")
class ResumeBatchOptions(JournalOptions):
    """Resume a paused batch, also one that met a stop condition.

    The workers continue within seconds; a `pay` that ended must be run again. A spend limit stays
    in force; the output shows how much of it is left. Nothing is sent. Requires SMARTGLOCAL_PROJECT
    and SMARTGLOCAL_SERVER; no private key.
    """

    batch: BatchArgument
    as_json: AsJson = False


@command(batch, "cancel", "payouts.control:cancel_batch", fields=_REASON)
class CancelBatchOptions:
    """Cancel, for good, those payouts of a batch that were not sent yet.

    Payouts in progress are finished. The keys of the cancelled payouts can't be used again in any
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
    """Show or set the rate and concurrency of all workers.

    A new limit takes effect while they run. `none` removes a limit. A limit whose option is absent
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

    Run it each time that you have restored the journal from a backup, and before anything is paid:
    payouts that the restored journal lacks would be paid again. In the meantime run `reconcile`
    with the provider's reports. Webhooks show missing payouts, too, if your program passes them to
    `Payouts.handle_event`. After --hours, payouts continue unless a missing one was found; the end
    of the wait alone doesn't prove that nothing is missing. `journal resume` ends it early.
    Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER; no private key.
    """

    hours: Annotated[
        float, typer.Option(min=0.01, max=1000.0, metavar="N", help="Hours without payouts.")
    ] = 4.5
    as_json: AsJson = False


@command(journal, "forget", "payouts.control:forget")
class ForgetOptions(JournalOptions):
    """Delete names, reasons and logs of payouts ended before a date.

    The logs are the recorded steps. The key, state, ids, error code, amount, currency and a digest
    (checksum) of each payout are kept, so that its key can't be used for a different payout. Open
    and unknown payouts are not changed. Can't be undone. Requires SMARTGLOCAL_PROJECT and
    SMARTGLOCAL_SERVER; no private key. Exit code 1 if you answered no.
    """

    before: Before
    yes: Yes = False
    as_json: AsJson = False


@command(journal, "grants", "payouts.control:print_grants")
class GrantsOptions:
    """Print the SQL that lets a database user pay from a journal.

    The tables must exist: first run `payouts submit` once. Then run the SQL as the owner of the
    tables or as a superuser: `smartglocal payouts journal grants payer | psql ADDRESS`.
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
    """Generate an encryption key for the requests in a journal.

    Set it as SMARTGLOCAL_JOURNAL_KEY wherever you run commands of `payouts` on this journal. Keep
    it as secret as a password, and apart from the journal: with both, accounts and names can be
    read. Without the key, submitted payouts can't be paid.
    """

    as_json: AsJson = False


payouts.add_typer(batch, name="batch")
payouts.add_typer(journal, name="journal")
