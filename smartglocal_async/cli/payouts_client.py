"""The client and the payouts of a command, with the credentials of the environment."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from attrs import define, field

from ..client import SmartGlocal
from ..envelope import Happened
from ..errors import InvalidCredentials
from ..journal.store import Journal
from ..payouts.payouts import Payouts
from ..payouts.protocol import Mode
from ..sealing import Seal
from ..settings import AttemptDetails, Settings
from .naming import own_words
from .payouts_journal import existing, journal_of

T = TypeVar("T")

_UNREACHED: Final = frozenset({Happened.NOT_SENT, Happened.MISCONFIGURED})


@define(eq=False)
class Reach:
    """Whether the provider can be reached."""

    _in_vain: int = field(default=0, init=False)
    _is_reached: bool = field(default=False, init=False)

    @property
    def is_missed(self) -> bool:
        """Whether it was tried, and nothing ever reached the provider."""
        return self._in_vain > 0 and not self._is_reached

    def heed(self, attempt: AttemptDetails) -> None:
        """Take in what an attempt came to."""
        if attempt.happened in _UNREACHED:
            self._in_vain += 1
        else:
            self._is_reached = True


def client_of(
    server: str | None, heed: Callable[[AttemptDetails], None] | None = None
) -> SmartGlocal:
    """Give a client; ``server`` takes the place of SMARTGLOCAL_SERVER.

    Raises:
        InvalidCredentials: something is missing or can't be used; the text names it.

    """
    variables = dict(os.environ)
    if server is not None:
        variables["SMARTGLOCAL_SERVER"] = server
    try:
        return SmartGlocal.from_env(settings=Settings(on_attempt=heed), environment=variables)
    except InvalidCredentials as error:
        if server is not None and str(error).startswith("server "):
            raise InvalidCredentials(f"--server: {own_words(str(error))}") from None
        raise


def server_of(server: str | None) -> str:
    """Say which server that is."""
    return os.environ.get("SMARTGLOCAL_SERVER", "") if server is None else server


def payouts_of(client: SmartGlocal, journal: Journal, mode: Mode = Mode.MANUAL) -> Payouts:
    """Give the payouts of a client over a journal, which keeps requests where there is a seal.

    Raises:
        InvalidCredentials: the key of the seal can't be used.

    """
    return Payouts(client, journal, mode=mode, seal=Seal.from_env())


def done_with(journal: str, server: str | None, act: Callable[[Payouts], Awaitable[T]]) -> T:
    """Do something with the payouts of a journal that is there.

    Raises:
        InvalidRequest: there is no such journal.
        InvalidCredentials: something is missing or can't be used.

    """
    existing(journal)
    client = client_of(server)

    async def done() -> T:
        async with client, payouts_of(client, journal_of(journal)) as payouts:
            return await act(payouts)

    return asyncio.run(done())
