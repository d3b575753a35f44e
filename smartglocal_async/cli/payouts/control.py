"""What a person decides: about a payout, a batch, a halt, or the data of a journal."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import evolve, frozen

from ...encryption import RequestCipher
from ...error_codes import PASSING_CAUSES
from ...errors import InvalidRequest
from ...journal.entries import Batch, BatchState, Entry
from ...journal.journal import PAGE, each
from ...journal.limits import Limits, left_to_spend
from ...journal.states import Step
from ...models.money import Amount
from ...models.validators import above_zero, without_card_numbers
from ...payouts.files.results import ResultsFile
from ...payouts.orders import PayoutOutcome, PayoutState, state_of
from ...payouts.payouts import Payouts
from ..errors import ExitCode, message_of, reader_may_leave
from ..options import time_of
from ..output import counted, printable, remark, write_json, write_line
from ..signals import run_async, sigterm_interrupts
from ..tables import cell, console, moment, money, show, table
from ..wallets import needs_of, read_wallets, show_needs
from .batches import BatchChoice, existing_batch, find_batch, reading, utc
from .check import results_of
from .commands import (
    CancelBatchOptions,
    CancelOptions,
    DecideOptions,
    ForgetOptions,
    GrantsOptions,
    LimitsOptions,
    NewKeyOptions,
    PauseBatchOptions,
    QuarantineOptions,
    ResumeBatchOptions,
    ResumeJournalOptions,
    RetryOptions,
)
from .journals import (
    OPTION,
    client_of,
    existing,
    is_address,
    journal_of,
    keyless,
    next_command,
    opened,
    payouts_of,
    place_of,
    required,
    shared,
    with_payouts,
)
from .summary import agreed, needs_terminal, outcome_facts

N = TypeVar("N", int, float)
T = TypeVar("T")
_NONE: Final = "none"
_REASON: Final = "from the command line"
_MIDNIGHT: Final = time()
_MAX_CAUSES: Final = 5
_MAX_LISTED: Final = 100


def decide(options: DecideOptions) -> ExitCode:
    """Record whether a payout was paid, after showing it."""
    with sigterm_interrupts():
        is_paid = options.is_paid
        if is_paid is None:
            raise InvalidRequest("--paid", "use --paid or --not-paid")
        place = place_of(options.journal, None, options.server)
        existing(place)
        if not options.yes:
            needs_terminal()
            entry = run_async(_found(options, place))
            if entry is not None and not agreed(_question(entry, is_paid=is_paid)):
                return ExitCode.FAILED
        outcome = _with_payouts(
            options,
            lambda payouts: payouts.decide(options.key, is_paid=is_paid, reason=options.reason),
        )
        _show_outcome(outcome, as_json=options.as_json)
    return ExitCode.DONE


async def _found(options: DecideOptions, place: str) -> Entry | None:
    journal = journal_of(place, may_make=False)
    async with keyless(journal, options.server, options.wait):
        return await journal.find(options.key)


def _question(entry: Entry, *, is_paid: bool) -> str:
    """Return a text with what is written of a payout, and the decision to confirm."""
    amount = "an unknown amount"
    if entry.amount is not None and entry.currency is not None:
        amount = money(Amount(entry.amount, entry.currency))
    place = "no batch" if entry.batch is None else f"the batch {entry.batch!r}"
    session = "no session" if entry.session_id is None else f"the session {entry.session_id}"
    why = without_card_numbers(entry.reason)
    state = (
        f"{state_of(entry.step).value} ({entry.step.name}) since {moment(utc(entry.updated_at))}"
    )
    facts = f"{amount}, {place}, {session}, {state}"
    decision = "paid" if is_paid else "not paid, so that it may be paid again under another key"
    return (
        f"{entry.key}: {facts}{'' if why is None else f': {why}'}\n"
        f"Record for good that it was {decision}?"
    )


def retry(options: RetryOptions) -> ExitCode:
    """Reopen payouts that failed for a temporary reason."""
    with sigterm_interrupts():
        path = Path(options.target)
        file = path if path.is_file() else None
        place = place_of(options.journal, file, options.server)
        if file is None and options.results is not None:
            raise InvalidRequest("--results", "goes with FILE")
        results = None if file is None else results_of(options.results, file)
        existing(place)
        if not options.yes:
            needs_terminal()
        failed = run_async(_failed_of(options, place, file))
        if not failed.entries:
            remark(printable(f"the batch {failed.batch!r} has no failed payouts"))
            return ExitCode.DONE
        balances = read_wallets(client_of(options.server), may_be_refused=True)
        if not options.as_json and balances is not None:
            show_needs(needs_of(failed.sums, balances))
        if not options.yes and not agreed(f"Retry {failed.words}?"):
            return ExitCode.FAILED
        outcomes = run_async(_retried(options, place, failed))
        _write_results(results, outcomes)
        with reader_may_leave():
            return _show_retried(options, place, failed.batch, outcomes)


@frozen(kw_only=True)
class FailedPayouts:
    """The failed payouts of a batch that are to be retried."""

    batch: str
    entries: list[Entry]

    @property
    def sums(self) -> Counter[str]:
        """Their sums by currency, in minor units."""
        sums = Counter[str]()
        for entry in self.entries:
            sums[entry.currency or ""] += entry.amount or 0
        return sums

    @property
    def words(self) -> str:
        """How many they are, their sums, and why they failed."""
        sums = " and ".join(money(Amount(units, code)) for code, units in self.sums.items())
        codes = Counter(entry.code or "no code" for entry in self.entries)
        causes = ", ".join(f"{count:,} {code}" for code, count in codes.most_common(_MAX_CAUSES))
        rows = counted(len(self.entries), "failed payout")
        return f"{rows} of the batch {self.batch!r}, {sums} ({causes})"


async def _failed_of(options: RetryOptions, place: str, file: Path | None) -> FailedPayouts:
    """Return the failed payouts of a batch, or those with the given keys.

    Raises:
        Misuse: there is no such batch.
        InvalidRequest: a key isn't that of a failed payout of the batch.

    """
    async with reading(place, options.server) as book:
        choice = BatchChoice.of(None if file is not None else options.target, file)
        name = await choice.name_in(book)
        assert name is not None  # noqa: S101 - there is a name or a file
        _ = await find_batch(book, name, place)
        entries = [
            entry
            async for entry in each(
                lambda after: book.entries(PAGE, after=after, steps=[Step.FAILED], batch=name)
            )
        ]
    keys = set(options.keys or ())
    if missing := sorted(keys - {entry.key for entry in entries}):
        words = f"{missing[0]!r} isn't the key of a failed payout of the batch {name!r}"
        raise InvalidRequest("--key", words)
    chosen = [entry for entry in entries if not keys or entry.key in keys]
    return FailedPayouts(batch=name, entries=chosen)


async def _retried(options: RetryOptions, place: str, failed: FailedPayouts) -> list[PayoutOutcome]:
    codes = {*PASSING_CAUSES, *(options.codes or ())}
    journal = journal_of(place, may_make=False)
    client = client_of(options.server)
    async with client, opened(payouts_of(client, journal), options.wait) as payouts:
        outcomes = payouts.retry_all(
            batch=failed.batch, keys={entry.key for entry in failed.entries}, codes=codes
        )
        async with aclosing(outcomes) as found:
            return [outcome async for outcome in found]


def _write_results(path: Path | None, outcomes: list[PayoutOutcome]) -> None:
    """Write the reopened payouts into the results of a file: they aren't failed any more.

    The journal has it, so that a file that can't be written is only reported.
    """
    if path is None or not path.exists():
        return
    try:
        with ResultsFile(path) as results:
            for outcome in outcomes:
                if outcome.state is PayoutState.OPEN:
                    results.append(outcome)
    except (InvalidRequest, OSError) as error:
        remark(f"{path}: {message_of(error)}; it still shows the reopened payouts as failed")


def _show_retried(
    options: RetryOptions, place: str, batch: str, outcomes: list[PayoutOutcome]
) -> ExitCode:
    refused = [one for one in outcomes if one.state is PayoutState.FAILED]
    count = len(outcomes) - len(refused)
    code = ExitCode.FAILED if refused else ExitCode.DONE
    step = None
    if count:
        verb, words = ("work", []) if is_address(place) else ("pay", [_file_of(options, batch)])
        step = next_command(verb, *words, journal=place, server=options.server)
    if options.as_json:
        listed = [{"key": one.key, "code": one.code, "why": one.reason} for one in refused]
        facts = {"batch": batch, "retried": count, "not_retried": listed, "next": step}
        write_json({**facts, "exit_code": int(code)})
        return code
    if refused:
        shown = table("Not retried")
        for column in ("Key", "Code", "Why"):
            shown.add_column(column, overflow="fold")
        for one in refused[:_MAX_LISTED]:
            why = without_card_numbers(one.reason) or ""
            shown.add_row(*map(cell, (one.key, one.code or "", why)))
        show(console(), shown)
        if len(refused) > _MAX_LISTED:
            console().print(cell(f"and {len(refused) - _MAX_LISTED:,} more"), soft_wrap=True)
    text = f"{batch}: {counted(count, 'payout')} reopened, {len(refused):,} not reopened"
    write_line(printable(text))
    if step is not None:
        write_line(printable(f"next: {step}"))
    return code


def _file_of(options: RetryOptions, batch: str) -> str:
    """Return the path of a batch's file: as given, else its usual name."""
    return options.target if Path(options.target).is_file() else batch


def cancel(options: CancelOptions) -> None:
    """Cancel a payout that was not sent."""
    with sigterm_interrupts():
        outcome = _with_payouts(
            options, lambda payouts: payouts.cancel(options.key, reason=options.reason)
        )
        _show_outcome(outcome, as_json=options.as_json)


def _show_outcome(outcome: PayoutOutcome, *, as_json: bool) -> None:
    with reader_may_leave():
        if as_json:
            write_json(outcome_facts(outcome))
        else:
            text = f"{outcome.key}: {outcome.state.value}, recorded with the reason"
            console().print(cell(text), soft_wrap=True)


def pause_batch(options: PauseBatchOptions) -> None:
    """Pause a batch; a new reason replaces that of an earlier pause."""
    with sigterm_interrupts():

        async def pause(payouts: Payouts, batch: Batch) -> tuple[Batch, bool]:
            was_paused = batch.state is BatchState.PAUSED
            if was_paused and options.reason is None:
                return batch, True
            reason = options.reason or _REASON
            return await payouts.pause_batch(batch.name, reason=reason), was_paused

        batch, was_paused = _with_batch(options, pause)
        state = "paused already" if was_paused else batch.state.value
        facts = {"was_paused": was_paused}
        _show_batch(batch, facts, [_batch_text(batch, state)], as_json=options.as_json)


def resume_batch(options: ResumeBatchOptions) -> None:
    """Resume a paused batch, and show what its spending limits leave."""
    with sigterm_interrupts():
        batch = _with_batch(options, lambda payouts, batch: payouts.resume_batch(batch.name))
        texts = [_batch_text(batch, batch.state.value), *_limit_texts(batch)]
        facts = {"spend_left": left_to_spend(batch)}
        _show_batch(batch, facts, texts, as_json=options.as_json)


def cancel_batch(options: CancelBatchOptions) -> ExitCode:
    """Cancel the payouts of a batch that were not sent."""
    with sigterm_interrupts():
        name = options.batch
        question = f"Cancel the payouts of the batch {name!r} that were not sent, for good?"
        if not _confirmed(question, yes=options.yes):
            return ExitCode.FAILED
        reason = options.reason or _REASON
        count = _with_batch(options, lambda payouts, _: payouts.cancel_batch(name, reason=reason))
        with reader_may_leave():
            if options.as_json:
                write_json({"batch": name, "state": "cancelled", "cancelled": count})
            else:
                text = f"{name}: cancelled, with {counted(count, 'payout')} that were not sent"
                write_line(printable(text))
    return ExitCode.DONE


def _batch_text(batch: Batch, state: str) -> str:
    reason = f" ({batch.reason})" if batch.reason else ""
    return f"{batch.name}: {state}{reason}"


def _limit_texts(batch: Batch) -> list[str]:
    """Return what the spending limits leave: a larger payout pauses the batch again, at once."""
    if batch.rules is None or not batch.rules.spend:
        return []
    left = [
        f"{money(Amount(units, code))} of {money(Amount(batch.rules.spend[code], code))}"
        for code, units in left_to_spend(batch).items()
    ]
    return [
        f"its spending limit stays in force, with {', '.join(left)} left",
        "to raise it, submit the file again with another --spend-limit",
    ]


def _show_batch(
    batch: Batch, facts: Mapping[str, Any], texts: Sequence[str], *, as_json: bool
) -> None:
    with reader_may_leave():
        if as_json:
            head = {"batch": batch.name, "state": batch.state.value, "reason": batch.reason}
            write_json({**head, **facts})
        else:
            write_line(printable("; ".join(texts)))


def limits(options: LimitsOptions) -> None:
    """Show the limits of all workers, after changing those that are given."""
    with sigterm_interrupts():
        journal = shared(options.journal, may_make=False)
        rate, concurrency = options.rate, options.concurrency
        new_rate = _number("--rate", rate, float)
        new_concurrency = _number("--concurrency", concurrency, int)

        async def changed() -> Limits:
            async with keyless(journal, options.server):
                before = await journal.limits()
                after = before if rate is None else evolve(before, rate=new_rate)
                after = after if concurrency is None else evolve(after, concurrency=new_concurrency)
                if after != before:
                    await journal.set_limits(after)
                return after

        found = run_async(changed())
        with reader_may_leave():
            if options.as_json:
                write_json({"rate": found.rate, "concurrency": found.concurrency})
            else:
                write_line(f"all workers together: {found}")


def _number(option: str, text: str | None, kind: Callable[[str], N]) -> N | None:
    """Return the number of an option; None for ``none``, or if it isn't given.

    Raises:
        InvalidRequest: it isn't a number above zero.

    """
    if text is None or text == _NONE:
        return None
    try:
        number = kind(text)
        above_zero(option, number)
    except ValueError:
        raise InvalidRequest(option, "expected a number above zero, or none") from None
    return number


def resume_journal(options: ResumeJournalOptions) -> ExitCode:
    """End a halt, after asking whether its cause was checked."""
    with sigterm_interrupts():
        if not options.yes:
            needs_terminal()
        halt = _with_payouts(options, lambda payouts: payouts.summary()).halt
        is_unchecked = options.unchecked is not None
        if halt is not None:
            # A halt that needs a report first is refused below, without a question.
            is_asked = not options.yes and (is_unchecked or not halt.needs_check)
            if is_asked and not agreed(f"Payouts are halted: {halt.reason}. Was it checked?"):
                return ExitCode.FAILED
            _with_payouts(options, lambda payouts: payouts.resume_journal(unchecked=is_unchecked))
        if options.as_json:
            facts = {"resumed": halt is not None, "reason": halt and halt.reason}
            write_json({**facts, "unchecked": options.unchecked} if is_unchecked else facts)
        elif halt is None:
            remark("payouts were not halted")
        else:
            note = f"; no report was compared: {options.unchecked}" if is_unchecked else ""
            remark(f"resumed; payouts were halted: {halt.reason}{note}")
    return ExitCode.DONE


def quarantine(options: QuarantineOptions) -> None:
    """Block payouts from a restored journal for some hours."""
    with sigterm_interrupts():
        hours = options.hours
        _with_payouts(options, lambda payouts: payouts.quarantine(timedelta(hours=hours)))
        if options.as_json:
            write_json({"hours": hours})
        else:
            remark(f"nothing is paid for {hours:g} hours, or until `payouts journal resume`")


def forget(options: ForgetOptions) -> ExitCode:
    """Delete names, reasons and logs of old payouts."""
    with sigterm_interrupts():
        before = time_of("--before", options.before)
        if before > datetime.now(UTC):  # noqa: TID251 - the day on which it is run
            raise InvalidRequest("--before", "is in the future; use today or an earlier day")
        what = f"names, reasons and logs of payouts settled before {_shown_time(before)}"
        if not _confirmed(f"Delete {what}?", yes=options.yes):
            return ExitCode.FAILED
        count = _with_payouts(options, lambda payouts: payouts.forget(before))
        if options.as_json:
            write_json({"forgotten": count, "before": _shown_time(before)})
        else:
            remark(f"deleted {what}: {counted(count, 'payout')}")
    return ExitCode.DONE


def _shown_time(given: datetime) -> str:
    """Return a day, or a time that isn't the beginning of a day in UTC."""
    utc_time = given.astimezone(UTC)
    return f"{utc_time:%Y-%m-%d}" if utc_time.time() == _MIDNIGHT else moment(utc_time)


def print_grants(options: GrantsOptions) -> None:
    """Print the statements for one user."""
    place = required(options.journal)
    if not is_address(place):
        problem = "must be the address of a journal in PostgreSQL, like postgres://host/database"
        raise InvalidRequest(OPTION, problem)
    _ = journal_of(place)
    if not options.role:
        raise InvalidRequest("USER", "is empty: name the user of the database")
    # Imported when it is used: it needs an extra.
    from ...journal.postgres.address import schema_in  # noqa: PLC0415
    from ...journal.postgres.grants import grants  # noqa: PLC0415

    statements = grants(schema_in(place), options.role, only_reads=options.read_only)
    if options.as_json:
        write_json({"statements": statements})
    else:
        for statement in statements:
            write_line(statement)


def new_key(options: NewKeyOptions) -> None:
    """Print a new key."""
    key = RequestCipher.new_key()
    if options.as_json:
        write_json({"key": key})
    else:
        write_line(key)
    remark(
        "keep it as secret as a password; set it as SMARTGLOCAL_JOURNAL_KEY for `submit` and for "
        "every worker"
    )


def _confirmed(question: str, *, yes: bool) -> bool:
    """Ask in the terminal, unless the answer is given."""
    if yes:
        return True
    needs_terminal()
    return agreed(question)


def _with_payouts(
    options: DecideOptions
    | CancelOptions
    | ResumeJournalOptions
    | QuarantineOptions
    | ForgetOptions,
    act: Callable[[Payouts], Awaitable[T]],
) -> T:
    """Run an action on the payouts of the journal that the options name."""
    place = place_of(options.journal, None, options.server)
    return with_payouts(place, options.server, options.wait, act)


def _with_batch(
    options: PauseBatchOptions | ResumeBatchOptions | CancelBatchOptions,
    act: Callable[[Payouts, Batch], Awaitable[T]],
) -> T:
    """Run an action on an existing batch."""
    place = place_of(options.journal, None, options.server)
    existing(place)

    async def acted() -> T:
        journal = journal_of(place, may_make=False)
        async with keyless(journal, options.server, options.wait) as payouts:
            return await act(payouts, await existing_batch(journal, options.batch, place))

    return run_async(acted())
