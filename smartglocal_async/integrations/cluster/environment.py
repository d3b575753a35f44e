"""A worker out of the environment, for ``pgq run``."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from ...client import SmartGlocal
from ...errors import InvalidCredentials
from ...journal.postgres.journal import PostgresJournal
from ...payouts.payouts import Payouts
from ...payouts.protocol import Mode
from ...sealing import Seal
from .worker import Worker, worker_of

_JOURNAL: Final = "SMARTGLOCAL_JOURNAL"
_KEY: Final = "SMARTGLOCAL_JOURNAL_KEY"
_CONCURRENCY: Final = "SMARTGLOCAL_CONCURRENCY"
_CONFIRM: Final = "SMARTGLOCAL_CONFIRM"
_MODES: Final[Mapping[str, Mode]] = {"manual": Mode.MANUAL, "automatic": Mode.AUTOMATIC}


@asynccontextmanager
async def create_worker() -> AsyncGenerator[Worker]:
    """Give a worker as the variables of the environment say.

    ``pgq run smartglocal_async.integrations.cluster:create_worker`` runs it, and so does
    ``pgqueuer.run`` in a program.
    ``SMARTGLOCAL_JOURNAL`` is the address of the journal, ``SMARTGLOCAL_JOURNAL_KEY`` the key of
    its seal; then those of `SmartGlocal.from_env`, ``SMARTGLOCAL_CONCURRENCY`` (64), and
    ``SMARTGLOCAL_CONFIRM``, manual or automatic.

    Raises:
        InvalidCredentials: one is missing or can't be used; the text names it.
        JournalUnusable: the journal can't be opened.

    """
    journal = PostgresJournal(_needed(_JOURNAL, "the address of the journal, as postgres://..."))
    _ = _needed(_KEY, "the key that seals the requests in the journal")
    mode, concurrency = _mode(), _concurrency()
    async with (
        SmartGlocal.from_env() as client,
        Payouts(client, journal, mode=mode, seal=Seal.from_env()) as payouts,
        worker_of(payouts, journal, concurrency=concurrency) as worker,
    ):
        yield worker


def _needed(name: str, what: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InvalidCredentials(f"{name}: isn't set; give {what}")
    return value


def _mode() -> Mode:
    text = os.environ.get(_CONFIRM) or "manual"
    if text not in _MODES:
        raise InvalidCredentials(f"{_CONFIRM}: expected manual or automatic")
    return _MODES[text]


def _concurrency() -> int:
    text = os.environ.get(_CONCURRENCY) or "64"
    if not (text.isdecimal() and int(text) > 0):
        raise InvalidCredentials(f"{_CONCURRENCY}: expected a whole number above zero")
    return int(text)
