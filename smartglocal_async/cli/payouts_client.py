"""The client and the payouts of a command, with the credentials of the environment."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NoReturn, TypeVar

from attrs import define, field

from ..client import SmartGlocal
from ..envelope import Happened
from ..errors import InvalidCredentials
from ..journal.store import Journal
from ..payouts.payouts import Payouts
from ..payouts.protocol import Mode
from ..sealing import Seal
from ..settings import AttemptDetails, Settings, without_key
from .naming import named, own_words
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
    with _server_named(server):
        return SmartGlocal.from_env(
            settings=Settings(on_attempt=heed), environment=_variables(server)
        )


class _NoKey:
    """What signs for whoever sends nothing."""

    async def sign(self, body: bytes) -> NoReturn:
        """Refuse."""
        del body
        raise InvalidCredentials("this command has no key, as it has nothing to send")


@asynccontextmanager
async def keyless(journal: Journal, server: str | None) -> AsyncGenerator[Payouts]:
    """Open a journal for what sends nothing: only whose it is has to be known, and no key.

    Raises:
        InvalidCredentials: the project or the server is missing, or can't be used.
        JournalUnusable: the journal can't be opened.

    """
    with named(), _server_named(server):
        given = without_key(_variables(server), _NoKey())
        client = SmartGlocal(
            given.project,
            given.private_key,
            given.server,
            submerchant=given.submerchant,
            api_version=given.api_version,
        )
    async with client, Payouts(client, journal) as payouts:
        yield payouts


def _variables(server: str | None) -> dict[str, str]:
    return dict(os.environ) | ({} if server is None else {"SMARTGLOCAL_SERVER": server})


@contextmanager
def _server_named(server: str | None) -> Generator[None]:
    """Name the option behind what is wrong with a server, where it was given as one."""
    try:
        yield
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
    """Do something with the payouts of a journal that is there, for which nothing is sent.

    Raises:
        InvalidRequest: there is no such journal.
        InvalidCredentials: the project or the server is missing, or can't be used.

    """
    existing(journal)

    async def done() -> T:
        async with keyless(journal_of(journal, may_make=False), server) as payouts:
            return await act(payouts)

    return asyncio.run(done())
