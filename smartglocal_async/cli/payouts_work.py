"""``payouts work``: a worker, started as often and on as many machines as wished."""

import asyncio
import shlex
from typing import Annotated

import typer

from .errand import ended_by_signals
from .failures import explained
from .naming import named
from .payouts_asking import told_if_cut_short
from .payouts_client import client_of
from .payouts_cluster import check_extra, check_seal, shared
from .payouts_journal import shown
from .payouts_options import Concurrency, Confirm, ConfirmBy, Server, SharedJournal
from .screen import AsJson

UntilDone = Annotated[
    bool,
    typer.Option("--until-done", help="End when nothing is open in any batch that runs."),
]


def work(  # noqa: PLR0913 - one option per setting
    *,
    journal: SharedJournal,
    server: Server = None,
    confirm: ConfirmBy = Confirm.MANUAL,
    concurrency: Concurrency = 64,
    until_done: UntilDone = False,
    as_json: AsJson = False,
) -> None:
    """Pay what `submit` wrote down, together with all other workers, until it is told to stop.

    A first Ctrl-C or SIGTERM finishes what is out, a second one ends at once: then others take it
    over. A database that is gone is waited for. It may be started before the first `submit`, and
    makes the journal then; with --until-done there has to be one. Needs the credentials of the
    environment, and SMARTGLOCAL_JOURNAL_KEY.

    Exit codes: 0 told to stop, or done. 1 our credentials are refused. 2 misuse, --until-done and
    no journal, or requests that another key sealed. 3 ended at once. 6 --until-done, and what is
    open is in a batch that is paused. 7 payouts are halted.
    """
    with explained(as_json=as_json, event="error"), named(), ended_by_signals():
        check_extra()
        _ = shared(journal)
        check_seal()
        _ = client_of(server)
        # Imported when asked for: what it needs is an extra.
        from .payouts_shift import Shift, Terms  # noqa: PLC0415

        terms = Terms(
            journal=journal,
            server=server,
            mode=confirm.mode,
            concurrency=concurrency,
            until_done=until_done,
            as_json=as_json,
        )
        again = shlex.join(["smartglocal", "payouts", "work", "--journal", shown(journal)])
        with told_if_cut_short(again):
            error = asyncio.run(Shift(terms).to_end())
        if error is not None:
            raise error
