"""``payouts resume``: go on with what the journal has open."""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer
from attrs import frozen

from ..client import SmartGlocal
from ..errors import InvalidRequest
from ..journal.entries import WORKABLE
from ..journal.states import Step
from ..journal.store import Journal
from ..payouts.files import PayoutFile
from ..payouts.orders import PayoutOrder, PayoutOutcome
from ..payouts.paging import PAGE, each
from ..payouts.payouts import Payouts
from ..payouts.protocol import Mode
from ..payouts.results import ResultsFile
from ..values.exactness import above_zero
from .errand import ended_by_signals
from .failures import explained, unread_or_not
from .naming import named
from .payouts_asking import told_if_cut_short
from .payouts_batch import known_batch
from .payouts_client import Reach, client_of, payouts_of
from .payouts_journal import existing, journal_of, place_of, shown
from .payouts_options import (
    BatchName,
    Concurrency,
    Confirm,
    ConfirmBy,
    JournalAt,
    OptionalFile,
    Results,
    Seconds,
    Server,
)
from .payouts_run import Run
from .payouts_standing import known
from .payouts_sums import Ran, Sums
from .payouts_view import show_run
from .payouts_wish import batch_of, results_of
from .screen import AsJson

_OPEN: Final = WORKABLE | {Step.UNKNOWN}
Due = Annotated[
    bool,
    typer.Option("--due", help="Leave out what was looked at not long ago, for a timer."),
]


@frozen(kw_only=True)
class _Wish:
    file: Path | None
    journal: str
    batch: str | None
    results: Path | None
    mode: Mode
    concurrency: int
    deadline: float
    is_due: bool
    server: str | None

    @property
    def again(self) -> str:
        words = ["smartglocal", "payouts", "resume"]
        words += ["FILE"] if self.file is None else [str(self.file)]
        if self.file is None or self.journal != place_of(None, self.file):
            words += ["--journal", shown(self.journal)]
        if self.batch is not None and (self.file is None or self.batch != self.file.name):
            words += ["--batch", self.batch]
        if self.mode is not Mode.MANUAL:
            words += ["--confirm", self.mode.value]
        if self.server is not None:
            words += ["--server", self.server]
        return shlex.join(words)


def resume(  # noqa: PLR0913 - one option per setting
    file: OptionalFile = None,
    *,
    journal: JournalAt = None,
    server: Server = None,
    batch: BatchName = None,
    results: Results = None,
    confirm: ConfirmBy = Confirm.MANUAL,
    concurrency: Concurrency = 16,
    deadline: Seconds = 60.0,
    due: Due = False,
    as_json: AsJson = False,
) -> None:
    """Go on with what is open in the journal; nothing that wasn't begun is.

    Of FILE, of a --batch, or of the whole journal. What needs a new start needs its request: the
    row of FILE, or SMARTGLOCAL_JOURNAL_KEY, if the journal kept it. Needs the credentials of the
    environment. Exit codes as those of `pay`.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        above_zero("--deadline", deadline)
        if file is None and results is not None:
            raise InvalidRequest("--results", "goes with FILE")
        wish = _Wish(
            file=file,
            journal=place_of(journal, file),
            batch=batch if file is None else batch_of(batch, file),
            results=None if file is None else results_of(results, file),
            mode=confirm.mode,
            concurrency=concurrency,
            deadline=deadline,
            is_due=due,
            server=server,
        )
        existing(wish.journal)
        reach = Reach()
        client = client_of(server, reach.heed)
        with told_if_cut_short(wish.again):
            ran = asyncio.run(_run(client, wish, reach))
        with unread_or_not():
            show_run(ran, as_json=as_json)
    if ran.code:
        raise typer.Exit(ran.code)


async def _run(client: SmartGlocal, wish: _Wish, reach: Reach) -> Ran:
    journal = journal_of(wish.journal, may_make=False)
    async with client, payouts_of(client, journal, wish.mode) as payouts:
        _ = await known(journal, wish.batch, wish.journal)
        orders = await _orders(journal, wish)
        with nullcontext() if wish.results is None else ResultsFile(wish.results) as results:
            going = Run(
                payouts=payouts,
                journal=journal,
                journal_name=wish.journal,
                batch=wish.batch,
                results=results,
                sums=Sums(),
                reach=reach,
                again=wish.again,
                resume=wish.again,
            )
            return await going.to_end(_resumed(payouts, orders, wish))


def _resumed(
    payouts: Payouts, orders: Mapping[str, PayoutOrder], wish: _Wish
) -> AsyncGenerator[PayoutOutcome]:
    return payouts.resume(
        orders.get,
        deadline=wish.deadline,
        concurrency=wish.concurrency,
        batch=wish.batch,
        is_due=wish.is_due,
    )


async def _orders(journal: Journal, wish: _Wish) -> dict[str, PayoutOrder]:
    """Give the orders of what is open, by key, as far as a file has them.

    Raises:
        Misuse: the file isn't the one that the batch was begun with.

    """
    if wish.file is None or wish.batch is None:
        return {}
    file = PayoutFile(wish.file)
    _ = await known_batch(journal, file, wish.batch, file.digest())
    entries = each(
        lambda after: journal.open_entries(
            PAGE, after=after, steps=_OPEN, batch=wish.batch, is_due=False
        )
    )
    keys = {entry.key async for entry in entries}
    rows = (row.order for row in file.rows())
    return {order.key: order for order in rows if order is not None and order.key in keys}
