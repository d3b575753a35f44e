"""SmartGlocal: the client of one project, composed of everything below in one visible order."""

import os
from collections.abc import Mapping
from typing import Any, Self, TypeVar, overload

from attrs import frozen

from .caller import Caller
from .codec import codec
from .flights import Flights
from .freezing import CallOptions, Freezer
from .home import until_idle
from .middlewares.signer import PoolSigner, SignRequests
from .operations import FreeRequest, Repeat, free_operation
from .pool import PoolStats, SessionPool
from .resources import FpsCalls, RecurrentCalls, TokenCalls, WalletCalls
from .retry import Retrier
from .sessions import SessionCalls
from .settings import (
    Credentials,
    Given,
    KeySource,
    Settings,
    from_environment,
    read_credentials,
)
from .signing import PrivateKey
from .transport import Middleware
from .waiting import Waiting

T = TypeVar("T")


@frozen(kw_only=True)
class ClientStats:
    """A snapshot of a client and its pool."""

    pool: PoolStats
    retries: int
    budget_tokens: int
    """What is left for retries; at zero, failures are final at once."""


class SmartGlocal:
    """The client of one project at one server.

    ``private_key`` is the path of a PEM file, PEM as bytes, a `PrivateKey`, or any `Signer`;
    ``server`` is `DEMO`, `LIVE` or an address. It may be built before an event loop runs, be
    used from several loops, and with or without ``async with``; without, end with ``await
    api.close()``. A ``pool`` given here is shared, and stays open. The key file is read and
    decrypted here, at once, so that an error shows where it was made.

    Raises:
        InvalidCredentials: a key, project, server or version that can't be used.

    """

    session: SessionCalls
    """The calls under ``session/``."""
    wallet: WalletCalls
    """The calls under ``wallet/``."""
    token: TokenCalls
    """The calls ``token`` and ``token/info``."""
    recurrent: RecurrentCalls
    """The calls under ``recurrent/``."""
    fps: FpsCalls
    """The calls under ``fps/``."""

    def __init__(  # noqa: PLR0913 - what a client is made of, all but three with a default
        self,
        project: str,
        private_key: KeySource,
        server: str,
        *,
        passphrase: str | bytes | None = None,
        submerchant: str | None = None,
        api_version: str = "v1",
        settings: Settings | None = None,
        pool: SessionPool | None = None,
    ) -> None:
        settings = settings or Settings()
        given = Given(
            project=project,
            private_key=private_key,
            server=server,
            passphrase=passphrase,
            submerchant=submerchant,
            api_version=api_version,
        )
        credentials = read_credentials(given, allow_plain_http=settings.allow_plain_http)
        del private_key, passphrase
        if not isinstance(credentials, Credentials):
            raise credentials
        self._owns_pool = pool is None
        self._pool = pool or SessionPool()
        # Freeze and retry stand outside this chain, in the caller: a middleware never sees a
        # body that is cut short. The signer is innermost: it signs what leaves.
        chain: tuple[Middleware, ...] = (
            *self._pool.foreign_middlewares(),
            _signer(credentials, self._pool),
        )
        self._caller = caller = Caller(
            Freezer(settings, credentials, codec(credentials.version), chain),
            self._pool,
            Retrier(settings.retry, settings.timing),
            Flights(settings.remembered_keys),
        )
        self.session = SessionCalls(caller, Waiting(caller))
        self.wallet, self.token = WalletCalls(caller), TokenCalls(caller)
        self.recurrent, self.fps = RecurrentCalls(caller), FpsCalls(caller)

    @classmethod
    def from_env(
        cls,
        *,
        settings: Settings | None = None,
        pool: SessionPool | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Build a client from the variables ``SMARTGLOCAL_*``, or those of ``environment``.

        ``PROJECT``, ``PRIVATE_KEY`` (a path) and ``SERVER`` are needed;
        ``PRIVATE_KEY_PASSPHRASE``, ``SUBMERCHANT`` and ``API_VERSION`` are read if set.

        Raises:
            InvalidCredentials: one is missing or can't be used; the text names it.

        """
        # No default: a signature that is printed would show all of the environment.
        found = from_environment(os.environ if environment is None else environment)
        return cls(
            found.project,
            found.private_key,
            found.server,
            passphrase=found.passphrase,
            submerchant=found.submerchant,
            api_version=found.api_version,
            settings=settings,
            pool=pool,
        )

    @overload
    async def call(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        answer: None = None,
        repeat: Repeat = Repeat.MOVES_MONEY,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Mapping[str, Any]: ...

    @overload
    async def call(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        answer: type[T],
        answer_field: str | None = "session",
        repeat: Repeat = Repeat.MOVES_MONEY,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> T: ...

    async def call(  # noqa: PLR0913 - what a row of the table would say
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        answer: Any = None,
        answer_field: str | None = "session",
        repeat: Repeat = Repeat.MOVES_MONEY,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Any:
        """Make a call that has no method here; signed and retried like the others.

        ``path`` is what follows ``api/v1/``, ``body`` goes out as it is. Gives what the envelope
        holds beside its status; or a record of type ``answer``, read from its ``answer_field``. As
        long as ``repeat`` doesn't say that a repeat is harmless, a lost answer is never followed
        by a second call: `OutcomeUnknown`. ``key`` is sent as a header alone.

        Raises:
            InvalidRequest: the path or the body can't be sent.
            NotSent, Refused, OutcomeUnknown: as every call.

        """
        operation = free_operation(path, answer, answer_field, repeat)
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        request = FreeRequest(body)
        del body
        return (await self._caller.call(operation, request, options)).answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def warm_up(self, connections: int = 1) -> None:
        """Open connections now, so that the first calls don't wait for them."""
        await self._pool.warm_up(str(self._caller.freezer.credentials.server), connections)

    async def drain(self, timeout_seconds: float | None = None) -> int:
        """Take no new calls and wait for those in flight; give the number still out."""
        if self._owns_pool:
            return await self._pool.drain(timeout_seconds)
        if self._caller.state == "open":
            self._caller.state = "draining"
        return await until_idle(lambda: self._caller.calls, timeout_seconds)

    async def close(self) -> None:
        """Take no more calls, and close the client's own pool; one handed in stays open."""
        self._caller.state = "closed"
        if self._owns_pool:
            await self._pool.close()

    def stats(self) -> ClientStats:
        """Count what is going on, and what went on."""
        return ClientStats(
            pool=self._pool.stats(),
            retries=self._caller.retries,
            budget_tokens=self._caller.retrier.budget.tokens,
        )

    def __repr__(self) -> str:
        caller = getattr(self, "_caller", None)
        if not isinstance(caller, Caller):
            return "SmartGlocal(not built)"  # A traceback of its own construction shows it.
        credentials = caller.freezer.credentials
        return f"SmartGlocal({credentials.project!r}, server={str(credentials.server)!r})"


def _signer(credentials: Credentials, pool: SessionPool) -> SignRequests:
    key = credentials.key
    signer = PoolSigner.over(pool, key) if isinstance(key, PrivateKey) else key
    return SignRequests(credentials.project, signer, credentials.submerchant)
