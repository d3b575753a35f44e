"""``payouts submit``: a file is looked at, confirmed, and written down for the workers."""

import asyncio
import shlex
from pathlib import Path
from typing import Final

import typer
from attrs import frozen

from ..client import SmartGlocal
from ..errors import Misuse
from ..journal.entries import BatchState
from ..payouts.files import PayoutFile
from ..payouts.protocol import Mode
from ..payouts.stopping import StopOn
from .errand import ended_by_signals
from .failures import ExitCode, explained, unread_or_not
from .naming import named
from .payouts_asking import handed_over, needs_terminal
from .payouts_batch import begun_before, known_batch
from .payouts_check import EXPECT, ExpectTotal, File, amounts, looked
from .payouts_client import client_of, payouts_of, server_of
from .payouts_cluster import check_extra, check_seal, shared
from .payouts_journal import shown
from .payouts_options import (
    BatchName,
    Confirm,
    ConfirmBy,
    Server,
    SharedJournal,
    SpendLimit,
    StopAfterFailures,
    StopOnLowBalance,
    StopOnRefusal,
    Yes,
)
from .payouts_submission import PAID_AGAIN, Written, others_of, show_written
from .payouts_wish import SPEND, batch_of, check_limits
from .screen import AsJson, write_json

_WORK: Final = ("smartglocal", "payouts", "work")


@frozen(kw_only=True)
class _Wish:
    path: Path
    journal: str
    batch: str
    mode: Mode
    stop_on: StopOn | None
    server: str | None

    @property
    def file(self) -> PayoutFile:
        return PayoutFile(self.path)

    @property
    def work(self) -> str:
        words = [*_WORK, "--journal", shown(self.journal)]
        words += [] if self.mode is Mode.MANUAL else ["--confirm", self.mode.value]
        words += [] if self.server is None else ["--server", self.server]
        return shlex.join(words)

    @property
    def unpause(self) -> str:
        place = ["--journal", shown(self.journal)]
        words = ["smartglocal", "payouts", "unpause", self.batch, *place]
        return shlex.join(words + ([] if self.server is None else ["--server", self.server]))


def submit(  # noqa: PLR0913 - one option per setting
    file: File,
    *,
    journal: SharedJournal,
    server: Server = None,
    batch: BatchName = None,
    confirm: ConfirmBy = Confirm.MANUAL,
    expect_total: ExpectTotal = None,
    spend_limit: SpendLimit = None,
    stop_on_refusal: StopOnRefusal = False,
    stop_after_failures: StopAfterFailures = None,
    stop_on_low_balance: StopOnLowBalance = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Write a file into a journal, for any number of `work` to pay; nothing is sent.

    As with `pay`, all of it is looked at before, and you are asked. The same file again adds what
    isn't there, and says how the rest stands. A key stays with the batch that it came with, and
    what failed or was withdrawn is paid again only under a new key. The stop rules hold for all
    workers together: the batch is paused when one says so. Needs the credentials of the
    environment, and SMARTGLOCAL_JOURNAL_KEY, which seals the requests: workers have no file.

    Exit codes: 0 written down; all of it was paid, or will be. 1 the file isn't fit, the answer was
    no, or some of it is paid by no worker: it failed or was withdrawn before, lies in no batch or
    in one that was cancelled, or its keys belong to other orders, which are listed; all others are
    written down. 2 misuse. 3 some are unknown.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        check_extra()
        _ = shared(journal)
        check_seal()
        totals = amounts(EXPECT, expect_total) or None
        stop_on = StopOn(
            first_refusal=stop_on_refusal,
            failures_in_a_row=stop_after_failures,
            spend=tuple(amounts(SPEND, spend_limit).values()),
            low_balance=stop_on_low_balance,
        )
        wish = _Wish(
            path=file,
            journal=journal,
            batch=batch_of(batch, file),
            mode=confirm.mode,
            stop_on=None if stop_on == StopOn() else stop_on,
            server=server,
        )
        if not yes:
            needs_terminal()
        client, digest = client_of(server), wish.file.digest()
        found = looked(wish.file, totals, as_json=as_json)
        if not found.is_fit:
            raise typer.Exit(ExitCode.FAILED)
        check_limits(stop_on.spend, found.totals)
        if not yes:
            before = asyncio.run(begun_before(client, wish, digest))
            if not handed_over(found, before, shown(journal), server_of(server)):
                raise typer.Exit(ExitCode.FAILED)
        if wish.file.digest() != digest:
            raise Misuse(f"{wish.path}: was changed while it was looked at; run it again")
        written = asyncio.run(_submitted(client, wish, digest))
        with unread_or_not():
            if as_json:
                write_json(written.as_dict())
            else:
                show_written(written)
        if written.code:
            raise typer.Exit(written.code)


async def _submitted(client: SmartGlocal, wish: _Wish, digest: str) -> Written:
    from ..integrations.cluster import enqueue_batch  # noqa: PLC0415 - an extra

    journal = shared(wish.journal)
    async with client, payouts_of(client, journal, wish.mode) as payouts:
        known = await known_batch(journal, wish.file, wish.batch, digest)
        if known is not None and known.state is BatchState.CANCELLED:
            words = f"was cancelled, which stays so; what was withdrawn is {PAID_AGAIN}"
            raise Misuse(f"the batch {wish.batch!r} {words}, as another --batch NAME")
        done = await payouts.submit(
            wish.file, wish.batch, digest=bytes.fromhex(digest), stop_on=wish.stop_on
        )
        return Written(
            done=done,
            others=await others_of(done, journal),
            jobs=await enqueue_batch(journal, wish.batch),
            journal=shown(wish.journal),
            work=wish.work,
            unpause=wish.unpause,
        )
