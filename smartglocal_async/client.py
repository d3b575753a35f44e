"""`SmartGlocal`, the client of one project: puts pool, signer, retry and codec together."""

import os
from collections.abc import Mapping
from typing import Any, Self, TypeVar, overload

from attrs import frozen

from .call import CallRunner
from .codec import ApiVersion
from .errors import InvalidRequest
from .in_flight import InFlight
from .keys import PrivateKey
from .operations import FreeRequest, HttpMethod, Repeat, free_operation
from .request import CallOptions, RequestBuilder
from .resources import (
    ExchangeRateCalls,
    FpsCalls,
    RecurrentCalls,
    SberPayCalls,
    SessionCalls,
    SessionWaits,
    TokenCalls,
    WalletCalls,
)
from .retry import Retrier
from .session_pool import PoolStats, SessionPool, until_idle
from .settings import (
    Credentials,
    Given,
    KeySource,
    Settings,
    from_environment,
    read_credentials,
)
from .signer import PoolSigner, SignRequests
from .transport import Middleware

T = TypeVar("T")


@frozen(kw_only=True)
class ClientStats:
    """A snapshot of a client and its pool."""

    pool: PoolStats
    retries: int
    budget_tokens: int
    """Tokens that are left for retries; with none, a failed call isn't retried."""


class SmartGlocal:
    """The client of one project at one server.

    ``private_key`` is the path of a PEM file, PEM as bytes, a `PrivateKey`, or any `Signer`;
    ``server`` is `DEMO`, `LIVE` or an address. A client may be made before an event loop runs, and
    be used from several loops. Use it with ``async with``, or call ``await api.close()`` at the
    end. A ``pool`` that is passed in is shared, and stays open. Without one, ``proxy`` is the
    address of an HTTP proxy, and ``user_agent`` is added to the header User-Agent, see
    `SessionPool`. The key file is read and decrypted when the client is made.

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
    sberpay: SberPayCalls
    """The calls under ``sberpay/``."""
    exchange_rate: ExchangeRateCalls
    """The call ``exchange_rate``."""

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
        proxy: str | None = None,
        user_agent: str | None = None,
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
        if pool is not None and proxy is not None:
            raise InvalidRequest("proxy", "set it in the pool: SessionPool(proxy=...)")
        self._owns_pool = pool is None
        if pool is not None and user_agent is not None:
            raise InvalidRequest("user_agent", "set it in the pool: SessionPool(user_agent=...)")
        self._pool = pool or SessionPool(proxy=proxy, user_agent=user_agent)
        # Building and retrying a request happen outside this chain, in the caller: a middleware
        # never receives an incomplete body. The signer is innermost, so it signs the bytes sent.
        chain: tuple[Middleware, ...] = (
            *self._pool.foreign_middlewares(),
            _signer(credentials, self._pool),
        )
        self._caller = caller = CallRunner(
            RequestBuilder(settings, credentials, chain),
            self._pool,
            Retrier(settings.retry, settings.timing),
            InFlight(settings.remembered_keys),
        )
        self.session = SessionCalls(caller, SessionWaits(caller))
        self.wallet, self.token = WalletCalls(caller), TokenCalls(caller)
        self.recurrent, self.fps = RecurrentCalls(caller), FpsCalls(caller)
        self.sberpay, self.exchange_rate = SberPayCalls(caller), ExchangeRateCalls(caller)

    @classmethod
    def from_env(
        cls,
        *,
        settings: Settings | None = None,
        pool: SessionPool | None = None,
        user_agent: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Build a client from the variables ``SMARTGLOCAL_*``, or those of ``environment``.

        ``PROJECT``, ``PRIVATE_KEY`` (a path) and ``SERVER`` are needed;
        ``PRIVATE_KEY_PASSPHRASE``, ``SUBMERCHANT`` and ``API_VERSION`` are read if set, and
        ``PROXY`` without a ``pool``: the address of an HTTP proxy, or ``system`` for the one that
        ``HTTPS_PROXY`` and ``NO_PROXY`` name for the server.

        Raises:
            InvalidCredentials: one is missing or can't be used; the text names it.

        """
        # os.environ is no default value: printing the signature would show the environment.
        try:
            found = from_environment(os.environ if environment is None else environment)
        finally:
            del environment  # It holds the passphrase, which an error's frames must not show.
        return cls(
            found.project,
            found.private_key,
            found.server,
            passphrase=found.passphrase,
            submerchant=found.submerchant,
            api_version=found.api_version,
            settings=settings,
            pool=pool,
            proxy=found.proxy if pool is None else None,
            user_agent=user_agent,
        )

    @overload
    async def call(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        answer: None = None,
        repeat: Repeat = Repeat.MOVES_MONEY,
        version: ApiVersion | None = None,
        method: HttpMethod = "POST",
        success_field: str | None = None,
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
        version: ApiVersion | None = None,
        method: HttpMethod = "POST",
        success_field: str | None = None,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> T: ...

    async def call(  # noqa: PLR0913 - the fields of an operation, and the options of every call
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        answer: Any = None,
        answer_field: str | None = "session",
        repeat: Repeat = Repeat.MOVES_MONEY,
        version: ApiVersion | None = None,
        method: HttpMethod = "POST",
        success_field: str | None = None,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Any:
        """Make a call that has no method here; it is signed and retried like the others.

        ``path`` is what follows ``api/v1/``; ``body`` is sent unchanged. Returns the fields of the
        envelope except its status, or a record of type ``answer`` from its ``answer_field``.
        Unless ``repeat`` is `Repeat.HARMLESS`, the call isn't sent again after a lost answer. An
        answer about another session than the ``session_id`` of the body counts as lost. ``key`` is
        sent in the header only.

        ``version`` is that of the path; without it, the client's. ``method`` is the HTTP method;
        a GET sends and signs its body too. Some good answers have no ``status``: name a member of
        such an answer as ``success_field``.

        Raises:
            InvalidRequest: the path, the version, the method or the body can't be sent.
            NotSent, Refused, OutcomeUnknown: as from every call.

        """
        operation = free_operation(
            path,
            answer,
            answer_field,
            repeat,
            version=version,
            method=method,
            success_field=success_field,
        )
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
        await self._pool.warm_up(str(self._caller.request_builder.credentials.server), connections)

    async def drain(self, timeout_seconds: float | None = None) -> int:
        """Accept no new calls, and wait for those in flight; return how many are left."""
        if self._owns_pool:
            return await self._pool.drain(timeout_seconds)
        if self._caller.state == "open":
            self._caller.state = "draining"
        return await until_idle(lambda: self._caller.active_calls, timeout_seconds)

    async def close(self) -> None:
        """Accept no more calls, and close the pool, unless it was passed in."""
        self._caller.state = "closed"
        if self._owns_pool:
            await self._pool.close()
        await self._caller.observers.flush()

    def stats(self) -> ClientStats:
        """Return the current counts of the client and its pool."""
        return ClientStats(
            pool=self._pool.stats(),
            retries=self._caller.retry_count,
            budget_tokens=self._caller.retrier.budget.tokens,
        )

    def __repr__(self) -> str:
        caller = getattr(self, "_caller", None)
        if not isinstance(caller, CallRunner):
            return "SmartGlocal(not built)"  # As in a traceback of its own __init__.
        credentials = caller.request_builder.credentials
        return f"SmartGlocal({credentials.project!r}, server={str(credentials.server)!r})"


def _signer(credentials: Credentials, pool: SessionPool) -> SignRequests:
    key = credentials.key
    signer = PoolSigner(pool, key) if isinstance(key, PrivateKey) else key
    return SignRequests(credentials.project, signer, credentials.submerchant)
